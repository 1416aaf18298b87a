//! Cases whose adapter is mounted on a running engine, beside another one that is in use.

use std::path::PathBuf;

use verbatim_engine::{Engine, Event, GenerateRequest, Generation, Mutation};

use super::{
    Models, Replayed,
    case::{follow, request},
    engine_options,
};
use crate::{
    case::{Adapter, Case},
    golden::Golden,
};

/// Added to an adapter's seed: the other one has the same modules and other values.
const OTHER_SEED: u64 = 1_000_003;
const OWN: &str = "own";
const OTHER: &str = "other";

/// An engine without adapters, and the folders of two for it.
#[derive(Debug)]
pub(super) struct Hot {
    engine: Engine,
    own: PathBuf,
    other: PathBuf,
}

impl Hot {
    /// Loads the base model of `case`.
    ///
    /// # Errors
    /// A message when something cannot be made or loaded.
    pub(super) fn load(
        case: &Case,
        models: &mut Models,
        mutation: Mutation,
    ) -> Result<Self, String> {
        let adapter = case.adapter.as_ref().ok_or("the case has no adapter")?;
        let other = Adapter { seed: adapter.seed.wrapping_add(OTHER_SEED), ..adapter.clone() };
        let folder = |case: &Case, models: &Models| {
            let made = models.adapter(case).map_err(|e| e.to_string())?;
            made.map(|(folder, _)| folder).ok_or_else(|| "the case has no adapter".to_owned())
        };
        let (model, _) = models.get(&case.model).map_err(|e| e.to_string())?;
        let own = folder(case, models)?;
        let other = folder(&Case { adapter: Some(other), ..case.clone() }, models)?;
        let mut options = engine_options(case, &model, None)?;
        options.mutation = mutation;
        if cfg!(target_os = "linux") {
            // Where the model can, the two share calls.
            options.max_batch = options.max_batch.max(Some(2));
        }
        let engine = Engine::load(options).map_err(|e| e.to_string())?;
        Ok(Self { engine, own, other })
    }

    /// Mounts both, runs the case while the other adapter is at work, and takes both away.
    ///
    /// # Errors
    /// A message when the engine fails.
    pub(super) fn run(&self, case: &Case, golden: &Golden) -> Result<Replayed, String> {
        let failed = |e: verbatim_engine::Error| e.to_string();
        for (name, folder) in [(OTHER, &self.other), (OWN, &self.own)] {
            self.engine.mount_adapter(name, folder).map_err(failed)?;
        }
        let mut company = GenerateRequest::new(golden.prompt.clone(), case.steps);
        company.ignore_eos = true;
        company.prefill_step_size = Some(case.prefill_step_size);
        company.adapters = Some(vec![OTHER.to_owned()]);
        let company = self.engine.submit(company).map_err(failed)?;
        let mut request = request(case, golden);
        request.adapters = Some(vec![OWN.to_owned()]);
        let generation = self.engine.submit(request).map_err(failed)?;
        for name in [OWN, OTHER] {
            // What runs keeps its adapter.
            self.engine.unmount_adapter(name).map_err(failed)?;
        }
        let replayed = follow(generation, case, golden, |_| Ok(()))?;
        finish(company)?;
        Ok(replayed)
    }
}

fn finish(mut generation: Generation) -> Result<(), String> {
    while let Some(event) = generation.next_blocking() {
        match event {
            Event::Finished(_) => return Ok(()),
            Event::Failed(e) => return Err(format!("beside it: {e}")),
            _ => {}
        }
    }
    Err("the engine ended a generation beside it without saying how".into())
}
