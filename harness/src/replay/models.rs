//! Models of cases, with the digest of what was really written.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use verbatim_engine::{
    quantize::{QuantizeSpec, quantize_model},
    weights::{ModuleQuantization, QuantMode},
};

use crate::{
    Error, Result,
    case::{Affine, Case, ModelSpec, Quantization},
    maker::ModelStore,
    tensor::{adapter_sha256, weights_sha256},
};

/// Makes, quantizes and remembers models.
#[derive(Debug)]
pub struct Models {
    store: ModelStore,
    digests: HashMap<PathBuf, String>,
}

impl Models {
    /// Models in `store`.
    pub fn new(store: ModelStore) -> Self {
        Self { store, digests: HashMap::new() }
    }

    /// Folder of the case's adapter and SHA-256 over its tensors, if it has one.
    ///
    /// # Errors
    /// [`Error::Model`] when it cannot be made, [`Error::File`].
    pub fn adapter(&self, case: &Case) -> Result<Option<(PathBuf, String)>> {
        let Some(adapter) = &case.adapter else { return Ok(None) };
        let folder = self.store.adapter(&case.model, adapter)?;
        let digest = adapter_sha256(&folder)?;
        Ok(Some((folder, digest)))
    }

    /// Folder of the model and SHA-256 over its tensors.
    ///
    /// # Errors
    /// [`Error::Model`] when it cannot be made or quantized, [`Error::File`].
    pub fn get(&mut self, spec: &ModelSpec) -> Result<(PathBuf, String)> {
        let dense = self.store.dense(spec)?;
        let folder = match &spec.quantization {
            None => dense,
            Some(quantization) => {
                self.store.cached(spec, |folder| quantize(&dense, folder, quantization))?
            }
        };
        let digest = match self.digests.get(&folder) {
            Some(digest) => digest.clone(),
            None => weights_sha256(&folder)?,
        };
        self.digests.insert(folder.clone(), digest.clone());
        Ok((folder, digest))
    }
}

/// Quantizes with the engine's port of `mlx_lm.convert`.
fn quantize(dense: &Path, folder: &Path, quantization: &Quantization) -> Result<()> {
    let spec = match quantization {
        Quantization::Uniform(Affine { bits, group_size, mode }) => QuantizeSpec::Uniform {
            bits: *bits,
            group_size: *group_size as usize,
            mode: named(mode)?,
        },
        Quantization::Recipe { name, group_size } => {
            let recipe =
                name.parse().map_err(|e: verbatim_engine::Error| Error::Model(e.to_string()))?;
            QuantizeSpec::Recipe { recipe, group_size: group_size.map(|g| g as usize) }
        }
        Quantization::PerModule { default, overrides } => QuantizeSpec::PerModule {
            default: module(default)?,
            overrides: overrides
                .iter()
                .map(|(path, own)| Ok((path.clone(), own.as_ref().map(module).transpose()?)))
                .collect::<Result<_>>()?,
        },
    };
    quantize_model(dense, folder, spec).map_err(|e| Error::Model(e.to_string()))
}

fn named(mode: &str) -> Result<QuantMode> {
    QuantMode::from_name(mode)
        .ok_or_else(|| Error::Model(format!("quantization mode {mode} is not known")))
}

fn module(affine: &Affine) -> Result<ModuleQuantization> {
    let Affine { bits, group_size, mode } = affine;
    ModuleQuantization::new(named(mode)?, u64::from(*bits), u64::from(*group_size))
        .map_err(Error::Model)
}
