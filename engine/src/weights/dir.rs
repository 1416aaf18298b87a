//! A model directory as mlx-lm reads one (`mlx_lm/utils.py`, `load_config` and `load_model`).

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{
    TensorInfo, fields::Fields, header::read_headers, json::read_object, quant::QuantizationSpec,
};
use crate::{Error, Result, limits};

/// The configuration's name.
const CONFIG: &str = "config.json";
/// The key under which other tools describe their quantization.
const QUANTIZATION_CONFIG: &str = "quantization_config";

/// A directory whose configuration is parsed and whose weight headers are checked.
#[derive(Debug, Clone)]
pub struct ModelDir {
    path: PathBuf,
    config: Map<String, Value>,
    generation_config: Option<Map<String, Value>>,
    model_type: String,
    weight_files: Vec<PathBuf>,
    tensors: BTreeMap<String, TensorInfo>,
    replaced: BTreeMap<String, TensorInfo>,
    tokenizer: TokenizerFiles,
}

/// Which tokenizer files a directory has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenizerFiles {
    /// `tokenizer.json`, which the engine needs.
    pub tokenizer_json: Option<PathBuf>,
    /// `tokenizer_config.json`.
    pub tokenizer_config: Option<PathBuf>,
    /// `chat_template.jinja`.
    pub chat_template: Option<PathBuf>,
    /// `tokenizer.model`, SentencePiece's own format, which is not read.
    pub sentencepiece: Option<PathBuf>,
}

impl ModelDir {
    /// Opens `path`: reads the configuration and every weight header, and no weights.
    ///
    /// # Errors
    /// [`Error::File`] for a missing, oversized or malformed file; [`Error::Config`] for a
    /// configuration that needs Python code or lacks `model_type`; [`Error::Weights`] when there
    /// are no `model*.safetensors`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let mut dir = Self::open_config(path)?;
        dir.refuse_code()?;
        dir.read_tensors()?;
        Ok(dir)
    }

    /// Opens `path` without looking into its weights, which may be missing.
    pub(crate) fn open_config(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let config_path = checked_config_path(path)?;
        let mut config = read_object(&config_path, limits::MAX_CONFIG_BYTES)?;
        let generation_config = optional_object(&path.join("generation_config.json"))?;
        merge(&mut config, generation_config.as_ref(), path)?;
        let model_type = model_type(&config)?;
        Ok(Self {
            path: path.to_owned(),
            config,
            generation_config,
            model_type,
            weight_files: weight_files(path)?,
            tensors: BTreeMap::new(),
            replaced: BTreeMap::new(),
            tokenizer: TokenizerFiles::find(path),
        })
    }

    /// Refuses a model that brings its own Python module.
    pub(super) fn refuse_code(&self) -> Result<()> {
        match self.config.get("model_file").filter(|v| !v.is_null()) {
            None => Ok(()),
            Some(file) => {
                let expected = "no such key: the model is defined by Python code of its own, \
                                which this engine never runs";
                Err(Fields::new(&self.config).wrong("model_file", file, expected))
            }
        }
    }

    /// Checks the headers of the weight files and takes their tensors in.
    pub(crate) fn read_tensors(&mut self) -> Result<()> {
        if self.weight_files.is_empty() {
            return Err(Error::Weights(no_weights_advice(&self.path)));
        }
        self.tensors = read_headers(&self.weight_files)?;
        Ok(())
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory's own name, without what could command a terminal.
    pub fn name(&self) -> String {
        let absolute = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        let name = absolute.file_name().map(|n| n.to_string_lossy().into_owned());
        clean(&name.unwrap_or_else(|| self.path.display().to_string()))
    }

    /// `config.json` with what mlx-lm merges into it: the end tokens of `generation_config.json`,
    /// and a `quantization_config` that stands in `text_config` or in `hf_quant_config.json`.
    pub fn config(&self) -> &Map<String, Value> {
        &self.config
    }

    /// `generation_config.json`, where there is one.
    pub fn generation_config(&self) -> Option<&Map<String, Value>> {
        self.generation_config.as_ref()
    }

    /// `model_type` of `config.json`.
    pub fn model_type(&self) -> &str {
        &self.model_type
    }

    /// The `model*.safetensors` files, sorted by name.
    pub fn weight_files(&self) -> &[PathBuf] {
        &self.weight_files
    }

    /// Every tensor of the weight files, by name.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// Tensors of another file that stand in for the model's own, by the model's names.
    pub(crate) fn replaced(&self) -> &BTreeMap<String, TensorInfo> {
        &self.replaced
    }

    /// Lets `tensors`, all of one file and checked against the model, stand in for its own.
    pub(crate) fn replace(&mut self, tensors: BTreeMap<String, TensorInfo>) {
        self.replaced = tensors;
    }

    /// Which tokenizer files there are.
    pub fn tokenizer_files(&self) -> &TokenizerFiles {
        &self.tokenizer
    }

    /// How the weights are quantized; `None` for a dense model.
    ///
    /// # Errors
    /// As [`QuantizationSpec::from_config`].
    pub fn quantization(&self) -> Result<Option<QuantizationSpec>> {
        QuantizationSpec::from_config(&self.config)
    }

    /// `eos_token_id` of the merged configuration, as a list; empty when there is none.
    ///
    /// # Errors
    /// [`Error::Config`] unless it is a token id or a list of token ids.
    pub fn eos_token_ids(&self) -> Result<Vec<u32>> {
        let id = |v: &Value| v.as_u64().and_then(|v| u32::try_from(v).ok());
        let Some(value) = self.config.get("eos_token_id") else { return Ok(Vec::new()) };
        let ids = match value {
            Value::Null => Some(Vec::new()),
            Value::Array(list) => list.iter().map(id).collect(),
            single => id(single).map(|id| vec![id]),
        };
        ids.ok_or_else(|| {
            Fields::new(&self.config).wrong("eos_token_id", value, "a token id or a list of them")
        })
    }
}

impl TokenizerFiles {
    fn find(dir: &Path) -> Self {
        let file = |name: &str| Some(dir.join(name)).filter(|p| p.is_file());
        Self {
            tokenizer_json: file("tokenizer.json"),
            tokenizer_config: file("tokenizer_config.json"),
            chat_template: file("chat_template.jinja"),
            sentencepiece: file("tokenizer.model"),
        }
    }

    /// Whether the directory brings a chat template, in a file or in the tokenizer's settings.
    ///
    /// # Errors
    /// [`Error::File`] when `tokenizer_config.json` is malformed.
    pub fn has_chat_template(&self) -> Result<bool> {
        if self.chat_template.is_some() {
            return Ok(true);
        }
        let Some(path) = &self.tokenizer_config else { return Ok(false) };
        let config = read_object(path, limits::MAX_CONFIG_BYTES)?;
        Ok(config.get("chat_template").is_some_and(|v| !v.is_null()))
    }
}

fn checked_config_path(dir: &Path) -> Result<PathBuf> {
    match fs::metadata(dir) {
        Err(e) => Err(Error::file(dir, format!("{e}; expected the folder of a downloaded model"))),
        Ok(meta) if !meta.is_dir() => {
            Err(Error::file(dir, "is not a folder; expected the one that holds config.json"))
        }
        Ok(_) => {
            let config = dir.join(CONFIG);
            if config.exists() {
                return Ok(config);
            }
            Err(Error::file(dir, "has no config.json, so it is not a model directory"))
        }
    }
}

fn optional_object(path: &Path) -> Result<Option<Map<String, Value>>> {
    if path.exists() { read_object(path, limits::MAX_CONFIG_BYTES).map(Some) } else { Ok(None) }
}

/// Brings into `config` what mlx-lm looks for elsewhere.
fn merge(
    config: &mut Map<String, Value>,
    generation_config: Option<&Map<String, Value>>,
    dir: &Path,
) -> Result<()> {
    if let Some(eos) = generation_config.and_then(|g| g.get("eos_token_id")).filter(|v| truthy(v)) {
        config.insert("eos_token_id".to_owned(), eos.clone());
    }
    if !config.contains_key(QUANTIZATION_CONFIG) {
        let nested = config.get("text_config").and_then(|t| t.get(QUANTIZATION_CONFIG)).cloned();
        let separate = match &nested {
            Some(_) => None,
            None => optional_object(&dir.join("hf_quant_config.json"))?.map(|mut quantization| {
                quantization.entry("quant_method").or_insert_with(|| "modelopt".into());
                Value::Object(quantization)
            }),
        };
        if let Some(found) = nested.or(separate) {
            config.insert(QUANTIZATION_CONFIG.to_owned(), found);
        }
    }
    Ok(())
}

/// Python's notion of a value that counts as set.
fn truthy(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => true,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(s) => !s.is_empty(),
        Value::Array(a) => !a.is_empty(),
        Value::Object(o) => !o.is_empty(),
    }
}

fn model_type(config: &Map<String, Value>) -> Result<String> {
    let name = Fields::new(config).str("model_type")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        let value = Value::from(name);
        return Err(Fields::new(config).wrong("model_type", &value, "a family's name"));
    }
    Ok(name.to_owned())
}

/// The files that mlx-lm's pattern `model*.safetensors` finds, sorted.
fn weight_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| Error::file(dir, e))? {
        let entry = entry.map_err(|e| Error::file(dir, e))?;
        let name = entry.file_name();
        let matches = name.to_str().is_some_and(|n| {
            n.strip_prefix("model").is_some_and(|rest| rest.ends_with(".safetensors"))
        });
        if matches {
            files.push(entry.path());
        }
        if files.len() > limits::MAX_WEIGHT_FILES {
            let limit = limits::MAX_WEIGHT_FILES;
            return Err(Error::file(dir, format!("has more than {limit} weight files")));
        }
    }
    files.sort();
    Ok(files)
}

/// Why nothing was found, judged by what lies there instead.
fn no_weights_advice(dir: &Path) -> String {
    let mut names: Vec<String> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    names.sort();
    let other = names.iter().find_map(|name| {
        let lower = name.to_ascii_lowercase();
        let ends = |suffix: &str| lower.ends_with(suffix);
        if ends(".npz") {
            Some((name, "is MLX's old format; convert the original model with `mlx_lm.convert`"))
        } else if ends(".gguf") {
            Some((name, "is llama.cpp's format, which is not read; use the safetensors release"))
        } else if ends(".bin") || ends(".pth") || ends(".pt") {
            Some((name, "is a pickle, which is never loaded; use the safetensors release"))
        } else if ends(".safetensors") {
            Some((name, "is not named model*.safetensors; rename it if it holds the model"))
        } else if ends(".safetensors.index.json") {
            Some((name, "lists files that are not there; finish the download"))
        } else {
            None
        }
    });
    let found = other.map_or_else(String::new, |(name, why)| format!("; {name} {why}"));
    format!("no model*.safetensors in {}{found}", dir.display())
}

/// Text of others, without what could command a terminal.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
