//! Adapter folders: mlx-lm's own (`mlx_lm/tuner/utils.py`, `load_adapters`) and PEFT's.
//!
//! [`AdapterDir::open`] reads configuration and header; [`AdapterDir::fit`] holds them against a
//! model; only then are the tensors read and made arrays on the MLX thread. What does not fit exactly
//! is refused. The registry knows mounted adapters by name, and who uses them.

mod fit;
mod lease;
mod load;
mod mlx;
mod peft;
mod registry;
mod source;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::{Map, Value};

pub use fit::AdapterPlan;
pub(crate) use lease::{Control, Controls, Lease, Selection};
pub(crate) use load::LoadedAdapter;
pub use registry::NamedAdapter;
pub(crate) use registry::Registry;
pub use source::{AdapterSource, check_name, is_reserved};

use crate::{
    Error, Result, limits, models,
    weights::{ModelDir, TensorInfo, read_header, read_object},
};

/// The configuration's name, in both formats.
const CONFIG: &str = "adapter_config.json";
/// mlx-lm's weights.
const MLX_WEIGHTS: &str = "adapters.safetensors";
/// PEFT's weights.
const PEFT_WEIGHTS: &str = "adapter_model.safetensors";
/// The files of a folder that are read.
pub const FILES: [&str; 3] = [CONFIG, MLX_WEIGHTS, PEFT_WEIGHTS];

/// Who wrote an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdapterFormat {
    /// `adapters.safetensors`, as `mlx_lm.lora` writes it.
    MlxLm,
    /// `adapter_model.safetensors`, as Hugging Face's PEFT writes it.
    Peft,
}

/// What an adapter does to a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AdapterKind {
    /// Adds a low-rank product.
    Lora,
    /// Adds a low-rank product and sets the length of each row.
    Dora,
    /// Replaces weights.
    Full,
}

impl AdapterKind {
    /// Its name in `adapter_config.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lora => "lora",
            Self::Dora => "dora",
            Self::Full => "full",
        }
    }
}

/// Facts about an adapter that fits a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AdapterInfo {
    /// The folder's own name, or the one it was given.
    pub name: String,
    /// Who wrote it.
    pub format: AdapterFormat,
    /// What it does.
    pub kind: AdapterKind,
    /// Rank of the products; absent where weights are replaced.
    pub rank: Option<usize>,
    /// Factor of the products; absent where weights are replaced.
    pub scale: Option<f64>,
    /// Modules that it changes.
    pub modules: usize,
    /// Parameters that it brings.
    pub parameters: u64,
    /// Bytes of its tensors.
    pub bytes: u64,
    /// Bytes that computing with it takes beside them at most: DoRA measures rows of the dense weight,
    /// a module at a time.
    pub work_bytes: u64,
}

/// Bytes that adapters take of the memory budget together: one of them computes at a time.
pub(crate) fn memory_of<'a>(adapters: impl IntoIterator<Item = &'a AdapterInfo>) -> u64 {
    let (mut bytes, mut work) = (0_u64, 0);
    for adapter in adapters {
        bytes = bytes.saturating_add(adapter.bytes);
        work = work.max(adapter.work_bytes);
    }
    bytes.saturating_add(work)
}

impl fmt::Display for AdapterInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = match self.format {
            AdapterFormat::MlxLm => "mlx-lm",
            AdapterFormat::Peft => "PEFT",
        };
        write!(f, "{} · {format} {}", self.name, self.kind.name())?;
        if let (Some(rank), Some(scale)) = (self.rank, self.scale) {
            write!(f, " · rank {rank} · scale {scale}")?;
        }
        let s = if self.modules == 1 { "" } else { "s" };
        write!(f, " · {} module{s} · {} parameters", self.modules, self.parameters)
    }
}

/// An adapter folder whose configuration is validated and whose header is checked.
#[derive(Debug, Clone)]
pub struct AdapterDir {
    name: String,
    format: AdapterFormat,
    config: AdapterConfig,
    weights: PathBuf,
    tensors: BTreeMap<String, TensorInfo>,
}

#[derive(Debug, Clone)]
enum AdapterConfig {
    Mlx(mlx::MlxConfig),
    Peft(peft::PeftConfig),
}

impl AdapterDir {
    /// Opens `path`: reads the configuration and the weights' header, and no weights.
    ///
    /// # Errors
    /// [`Error::File`] for a missing, oversized or malformed file; [`Error::Adapter`] for a
    /// configuration that is malformed or asks for what the engine does not do.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (format, weights) = weights_file(path)?;
        let config = read_object(&path.join(CONFIG), limits::MAX_CONFIG_BYTES)?;
        let config = match format {
            AdapterFormat::MlxLm => mlx::MlxConfig::read(&config).map(AdapterConfig::Mlx),
            AdapterFormat::Peft => peft::PeftConfig::read(&config).map(AdapterConfig::Peft),
        };
        let config = config.map_err(in_config)?;
        let tensors = read_header(&weights)?.into_iter().map(|t| (t.name.clone(), t)).collect();
        Ok(Self { name: folder_name(path), format, config, weights, tensors })
    }

    /// The folder's own name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Finds the module of the model in `dir` that each tensor belongs to.
    ///
    /// # Errors
    /// [`Error::Adapter`] naming the tensors that belong nowhere, have another shape or a dtype that
    /// cannot be computed with, and the modules that the engine cannot adapt as asked, here or
    /// anywhere; whatever is wrong with the model itself.
    pub fn fit(&self, dir: &ModelDir) -> Result<AdapterPlan> {
        let facts = (models::family(dir)?.facts)(dir)?;
        let plan = facts.check(dir)?;
        let model = fit::ModelSide::new(dir, facts.as_ref(), &plan);
        let plan = match &self.config {
            AdapterConfig::Mlx(config) => mlx::fit(self, config, &model),
            AdapterConfig::Peft(config) => peft::fit(self, config, &model),
        }?;
        model.check_backend(&plan)?;
        Ok(plan)
    }
}

/// Which of the two formats lies in a folder.
fn weights_file(dir: &Path) -> Result<(AdapterFormat, PathBuf)> {
    let fail = |reason: &str| Err(Error::file(dir, reason));
    match std::fs::metadata(dir) {
        Err(e) => return fail(&format!("{e}; expected an adapter's folder")),
        Ok(meta) if !meta.is_dir() => {
            return fail("is not a folder; expected the one that holds adapter_config.json");
        }
        Ok(_) => {}
    }
    if !dir.join(CONFIG).exists() {
        return fail("has no adapter_config.json, so it is not an adapter's folder");
    }
    let (mlx, peft) = (dir.join(MLX_WEIGHTS), dir.join(PEFT_WEIGHTS));
    match (mlx.exists(), peft.exists()) {
        (true, false) => Ok((AdapterFormat::MlxLm, mlx)),
        (false, true) => Ok((AdapterFormat::Peft, peft)),
        (true, true) => fail(
            "holds adapters.safetensors (mlx-lm's) and adapter_model.safetensors (PEFT's); remove \
             the one that is not meant",
        ),
        (false, false) if dir.join("adapter_model.bin").exists() => fail(
            "holds adapter_model.bin, a pickle, which is never loaded; save it again as safetensors",
        ),
        (false, false) => fail(
            "holds neither adapters.safetensors (mlx-lm's) nor adapter_model.safetensors (PEFT's); \
             finish the download, or rename the checkpoint that you want",
        ),
    }
}

fn folder_name(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let name = absolute.file_name().unwrap_or(absolute.as_os_str()).to_string_lossy();
    name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// What [`crate::weights::Fields`] says of a key is about the adapter's configuration here.
fn in_config(error: Error) -> Error {
    match error {
        Error::Config(text) => Error::Adapter(format!("{CONFIG}: {text}")),
        other => other,
    }
}

/// An object's key as Python tests it: absent, `None`, `False`, zero and empty count as unset.
fn is_set(map: &Map<String, Value>, key: &str) -> bool {
    match map.get(key) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Bool(true)) => true,
        Some(Value::Number(n)) => n.as_f64() != Some(0.0),
        Some(Value::String(s)) => !s.is_empty(),
        Some(Value::Array(a)) => !a.is_empty(),
        Some(Value::Object(o)) => !o.is_empty(),
    }
}
