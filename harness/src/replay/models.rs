//! Models of cases, with the digest of what was really written.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use verbatim_engine::quantize::{QuantizeSpec, quantize_model};

use crate::{
    Error, Result,
    case::{Affine, ModelSpec, Quantization},
    files::write_whole,
    maker::ModelStore,
    tensor::{RawTensor, TensorFile, weight_files, weights_sha256},
};

/// Tensors of a quantized module.
const PARTS: [&str; 3] = ["weight", "scales", "biases"];

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
    match quantization {
        Quantization::Uniform(affine) => engine_quantize(dense, folder, uniform(affine)),
        Quantization::Recipe { name, group_size } => {
            let recipe =
                name.parse().map_err(|e: verbatim_engine::Error| Error::Model(e.to_string()))?;
            let group_size = group_size.map(|g| g as usize);
            engine_quantize(dense, folder, QuantizeSpec::Recipe { recipe, group_size })
        }
        Quantization::PerModule { default, overrides } => {
            per_module(dense, folder, default, overrides)
        }
    }
}

fn uniform(affine: &Affine) -> QuantizeSpec {
    QuantizeSpec::Uniform { bits: affine.bits, group_size: affine.group_size as usize }
}

fn engine_quantize(dense: &Path, folder: &Path, spec: QuantizeSpec) -> Result<()> {
    quantize_model(dense, folder, spec).map_err(|e| Error::Model(e.to_string()))
}

/// The default everywhere, then each override's tensors from a copy that is quantized its way. What
/// decides whether a module is quantized at all is the default's group size, as in
/// `mlx_lm.utils.quantize_model`.
fn per_module(
    dense: &Path,
    folder: &Path,
    default: &Affine,
    overrides: &BTreeMap<String, Option<Affine>>,
) -> Result<()> {
    engine_quantize(dense, folder, uniform(default))?;
    let weights = folder.join("model.safetensors");
    let mut file = TensorFile::read(&weights)?;
    let config_path = folder.join("config.json");
    let text = fs::read_to_string(&config_path).map_err(|e| Error::file(&config_path, e))?;
    let mut config: Value =
        serde_json::from_str(&text).map_err(|e| Error::file(&config_path, e))?;

    for (module, affine) in overrides {
        if !file.tensors.contains_key(&format!("{module}.scales")) {
            continue;
        }
        for suffix in PARTS {
            file.tensors.remove(&format!("{module}.{suffix}"));
        }
        let source = match affine {
            None => all_tensors(dense)?,
            Some(affine) => {
                let scratch = tempfile::tempdir().map_err(|e| Error::file(folder, e))?;
                let copy = scratch.path().join("model");
                engine_quantize(dense, &copy, uniform(affine))?;
                all_tensors(&copy)?
            }
        };
        for suffix in PARTS {
            let name = format!("{module}.{suffix}");
            if let Some(tensor) = source.get(&name) {
                file.tensors.insert(name, tensor.clone());
            }
        }
        if let Some(affine) = affine {
            let own = json!({ "group_size": affine.group_size, "bits": affine.bits, "mode": affine.mode });
            for key in ["quantization", "quantization_config"] {
                config[key][module.as_str()] = own.clone();
            }
        }
    }
    file.write(&weights)?;
    write_whole(&config_path, format!("{config:#}\n").as_bytes())
}

fn all_tensors(folder: &Path) -> Result<BTreeMap<String, RawTensor>> {
    let mut tensors = BTreeMap::new();
    for path in weight_files(folder)? {
        tensors.extend(TensorFile::read(&path)?.tensors);
    }
    Ok(tensors)
}
