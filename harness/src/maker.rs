//! Writes loadable model directories from a geometry and a seed, the same bytes on every machine.
//!
//! Values come from [`rng::Stream`], keyed by seed and tensor name, through one f32 multiplication and
//! one addition, and are rounded to the dtype: nothing depends on a library's generator.

mod adapter;
mod gemma4;
mod llama;
pub mod plan;
mod qwen3_5;
pub mod rng;
mod tokenizer;
mod write;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::{Map, Value, json};

pub use adapter::write_adapter;
pub use plan::{Init, TensorPlan, plan};

use crate::{
    Error, Result,
    case::{Adapter, MadeModel, ModelSource, ModelSpec},
    digest::{self, canonical_json},
};

/// File of a cached model directory that holds its specification.
pub const SPEC_FILE: &str = "verbatim-model.json";

/// Folders that models come from and go to.
#[derive(Debug, Clone)]
pub struct ModelStore {
    root: PathBuf,
    cache: PathBuf,
}

impl ModelStore {
    /// A store for the checkout at `root`; made models go to `root/.cache/models`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        let cache = root.join(".cache/models");
        Self { root, cache }
    }

    /// A store that puts made models into `cache`.
    #[must_use]
    pub fn with_cache(mut self, cache: impl Into<PathBuf>) -> Self {
        self.cache = cache.into();
        self
    }

    /// Folder of the unquantized model, made first if it is not there.
    ///
    /// # Errors
    /// [`Error::Model`] for a specification that cannot be made, [`Error::File`] for trouble writing.
    pub fn dense(&self, spec: &ModelSpec) -> Result<PathBuf> {
        match &spec.source {
            ModelSource::Directory(directory) => {
                let path = self.root.join(&directory.path);
                if path.join("config.json").is_file() {
                    Ok(path)
                } else {
                    Err(Error::file(path, "no model directory there (config.json is missing)"))
                }
            }
            ModelSource::Made(made) => {
                let dense = spec.dense();
                self.cached(&dense, |folder| {
                    fs::create_dir(folder).map_err(|e| Error::file(folder, e))?;
                    write_model(made, folder)
                })
            }
        }
    }

    /// Folder of the adapter for the model, made first if it is not there. It fits the model
    /// quantized or not.
    ///
    /// # Errors
    /// [`Error::Model`] for an adapter that cannot be made, [`Error::File`] for trouble writing.
    pub fn adapter(&self, spec: &ModelSpec, adapter: &Adapter) -> Result<PathBuf> {
        let ModelSource::Made(made) = &spec.source else {
            return Err(Error::Model("adapters are made for made models only".into()));
        };
        let both = json!({ "model": made, "adapter": adapter });
        self.kept(&format!("adapter-{}", digest::short(&both)), &both, |folder| {
            write_adapter(made, adapter, folder)
        })
    }

    /// Folder of the cached model with this specification; when there is none, `make` makes the
    /// folder that it is given the path of. The folder appears whole or not at all.
    ///
    /// # Errors
    /// What `make` returns, and [`Error::File`].
    pub fn cached(
        &self,
        spec: &ModelSpec,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        self.kept(&spec.digest(), spec, make)
    }

    fn kept<S: Serialize>(
        &self,
        name: &str,
        spec: &S,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let target = self.cache.join(name);
        if target.join(SPEC_FILE).is_file() {
            return Ok(target);
        }
        fs::create_dir_all(&self.cache).map_err(|e| Error::file(&self.cache, e))?;
        let scratch = tempfile::Builder::new()
            .prefix(".making-")
            .tempdir_in(&self.cache)
            .map_err(|e| Error::file(&self.cache, e))?;
        let folder = scratch.path().join("model");
        make(&folder)?;
        write::text(&folder.join(SPEC_FILE), &canonical_json(spec))?;
        match fs::rename(&folder, &target) {
            Ok(()) => Ok(target),
            // Another process may have finished first; its folder has the same bytes.
            Err(_) if target.join(SPEC_FILE).is_file() => Ok(target),
            Err(e) => Err(Error::file(&target, e)),
        }
    }
}

/// Writes the model into an empty folder: weights, configuration, tokenizer.
///
/// # Errors
/// [`Error::Model`] for a geometry that cannot be made, [`Error::File`] for trouble writing.
pub fn write_model(model: &MadeModel, folder: &Path) -> Result<()> {
    let tensors = plan(model)?;
    let vocab = plan::Geometry::new(model).vocab_size()?;
    write::weights(model, &tensors, folder)?;

    let mut config: Map<String, Value> = model.geometry.clone().into_iter().collect();
    let dtype = json!(model.dtype.config_name());
    // Where published configurations have it.
    match config.get_mut("text_config").and_then(Value::as_object_mut) {
        Some(text) => text.insert("dtype".into(), dtype),
        None => config.insert("torch_dtype".into(), dtype),
    };
    write::json(&folder.join("config.json"), &Value::Object(config))?;

    let mut generation = Map::new();
    for key in ["bos_token_id", "eos_token_id", "pad_token_id"] {
        if let Some(id) = model.geometry.get(key) {
            generation.insert(key.into(), id.clone());
        }
    }
    write::json(&folder.join("generation_config.json"), &Value::Object(generation))?;
    write::json(&folder.join("tokenizer.json"), &tokenizer::tokenizer(vocab))?;
    write::json(&folder.join("tokenizer_config.json"), &tokenizer::tokenizer_config())
}
