//! What the configuration says about weights and memory.

use std::collections::BTreeMap;

use mlx_rs::{Array, ops};

use super::config::Qwen35Config;
use crate::{
    Result,
    memory::{CacheFacts, Heads, LayerFacts, MemoryFacts, Phase, WorkFacts},
    mlx::ops::scalar_like,
    models::Mutation,
    weights::{Expected, ModelFacts, TensorTable},
};

/// Norms that checkpoints in the original layout store less one.
const SHIFTED_NORMS: [&str; 5] = [
    ".input_layernorm.weight",
    ".post_attention_layernorm.weight",
    "model.norm.weight",
    ".q_norm.weight",
    ".k_norm.weight",
];

/// What loading does to one tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    None,
    /// `[channels, 1, taps]` becomes `[channels, taps, 1]`.
    ConvAxes,
    /// The original layout keeps weight minus one.
    PlusOne,
}

/// The checkpoint under the model's names, with what is to be done to each tensor
/// (`Model.sanitize` and `TextModel.sanitize`).
fn sanitized<T>(
    config: &Qwen35Config,
    tensors: BTreeMap<String, T>,
    shape: impl Fn(&T) -> Vec<usize>,
) -> BTreeMap<String, (T, Change)> {
    let is_raw_conv = |name: &str, t: &T| {
        name.contains("conv1d.weight") && shape(t).last().is_some_and(|&last| last != 1)
    };
    // One unmoved convolution marks the whole checkpoint as original.
    let original =
        tensors.iter().any(|(name, t)| kept(config, name).is_some() && is_raw_conv(name, t));
    let mut out = BTreeMap::new();
    for (name, tensor) in tensors {
        let Some(name) = kept(config, &name) else { continue };
        let is_norm = SHIFTED_NORMS.iter().any(|suffix| name.ends_with(suffix));
        let change = if is_raw_conv(&name, &tensor) {
            Change::ConvAxes
        } else if original && is_norm && shape(&tensor).len() == 1 {
            Change::PlusOne
        } else {
            Change::None
        };
        out.insert(name, (tensor, change));
    }
    out
}

/// A tensor's name in the model, or `None` for what the text model has no use for.
fn kept(config: &Qwen35Config, name: &str) -> Option<String> {
    if name.starts_with("vision_tower") || name.starts_with("model.visual") {
        return None;
    }
    let name = if name.starts_with("model.language_model") {
        name.replace("model.language_model", "language_model.model")
    } else if name.starts_with("language_model.") {
        name.to_owned()
    } else {
        format!("language_model.{name}")
    };
    let unused_head = config.tie_word_embeddings && name == "language_model.lm_head.weight";
    (!name.contains("mtp.") && !unused_head).then_some(name)
}

impl Qwen35Config {
    /// The unread checkpoint as the model takes it.
    pub(super) fn sanitize_arrays(
        &self,
        tensors: BTreeMap<String, Array>,
        mutation: Mutation,
    ) -> Result<BTreeMap<String, Array>> {
        let shift = if mutation == Mutation::NormShiftTwice { 2.0 } else { 1.0 };
        let shape = |a: &Array| a.shape().iter().map(|&d| d as usize).collect();
        let changed = sanitized(self, tensors, shape).into_iter().map(|(name, (array, change))| {
            let array = match change {
                Change::None => array,
                Change::ConvAxes => array.move_axis(2, 1)?,
                Change::PlusOne => ops::add(&array, scalar_like(shift, &array)?)?,
            };
            Ok((name, array))
        });
        changed.collect()
    }

    /// What layers take, by measurement (`just fit-check`); nobody asks for what the last layer makes
    /// of a prompt's chunk.
    fn phases(&self, heads: u64, keys: Heads) -> Vec<Phase> {
        let before_last = 0..self.num_hidden_layers.saturating_sub(1);
        let full = before_last.clone().any(|layer| !self.is_linear(layer));
        let linear = before_last.clone().any(|layer| self.is_linear(layer));
        let mut phases = Vec::new();
        if linear {
            phases.extend(self.delta_phases());
        }
        if full {
            phases.extend(self.attention_phases(heads, keys, linear));
        }
        phases
    }

    /// The delta rule itself, which keeps each token's memory until the chunk's outputs are put
    /// together, and what lies around it.
    fn delta_phases(&self) -> [Phase; 2] {
        let (hidden, inner) = (self.hidden_size as u64, self.intermediate_size as u64);
        let conv = self.conv_dim() as u64;
        let rule = Phase {
            half: 15 * hidden / 2 + 3 * conv,
            single: 5 * (hidden + conv) / 2 + inner,
            wide: (self.value_dim() * self.linear_key_head_dim) as u64,
            ..Phase::default()
        };
        let around = Phase {
            half: 16 * hidden + 3 * inner + 20 * conv,
            single: (11 * hidden + 6 * inner + 27 * conv) / 2,
            ..Phase::default()
        };
        [rule, around]
    }

    /// Full attention with its gate, beside what the recurrent layers around it still hold.
    fn attention_phases(&self, heads: u64, keys: Heads, beside_linear: bool) -> Vec<Phase> {
        let (hidden, inner) = (self.hidden_size as u64, self.intermediate_size as u64);
        let gate = heads * keys.width;
        let conv = if beside_linear { self.conv_dim() as u64 } else { 0 };
        let layer = LayerFacts { hidden, inner, heads, keys, window: None };
        let with_gate = |phase: Phase| Phase {
            half: phase.half + gate + 18 * conv,
            single: phase.single + gate + 25 * conv / 2,
            ..phase
        };
        layer.phases().into_iter().map(with_gate).collect()
    }
}

impl ModelFacts for Qwen35Config {
    fn expected(&self) -> Expected {
        let mut expected = Expected::new();
        let hidden = self.hidden_size;
        expected.embedding("language_model.model.embed_tokens", self.vocab_size, hidden);
        for layer in 0..self.num_hidden_layers {
            let at = format!("language_model.model.layers.{layer}");
            if self.is_linear(layer) {
                expect_delta(self, &mut expected, &format!("{at}.linear_attn"));
            } else {
                expect_attention(self, &mut expected, &format!("{at}.self_attn"));
            }
            let inner = self.intermediate_size;
            for (name, out, dims) in
                [("gate", inner, hidden), ("up", inner, hidden), ("down", hidden, inner)]
            {
                expected.linear(format!("{at}.mlp.{name}_proj"), out, dims, false);
            }
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                expected.tensor(format!("{at}.{norm}.weight"), &[hidden]);
            }
        }
        expected.tensor("language_model.model.norm.weight", &[hidden]);
        if !self.tie_word_embeddings {
            expected.linear("language_model.lm_head", self.vocab_size, hidden, false);
        }
        expected
    }

    fn sanitize_table(&self, tensors: TensorTable) -> TensorTable {
        let changed = sanitized(self, tensors, |meta| meta.shape.clone()).into_iter();
        let table = changed.map(|(name, (mut meta, change))| {
            if change == Change::ConvAxes && meta.shape.len() == 3 {
                meta.shape.swap(1, 2);
            }
            (name, meta)
        });
        table.collect()
    }

    fn context_length(&self) -> Option<usize> {
        Some(self.max_position_embeddings)
    }

    fn layers(&self) -> usize {
        self.num_hidden_layers
    }

    fn memory(&self) -> MemoryFacts {
        let heads = (self.num_attention_heads, self.num_key_value_heads);
        let keys = Heads { count: heads.1 as u64, width: self.head_dim as u64 };
        let recurrent = CacheFacts::Recurrent {
            narrow: ((self.linear_conv_kernel_dim - 1) * self.conv_dim()) as u64,
            wide: (self.value_dim() * self.linear_key_head_dim) as u64,
        };
        let cache = |layer| {
            if self.is_linear(layer) { recurrent } else { CacheFacts::Growing(keys) }
        };
        MemoryFacts {
            caches: (0..self.num_hidden_layers).map(cache).collect(),
            work: WorkFacts {
                phases: self.phases(heads.0 as u64, keys),
                throughout: 0,
                vocab: self.vocab_size as u64,
            },
        }
    }
}

fn expect_attention(c: &Qwen35Config, expected: &mut Expected, at: &str) {
    let (q, kv) = (c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim);
    let hidden = c.hidden_size;
    for (name, out, dims) in
        [("q", 2 * q, hidden), ("k", kv, hidden), ("v", kv, hidden), ("o", hidden, q)]
    {
        expected.linear(format!("{at}.{name}_proj"), out, dims, c.attention_bias);
    }
    for norm in ["q_norm", "k_norm"] {
        expected.tensor(format!("{at}.{norm}.weight"), &[c.head_dim]);
    }
}

fn expect_delta(c: &Qwen35Config, expected: &mut Expected, at: &str) {
    let (hidden, heads) = (c.hidden_size, c.linear_num_value_heads);
    for (name, out, dims) in [
        ("in_proj_qkv", c.conv_dim(), hidden),
        ("in_proj_z", c.value_dim(), hidden),
        ("in_proj_b", heads, hidden),
        ("in_proj_a", heads, hidden),
        ("out_proj", hidden, c.value_dim()),
    ] {
        expected.linear(format!("{at}.{name}"), out, dims, false);
    }
    expected.tensor(format!("{at}.conv1d.weight"), &[c.conv_dim(), c.linear_conv_kernel_dim, 1]);
    expected.tensor(format!("{at}.dt_bias"), &[heads]);
    expected.tensor(format!("{at}.A_log"), &[heads]);
    expected.tensor(format!("{at}.norm.weight"), &[c.linear_value_head_dim]);
}
