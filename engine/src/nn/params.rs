//! Hands a checkpoint's tensors to the layers that own them.

use std::collections::BTreeMap;

use mlx_rs::Array;

use super::{Adapters, Site};
use crate::{
    Error, Result,
    weights::{ModelDir, ModuleQuantization, WeightPlan, load_replaced},
};

/// A checkpoint's tensors by name, taken out one by one while a model is built.
pub struct Params {
    tensors: BTreeMap<String, Array>,
    plan: WeightPlan,
    adapters: Adapters,
}

impl Params {
    /// Wraps the sanitized and checked checkpoint of `dir`; what a fully fine-tuned adapter brings
    /// takes the place of the model's own tensors.
    pub fn new(
        dir: &ModelDir,
        mut tensors: BTreeMap<String, Array>,
        plan: WeightPlan,
    ) -> Result<Self> {
        tensors.extend(load_replaced(dir)?);
        Ok(Self { tensors, plan, adapters: Adapters::default() })
    }

    /// Removes and returns tensor `name`.
    pub fn take(&mut self, name: &str) -> Result<Array> {
        self.tensors.remove(name).ok_or_else(|| Error::Weights(format!("tensor {name} is missing")))
    }

    /// How the module at `path` is quantized, or `None` when it is dense.
    pub fn quantization(&self, path: &str) -> Option<ModuleQuantization> {
        self.plan.module(path)
    }

    /// Where adapters attach to the module at `path`.
    pub fn site(&mut self, path: &str) -> Site {
        self.adapters.site(path)
    }

    /// Every module's [`Site`]; fails when tensors are left that no layer asked for.
    pub fn finish(self) -> Result<Adapters> {
        let mut names = self.tensors.into_keys();
        match names.next() {
            None => Ok(self.adapters),
            Some(first) => Err(Error::Weights(format!(
                "{} tensors belong to no layer of this model, {first} among them",
                names.count() + 1
            ))),
        }
    }
}
