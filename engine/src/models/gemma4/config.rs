//! The configuration of `mlx_lm/models/gemma4.py` and `gemma4_text.py` (`ModelArgs`), validated.

use serde_json::{Map, Value};

use crate::{
    Error, Result, limits,
    weights::{Fields, FloatRange, ModelDir, RopeScaling},
};

/// mlx-lm's defaults, which are those of E2B.
mod default {
    pub const HIDDEN_SIZE: usize = 1_536;
    pub const LAYERS: usize = 35;
    pub const INTERMEDIATE_SIZE: usize = 6_144;
    pub const HEADS: usize = 8;
    pub const KV_HEADS: usize = 1;
    pub const HEAD_DIM: usize = 256;
    pub const GLOBAL_HEAD_DIM: u64 = 512;
    pub const RMS_NORM_EPS: f64 = 1e-6;
    pub const VOCAB_SIZE: usize = 262_144;
    pub const KV_SHARED_LAYERS: usize = 20;
    pub const PER_LAYER_WIDTH: u64 = 256;
    pub const SLIDING_WINDOW: usize = 512;
    pub const SLIDING_WINDOW_PATTERN: usize = 5;
    pub const MAX_POSITIONS: usize = 131_072;
    pub const SOFTCAP: f64 = 30.0;
    pub const SLIDING_THETA: f64 = 10_000.0;
    pub const FULL_THETA: f64 = 1_000_000.0;
    pub const FULL_PARTIAL: f64 = 0.25;
}

/// Largest position that a configuration may name.
const MAX_POSITIONS: u64 = 1 << 31;

/// Which keys a layer attends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerType {
    /// All of them.
    Full,
    /// The last `sliding_window`.
    Sliding,
}

/// How a type of layer rotates queries and keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerRope {
    /// Rotary base.
    pub theta: f64,
    /// Rescaling of the frequencies.
    pub scaling: RopeScaling,
}

/// Experts beside the dense MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Experts {
    /// How many there are.
    pub count: usize,
    /// How many each token goes through.
    pub top_k: usize,
    /// Width of one expert.
    pub intermediate_size: usize,
}

/// A second embedding table that feeds every layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerLayerInput {
    /// Width per layer.
    pub width: usize,
    /// Rows of the table.
    pub vocab_size: usize,
}

/// Everything that determines a Gemma-4 text model's shape and arithmetic.
#[derive(Debug, Clone, PartialEq)]
pub struct Gemma4Config {
    /// The text model is part of a multimodal one, whose paths begin with `language_model.`.
    pub nested: bool,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the dense MLP.
    pub intermediate_size: usize,
    /// Whether layers without keys of their own have an MLP twice as wide.
    pub use_double_wide_mlp: bool,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads.
    pub num_key_value_heads: usize,
    /// Key and value heads of full-attention layers, where these take their values from the keys.
    pub num_global_key_value_heads: Option<usize>,
    /// Full-attention layers have no `v_proj`: the key projection is the value too.
    pub attention_k_eq_v: bool,
    /// Width of a head in sliding-attention layers.
    pub head_dim: usize,
    /// Width of a head in full-attention layers.
    pub global_head_dim: usize,
    /// Epsilon of every norm.
    pub rms_norm_eps: f64,
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// The last layers that use an earlier layer's keys and values.
    pub num_kv_shared_layers: usize,
    /// The second embedding, where there is one.
    pub per_layer_input: Option<PerLayerInput>,
    /// Rotates neighbouring features instead of halves.
    pub rope_traditional: bool,
    /// Rotation of sliding-attention layers.
    pub sliding_rope: LayerRope,
    /// Rotation of full-attention layers.
    pub full_rope: LayerRope,
    /// Keys that a sliding-attention layer sees.
    pub sliding_window: usize,
    /// One per layer.
    pub layer_types: Vec<LayerType>,
    /// Positions the model was trained for.
    pub max_position_embeddings: usize,
    /// Logits `x` become `cap * tanh(x / cap)`.
    pub final_logit_softcapping: Option<f64>,
    /// The experts, where there are some.
    pub experts: Option<Experts>,
    /// Whether the embedding table is the output head.
    pub tie_word_embeddings: bool,
}

/// Keys of a text configuration without effect on mlx-lm's model.
const TEXT_INERT: &[&str] = &[
    "architectures",
    "attention_dropout",
    "bos_token_id",
    "dtype",
    "eos_token_id",
    "global_partial_rotary_factor",
    "initializer_range",
    "model_type",
    "pad_token_id",
    "partial_rotary_factor",
    "quantization",
    "quantization_config",
    "quantize_activations",
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
    "audio_config",
    "audio_token_id",
    "audio_token_index",
    "boa_token_id",
    "boa_token_index",
    "boi_token_id",
    "boi_token_index",
    "bos_token_id",
    "dtype",
    "eoa_token_id",
    "eoa_token_index",
    "eoi_token_id",
    "eoi_token_index",
    "eos_token_id",
    "image_token_id",
    "image_token_index",
    "initializer_range",
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
    "video_token_index",
    "vision_config",
    "vision_soft_tokens_per_image",
];

impl Gemma4Config {
    /// Reads the configuration of `dir`; errors as [`Gemma4Config::from_map`].
    pub fn from_dir(dir: &ModelDir) -> Result<Self> {
        Self::from_map(dir.config(), dir.model_type())
    }

    /// Reads a merged `config.json` of a known `model_type`.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key for a value that is missing, out of range or contradictory,
    /// and for keys that are not known to be without effect.
    pub fn from_map(config: &Map<String, Value>, model_type: &str) -> Result<Self> {
        let outer = Fields::new(config);
        if model_type == "gemma4_text" {
            let vocab_size = vocab_size(&outer)?;
            return Self::from_text(&outer, false, vocab_size);
        }
        let nothing = Map::new();
        let text =
            outer.object("text_config")?.unwrap_or_else(|| Fields::scoped(&nothing, "text_config"));
        // mlx-lm puts the outer number, or its default, in the place of the inner one.
        let vocab_size = vocab_size(&outer)?;
        text.raw("vocab_size");
        let config = Self::from_text(&text, true, vocab_size)?;
        outer.finish(OUTER_INERT)?;
        Ok(config)
    }

    fn from_text(fields: &Fields<'_>, nested: bool, vocab_size: usize) -> Result<Self> {
        let dimension = 1..=limits::MAX_DIMENSION;
        let size = |key: &str, value: usize| fields.size_or(key, dimension.clone(), value);
        let layers =
            fields.size_or("num_hidden_layers", 1..=limits::MAX_LAYERS, default::LAYERS)?;
        let head_dim = head_dim(fields)?;
        let (sliding_rope, full_rope) = ropes(fields)?;
        let config = Self {
            nested,
            hidden_size: size("hidden_size", default::HIDDEN_SIZE)?,
            intermediate_size: size("intermediate_size", default::INTERMEDIATE_SIZE)?,
            use_double_wide_mlp: fields.bool_or("use_double_wide_mlp", true)?,
            num_attention_heads: size("num_attention_heads", default::HEADS)?,
            num_key_value_heads: size("num_key_value_heads", default::KV_HEADS)?,
            num_global_key_value_heads: fields
                .opt_size("num_global_key_value_heads", dimension.clone())?,
            attention_k_eq_v: fields.bool_or("attention_k_eq_v", false)?,
            head_dim,
            global_head_dim: global_head_dim(fields, head_dim)?,
            rms_norm_eps: fields.float_or(
                "rms_norm_eps",
                FloatRange::Positive,
                default::RMS_NORM_EPS,
            )?,
            vocab_size,
            num_kv_shared_layers: fields.size_or(
                "num_kv_shared_layers",
                0..=limits::MAX_LAYERS,
                default::KV_SHARED_LAYERS,
            )?,
            per_layer_input: per_layer_input(fields)?,
            rope_traditional: fields.bool_or("rope_traditional", false)?,
            sliding_rope,
            full_rope,
            sliding_window: fields.size_or(
                "sliding_window",
                1..=MAX_POSITIONS / 2,
                default::SLIDING_WINDOW,
            )?,
            layer_types: layer_types(fields, layers)?,
            max_position_embeddings: fields.size_or(
                "max_position_embeddings",
                1..=MAX_POSITIONS,
                default::MAX_POSITIONS,
            )?,
            final_logit_softcapping: softcap(fields)?,
            experts: experts(fields)?,
            tie_word_embeddings: fields.bool_or("tie_word_embeddings", true)?,
        };
        config.check(fields)?;
        check_ignored(fields)?;
        fields.finish(TEXT_INERT)?;
        Ok(config)
    }

    /// Transformer layers.
    pub fn layers(&self) -> usize {
        self.layer_types.len()
    }

    /// Layers with keys and values of their own: all before the sharing ones.
    pub fn caching_layers(&self) -> usize {
        self.layers() - self.num_kv_shared_layers
    }

    /// Width of a head in `layer`.
    pub fn head_dim(&self, layer: usize) -> usize {
        match self.layer_types[layer] {
            LayerType::Full => self.global_head_dim,
            LayerType::Sliding => self.head_dim,
        }
    }

    /// Whether the keys of `layer` are its values too.
    pub fn k_eq_v(&self, layer: usize) -> bool {
        self.attention_k_eq_v && self.layer_types[layer] == LayerType::Full
    }

    /// Key and value heads of `layer`.
    pub fn kv_heads(&self, layer: usize) -> usize {
        match self.num_global_key_value_heads {
            Some(heads) if self.k_eq_v(layer) => heads,
            _ => self.num_key_value_heads,
        }
    }

    /// Width of the MLP of `layer`.
    pub fn intermediate_size(&self, layer: usize) -> usize {
        let first_sharing = self.caching_layers();
        let double = self.use_double_wide_mlp && layer >= first_sharing && first_sharing > 0;
        self.intermediate_size * if double { 2 } else { 1 }
    }

    /// The layer whose keys and values `layer` uses: itself, or the last of its type that has some.
    pub fn kv_source(&self, layer: usize) -> Option<usize> {
        let own = self.caching_layers();
        if layer < own {
            return Some(layer);
        }
        (0..own).rev().find(|&i| self.layer_types[i] == self.layer_types[layer])
    }

    /// Where the model's own paths begin.
    pub fn prefix(&self) -> &'static str {
        if self.nested { "language_model." } else { "" }
    }

    fn check(&self, fields: &Fields<'_>) -> Result<()> {
        let refuse = |text: String| Err(Error::Config(text));
        let layers = self.layers();
        if self.num_kv_shared_layers > layers {
            return refuse(format!(
                "{} is {}; there are {layers} layers",
                fields.path("num_kv_shared_layers"),
                self.num_kv_shared_layers
            ));
        }
        for layer in 0..layers {
            if self.kv_source(layer).is_none() {
                return refuse(format!(
                    "{} leaves layer {layer} without a layer of its type to take keys from",
                    fields.path("num_kv_shared_layers")
                ));
            }
            let (heads, kv_heads) = (self.num_attention_heads, self.kv_heads(layer));
            if !heads.is_multiple_of(kv_heads) {
                return refuse(format!(
                    "layer {layer} has {kv_heads} key and value heads; expected a divisor of {}, \
                     {heads}",
                    fields.path("num_attention_heads")
                ));
            }
            let width = heads as u64 * self.head_dim(layer) as u64;
            if width > limits::MAX_DIMENSION {
                return refuse(format!(
                    "num_attention_heads times the head width is {width}; the limit is {}",
                    limits::MAX_DIMENSION
                ));
            }
        }
        self.check_per_layer_input(fields)
    }

    fn check_per_layer_input(&self, fields: &Fields<'_>) -> Result<()> {
        let Some(input) = self.per_layer_input else { return Ok(()) };
        if input.vocab_size < self.vocab_size {
            return Err(Error::Config(format!(
                "{} is {}; expected at least vocab_size, {}, since every token reads a row",
                fields.path("vocab_size_per_layer_input"),
                input.vocab_size,
                self.vocab_size
            )));
        }
        let width = input.width as u64 * self.layers() as u64;
        if width > limits::MAX_DIMENSION {
            return Err(Error::Config(format!(
                "{} times num_hidden_layers is {width}; the limit is {}",
                fields.path("hidden_size_per_layer_input"),
                limits::MAX_DIMENSION
            )));
        }
        Ok(())
    }
}

fn vocab_size(fields: &Fields<'_>) -> Result<usize> {
    fields.size_or("vocab_size", 1..=limits::MAX_DIMENSION, default::VOCAB_SIZE)
}

fn head_dim(fields: &Fields<'_>) -> Result<usize> {
    let dims = fields.size_or("head_dim", 1..=limits::MAX_DIMENSION, default::HEAD_DIM)?;
    even(fields, "head_dim", dims)
}

/// `global_head_dim`; 0 and `null` mean that full-attention layers are like the others.
fn global_head_dim(fields: &Fields<'_>, head_dim: usize) -> Result<usize> {
    let given = match fields.raw("global_head_dim") {
        None => Some(default::GLOBAL_HEAD_DIM),
        Some(_) => fields.opt_int("global_head_dim", 0..=limits::MAX_DIMENSION)?,
    };
    match given.filter(|&dims| dims > 0) {
        Some(dims) => even(fields, "global_head_dim", dims as usize),
        None => Ok(head_dim),
    }
}

fn even(fields: &Fields<'_>, key: &str, dims: usize) -> Result<usize> {
    if dims.is_multiple_of(2) {
        return Ok(dims);
    }
    let expected = "an even number, which rotary embeddings need";
    Err(fields.wrong(key, &Value::from(dims), expected))
}

/// Rotation of sliding and of full attention; an absent type has plain rotation.
fn ropes(fields: &Fields<'_>) -> Result<(LayerRope, LayerRope)> {
    let Some(both) = fields.object("rope_parameters")? else {
        let sliding = LayerRope { theta: default::SLIDING_THETA, scaling: RopeScaling::Default };
        let scaling =
            RopeScaling::Proportional { partial_rotary_factor: default::FULL_PARTIAL, factor: 1.0 };
        return Ok((sliding, LayerRope { theta: default::FULL_THETA, scaling }));
    };
    let read = |key: &str| -> Result<LayerRope> {
        let (theta, scaling) = match both.object(key)? {
            Some(rope) => RopeScaling::with_theta(&rope)?,
            None => (default::SLIDING_THETA, RopeScaling::Default),
        };
        Ok(LayerRope { theta, scaling })
    };
    let ropes = (read("sliding_attention")?, read("full_attention")?);
    both.finish(&[])?;
    Ok(ropes)
}

/// `layer_types`, or a full-attention layer behind every so many sliding ones.
fn layer_types(fields: &Fields<'_>, layers: usize) -> Result<Vec<LayerType>> {
    let pattern = fields.size_or(
        "sliding_window_pattern",
        1..=limits::MAX_LAYERS,
        default::SLIDING_WINDOW_PATTERN,
    )?;
    let Some(names) = fields.opt_strings("layer_types")? else {
        let kind = |i: usize| {
            if (i + 1).is_multiple_of(pattern) { LayerType::Full } else { LayerType::Sliding }
        };
        return Ok((0..layers).map(kind).collect());
    };
    if names.len() < layers {
        return Err(Error::Config(format!(
            "{} lists {} layers; expected num_hidden_layers, {layers}",
            fields.path("layer_types"),
            names.len()
        )));
    }
    let kind = |name: &&str| match *name {
        "full_attention" => Ok(LayerType::Full),
        "sliding_attention" => Ok(LayerType::Sliding),
        other => {
            let expected = "full_attention or sliding_attention in every place";
            Err(fields.wrong("layer_types", &Value::from(other), expected))
        }
    };
    names.iter().take(layers).map(kind).collect()
}

/// The second embedding; a width of 0 or `null` means none.
fn per_layer_input(fields: &Fields<'_>) -> Result<Option<PerLayerInput>> {
    let width = match fields.raw("hidden_size_per_layer_input") {
        None => Some(default::PER_LAYER_WIDTH),
        Some(_) => fields.opt_int("hidden_size_per_layer_input", 0..=limits::MAX_DIMENSION)?,
    };
    let vocab_size = fields.size_or(
        "vocab_size_per_layer_input",
        0..=limits::MAX_DIMENSION,
        default::VOCAB_SIZE,
    )?;
    let width = width.unwrap_or(0) as usize;
    Ok((width > 0).then_some(PerLayerInput { width, vocab_size }))
}

/// The cap; `null` means none.
fn softcap(fields: &Fields<'_>) -> Result<Option<f64>> {
    match fields.raw("final_logit_softcapping") {
        None => Ok(Some(default::SOFTCAP)),
        Some(_) => fields.opt_float("final_logit_softcapping", FloatRange::Positive),
    }
}

fn experts(fields: &Fields<'_>) -> Result<Option<Experts>> {
    let dimension = 1..=limits::MAX_DIMENSION;
    if !fields.bool_or("enable_moe_block", false)? {
        for key in ["num_experts", "top_k_experts", "moe_intermediate_size"] {
            fields.opt_int(key, 0..=limits::MAX_DIMENSION)?;
        }
        return Ok(None);
    }
    let count = fields.size("num_experts", dimension.clone())?;
    Ok(Some(Experts {
        count,
        top_k: fields.size("top_k_experts", 1..=count as u64)?,
        intermediate_size: fields.size("moe_intermediate_size", dimension)?,
    }))
}

/// mlx-lm computes these one way whatever the configuration says, so anything else would be wrong.
fn check_ignored(fields: &Fields<'_>) -> Result<()> {
    match fields.opt_str("hidden_activation")? {
        None | Some("gelu_pytorch_tanh") => {}
        Some(other) => {
            return Err(fields.wrong(
                "hidden_activation",
                &Value::from(other),
                "gelu_pytorch_tanh",
            ));
        }
    }
    if fields.bool_or("attention_bias", false)? {
        let expected = "false: attention projections have no biases";
        return Err(fields.wrong("attention_bias", &Value::Bool(true), expected));
    }
    match fields.raw("use_bidirectional_attention") {
        None | Some(Value::Null | Value::Bool(false)) => Ok(()),
        Some(Value::String(s)) if s == "vision" => Ok(()),
        Some(other) => {
            let expected = "\"vision\" or null: text tokens never see later ones here";
            Err(fields.wrong("use_bidirectional_attention", other, expected))
        }
    }
}
