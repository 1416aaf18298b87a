//! Writes a quantized copy of a model (`mlx_lm/convert.py`, `mlx_lm/utils.py` `quantize_model`).

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
    str::FromStr,
    thread,
};

use mlx_rs::{Array, Dtype, transforms::eval};
use serde_json::{Map, Value, json};

use crate::{
    Error, Result,
    mlx::quantized::pack,
    models::{self, Checkpoint, Family, QuantOverride},
    weights::{ExpectedModule, ModelDir, ModuleQuantization, QuantMode},
};

/// Weights of one file; larger models need shards, which are not written yet.
const MAX_FILE_BYTES: usize = 5 << 30;
/// Group size of a recipe where none is given.
const DEFAULT_GROUP_SIZE: usize = 64;
/// What a recipe's configuration says of modules that it does not list.
const RECIPE_BITS: u32 = 4;

/// What to quantize a model to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuantizeSpec {
    /// Every layer alike.
    Uniform {
        /// Bits per weight.
        bits: u32,
        /// Weights that share a scale.
        group_size: usize,
        /// The format.
        mode: QuantMode,
    },
    /// One of mlx-lm's mixed recipes.
    Recipe {
        /// Which one.
        recipe: Recipe,
        /// Weights that share a scale; `None` is written as `null` and means 64, as in mlx-lm.
        group_size: Option<usize>,
    },
    /// Modules by path, as with a `quant_predicate` of one's own: it replaces the family's.
    PerModule {
        /// Modules that are not listed. Those whose rows its groups do not divide stay dense.
        default: ModuleQuantization,
        /// Listed modules; `None` stays dense.
        overrides: BTreeMap<String, Option<ModuleQuantization>>,
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
    let default = check(&spec)?;
    if target.exists() {
        return Err(Error::file(target, "already exists; name a new folder"));
    }
    thread::scope(|scope| {
        let worker = scope.spawn(|| convert(source, target, &spec, default));
        worker.join().unwrap_or_else(|_| Err(Error::WorkerDied("while quantizing".into())))
    })
}

/// How the modules without settings of their own are quantized.
fn check(spec: &QuantizeSpec) -> Result<ModuleQuantization> {
    let (mode, bits, group_size) = match spec {
        QuantizeSpec::Uniform { bits, group_size, mode } => (*mode, *bits, *group_size),
        QuantizeSpec::Recipe { group_size, .. } => {
            (QuantMode::Affine, RECIPE_BITS, group_size.unwrap_or(DEFAULT_GROUP_SIZE))
        }
        QuantizeSpec::PerModule { default, .. } => return Ok(*default),
    };
    ModuleQuantization::new(mode, u64::from(bits), group_size as u64)
        .map_err(|reason| Error::Request(format!("cannot quantize to {reason}")))
}

fn convert(
    source: &Path,
    target: &Path,
    spec: &QuantizeSpec,
    default: ModuleQuantization,
) -> Result<()> {
    let dir = ModelDir::open(source)?;
    if dir.quantization()?.is_some() {
        return Err(Error::Config("the model is quantized already; start from a dense one".into()));
    }
    let &Family { quant_override, keeps_dtype, .. } = models::family(&dir)?;
    let Checkpoint { mut tensors, expected, layers } = models::checkpoint(&dir)?;
    cast(&dir, &mut tensors, keeps_dtype)?;

    let mut quantization = settings(default);
    for module in expected.modules() {
        if !divides(default.group_size, module) {
            continue;
        }
        let path = &module.path;
        let how = match spec {
            QuantizeSpec::Uniform { .. } => match quant_override(path) {
                None => default,
                Some(QuantOverride { bits, group_size }) => {
                    // Without a mode, which the reference leaves out too.
                    let written = json!({"group_size": group_size, "bits": bits});
                    quantization.insert(path.clone(), written);
                    ModuleQuantization { mode: QuantMode::Affine, bits, group_size }
                }
            },
            QuantizeSpec::Recipe { recipe, group_size } => {
                let bits = recipe.bits_for(path, layers);
                let written = json!({"group_size": group_size, "bits": bits, "mode": "affine"});
                quantization.insert(path.clone(), written);
                ModuleQuantization { bits, ..default }
            }
            QuantizeSpec::PerModule { overrides, .. } => match overrides.get(path) {
                Some(None) => continue,
                listed => {
                    let how = listed.copied().flatten().unwrap_or(default);
                    quantization.insert(path.clone(), Value::Object(settings(how)));
                    how
                }
            },
        };
        if !divides(how.group_size, module) {
            return Err(does_not_divide(module, how));
        }
        quantize_module(&mut tensors, path, how)?;
    }
    let mut config = dir.config().clone();
    config.insert("quantization".into(), Value::Object(quantization.clone()));
    config.insert("quantization_config".into(), Value::Object(quantization));
    write(source, target, &config, &tensors)
}

fn divides(group_size: usize, module: &ExpectedModule) -> bool {
    module.weight.last().is_some_and(|dims| dims.is_multiple_of(group_size))
}

/// A module's own settings have to fit it, whatever the others' are.
fn does_not_divide(module: &ExpectedModule, how: ModuleQuantization) -> Error {
    Error::Request(format!(
        "{} would be quantized in groups of {}, which do not divide its rows of {}; mlx-lm cannot \
         quantize this model so either",
        module.path,
        how.group_size,
        module.weight.last().copied().unwrap_or(0)
    ))
}

fn settings(how: ModuleQuantization) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("group_size".into(), json!(how.group_size));
    map.insert("bits".into(), json!(how.bits));
    map.insert("mode".into(), json!(how.mode.name()));
    map
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
    how: ModuleQuantization,
) -> Result<()> {
    let name = |suffix: &str| format!("{path}.{suffix}");
    let weight = tensors
        .remove(&name("weight"))
        .ok_or_else(|| Error::Weights(format!("tensor {path}.weight is missing")))?;
    let parts = pack(&weight, how)?;
    // One module at a time bounds the memory in use.
    eval(&parts)?;
    tensors.extend(["weight", "scales", "biases"].map(name).into_iter().zip(parts));
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
    #[case(QuantMode::Affine, 7, 64)]
    #[case(QuantMode::Affine, 4, 16)]
    #[case(QuantMode::Affine, 0, 64)]
    #[case(QuantMode::Mxfp4, 4, 64)]
    #[case(QuantMode::Nvfp4, 8, 16)]
    fn impossible_formats_are_refused(
        #[case] mode: QuantMode,
        #[case] bits: u32,
        #[case] group_size: usize,
    ) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let spec = QuantizeSpec::Uniform { bits, group_size, mode };
        let result = quantize_model(folder.path(), &folder.path().join("out"), spec);
        assert!(matches!(result, Err(Error::Request(_))), "{result:?}");
    }
}
