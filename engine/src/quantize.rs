//! Writes a quantized copy of a model (`mlx_lm/convert.py`, `mlx_lm/utils.py` `quantize_model`).

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
    str::FromStr,
    thread,
};

use mlx_rs::{Array, Dtype, ops, transforms::eval};
use serde_json::{Map, Value, json};

use crate::{
    Error, Result,
    models::{self, Checkpoint, Family, QuantOverride},
    weights::{AFFINE_BITS, AFFINE_GROUP_SIZES, ExpectedModule, ModelDir},
};

/// Weights of one file; larger models need shards, which are not written yet.
const MAX_FILE_BYTES: usize = 5 << 30;
/// Group size where none is given.
const DEFAULT_GROUP_SIZE: usize = 64;

/// What to quantize a model to. Affine only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuantizeSpec {
    /// Every layer alike.
    Uniform {
        /// Bits per weight.
        bits: u32,
        /// Weights that share a scale.
        group_size: usize,
    },
    /// One of mlx-lm's mixed recipes.
    Recipe {
        /// Which one.
        recipe: Recipe,
        /// Weights that share a scale; `None` is written as `null` and means 64, as in mlx-lm.
        group_size: Option<usize>,
    },
}

/// mlx-lm's mixed recipes (`mixed_quant_predicate_builder`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipe {
    /// 2 bits, 6 where it matters.
    Mixed26,
    /// 3 bits, 4 where it matters.
    Mixed34,
    /// 3 bits, 6 where it matters.
    Mixed36,
    /// 4 bits, 6 where it matters.
    Mixed46,
}

impl Recipe {
    /// Low and high bits.
    fn bits(self) -> (u32, u32) {
        match self {
            Self::Mixed26 => (2, 6),
            Self::Mixed34 => (3, 4),
            Self::Mixed36 => (3, 6),
            Self::Mixed46 => (4, 6),
        }
    }

    /// Bits for the module at `path` of a model with `layers` layers.
    fn bits_for(self, path: &str, layers: usize) -> u32 {
        let (low, high) = self.bits();
        let index = path.split('.').find_map(|part| part.parse::<usize>().ok()).unwrap_or(0);
        let eighth = layers / 8;
        let more = index < eighth
            || index >= 7 * layers / 8
            || (index as i64 - eighth as i64).rem_euclid(3) == 2;
        let favoured = more && (path.contains("v_proj") || path.contains("down_proj"));
        if favoured || path.contains("lm_head") { high } else { low }
    }
}

impl FromStr for Recipe {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "mixed_2_6" => Ok(Self::Mixed26),
            "mixed_3_4" => Ok(Self::Mixed34),
            "mixed_3_6" => Ok(Self::Mixed36),
            "mixed_4_6" => Ok(Self::Mixed46),
            _ => Err(Error::Request(format!(
                "recipe {name} is not known; use mixed_2_6, mixed_3_4, mixed_3_6 or mixed_4_6"
            ))),
        }
    }
}

/// Writes the model of `source`, quantized, to the new folder `target`.
///
/// Works on an MLX thread of its own. `target` appears whole or not at all.
///
/// # Errors
/// [`Error::Request`] for bits or group sizes that MLX lacks; [`Error::File`] when `target` exists
/// or cannot be written; whatever opening `source` finds wrong.
pub fn quantize_model(source: &Path, target: &Path, spec: QuantizeSpec) -> Result<()> {
    check(spec)?;
    if target.exists() {
        return Err(Error::file(target, "already exists; name a new folder"));
    }
    thread::scope(|scope| {
        let worker = scope.spawn(|| convert(source, target, spec));
        worker.join().unwrap_or_else(|_| Err(Error::WorkerDied("while quantizing".into())))
    })
}

fn check(spec: QuantizeSpec) -> Result<()> {
    let (bits, group_size) = match spec {
        QuantizeSpec::Uniform { bits, group_size } => (bits, group_size),
        QuantizeSpec::Recipe { recipe, group_size } => {
            (recipe.bits().0, group_size.unwrap_or(DEFAULT_GROUP_SIZE))
        }
    };
    if !AFFINE_BITS.contains(&bits) || !AFFINE_GROUP_SIZES.contains(&group_size) {
        return Err(Error::Request(format!(
            "cannot quantize to {bits} bits in groups of {group_size}; bits may be 2, 3, 4, 5, 6 \
             or 8 and groups 32, 64 or 128"
        )));
    }
    Ok(())
}

fn convert(source: &Path, target: &Path, spec: QuantizeSpec) -> Result<()> {
    let dir = ModelDir::open(source)?;
    if dir.quantization()?.is_some() {
        return Err(Error::Config("the model is quantized already; start from a dense one".into()));
    }
    let &Family { quant_override, keeps_dtype, .. } = models::family(&dir)?;
    let Checkpoint { mut tensors, expected, layers } = models::checkpoint(&dir)?;
    cast(&dir, &mut tensors, keeps_dtype)?;

    let (bits, group_size) = match spec {
        QuantizeSpec::Uniform { bits, group_size } => (bits, group_size),
        QuantizeSpec::Recipe { group_size, .. } => (4, group_size.unwrap_or(DEFAULT_GROUP_SIZE)),
    };
    let mut quantization = Map::new();
    quantization.insert("group_size".into(), json!(group_size));
    quantization.insert("bits".into(), json!(bits));
    quantization.insert("mode".into(), json!("affine"));
    for module in expected.modules() {
        let path = &module.path;
        if !module.weight.last().is_some_and(|dims| dims.is_multiple_of(group_size)) {
            continue;
        }
        let (bits, group_size) = match spec {
            QuantizeSpec::Uniform { bits, .. } => match quant_override(path) {
                None => (bits, group_size),
                Some(own) => {
                    check_groups(module, own)?;
                    let settings = json!({"group_size": own.group_size, "bits": own.bits});
                    quantization.insert(path.clone(), settings);
                    (own.bits, own.group_size)
                }
            },
            QuantizeSpec::Recipe { recipe, group_size: written } => {
                let bits = recipe.bits_for(path, layers);
                let own = json!({"group_size": written, "bits": bits, "mode": "affine"});
                quantization.insert(path.clone(), own);
                (bits, group_size)
            }
        };
        quantize_module(&mut tensors, path, group_size, bits)?;
    }
    let mut config = dir.config().clone();
    config.insert("quantization".into(), Value::Object(quantization.clone()));
    config.insert("quantization_config".into(), Value::Object(quantization));
    write(source, target, &config, &tensors)
}

/// A family's own settings have to fit the module, whatever the others' are.
fn check_groups(module: &ExpectedModule, own: QuantOverride) -> Result<()> {
    let dims = module.weight.last().copied().unwrap_or(0);
    if dims.is_multiple_of(own.group_size) {
        return Ok(());
    }
    Err(Error::Request(format!(
        "{} is always quantized in groups of {}, which do not divide its rows of {dims}; \
         mlx-lm cannot quantize this model either",
        module.path, own.group_size
    )))
}

/// Casts floating tensors to the configuration's dtype, as `convert` does, but for those that the
/// family keeps.
fn cast(
    dir: &ModelDir,
    tensors: &mut BTreeMap<String, Array>,
    keeps_dtype: fn(&str) -> bool,
) -> Result<()> {
    let outer = dir.config().get("torch_dtype").filter(|v| !v.is_null());
    let inner = || dir.config().get("text_config").and_then(|t| t.get("dtype"));
    let dtype = match outer.or_else(inner).and_then(Value::as_str) {
        Some("float16") => Dtype::Float16,
        Some("bfloat16") => Dtype::Bfloat16,
        Some("float32") => Dtype::Float32,
        _ => return Ok(()),
    };
    for (name, array) in tensors {
        let float = matches!(array.dtype(), Dtype::Float16 | Dtype::Bfloat16 | Dtype::Float32);
        if float && !keeps_dtype(name) {
            *array = array.as_dtype(dtype)?;
        }
    }
    Ok(())
}

fn quantize_module(
    tensors: &mut BTreeMap<String, Array>,
    path: &str,
    group_size: usize,
    bits: u32,
) -> Result<()> {
    let name = |suffix: &str| format!("{path}.{suffix}");
    let weight = tensors
        .remove(&name("weight"))
        .ok_or_else(|| Error::Weights(format!("tensor {path}.weight is missing")))?;
    let (packed, scales, biases) = ops::quantize(&weight, group_size as i32, bits as i32)?;
    // One module at a time bounds the memory in use.
    eval([&packed, &scales, &biases])?;
    tensors.insert(name("weight"), packed);
    tensors.insert(name("scales"), scales);
    tensors.insert(name("biases"), biases);
    Ok(())
}

fn write(
    source: &Path,
    target: &Path,
    config: &Map<String, Value>,
    tensors: &BTreeMap<String, Array>,
) -> Result<()> {
    let bytes: usize = tensors.values().map(Array::nbytes).sum();
    if bytes > MAX_FILE_BYTES {
        return Err(Error::Request(format!(
            "the result has {bytes} bytes; files over {MAX_FILE_BYTES} bytes are not written yet"
        )));
    }
    let staged = target.with_extension(format!("{}.tmp", std::process::id()));
    let result = write_staged(source, &staged, config, tensors)
        .and_then(|()| fs::rename(&staged, target).map_err(|e| Error::file(target, e)));
    if result.is_err() {
        // The first error matters; a leftover folder is only untidy.
        let _ = fs::remove_dir_all(&staged);
    }
    result
}

fn write_staged(
    source: &Path,
    staged: &Path,
    config: &Map<String, Value>,
    tensors: &BTreeMap<String, Array>,
) -> Result<()> {
    fs::create_dir_all(staged).map_err(|e| Error::file(staged, e))?;
    for entry in fs::read_dir(source).map_err(|e| Error::file(source, e))? {
        let path = entry.map_err(|e| Error::file(source, e))?.path();
        let Some(name) = path.file_name() else { continue };
        let weights = path.extension().is_some_and(|e| e == "safetensors");
        let index = path.to_string_lossy().ends_with(".safetensors.index.json");
        if path.is_file() && !weights && !index && name != "config.json" {
            fs::copy(&path, staged.join(name)).map_err(|e| Error::file(&path, e))?;
        }
    }
    let path = staged.join("config.json");
    let text = serde_json::to_string_pretty(config).map_err(|e| Error::file(&path, e))?;
    fs::write(&path, text).map_err(|e| Error::file(&path, e))?;
    let path = staged.join("model.safetensors");
    let metadata = HashMap::from([("format".to_owned(), "mlx".to_owned())]);
    Array::save_safetensors(tensors.iter().map(|(n, a)| (n.as_str(), a)), &metadata, &path)
        .map_err(|e| Error::file(&path, e))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("model.layers.0.self_attn.v_proj", 16, 6)]
    #[case("model.layers.0.self_attn.q_proj", 16, 4)]
    #[case("model.layers.3.mlp.down_proj", 16, 4)]
    #[case("model.layers.4.mlp.down_proj", 16, 6)]
    #[case("model.layers.14.mlp.down_proj", 16, 6)]
    #[case("lm_head", 16, 6)]
    #[case("model.embed_tokens", 16, 4)]
    // Python's modulo is never negative: layer 0 of 16 is (0 - 2) % 3 == 1.
    #[case("model.layers.1.mlp.down_proj", 16, 6)]
    fn recipe_bits_follow_mlx_lm(#[case] path: &str, #[case] layers: usize, #[case] bits: u32) {
        assert_eq!(Recipe::Mixed46.bits_for(path, layers), bits);
    }

    #[rstest]
    #[case(7, 64)]
    #[case(4, 16)]
    #[case(0, 64)]
    fn impossible_formats_are_refused(#[case] bits: u32, #[case] group_size: usize) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let spec = QuantizeSpec::Uniform { bits, group_size };
        let result = quantize_model(folder.path(), &folder.path().join("out"), spec);
        assert!(matches!(result, Err(Error::Request(_))), "{result:?}");
    }
}
