//! Which modules are quantized and how, by mlx-lm's rules (`mlx_lm/utils.py`, `load_model`, and
//! `mlx/nn/layers/quantized.py`).

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Dtype, fields::Fields};
use crate::{Error, Result};

mod foreign;

/// Bit widths of affine quantization.
pub const AFFINE_BITS: [u32; 6] = [2, 3, 4, 5, 6, 8];
/// Group sizes of affine quantization.
pub const AFFINE_GROUP_SIZES: [usize; 3] = [32, 64, 128];

/// A quantization format of MLX.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum QuantMode {
    /// Scale and bias per group, in the activations' dtype.
    Affine,
    /// 4-bit floats with a shared exponent per 32.
    Mxfp4,
    /// 8-bit floats with a shared exponent per 32.
    Mxfp8,
    /// 4-bit floats with an 8-bit float scale per 16.
    Nvfp4,
}

impl QuantMode {
    /// The mode that `config.json` calls `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Affine, Self::Mxfp4, Self::Mxfp8, Self::Nvfp4].into_iter().find(|m| m.name() == name)
    }

    /// Its name in `config.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Affine => "affine",
            Self::Mxfp4 => "mxfp4",
            Self::Mxfp8 => "mxfp8",
            Self::Nvfp4 => "nvfp4",
        }
    }

    /// Group size and bits where a module's settings leave them out.
    pub fn defaults(self) -> (usize, u32) {
        match self {
            Self::Affine => (64, 4),
            Self::Mxfp4 => (32, 4),
            Self::Mxfp8 => (32, 8),
            Self::Nvfp4 => (16, 4),
        }
    }
}

/// How one module is quantized. Only combinations that MLX has can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct ModuleQuantization {
    /// The format.
    pub mode: QuantMode,
    /// Bits per weight.
    pub bits: u32,
    /// Weights that share a scale.
    pub group_size: usize,
}

impl ModuleQuantization {
    /// Checks the combination: affine takes [`AFFINE_BITS`] and [`AFFINE_GROUP_SIZES`], every
    /// other mode exactly its defaults. The error says what would be accepted.
    pub fn new(mode: QuantMode, bits: u64, group_size: u64) -> Result<Self, String> {
        let (only_group, only_bits) = mode.defaults();
        let (bits_ok, group_ok, accepted) = match mode {
            QuantMode::Affine => (
                AFFINE_BITS.iter().any(|&b| u64::from(b) == bits),
                AFFINE_GROUP_SIZES.iter().any(|&g| g as u64 == group_size),
                "bits 2, 3, 4, 5, 6 or 8 and group_size 32, 64 or 128".to_owned(),
            ),
            _ => (
                bits == u64::from(only_bits),
                group_size == only_group as u64,
                format!("bits {only_bits} and group_size {only_group}"),
            ),
        };
        if bits_ok && group_ok {
            return Ok(Self { mode, bits: bits as u32, group_size: group_size as usize });
        }
        let mode = mode.name();
        Err(format!("{mode} with {bits} bits and group_size {group_size}; expected {accepted}"))
    }

    /// Packed `u32` words per row of `in_dims` weights, when groups divide the row.
    pub fn packed_dims(&self, in_dims: usize) -> Option<usize> {
        let bits = in_dims.checked_mul(self.bits as usize)?;
        (in_dims.is_multiple_of(self.group_size) && bits.is_multiple_of(32)).then_some(bits / 32)
    }

    /// Whether `mode` keeps a bias beside each scale.
    pub fn has_biases(&self) -> bool {
        self.mode == QuantMode::Affine
    }
}

/// What the configuration says about one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Override {
    /// Stays dense.
    Dense,
    /// Is quantized as given.
    Quantized(ModuleQuantization),
}

/// The `quantization` object of a configuration, validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuantizationSpec {
    default: ModuleQuantization,
    overrides: BTreeMap<String, Override>,
}

impl QuantizationSpec {
    /// Reads `quantization` or, where it is absent, `quantization_config`; `None` for a dense
    /// model.
    ///
    /// The layout is MLX's: `{group_size, bits, mode, "<module path>": {..} | true | false}`.
    /// `null` for `group_size` or `bits` means the mode's default, as in mlx-lm; an override's
    /// mode is `affine` unless it names another, whatever the top level says.
    ///
    /// # Errors
    /// [`Error::Config`] for values out of range, for settings that mlx-lm does not have, and for
    /// other tools' formats, with what to do.
    pub fn from_config(config: &Map<String, Value>) -> Result<Option<Self>> {
        if config
            .get("quantize_activations")
            .is_some_and(|v| *v != Value::Bool(false) && !v.is_null())
        {
            return Err(Error::Config(
                "quantize_activations is set, and quantized activations are not supported; \
                 use a checkpoint without it"
                    .to_owned(),
            ));
        }
        let fields = Fields::new(config);
        if let Some(mlx) = fields.object("quantization")? {
            return Self::from_mlx(config, "quantization", &mlx).map(Some);
        }
        let Some(other) = fields.object("quantization_config")? else { return Ok(None) };
        match other.opt_str("quant_method")? {
            Some(method) => foreign::read(&other, method).map(Some),
            // mlx-lm writes both keys alike; a file with only this one leaves no doubt either.
            None => Self::from_mlx(config, "quantization_config", &other).map(Some),
        }
    }

    /// A specification without overrides.
    pub fn uniform(default: ModuleQuantization) -> Self {
        Self { default, overrides: BTreeMap::new() }
    }

    fn from_mlx(config: &Map<String, Value>, key: &str, fields: &Fields<'_>) -> Result<Self> {
        for required in ["group_size", "bits"] {
            if fields.raw(required).is_none() {
                return Err(Error::Config(format!("{} is missing", fields.path(required))));
            }
        }
        let default = read_module(fields)?;
        let mut overrides = BTreeMap::new();
        let map = config.get(key).and_then(Value::as_object).into_iter().flatten();
        for (path, value) in
            map.filter(|(k, _)| !["group_size", "bits", "mode"].contains(&k.as_str()))
        {
            let entry = match value {
                Value::Bool(true) => Override::Quantized(default),
                Value::Bool(false) | Value::Null => Override::Dense,
                Value::Object(settings) if settings.is_empty() => Override::Dense,
                Value::Object(settings) => {
                    let module = Fields::scoped(settings, fields.path(path));
                    Override::Quantized(read_override(&module)?)
                }
                // A note of the tool that wrote the file, with no meaning of its own.
                Value::String(_) if path == "quant_method" => continue,
                other => {
                    let expected = "a module's settings (an object, true or false)";
                    return Err(fields.wrong(path, other, expected));
                }
            };
            overrides.insert(path.clone(), entry);
        }
        Ok(Self { default, overrides })
    }

    /// The settings of the top level.
    pub fn default(&self) -> ModuleQuantization {
        self.default
    }

    /// Paths whose settings differ from the inferred ones, with `None` for those kept dense.
    pub fn overrides(&self) -> impl Iterator<Item = (&str, Option<ModuleQuantization>)> {
        self.overrides.iter().map(|(path, entry)| {
            let settings = match entry {
                Override::Dense => None,
                Override::Quantized(q) => Some(*q),
            };
            (path.as_str(), settings)
        })
    }

    /// Whether the configuration names `path` itself.
    pub fn names(&self, path: &str) -> bool {
        self.overrides.contains_key(path)
    }

    /// How the module at `path` is quantized, or `None` when it is dense.
    ///
    /// `in_dims` is the dense weight's last dimension; `weight` and `scales` are the stored
    /// tensors, where the checkpoint has them. A path that the configuration does not name is
    /// quantized if, and as, its tensors say: the top-level settings do not count for it.
    ///
    /// # Errors
    /// [`Error::Weights`] when the tensors fit no quantization that MLX has.
    pub fn module(
        &self,
        path: &str,
        in_dims: usize,
        weight: Option<&[usize]>,
        scales: Option<(Dtype, &[usize])>,
    ) -> Result<Option<ModuleQuantization>> {
        match self.overrides.get(path) {
            Some(Override::Dense) => return Ok(None),
            Some(Override::Quantized(q)) => return Ok(Some(*q)),
            None => {}
        }
        let Some((scales_dtype, scales)) = scales else { return Ok(None) };
        infer(in_dims, weight, scales_dtype, scales)
            .map(Some)
            .map_err(|reason| Error::Weights(format!("{path} is quantized as {reason}")))
    }
}

/// Recovers what a packed weight was quantized with (`infer_quant_config`).
fn infer(
    in_dims: usize,
    weight: Option<&[usize]>,
    scales_dtype: Dtype,
    scales: &[usize],
) -> Result<ModuleQuantization, String> {
    let unclear = || "something that its tensors' shapes do not tell".to_owned();
    let groups = scales.last().copied().unwrap_or(0);
    let words = weight.and_then(|w| w.last().copied()).unwrap_or(0);
    let group_size = in_dims.checked_div(groups).ok_or_else(unclear)? as u64;
    let bits = (words as u64 * 32).checked_div(in_dims as u64).ok_or_else(unclear)?;
    let mode = match (scales_dtype, bits, group_size) {
        (Dtype::U8, 4, 16) => QuantMode::Nvfp4,
        (Dtype::U8, 4, 32) => QuantMode::Mxfp4,
        (Dtype::U8, 8, 32) => QuantMode::Mxfp8,
        (Dtype::U8, ..) => {
            return Err(format!(
                "an unknown mode: {bits} bits, group_size {group_size}, U8 scales"
            ));
        }
        _ => QuantMode::Affine,
    };
    ModuleQuantization::new(mode, bits, group_size)
}

/// Reads `group_size`, `bits` and `mode`, the first two falling back to the mode's defaults.
fn read_module(fields: &Fields<'_>) -> Result<ModuleQuantization> {
    let mode = match fields.raw("mode") {
        None => QuantMode::Affine,
        Some(value) => value
            .as_str()
            .and_then(QuantMode::from_name)
            .ok_or_else(|| fields.wrong("mode", value, "affine, mxfp4, mxfp8 or nvfp4"))?,
    };
    let (group_size, bits) = mode.defaults();
    let bits = fields.opt_int("bits", 1..=32)?.unwrap_or(u64::from(bits));
    let group_size = fields.opt_int("group_size", 1..=4096)?.unwrap_or(group_size as u64);
    ModuleQuantization::new(mode, bits, group_size)
        .map_err(|reason| Error::Config(format!("{} is {reason}", scope_name(fields))))
}

fn read_override(fields: &Fields<'_>) -> Result<ModuleQuantization> {
    if fields.bool_or("quantize_input", false)? {
        return Err(Error::Config(format!(
            "{} is true, and quantized activations are not supported",
            fields.path("quantize_input")
        )));
    }
    let module = read_module(fields)?;
    fields.finish(&[])?;
    Ok(module)
}

/// The path of the object that `fields` reads.
fn scope_name(fields: &Fields<'_>) -> String {
    let path = fields.path("");
    path.strip_suffix('.').unwrap_or(&path).to_owned()
}
