//! Reads an adapter's tensors on the MLX thread.

use std::collections::BTreeMap;

use mlx_rs::{Array, transforms::eval};

use super::{AdapterPlan, fit::PlannedModule};
use crate::{
    Error, Result,
    models::Mutation,
    nn::{Dora, LowRank, Patch},
    weights::{ModuleKind, load_checked},
};

/// The patches of a plan, by module path, with every tensor read.
///
/// # Errors
/// [`Error::File`] when MLX refuses the file or it changed since it was checked.
pub(crate) fn patches(plan: &AdapterPlan, mutation: Mutation) -> Result<Vec<(String, Patch)>> {
    let mut arrays = load_checked(&plan.weights, &plan.tensors)?;
    let mut patches = Vec::with_capacity(plan.modules.len());
    for module in &plan.modules {
        let patch = patch(module, plan.scale, &mut arrays, mutation)?;
        patches.push((module.path.clone(), patch));
    }
    Ok(patches)
}

fn patch(
    module: &PlannedModule,
    scale: f64,
    arrays: &mut BTreeMap<String, Array>,
    mutation: Mutation,
) -> Result<Patch> {
    let mut take = |name: &str| {
        arrays.remove(name).ok_or_else(|| Error::Adapter(format!("tensor {name} is missing")))
    };
    let [a, b] = &module.factors;
    let (mut a, mut b) = (take(a)?, take(b)?);
    let magnitude = module.magnitude.as_deref().map(take).transpose()?;
    if module.transposed {
        // A copy, not a view: the layout decides how MLX sums.
        (a, b) = (a.transpose()?.contiguous()?, b.transpose()?.contiguous()?);
    }
    eval([&a, &b].into_iter().chain(&magnitude))?;
    if module.kind == ModuleKind::Experts {
        (a, b) = (a.swap_axes(-1, -2)?, b.swap_axes(-1, -2)?);
    }
    let low_rank = LowRank::new(a, b, scale, mutation)?;
    Ok(match magnitude {
        Some(magnitude) => Patch::Dora(Dora::new(low_rank, magnitude)),
        None => Patch::Lora(low_rank),
    })
}
