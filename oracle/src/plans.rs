//! Goldens of searches for layers' bits: mlx-optiq's own `kv-cache` on given token ids.

use std::{path::Path, time::Instant};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::json;
use verbatim_harness::{
    case::Backend,
    golden::Provenance,
    maker::ModelStore,
    plan::{PlanCase, PlanGolden},
    tensor::weights_sha256,
};

use crate::{embed, record, reference::Setting, report};

/// What `verbatim_oracle.kv_plan.run` returns.
#[derive(Deserialize)]
struct Written {
    sensitivity: String,
    configs: Vec<String>,
}

/// Runs the searches and writes their goldens. Nothing but searches may run in this process
/// afterwards: mlx-optiq leaves mlx-lm patched.
///
/// # Errors
/// The first search that fails, by id.
pub fn write(
    plans: &[&PlanCase],
    store: &ModelStore,
    golden: &Path,
    setting: &Setting,
    machine: &str,
) -> Result<()> {
    for (number, plan) in plans.iter().enumerate() {
        let started = Instant::now();
        search(plan, store, setting)
            .and_then(|found| Ok(found.write(&golden.join(plan.relative_path(machine)))?))
            .with_context(|| plan.id.clone())?;
        let took = started.elapsed();
        report(&format!("search {}/{} {} {took:.1?}", number + 1, plans.len(), plan.id));
    }
    Ok(())
}

fn search(plan: &PlanCase, store: &ModelStore, setting: &Setting) -> Result<PlanGolden> {
    let model = record::model(store, &plan.model)?;
    let spec = json!({
        "model_dir": model,
        "sequences": plan.ids(),
        "candidate_bits": plan.candidate_bits,
        "group_size": plan.group_size,
        "target_bits": plan.target_bits,
    });
    let Written { sensitivity, configs } = embed::call_json("kv_plan", "run", &[spec])?;
    let provenance = Provenance {
        case_digest: plan.digest(),
        model_sha256: weights_sha256(&model)?,
        adapter_sha256: None,
        platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
        backend: Backend::Cpu.name().into(),
        libmlx_sha256: setting.libmlx_sha256.clone(),
        versions: setting.versions.clone(),
    };
    Ok(PlanGolden { provenance, sensitivity, configs })
}
