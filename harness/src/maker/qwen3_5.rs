//! `model_type: qwen3_5`, `qwen3_5_text`: names and shapes as in `mlx_lm/models/qwen3_5.py` and, in
//! Hugging Face's layout, as published checkpoints have them.

use super::plan::{Geometry, Init, TensorPlan};
use crate::{
    Result,
    case::{Dtype, Layout},
};

/// Standard deviation of the logits that the head aims at.
const LOGIT_DEVIATION: f32 = 2.5;
/// Standard deviation of attention scores, which the norms of queries and keys set.
const SCORE_DEVIATION: f32 = 2.5;
/// `A_log`: with what is added to it, memories that last from one token to dozens.
const DECAY: Init = Init { offset: -2.0, scale: 2.0 };
/// Gain of the convolution's taps, so that SiLU meets values on its bend.
const CONV_GAIN: f32 = 1.5;

/// What the configuration says about shapes.
struct Shape {
    hidden: usize,
    inner: usize,
    layers: usize,
    /// One layer of so many has full attention.
    interval: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    bias: bool,
    tied: bool,
    key_heads: usize,
    value_heads: usize,
    key_dim: usize,
    value_dim: usize,
    taps: usize,
}

impl Shape {
    fn of(text: Geometry<'_>) -> Result<Self> {
        let (hidden, heads) = (text.count("hidden_size")?, text.count("num_attention_heads")?);
        Ok(Self {
            hidden,
            inner: text.count("intermediate_size")?,
            layers: text.count("num_hidden_layers")?,
            interval: text.optional_count("full_attention_interval")?.unwrap_or(4),
            heads,
            kv_heads: text.count("num_key_value_heads")?,
            head_dim: text.optional_count("head_dim")?.unwrap_or(hidden / heads),
            bias: text.flag("attention_bias", false)?,
            tied: text.flag("tie_word_embeddings", false)?,
            key_heads: text.count("linear_num_key_heads")?,
            value_heads: text.count("linear_num_value_heads")?,
            key_dim: text.count("linear_key_head_dim")?,
            value_dim: text.count("linear_value_head_dim")?,
            taps: text.optional_count("linear_conv_kernel_dim")?.unwrap_or(4),
        })
    }
}

struct Plan<'a> {
    geometry: Geometry<'a>,
    shape: Shape,
    hf: bool,
    tensors: Vec<TensorPlan>,
}

pub(super) fn tensors(geometry: Geometry<'_>) -> Result<Vec<TensorPlan>> {
    let nested = geometry.value("text_config").is_some();
    let text = if nested { geometry.section("text_config")? } else { geometry };
    let hf = geometry.layout() == Layout::Hf;
    let shape = Shape::of(text)?;
    let mut plan = Plan { geometry, shape, hf, tensors: Vec::new() };
    // Hugging Face keeps the head outside of `model`, mlx-lm within `language_model`.
    let (root, head) = match (hf, nested) {
        (false, _) => ("language_model.model", "language_model.lm_head"),
        (true, true) => ("model.language_model", "lm_head"),
        (true, false) => ("model", "lm_head"),
    };
    plan.ends(root, head)?;
    for layer in 0..plan.shape.layers {
        plan.layer(&format!("{root}.layers.{layer}"), layer);
    }
    if geometry.value("vision_config").is_some() {
        plan.tower();
    }
    for layer in 0..text.number("mtp_num_hidden_layers")? {
        plan.predictor(layer);
    }
    Ok(plan.tensors)
}

impl Plan<'_> {
    fn put(&mut self, name: String, shape: &[usize], init: Init) {
        self.tensors.push(TensorPlan::new(name, shape, init));
    }

    fn linear(&mut self, path: &str, rows: usize, columns: usize, gain: f32, bias: bool) {
        self.put(format!("{path}.weight"), &[rows, columns], Init::matrix(columns, gain));
        if bias {
            self.put(format!("{path}.bias"), &[rows], Init::deviation(0.3));
        }
    }

    /// A norm of which Hugging Face's layout stores the weight less one.
    fn shifted_norm(&mut self, path: &str, width: usize, init: Init) {
        let offset = if self.hf { init.offset - 1.0 } else { init.offset };
        self.put(format!("{path}.weight"), &[width], Init { offset, ..init });
    }

    /// Everything outside the layers.
    fn ends(&mut self, root: &str, head: &str) -> Result<()> {
        let (hidden, tied) = (self.shape.hidden, self.shape.tied);
        let vocab = self.geometry.vocab_size()?;
        let deviation = self.geometry.logit_deviation().unwrap_or(LOGIT_DEVIATION);
        let rows = Init::deviation(deviation / (hidden as f32).sqrt());
        let embedding = if tied { rows } else { Init::deviation(1.0) };
        self.put(format!("{root}.embed_tokens.weight"), &[vocab, hidden], embedding);
        // Signs at random: with a tied head, weights near one would favour the token just read.
        let norm = if tied { Init::deviation(1.0) } else { Init::norm() };
        self.shifted_norm(&format!("{root}.norm"), hidden, norm);
        if !tied {
            self.put(format!("{head}.weight"), &[vocab, hidden], rows);
        }
        Ok(())
    }

    fn layer(&mut self, at: &str, layer: usize) {
        if (layer + 1).is_multiple_of(self.shape.interval) {
            self.attention(&format!("{at}.self_attn"));
        } else {
            self.delta(&format!("{at}.linear_attn"));
        }
        self.mlp(&format!("{at}.mlp"));
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            self.shifted_norm(&format!("{at}.{norm}"), self.shape.hidden, Init::norm());
        }
    }

    fn mlp(&mut self, at: &str) {
        let Shape { hidden, inner, .. } = self.shape;
        for (name, rows, columns) in
            [("gate_proj", inner, hidden), ("up_proj", inner, hidden), ("down_proj", hidden, inner)]
        {
            self.linear(&format!("{at}.{name}"), rows, columns, 1.5, false);
        }
    }

    fn attention(&mut self, at: &str) {
        let Shape { hidden, heads, kv_heads, head_dim, bias, .. } = self.shape;
        for (name, rows, columns) in [
            ("q_proj", 2 * heads * head_dim, hidden),
            ("k_proj", kv_heads * head_dim, hidden),
            ("v_proj", kv_heads * head_dim, hidden),
            ("o_proj", hidden, heads * head_dim),
        ] {
            self.linear(&format!("{at}.{name}"), rows, columns, 1.5, bias);
        }
        let scores = Init { offset: SCORE_DEVIATION.sqrt(), scale: 0.1 };
        for norm in ["q_norm", "k_norm"] {
            self.shifted_norm(&format!("{at}.{norm}"), head_dim, scores);
        }
    }

    fn delta(&mut self, at: &str) {
        let Shape { hidden, key_heads, value_heads, key_dim, value_dim, taps, .. } = self.shape;
        let values = value_heads * value_dim;
        let channels = 2 * key_heads * key_dim + values;
        for (name, rows, columns, gain) in [
            ("in_proj_qkv", channels, hidden, 1.0),
            ("in_proj_z", values, hidden, 1.5),
            ("in_proj_b", value_heads, hidden, 1.0),
            ("in_proj_a", value_heads, hidden, 1.0),
            ("out_proj", hidden, values, 1.5),
        ] {
            self.linear(&format!("{at}.{name}"), rows, columns, gain, false);
        }
        let shape = if self.hf { [channels, 1, taps] } else { [channels, taps, 1] };
        self.put(format!("{at}.conv1d.weight"), &shape, Init::matrix(taps, CONV_GAIN));
        self.put(format!("{at}.dt_bias"), &[value_heads], Init { offset: 0.0, scale: 1.0 });
        // Published checkpoints keep it in f32 beside weights in bf16.
        let rate = TensorPlan::new(format!("{at}.A_log"), &[value_heads], DECAY);
        self.tensors.push(TensorPlan { dtype: Some(Dtype::F32), ..rate });
        self.put(format!("{at}.norm.weight"), &[value_dim], Init::norm());
    }

    /// A few tensors of a vision tower, which the text model has no use for.
    fn tower(&mut self) {
        let root = if self.hf { "model.visual" } else { "vision_tower" };
        self.put(format!("{root}.patch_embed.proj.weight"), &[8, 3, 2, 4, 4], Init::deviation(1.0));
        self.linear(&format!("{root}.blocks.0.attn.qkv"), 24, 8, 1.0, true);
        self.put(format!("{root}.blocks.0.norm1.weight"), &[8], Init::norm());
        self.linear(&format!("{root}.merger.linear_fc2"), self.shape.hidden, 32, 1.0, true);
    }

    /// One layer that predicts a further token, as checkpoints carry it for speculation.
    fn predictor(&mut self, layer: usize) {
        let hidden = self.shape.hidden;
        let root = if self.hf { "mtp" } else { "language_model.mtp" };
        if layer == 0 {
            self.linear(&format!("{root}.fc"), hidden, 2 * hidden, 1.0, false);
            self.put(format!("{root}.pre_fc_norm_hidden.weight"), &[hidden], Init::norm());
        }
        self.attention(&format!("{root}.layers.{layer}.self_attn"));
        self.mlp(&format!("{root}.layers.{layer}.mlp"));
    }
}
