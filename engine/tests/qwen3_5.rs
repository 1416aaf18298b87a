//! Qwen3.5's configuration: what is refused and why, what the published sizes come to.

mod weights_support;

use rstest::rstest;
use serde_json::{Map, Value, json};
use weights_support::{object, problems, report};

/// What a published configuration says apart from its sizes.
fn published() -> Value {
    json!({
        "architectures": ["Qwen3_5ForConditionalGeneration"],
        "model_type": "qwen3_5",
        "image_token_id": 248_056,
        "video_token_id": 248_057,
        "vision_start_token_id": 248_053,
        "vision_end_token_id": 248_054,
        "vision_config": {"depth": 12, "hidden_size": 768},
        "tie_word_embeddings": true,
        "text_config": {
            "model_type": "qwen3_5_text",
            "dtype": "bfloat16",
            "attention_bias": false,
            "attn_output_gate": true,
            "eos_token_id": 248_044,
            "full_attention_interval": 4,
            "head_dim": 256,
            "hidden_act": "silu",
            "hidden_size": 1024,
            "intermediate_size": 3584,
            "linear_conv_kernel_dim": 4,
            "linear_key_head_dim": 128,
            "linear_num_key_heads": 16,
            "linear_num_value_heads": 16,
            "linear_value_head_dim": 128,
            "mamba_ssm_dtype": "float32",
            "max_position_embeddings": 262_144,
            "mlp_only_layers": [],
            "mtp_num_hidden_layers": 1,
            "num_attention_heads": 8,
            "num_hidden_layers": 24,
            "num_key_value_heads": 2,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {
                "mrope_interleaved": true, "mrope_section": [11, 11, 10], "rope_type": "default",
                "rope_theta": 10_000_000, "partial_rotary_factor": 0.25
            },
            "tie_word_embeddings": true,
            "use_cache": true,
            "vocab_size": 248_320
        }
    })
}

/// The published configuration with the value at `pointer` replaced or added.
fn with(pointer: &str, value: Value) -> Map<String, Value> {
    let mut config = published();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    config.pointer_mut(parent).unwrap()[key] = value;
    object(config)
}

#[test]
fn the_published_configuration_is_taken_nested_and_flat() {
    assert_eq!(problems(&object(published())), "");
    for name in ["qwen3_5", "qwen3_5_text"] {
        let mut flat = published()["text_config"].clone();
        flat["model_type"] = json!(name);
        assert_eq!(problems(&object(flat)), "");
    }
}

#[rstest]
#[case("/text_config/sliding_window", json!(4096), "text_config.sliding_window")]
#[case("/text_config/linear_conv_bias", json!(true), "text_config.linear_conv_bias")]
#[case("/surprise", json!(1), "surprise")]
#[case("/text_config/rope_parameters/rope_type", json!("yarn"), "rope_parameters.rope_type")]
#[case("/text_config/rope_parameters/type", json!("mrope"), "rope_parameters.type")]
#[case("/text_config/rope_parameters/factor", json!(4.0), "rope_parameters.factor")]
#[case("/text_config/rope_parameters/partial_rotary_factor", json!(1.5), "partial_rotary_factor 1.5")]
#[case("/text_config/rope_parameters/partial_rotary_factor", json!(0.02), "rotates 5 features")]
#[case("/text_config/rope_parameters/rope_theta", json!(0), "rope_theta")]
#[case("/text_config/rope_scaling", json!({"rope_type": "yarn", "factor": 4.0}), "rope_scaling")]
#[case("/text_config/hidden_act", json!("gelu"), "hidden_act")]
#[case("/text_config/num_experts", json!(256), "runs the dense Qwen3.5 models only")]
#[case("/text_config/layer_types", json!(["full_attention"]), "layer_types")]
#[case("/text_config/full_attention_interval", json!(1), "full_attention_interval is 1")]
#[case("/text_config/full_attention_interval", json!(25), "full_attention_interval is 25")]
#[case("/text_config/num_key_value_heads", json!(3), "num_key_value_heads is 3")]
#[case("/text_config/linear_num_key_heads", json!(5), "linear_num_key_heads is 5")]
#[case("/text_config/linear_conv_kernel_dim", json!(1), "linear_conv_kernel_dim is 1")]
#[case("/text_config/vocab_size", json!("many"), "vocab_size")]
#[case("/text_config/tie_word_embeddings", json!("yes"), "tie_word_embeddings")]
#[case("/model_type", json!("qwen3_5_moe"), "\"qwen3_5_moe\" is not supported")]
fn what_would_change_the_answer_is_refused(
    #[case] pointer: &str,
    #[case] value: Value,
    #[case] says: &str,
) {
    let found = problems(&with(pointer, value));
    assert!(found.contains(says), "{found}");
}

/// Hidden, inner, layers, heads, key-value heads, recurrent value heads, tied.
#[rstest]
#[case::b0_8(1024, 3584, 24, 8, 2, 16, true)]
#[case::b2(2048, 6144, 24, 8, 2, 16, true)]
#[case::b4(2560, 9216, 32, 16, 4, 32, true)]
#[case::b9(4096, 12_288, 32, 16, 4, 32, false)]
#[case::b27(5120, 17_408, 64, 24, 4, 48, false)]
fn published_sizes_agree_with_their_arithmetic(
    #[case] hidden: u64,
    #[case] inner: u64,
    #[case] layers: u64,
    #[case] heads: u64,
    #[case] kv_heads: u64,
    #[case] value_heads: u64,
    #[case] tied: bool,
) {
    let mut config = published();
    config["tie_word_embeddings"] = json!(tied);
    for (key, value) in [
        ("hidden_size", json!(hidden)),
        ("intermediate_size", json!(inner)),
        ("num_hidden_layers", json!(layers)),
        ("num_attention_heads", json!(heads)),
        ("num_key_value_heads", json!(kv_heads)),
        ("linear_num_value_heads", json!(value_heads)),
        ("tie_word_embeddings", json!(tied)),
    ] {
        config["text_config"][key] = value;
    }
    let report = report(&object(config));

    let (head, key_width, value_width) = (256, 16 * 128, value_heads * 128);
    let channels = 2 * key_width + value_width;
    let both = 3 * hidden * inner + 2 * hidden;
    let full = hidden * head * (2 * heads + 2 * kv_heads + heads) + 2 * head;
    let recurrent = hidden * (channels + 2 * value_width + 2 * value_heads)
        + 4 * channels
        + 2 * value_heads
        + 128;
    let table = 248_320 * hidden;
    let parameters = layers * both
        + layers / 4 * full
        + layers * 3 / 4 * recurrent
        + hidden
        + if tied { table } else { 2 * table };
    assert_eq!(report.config_parameters, Some(parameters));
    assert_eq!(report.weights.parameters, parameters);
    assert_eq!(report.weights.bytes, 2 * parameters);

    let per_token = layers / 4 * 2 * kv_heads * head * 2;
    // Three inputs of the convolution in bf16 and the memory in f32.
    let fixed = layers * 3 / 4 * (3 * channels * 2 + value_width * 128 * 4);
    assert_eq!(report.cache_bytes_per_token, Some(per_token));
    for at in &report.memory {
        assert_eq!(at.cache_bytes, at.tokens * per_token + fixed);
        assert_eq!(at.total_bytes, 2 * parameters + at.cache_bytes + at.working_bytes);
    }
}

#[test]
fn the_smallest_published_size_is_the_known_one() {
    let report = report(&object(published()));
    assert_eq!(report.config_parameters, Some(752_393_024));
    assert_eq!(report.cache_bytes_per_token, Some(12_288));
}
