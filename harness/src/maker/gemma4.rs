//! `model_type: gemma4`, `gemma4_text`, `gemma4_unified`: names and shapes as in
//! `mlx_lm/models/gemma4_text.py` and, in Hugging Face's layout, as published checkpoints have them.

use serde_json::Value;

use super::plan::{Geometry, Init, TensorPlan};
use crate::{Error, Result, case::Layout};

/// Standard deviation of the logits that the head aims at.
const LOGIT_DEVIATION: f32 = 2.5;
/// Standard deviation of attention scores: selective attention keeps greedy decoding from going
/// round in circles.
const SCORE_DEVIATION: f32 = 2.5;
/// Standard deviation of router scores: choices that are clear, weights that are not one-sided.
const ROUTER_DEVIATION: f32 = 1.0;
/// Layer scalars lie around this; what a layer adds counts for more than what came before.
const LAYER_SCALAR: f32 = 0.6;

/// What the configuration says about shapes.
struct Shape {
    hidden: usize,
    inner: usize,
    heads: usize,
    kv_heads: usize,
    global_kv_heads: Option<usize>,
    k_eq_v: bool,
    head_dim: usize,
    global_head_dim: usize,
    /// Whether each layer has full attention.
    full: Vec<bool>,
    /// Layers with keys of their own.
    own: usize,
    double_wide: bool,
    /// Width of a layer's input, 0 for none.
    input: usize,
    experts: Option<(usize, usize)>,
}

impl Shape {
    fn of(text: Geometry<'_>) -> Result<Self> {
        let layers = text.count("num_hidden_layers")?;
        let shared = text.number("num_kv_shared_layers")?;
        let own = layers
            .checked_sub(shared)
            .ok_or_else(|| Error::Model(format!("{shared} of {layers} layers share keys")))?;
        let head_dim = text.count("head_dim")?;
        let global_head_dim = text.number("global_head_dim")?;
        let experts = if text.flag("enable_moe_block", false)? {
            Some((text.count("num_experts")?, text.count("moe_intermediate_size")?))
        } else {
            None
        };
        Ok(Self {
            hidden: text.count("hidden_size")?,
            inner: text.count("intermediate_size")?,
            heads: text.count("num_attention_heads")?,
            kv_heads: text.count("num_key_value_heads")?,
            global_kv_heads: text.optional_count("num_global_key_value_heads")?,
            k_eq_v: text.flag("attention_k_eq_v", false)?,
            head_dim,
            global_head_dim: if global_head_dim > 0 { global_head_dim } else { head_dim },
            full: full_attention(text, layers)?,
            own,
            double_wide: text.flag("use_double_wide_mlp", true)?,
            input: text.number("hidden_size_per_layer_input")?,
            experts,
        })
    }
}

/// `layer_types`, or a full layer behind every `sliding_window_pattern - 1` others.
fn full_attention(text: Geometry<'_>, layers: usize) -> Result<Vec<bool>> {
    let Some(types) = text.value("layer_types").and_then(Value::as_array) else {
        let pattern = text.optional_count("sliding_window_pattern")?.unwrap_or(5);
        return Ok((1..=layers).map(|i| i.is_multiple_of(pattern)).collect());
    };
    if types.len() != layers {
        return Err(Error::Model(format!("layer_types lists {} of {layers} layers", types.len())));
    }
    Ok(types.iter().map(|kind| kind == "full_attention").collect())
}

struct Plan<'a> {
    geometry: Geometry<'a>,
    shape: Shape,
    hf: bool,
    tensors: Vec<TensorPlan>,
}

pub(super) fn tensors(geometry: Geometry<'_>) -> Result<Vec<TensorPlan>> {
    let nested = geometry.text("model_type")? != "gemma4_text";
    let text = if nested { geometry.section("text_config")? } else { geometry };
    let hf = geometry.layout() == Layout::Hf;
    let shape = Shape::of(text)?;
    let mut plan = Plan { geometry, shape, hf, tensors: Vec::new() };
    let root = match (nested, hf) {
        (false, _) => "model",
        (true, true) => "model.language_model",
        (true, false) => "language_model.model",
    };
    plan.ends(text, root)?;
    for layer in 0..plan.shape.full.len() {
        plan.layer(&format!("{root}.layers.{layer}"), layer);
    }
    plan.towers();
    Ok(plan.tensors)
}

impl Plan<'_> {
    fn put(&mut self, name: String, shape: &[usize], init: Init) {
        self.tensors.push(TensorPlan::new(name, shape, init));
    }

    fn linear(&mut self, path: &str, rows: usize, columns: usize, gain: f32) {
        self.put(format!("{path}.weight"), &[rows, columns], Init::matrix(columns, gain));
    }

    fn norm(&mut self, path: &str, width: usize) {
        self.put(format!("{path}.weight"), &[width], Init::norm());
    }

    /// Everything outside the layers.
    fn ends(&mut self, text: Geometry<'_>, root: &str) -> Result<()> {
        let hidden = self.shape.hidden;
        let vocab = self.geometry.vocab_size()?;
        let deviation = self.geometry.logit_deviation().unwrap_or(LOGIT_DEVIATION);
        let head = Init::deviation(deviation / (hidden as f32).sqrt());
        self.put(format!("{root}.embed_tokens.weight"), &[vocab, hidden], head);
        // Signs at random: with a tied head, weights near one would favour the token just read.
        self.put(format!("{root}.norm.weight"), &[hidden], Init::deviation(1.0));
        if !text.flag("tie_word_embeddings", true)? {
            let path = root.strip_suffix("model").unwrap_or(root);
            self.put(format!("{path}lm_head.weight"), &[vocab, hidden], head);
        }
        let input = self.shape.input;
        if input > 0 {
            let width = input * self.shape.full.len();
            let rows = text.optional_count("vocab_size_per_layer_input")?.unwrap_or(vocab);
            let embedding = Init::deviation(1.0 / (input as f32).sqrt());
            self.put(format!("{root}.embed_tokens_per_layer.weight"), &[rows, width], embedding);
            self.linear(&format!("{root}.per_layer_model_projection"), width, hidden, 1.0);
            self.norm(&format!("{root}.per_layer_projection_norm"), input);
        }
        Ok(())
    }

    fn layer(&mut self, at: &str, layer: usize) {
        let hidden = self.shape.hidden;
        self.attention(&format!("{at}.self_attn"), layer);
        let double = self.shape.double_wide && layer >= self.shape.own && self.shape.own > 0;
        let inner = self.shape.inner * if double { 2 } else { 1 };
        for (name, rows, columns) in
            [("gate_proj", inner, hidden), ("up_proj", inner, hidden), ("down_proj", hidden, inner)]
        {
            self.linear(&format!("{at}.mlp.{name}"), rows, columns, 1.5);
        }
        for norm in [
            "input_layernorm",
            "post_attention_layernorm",
            "pre_feedforward_layernorm",
            "post_feedforward_layernorm",
        ] {
            self.norm(&format!("{at}.{norm}"), hidden);
        }
        if let Some((count, inner)) = self.shape.experts {
            self.experts(at, count, inner);
        }
        let input = self.shape.input;
        if input > 0 {
            self.linear(&format!("{at}.per_layer_input_gate"), input, hidden, 1.5);
            self.linear(&format!("{at}.per_layer_projection"), hidden, input, 1.0);
            self.norm(&format!("{at}.post_per_layer_input_norm"), hidden);
        }
        let scalar = Init { offset: LAYER_SCALAR, scale: 0.3 };
        self.put(format!("{at}.layer_scalar"), &[1], scalar);
    }

    /// Published checkpoints hold the projections of layers that share keys, too; mlx-lm drops them.
    fn attention(&mut self, at: &str, layer: usize) {
        let Shape { hidden, heads, own, .. } = self.shape;
        let full = self.shape.full[layer];
        let no_values = full && self.shape.k_eq_v;
        let dims = if full { self.shape.global_head_dim } else { self.shape.head_dim };
        let kv_heads = match self.shape.global_kv_heads {
            Some(kv_heads) if no_values => kv_heads,
            _ => self.shape.kv_heads,
        };
        self.linear(&format!("{at}.q_proj"), heads * dims, hidden, 1.0);
        let scores =
            Init { offset: (SCORE_DEVIATION / (dims as f32).sqrt()).sqrt(), ..Init::norm() };
        self.put(format!("{at}.q_norm.weight"), &[dims], scores);
        if layer < own || self.hf {
            self.linear(&format!("{at}.k_proj"), kv_heads * dims, hidden, 1.0);
            if !no_values {
                self.linear(&format!("{at}.v_proj"), kv_heads * dims, hidden, 1.0);
            }
            self.put(format!("{at}.k_norm.weight"), &[dims], scores);
        }
        self.linear(&format!("{at}.o_proj"), hidden, heads * dims, 1.0);
    }

    fn experts(&mut self, at: &str, count: usize, inner: usize) {
        let hidden = self.shape.hidden;
        let router = Init::deviation(ROUTER_DEVIATION);
        self.put(format!("{at}.router.proj.weight"), &[count, hidden], router);
        self.put(format!("{at}.router.scale"), &[hidden], Init::norm());
        let weights = Init { offset: 1.0, scale: 0.5 };
        self.put(format!("{at}.router.per_expert_scale"), &[count], weights);
        let (into, out) = (Init::matrix(hidden, 1.5), Init::matrix(inner, 1.5));
        if self.hf {
            self.put(format!("{at}.experts.gate_up_proj"), &[count, 2 * inner, hidden], into);
            self.put(format!("{at}.experts.down_proj"), &[count, hidden, inner], out);
        } else {
            let glu = format!("{at}.experts.switch_glu");
            self.put(format!("{glu}.gate_proj.weight"), &[count, inner, hidden], into);
            self.put(format!("{glu}.up_proj.weight"), &[count, inner, hidden], into);
            self.put(format!("{glu}.down_proj.weight"), &[count, hidden, inner], out);
        }
        for norm in [
            "post_feedforward_layernorm_1",
            "post_feedforward_layernorm_2",
            "pre_feedforward_layernorm_2",
        ] {
            self.norm(&format!("{at}.{norm}"), hidden);
        }
    }

    /// A few tensors of the other modalities' parts, whose names resemble the text model's.
    fn towers(&mut self) {
        let root = if self.hf { "model." } else { "" };
        let hidden = self.shape.hidden;
        if self.geometry.value("vision_config").is_some() {
            let layer = format!("{root}vision_tower.encoder.layers.0.self_attn.k_proj");
            self.linear(&format!("{layer}.linear"), 8, 8, 1.0);
            self.put(format!("{layer}.input_max"), &[1], Init::norm());
            self.norm(&format!("{root}vision_tower.encoder.layers.0.input_layernorm"), 8);
            self.linear(&format!("{root}vision_embedder.patch_dense"), 8, 12, 1.0);
            self.linear(&format!("{root}embed_vision.embedding_projection"), hidden, 8, 1.0);
        }
        if self.geometry.value("audio_config").is_some() {
            self.linear(
                &format!("{root}audio_tower.layers.0.feed_forward1.ffw_layer_1"),
                8,
                8,
                1.0,
            );
            self.linear(&format!("{root}embed_audio.embedding_projection"), hidden, 8, 1.0);
        }
    }
}
