//! The configuration of `mlx_lm/models/llama.py` (`ModelArgs`), validated.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    Error, Result, limits,
    memory::{CacheFacts, Heads, LayerFacts, MemoryFacts, WorkFacts},
    weights::{
        Expected, Fields, FloatRange, ModelDir, ModelFacts, RopeScaling, TensorTable, WeightPlan,
    },
};

/// Rotary base where the configuration names none.
const DEFAULT_ROPE_THETA: f64 = 10_000.0;
/// Largest position that a configuration may name.
const MAX_POSITIONS: u64 = 1 << 31;

/// Everything that determines a llama model's shape and arithmetic.
#[derive(Debug, Clone, PartialEq)]
pub struct LlamaConfig {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Transformer layers.
    pub num_hidden_layers: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; divides the query heads.
    pub num_key_value_heads: usize,
    /// Width of a head; even.
    pub head_dim: usize,
    /// Epsilon of every norm.
    pub rms_norm_eps: f64,
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Positions the model was trained for.
    pub max_position_embeddings: Option<usize>,
    /// Whether the attention projections have biases.
    pub attention_bias: bool,
    /// Whether the MLP projections have biases.
    pub mlp_bias: bool,
    /// Rotary base.
    pub rope_theta: f64,
    /// Rotates neighbouring features instead of halves.
    pub rope_traditional: bool,
    /// Rescaling of the rotary frequencies.
    pub rope_scaling: RopeScaling,
    /// Whether the embedding table is the output head.
    pub tie_word_embeddings: bool,
}

/// Keys that llama configurations carry and that mlx-lm's model does not read, with no effect on
/// inference.
const INERT: &[&str] = &[
    "add_cross_attention",
    "architectures",
    "attention_dropout",
    "attn_implementation",
    "auto_map",
    "bos_token_id",
    "chunk_size_feed_forward",
    "dtype",
    "eos_token_id",
    "hidden_dropout",
    "id2label",
    "initializer_range",
    "is_decoder",
    "is_encoder_decoder",
    "label2id",
    "model_type",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "pretraining_tp",
    "quantization",
    "quantization_config",
    "quantize_activations",
    "resid_pdrop",
    "return_dict",
    "tokenizer_class",
    "torch_dtype",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
];

impl LlamaConfig {
    /// Reads a merged `config.json`.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key for a value that is missing, out of range or contradictory,
    /// for sliding-window layers, for rotary scalings other than `default`, `linear` and `llama3`,
    /// and for keys that are not known to be without effect.
    pub fn from_fields(fields: &Fields<'_>) -> Result<Self> {
        let dimension = 1..=limits::MAX_DIMENSION;
        let num_hidden_layers = fields.size("num_hidden_layers", 1..=limits::MAX_LAYERS)?;
        let hidden_size = fields.size("hidden_size", dimension.clone())?;
        let num_attention_heads = fields.size("num_attention_heads", dimension.clone())?;
        let rope_theta = fields.float_or("rope_theta", FloatRange::Positive, DEFAULT_ROPE_THETA)?;
        let config = Self {
            hidden_size,
            num_hidden_layers,
            intermediate_size: fields.size("intermediate_size", dimension.clone())?,
            num_attention_heads,
            num_key_value_heads: fields
                .opt_size("num_key_value_heads", dimension.clone())?
                .unwrap_or(num_attention_heads),
            head_dim: head_dim(fields, hidden_size, num_attention_heads)?,
            rms_norm_eps: fields.float("rms_norm_eps", FloatRange::Positive)?,
            vocab_size: fields.size("vocab_size", dimension)?,
            max_position_embeddings: fields
                .opt_size("max_position_embeddings", 1..=MAX_POSITIONS)?,
            attention_bias: fields.bool_or("attention_bias", false)?,
            mlp_bias: fields.bool_or("mlp_bias", false)?,
            rope_theta,
            rope_traditional: fields.bool_or("rope_traditional", false)?,
            rope_scaling: RopeScaling::from_fields(fields, rope_theta)?,
            tie_word_embeddings: fields.bool_or("tie_word_embeddings", true)?,
        };
        config.check_heads(fields)?;
        check_layer_types(fields, num_hidden_layers)?;
        check_activation(fields)?;
        fields.finish(INERT)?;
        Ok(config)
    }

    /// Reads the configuration of `dir`; errors as [`LlamaConfig::from_fields`].
    pub fn from_dir(dir: &ModelDir) -> Result<Self> {
        Self::from_fields(&Fields::new(dir.config()))
    }

    /// Drops precomputed rotary frequencies, and the output head where the embedding table takes
    /// its place (`Model.sanitize`). Works on arrays as on their descriptions.
    pub fn sanitize<T>(&self, mut tensors: BTreeMap<String, T>) -> BTreeMap<String, T> {
        tensors.retain(|name, _| {
            let rotary = name.contains("self_attn.rotary_emb.inv_freq");
            let head = name == "lm_head.weight" && self.tie_word_embeddings;
            !rotary && !head
        });
        tensors
    }

    /// Every tensor of the model.
    pub fn expected(&self) -> Expected {
        let mut expected = Expected::new();
        let hidden = self.hidden_size;
        let (q, kv) =
            (self.num_attention_heads * self.head_dim, self.num_key_value_heads * self.head_dim);
        expected.embedding("model.embed_tokens", self.vocab_size, hidden);
        for i in 0..self.num_hidden_layers {
            let at = format!("model.layers.{i}");
            let attention =
                [("q", q, hidden), ("k", kv, hidden), ("v", kv, hidden), ("o", hidden, q)];
            for (name, out, dims) in attention {
                let path = format!("{at}.self_attn.{name}_proj");
                expected.linear(path, out, dims, self.attention_bias);
            }
            let inner = self.intermediate_size;
            for (name, out, dims) in
                [("gate", inner, hidden), ("up", inner, hidden), ("down", hidden, inner)]
            {
                expected.linear(format!("{at}.mlp.{name}_proj"), out, dims, self.mlp_bias);
            }
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                expected.tensor(format!("{at}.{norm}.weight"), &[hidden]);
            }
        }
        expected.tensor("model.norm.weight", &[hidden]);
        if !self.tie_word_embeddings {
            expected.linear("lm_head", self.vocab_size, hidden, false);
        }
        expected
    }

    /// Checks that the weights of `dir` are exactly this model's, and says which are quantized.
    ///
    /// # Errors
    /// As [`ModelFacts::check`].
    pub fn check(&self, dir: &ModelDir) -> Result<WeightPlan> {
        ModelFacts::check(self, dir)
    }

    fn check_heads(&self, fields: &Fields<'_>) -> Result<()> {
        let (heads, kv_heads) = (self.num_attention_heads, self.num_key_value_heads);
        if !heads.is_multiple_of(kv_heads) {
            return Err(Error::Config(format!(
                "{} is {kv_heads}; expected a divisor of num_attention_heads, {heads}",
                fields.path("num_key_value_heads")
            )));
        }
        let width = heads as u64 * self.head_dim as u64;
        if width > limits::MAX_DIMENSION {
            return Err(Error::Config(format!(
                "num_attention_heads times head_dim is {width}; the limit is {}",
                limits::MAX_DIMENSION
            )));
        }
        Ok(())
    }
}

impl ModelFacts for LlamaConfig {
    fn expected(&self) -> Expected {
        self.expected()
    }

    fn sanitize_table(&self, tensors: TensorTable) -> TensorTable {
        self.sanitize(tensors)
    }

    fn context_length(&self) -> Option<usize> {
        self.max_position_embeddings
    }

    fn layers(&self) -> usize {
        self.num_hidden_layers
    }

    fn memory(&self) -> MemoryFacts {
        let (heads, kv_heads) = (self.num_attention_heads, self.num_key_value_heads);
        let keys = Heads { count: kv_heads as u64, width: self.head_dim as u64 };
        let layer = LayerFacts {
            hidden: self.hidden_size as u64,
            inner: self.intermediate_size as u64,
            heads: heads as u64,
            keys,
            window: None,
        };
        // Nobody asks for what the last layer makes of a prompt's chunk.
        let phases = if self.num_hidden_layers > 1 { layer.phases() } else { Vec::new() };
        MemoryFacts {
            caches: vec![CacheFacts::Growing(keys); self.num_hidden_layers],
            work: WorkFacts { phases, throughout: 0, vocab: self.vocab_size as u64 },
        }
    }
}

/// `head_dim`, or an equal share of the hidden size.
fn head_dim(fields: &Fields<'_>, hidden_size: usize, heads: usize) -> Result<usize> {
    let given = fields.opt_size("head_dim", 1..=limits::MAX_DIMENSION)?;
    if given.is_none() && !hidden_size.is_multiple_of(heads) {
        return Err(Error::Config(format!(
            "{} is missing, and num_attention_heads, {heads}, does not divide hidden_size, \
             {hidden_size}",
            fields.path("head_dim")
        )));
    }
    let head_dim = given.unwrap_or(hidden_size / heads);
    if !head_dim.is_multiple_of(2) {
        return Err(Error::Config(format!(
            "{} is {head_dim}; rotary embeddings need an even number",
            fields.path("head_dim")
        )));
    }
    Ok(head_dim)
}

/// Every layer must attend to everything. `sliding_window` alone means nothing to mlx-lm.
fn check_layer_types(fields: &Fields<'_>, layers: usize) -> Result<()> {
    fields.opt_int("sliding_window", 1..=MAX_POSITIONS)?;
    let Some(types) = fields.opt_strings("layer_types")? else { return Ok(()) };
    if types.len() != layers {
        return Err(Error::Config(format!(
            "{} lists {} layers; expected num_hidden_layers, {layers}",
            fields.path("layer_types"),
            types.len()
        )));
    }
    match types.iter().find(|t| **t != "full_attention") {
        None => Ok(()),
        Some(&"sliding_attention") => Err(Error::Config(format!(
            "{} has sliding_attention layers, which this engine does not have yet for llama \
             models; use a model whose layers are all full_attention",
            fields.path("layer_types")
        ))),
        Some(other) => {
            let expected = "full_attention in every place";
            Err(fields.wrong("layer_types", &Value::from(*other), expected))
        }
    }
}

/// mlx-lm computes SiLU whatever the configuration says, so anything else would be wrong.
fn check_activation(fields: &Fields<'_>) -> Result<()> {
    match fields.opt_str("hidden_act")? {
        None | Some("silu" | "swish") => Ok(()),
        Some(other) => Err(fields.wrong("hidden_act", &Value::from(other), "silu")),
    }
}
