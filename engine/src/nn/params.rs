//! Hands a checkpoint's tensors to the layers that own them.

use std::collections::BTreeMap;

use mlx_rs::Array;

use crate::{Error, Result, weights::{ModuleQuantization, QuantizationSpec}};

/// A checkpoint's tensors by name, taken out one by one while a model is built.
pub struct Params {
    tensors: BTreeMap<String, Array>,
    quantization: QuantizationSpec,
}

impl Params {
    /// Wraps a sanitized checkpoint.
    pub fn new(tensors: BTreeMap<String, Array>, quantization: QuantizationSpec) -> Self {
        Self { tensors, quantization }
    }

    /// Removes and returns tensor `name`.
    pub fn take(&mut self, name: &str) -> Result<Array> {
        self.tensors
            .remove(name)
            .ok_or_else(|| Error::Weights(format!("tensor {name} is missing")))
    }

    /// Removes and returns tensor `name` if the checkpoint has it.
    pub fn take_optional(&mut self, name: &str) -> Option<Array> {
        self.tensors.remove(name)
    }

    /// How the module at `path` is quantized, or `None` when it is dense.
    pub fn quantization(&self, path: &str) -> Result<Option<ModuleQuantization>> {
        let shape = |suffix: &str| {
            self.tensors
                .get(&format!("{path}.{suffix}"))
                .map(|t| t.shape().iter().map(|&d| d as usize).collect::<Vec<_>>())
        };
        self.quantization.module(path, shape("weight").as_deref(), shape("scales").as_deref())
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
