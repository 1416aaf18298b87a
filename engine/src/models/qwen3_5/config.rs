//! The configuration of `mlx_lm/models/qwen3_5.py` (`TextModelArgs`), validated.

use serde_json::{Map, Value};

use crate::{
    Error, Result, limits,
    weights::{Fields, FloatRange, ModelDir},
};

/// mlx-lm's defaults.
mod default {
    pub const HIDDEN_SIZE: usize = 4_096;
    pub const INTERMEDIATE_SIZE: usize = 14_336;
    pub const LAYERS: usize = 32;
    pub const HEADS: usize = 32;
    pub const KV_HEADS: usize = 8;
    pub const RMS_NORM_EPS: f64 = 1e-6;
    pub const VOCAB_SIZE: usize = 151_936;
    pub const MAX_POSITIONS: usize = 131_072;
    pub const LINEAR_VALUE_HEADS: usize = 64;
    pub const LINEAR_KEY_HEADS: usize = 16;
    pub const LINEAR_KEY_DIM: usize = 192;
    pub const LINEAR_VALUE_DIM: usize = 128;
    pub const CONV_KERNEL: usize = 4;
    pub const FULL_INTERVAL: usize = 4;
    pub const THETA: f64 = 100_000.0;
    pub const PARTIAL: f64 = 0.25;
}

/// Largest position that a configuration may name.
const MAX_POSITIONS: u64 = 1 << 31;
/// Widest convolution.
const MAX_KERNEL: u64 = 64;

/// Everything that determines a dense Qwen3.5 model's shape and arithmetic.
#[derive(Debug, Clone, PartialEq)]
pub struct Qwen35Config {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Transformer layers.
    pub num_hidden_layers: usize,
    /// Query heads of full-attention layers.
    pub num_attention_heads: usize,
    /// Key and value heads of full-attention layers.
    pub num_key_value_heads: usize,
    /// Width of a head in full-attention layers.
    pub head_dim: usize,
    /// Whether the attention projections have biases.
    pub attention_bias: bool,
    /// Epsilon of every norm.
    pub rms_norm_eps: f64,
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Positions the model was trained for.
    pub max_position_embeddings: usize,
    /// Value heads of recurrent layers.
    pub linear_num_value_heads: usize,
    /// Key heads of recurrent layers; divides the value heads.
    pub linear_num_key_heads: usize,
    /// Width of a key head in recurrent layers.
    pub linear_key_head_dim: usize,
    /// Width of a value head in recurrent layers.
    pub linear_value_head_dim: usize,
    /// Taps of the causal convolution.
    pub linear_conv_kernel_dim: usize,
    /// Every so many layers, one has full attention.
    pub full_attention_interval: usize,
    /// Rotary base.
    pub rope_theta: f64,
    /// Leading features of a head that rotate.
    pub rotary_dims: usize,
    /// Whether the embedding table is the output head.
    pub tie_word_embeddings: bool,
}

/// Keys of a text configuration without effect on mlx-lm's model.
const TEXT_INERT: &[&str] = &[
    "architectures",
    "attention_dropout",
    "attn_output_gate",
    "bos_token_id",
    "dtype",
    "eos_token_id",
    "initializer_range",
    "mamba_ssm_dtype",
    "mlp_only_layers",
    "model_type",
    "mtp_num_hidden_layers",
    "mtp_use_dedicated_embeddings",
    "output_router_logits",
    "pad_token_id",
    "partial_rotary_factor",
    "quantization",
    "quantization_config",
    "quantize_activations",
    "router_aux_loss_coef",
    "tokenizer_class",
    "torch_dtype",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
];

/// Keys beside `text_config` without effect on the text model.
const OUTER_INERT: &[&str] = &[
    "architectures",
    "bos_token_id",
    "dtype",
    "eos_token_id",
    "image_token_id",
    "language_model_only",
    "model_type",
    "pad_token_id",
    "quantization",
    "quantization_config",
    "quantize_activations",
    "tie_word_embeddings",
    "tokenizer_class",
    "torch_dtype",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
    "video_token_id",
    "vision_config",
    "vision_end_token_id",
    "vision_start_token_id",
];

impl Qwen35Config {
    /// Reads the configuration of `dir`; errors as [`Qwen35Config::from_map`].
    pub fn from_dir(dir: &ModelDir) -> Result<Self> {
        Self::from_map(dir.config())
    }

    /// Reads a merged `config.json`: flat, or with the text model in `text_config`.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key for a value that is missing, out of range or contradictory,
    /// for experts, for rotary scaling, and for keys that are not known to be without effect.
    pub fn from_map(config: &Map<String, Value>) -> Result<Self> {
        let outer = Fields::new(config);
        let Some(text) = outer.object("text_config")? else {
            return Self::from_text(&outer);
        };
        let config = Self::from_text(&text)?;
        outer.finish(OUTER_INERT)?;
        Ok(config)
    }

    fn from_text(fields: &Fields<'_>) -> Result<Self> {
        let dimension = 1..=limits::MAX_DIMENSION;
        let size = |key: &str, value: usize| fields.size_or(key, dimension.clone(), value);
        let hidden_size = size("hidden_size", default::HIDDEN_SIZE)?;
        let num_attention_heads = size("num_attention_heads", default::HEADS)?;
        let head_dim = match fields.opt_size("head_dim", dimension.clone())? {
            Some(dims) => dims,
            None => hidden_size / num_attention_heads,
        };
        let (rope_theta, rotary_dims) = rope(fields, head_dim)?;
        let config = Self {
            hidden_size,
            intermediate_size: size("intermediate_size", default::INTERMEDIATE_SIZE)?,
            num_hidden_layers: fields.size_or(
                "num_hidden_layers",
                1..=limits::MAX_LAYERS,
                default::LAYERS,
            )?,
            num_attention_heads,
            num_key_value_heads: size("num_key_value_heads", default::KV_HEADS)?,
            head_dim,
            attention_bias: fields.bool_or("attention_bias", false)?,
            rms_norm_eps: fields.float_or(
                "rms_norm_eps",
                FloatRange::Positive,
                default::RMS_NORM_EPS,
            )?,
            vocab_size: size("vocab_size", default::VOCAB_SIZE)?,
            max_position_embeddings: fields.size_or(
                "max_position_embeddings",
                1..=MAX_POSITIONS,
                default::MAX_POSITIONS,
            )?,
            linear_num_value_heads: size("linear_num_value_heads", default::LINEAR_VALUE_HEADS)?,
            linear_num_key_heads: size("linear_num_key_heads", default::LINEAR_KEY_HEADS)?,
            linear_key_head_dim: size("linear_key_head_dim", default::LINEAR_KEY_DIM)?,
            linear_value_head_dim: size("linear_value_head_dim", default::LINEAR_VALUE_DIM)?,
            linear_conv_kernel_dim: fields.size_or(
                "linear_conv_kernel_dim",
                2..=MAX_KERNEL,
                default::CONV_KERNEL,
            )?,
            // mlx-lm fails on models without a recurrent layer, which 1 would make.
            full_attention_interval: fields.size_or(
                "full_attention_interval",
                2..=limits::MAX_LAYERS,
                default::FULL_INTERVAL,
            )?,
            rope_theta,
            rotary_dims,
            tie_word_embeddings: fields.bool_or("tie_word_embeddings", false)?,
        };
        config.check(fields)?;
        check_ignored(fields, &config)?;
        fields.finish(TEXT_INERT)?;
        Ok(config)
    }

    /// Whether `layer` is recurrent; the others have full attention.
    pub fn is_linear(&self, layer: usize) -> bool {
        !(layer + 1).is_multiple_of(self.full_attention_interval)
    }

    /// Width of the keys (and of the queries) in recurrent layers.
    pub fn key_dim(&self) -> usize {
        self.linear_num_key_heads * self.linear_key_head_dim
    }

    /// Width of the values in recurrent layers.
    pub fn value_dim(&self) -> usize {
        self.linear_num_value_heads * self.linear_value_head_dim
    }

    /// Channels of the convolution: queries, keys and values.
    pub fn conv_dim(&self) -> usize {
        2 * self.key_dim() + self.value_dim()
    }

    fn check(&self, fields: &Fields<'_>) -> Result<()> {
        let divides = |key: &str, part: usize, whole_key: &str, whole: usize| {
            if whole.is_multiple_of(part) {
                return Ok(());
            }
            Err(Error::Config(format!(
                "{} is {part}; expected a divisor of {whole_key}, {whole}",
                fields.path(key)
            )))
        };
        divides(
            "num_key_value_heads",
            self.num_key_value_heads,
            "num_attention_heads",
            self.num_attention_heads,
        )?;
        divides(
            "linear_num_key_heads",
            self.linear_num_key_heads,
            "linear_num_value_heads",
            self.linear_num_value_heads,
        )?;
        let widest = (self.num_attention_heads as u64 * self.head_dim as u64 * 2)
            .max(self.conv_dim() as u64);
        if widest > limits::MAX_DIMENSION {
            return Err(Error::Config(format!(
                "heads times head width is {widest}; the limit is {}",
                limits::MAX_DIMENSION
            )));
        }
        if self.full_attention_interval > self.num_hidden_layers {
            return Err(Error::Config(format!(
                "{} is {}; with {} layers none would have full attention",
                fields.path("full_attention_interval"),
                self.full_attention_interval,
                self.num_hidden_layers
            )));
        }
        Ok(())
    }
}

/// Rotary base and rotated features, from `rope_parameters` as mlx-lm reads them.
fn rope(fields: &Fields<'_>, head_dim: usize) -> Result<(f64, usize)> {
    let mut theta = default::THETA;
    let mut partial = default::PARTIAL;
    if let Some(rope) = fields.object("rope_parameters")? {
        for key in ["type", "rope_type"] {
            match rope.opt_str(key)? {
                None | Some("default") => {}
                Some(other) => return Err(rope.wrong(key, &Value::from(other), "default")),
            }
        }
        theta = rope.float_or("rope_theta", FloatRange::Positive, default::THETA)?;
        partial = rope.float_or("partial_rotary_factor", FloatRange::Positive, default::PARTIAL)?;
        // Text positions are the same on every axis of the multimodal rotation.
        rope.finish(&["mrope_section", "mrope_interleaved"])?;
    }
    let dims = (head_dim as f64 * partial) as usize;
    if partial > 1.0 || dims == 0 || !dims.is_multiple_of(2) {
        return Err(Error::Config(format!(
            "partial_rotary_factor {partial} of head_dim {head_dim} rotates {dims} features; \
             expected an even number, at least 2"
        )));
    }
    Ok((theta, dims))
}

/// Keys that mlx-lm does not read because it takes their usual value for granted.
fn check_ignored(fields: &Fields<'_>, config: &Qwen35Config) -> Result<()> {
    match fields.opt_str("hidden_act")? {
        None | Some("silu" | "swish") => {}
        Some(other) => return Err(fields.wrong("hidden_act", &Value::from(other), "silu")),
    }
    if fields.opt_int("num_experts", 0..=limits::MAX_DIMENSION)?.unwrap_or(0) > 0 {
        return Err(Error::Config(format!(
            "{} names experts; this engine runs the dense Qwen3.5 models only",
            fields.path("num_experts")
        )));
    }
    let Some(types) = fields.opt_strings("layer_types")? else { return Ok(()) };
    let as_computed = types.len() == config.num_hidden_layers
        && types.iter().enumerate().all(|(i, t)| {
            *t == if config.is_linear(i) { "linear_attention" } else { "full_attention" }
        });
    if as_computed {
        return Ok(());
    }
    Err(Error::Config(format!(
        "{} differs from what full_attention_interval {} means, which is what mlx-lm reads",
        fields.path("layer_types"),
        config.full_attention_interval
    )))
}
