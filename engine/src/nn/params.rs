//! Hands a checkpoint's tensors to the layers that own them.

use std::collections::BTreeMap;

use mlx_rs::Array;

use crate::{
    Error, Result,
    weights::{ModuleQuantization, WeightPlan},
};

/// A checkpoint's tensors by name, taken out one by one while a model is built.
pub struct Params {
    tensors: BTreeMap<String, Array>,
    plan: WeightPlan,
}

impl Params {
    /// Wraps a sanitized and checked checkpoint.
    pub fn new(tensors: BTreeMap<String, Array>, plan: WeightPlan) -> Self {
        Self { tensors, plan }
    }

    /// Removes and returns tensor `name`.
    pub fn take(&mut self, name: &str) -> Result<Array> {
        self.tensors.remove(name).ok_or_else(|| Error::Weights(format!("tensor {name} is missing")))
    }

    /// How the module at `path` is quantized, or `None` when it is dense.
    pub fn quantization(&self, path: &str) -> Option<ModuleQuantization> {
        self.plan.module(path)
    }

    /// Fails when tensors are left that no layer asked for.
    pub fn finish(self) -> Result<()> {
        let mut names = self.tensors.into_keys();
        match names.next() {
            None => Ok(()),
            Some(first) => Err(Error::Weights(format!(
                "{} tensors belong to no layer of this model, {first} among them",
                names.count() + 1
            ))),
        }
    }
}
