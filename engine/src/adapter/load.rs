//! Reads an adapter's tensors, and makes patches of them on the MLX thread.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
};

use mlx_rs::{Array, transforms::eval};

use super::{AdapterInfo, AdapterPlan, fit::PlannedModule};
use crate::{
    Error, Result, limits, mlx,
    models::Mutation,
    nn::{Dora, LowRank, Patch},
    weights::{ModuleKind, TensorInfo, read_header},
};

/// An adapter's tensors as bytes, on their way to the MLX thread.
#[derive(Debug)]
pub(crate) struct LoadedAdapter {
    plan: AdapterPlan,
    data: BTreeMap<String, Vec<u8>>,
}

impl LoadedAdapter {
    /// Reads every tensor of a plan.
    ///
    /// # Errors
    /// [`Error::File`] when the file changed since it was checked, [`Error::Adapter`] for one larger
    /// than [`limits::MAX_ADAPTER_BYTES`].
    pub(crate) fn read(plan: AdapterPlan) -> Result<Self> {
        let (bytes, most) = (plan.info.bytes, limits::MAX_ADAPTER_BYTES);
        if bytes > most {
            return Err(Error::Adapter(format!(
                "has {bytes} bytes of tensors, the limit is {most}"
            )));
        }
        let fail = |e: std::io::Error| Error::file(&plan.weights, e);
        let mut file = File::open(&plan.weights).map_err(fail)?;
        let mut data = BTreeMap::new();
        for (name, tensor) in &plan.tensors {
            let mut bytes = vec![0; tensor.len_bytes() as usize];
            file.seek(SeekFrom::Start(tensor.bytes.start)).map_err(fail)?;
            file.read_exact(&mut bytes).map_err(fail)?;
            data.insert(name.clone(), bytes);
        }
        let again = read_header(&plan.weights)?;
        let same = |tensor: &TensorInfo| plan.tensors.get(&tensor.name) == Some(tensor);
        if again.len() != plan.tensors.len() || !again.iter().all(same) {
            return Err(Error::file(&plan.weights, "the file changed while it was read"));
        }
        Ok(Self { plan, data })
    }

    /// What it is.
    pub(crate) fn info(&self) -> &AdapterInfo {
        &self.plan.info
    }

    /// The patches by module path. Call it on the MLX thread.
    ///
    /// # Errors
    /// [`Error::Mlx`] when there is no room for the arrays.
    pub(crate) fn patches(mut self, mutation: Mutation) -> Result<Vec<(String, Patch)>> {
        let mut patches = Vec::with_capacity(self.plan.modules.len());
        for module in &self.plan.modules {
            let mut take = |name: &str| array(name, &self.plan.tensors, &mut self.data);
            let patch = patch(module, self.plan.scale, &mut take, mutation)?;
            patches.push((module.path.clone(), patch));
        }
        Ok(patches)
    }
}

fn array(
    name: &str,
    infos: &BTreeMap<String, TensorInfo>,
    data: &mut BTreeMap<String, Vec<u8>>,
) -> Result<Array> {
    match infos.get(name).zip(data.remove(name)) {
        Some((info, bytes)) => mlx::from_bytes(info.dtype.name(), &info.shape, &bytes),
        None => Err(Error::Adapter(format!("tensor {name} is missing"))),
    }
}

fn patch(
    module: &PlannedModule,
    scale: f64,
    take: &mut dyn FnMut(&str) -> Result<Array>,
    mutation: Mutation,
) -> Result<Patch> {
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
