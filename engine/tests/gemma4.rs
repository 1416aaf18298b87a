//! Gemma-4's configuration: what is refused and why, what the published sizes come to.

mod weights_support;

use rstest::rstest;
use serde_json::{Value, json};
use weights_support::{object, problems, report};

/// The numbers in which the published models differ.
struct Size {
    layers: u64,
    hidden: u64,
    inner: u64,
    kv_heads: u64,
    heads: u64,
    /// Key heads of full-attention layers, whose keys are their values too.
    global_kv_heads: Option<u64>,
    window: u64,
    /// Every which layer attends to everything.
    period: u64,
    /// Last layers, which take their keys from earlier ones.
    shared: u64,
    /// Width of a layer's own embeddings.
    per_layer: u64,
    double_wide: bool,
    /// Experts and their inner width.
    experts: Option<(u64, u64)>,
}

const E2B: Size = Size {
    layers: 35,
    hidden: 1536,
    inner: 6144,
    heads: 8,
    kv_heads: 1,
    global_kv_heads: None,
    window: 512,
    period: 5,
    shared: 20,
    per_layer: 256,
    double_wide: true,
    experts: None,
};
const E4B: Size = Size {
    layers: 42,
    hidden: 2560,
    inner: 10_240,
    kv_heads: 2,
    period: 6,
    shared: 18,
    double_wide: false,
    ..E2B
};
const B12: Size = Size {
    layers: 48,
    hidden: 3840,
    inner: 15_360,
    heads: 16,
    kv_heads: 8,
    global_kv_heads: Some(1),
    window: 1024,
    period: 6,
    shared: 0,
    per_layer: 0,
    double_wide: false,
    experts: None,
};
const A4B: Size = Size {
    layers: 30,
    hidden: 2816,
    inner: 2112,
    global_kv_heads: Some(2),
    experts: Some((128, 704)),
    ..B12
};
const B31: Size = Size {
    layers: 60,
    hidden: 5376,
    inner: 21_504,
    heads: 32,
    kv_heads: 16,
    global_kv_heads: Some(4),
    ..B12
};

const VOCABULARY: u64 = 262_144;
const HEAD: u64 = 256;
const GLOBAL_HEAD: u64 = 512;

impl Size {
    fn is_full(&self, layer: u64) -> bool {
        (layer + 1).is_multiple_of(self.period)
    }

    fn config(&self) -> Value {
        let kind = |i| if self.is_full(i) { "full_attention" } else { "sliding_attention" };
        let layer_types: Vec<_> = (0..self.layers).map(kind).collect();
        json!({
            "architectures": ["Gemma4ForConditionalGeneration"],
            "model_type": "gemma4",
            "dtype": "bfloat16",
            "vision_config": {"model_type": "gemma4_vision"},
            "eos_token_id": [1, 106],
            "text_config": {
                "model_type": "gemma4_text",
                "dtype": "bfloat16",
                "attention_bias": false,
                "attention_k_eq_v": self.global_kv_heads.is_some(),
                "enable_moe_block": self.experts.is_some(),
                "final_logit_softcapping": 30.0,
                "global_head_dim": GLOBAL_HEAD,
                "head_dim": HEAD,
                "hidden_activation": "gelu_pytorch_tanh",
                "hidden_size": self.hidden,
                "hidden_size_per_layer_input": self.per_layer,
                "intermediate_size": self.inner,
                "layer_types": layer_types,
                "max_position_embeddings": 131_072,
                "moe_intermediate_size": self.experts.map(|(_, inner)| inner),
                "num_attention_heads": self.heads,
                "num_experts": self.experts.map(|(count, _)| count),
                "num_global_key_value_heads": self.global_kv_heads,
                "num_hidden_layers": self.layers,
                "num_key_value_heads": self.kv_heads,
                "num_kv_shared_layers": self.shared,
                "rms_norm_eps": 1e-6,
                "rope_parameters": {
                    "full_attention": {
                        "partial_rotary_factor": 0.25, "rope_theta": 1_000_000.0, "rope_type": "proportional"
                    },
                    "sliding_attention": {"rope_theta": 10_000.0, "rope_type": "default"}
                },
                "sliding_window": self.window,
                "tie_word_embeddings": true,
                "top_k_experts": self.experts.map(|_| 8),
                "use_double_wide_mlp": self.double_wide,
                "vocab_size": VOCABULARY,
                "vocab_size_per_layer_input": VOCABULARY
            }
        })
    }

    /// Parameters of one layer, counted from the checkpoint's modules.
    fn layer(&self, layer: u64) -> u64 {
        let own_keys = layer < self.layers - self.shared;
        let full = self.is_full(layer);
        let head = if full { GLOBAL_HEAD } else { HEAD };
        let keys_are_values = full && self.global_kv_heads.is_some();
        let kv_heads =
            if full { self.global_kv_heads.unwrap_or(self.kv_heads) } else { self.kv_heads };
        let inner = if self.double_wide && !own_keys { 2 * self.inner } else { self.inner };

        let queries_and_output = 2 * self.hidden * self.heads * head + head;
        let projections = if keys_are_values { 1 } else { 2 };
        let keys = if own_keys { projections * self.hidden * kv_heads * head + head } else { 0 };
        let norms_and_scalar = 4 * self.hidden + 1;
        let inputs =
            if self.per_layer > 0 { 2 * self.hidden * self.per_layer + self.hidden } else { 0 };
        let experts = self.experts.map_or(0, |(count, inner)| {
            let router = self.hidden * count + self.hidden + count;
            count * 3 * self.hidden * inner + router + 3 * self.hidden
        });
        queries_and_output + keys + 3 * self.hidden * inner + norms_and_scalar + inputs + experts
    }

    fn parameters(&self) -> u64 {
        let layers: u64 = (0..self.layers).map(|i| self.layer(i)).sum();
        let width = self.layers * self.per_layer;
        let inputs = VOCABULARY * width + width * self.hidden + self.per_layer;
        layers + VOCABULARY * self.hidden + self.hidden + inputs
    }
}

#[rstest]
#[case::e2b(E2B)]
#[case::e4b(E4B)]
#[case::b12(B12)]
#[case::b31(B31)]
#[case::a4b(A4B)]
fn published_sizes_agree_with_their_arithmetic(#[case] size: Size) {
    let config = object(size.config());
    assert_eq!(problems(&config), "");
    let report = report(&config);
    assert_eq!(report.config_parameters, Some(size.parameters()));
    assert_eq!(report.weights.bytes, 2 * size.parameters());
    for at in &report.memory {
        let total = report.weights.bytes + at.cache_bytes + at.working_bytes;
        assert_eq!(at.total_bytes, total);
    }
}

/// Behind the window only the full-attention layers' caches grow.
#[rstest]
#[case::e2b(E2B)]
#[case::b12(B12)]
#[case::a4b(A4B)]
fn caches_grow_by_the_full_attention_layers(#[case] size: Size) {
    let report = report(&object(size.config()));
    let caching = size.layers - size.shared;
    let full = (0..caching).filter(|i| size.is_full(*i)).count() as u64;
    let kv_heads = size.global_kv_heads.unwrap_or(size.kv_heads);
    let per_token = full * 2 * kv_heads * GLOBAL_HEAD * 2;
    let far: Vec<_> = report.memory.iter().filter(|at| at.tokens > 4 * size.window).collect();
    assert!(far.len() > 1);
    for pair in far.windows(2) {
        let tokens = pair[1].tokens - pair[0].tokens;
        assert_eq!(pair[1].cache_bytes - pair[0].cache_bytes, tokens * per_token);
    }
}

#[rstest]
#[case("/surprise", json!(1), "surprise")]
#[case("/text_config/surprise", json!(1), "text_config.surprise")]
#[case("/text_config/hidden_activation", json!("silu"), "hidden_activation")]
#[case("/text_config/num_key_value_heads", json!(3), "a divisor of text_config.num_attention_heads")]
#[case("/text_config/layer_types", json!(["full_attention"]), "layer_types")]
#[case("/text_config/num_kv_shared_layers", json!(36), "num_kv_shared_layers")]
#[case("/text_config/sliding_window", json!(0), "sliding_window")]
#[case("/text_config/rope_parameters/full_attention/rope_type", json!("yarn"), "rope_type")]
#[case("/vocab_size", json!("many"), "vocab_size")]
#[case("/model_type", json!("gemma4_audio"), "\"gemma4_audio\" is not supported")]
fn what_would_change_the_answer_is_refused(
    #[case] pointer: &str,
    #[case] value: Value,
    #[case] says: &str,
) {
    let mut config = E2B.config();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    config.pointer_mut(parent).unwrap()[key] = value;
    let found = problems(&object(config));
    assert!(found.contains(says), "{found}");
}
