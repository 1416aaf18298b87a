//! Every refusal of a configuration: the key is named, and nothing panics.

mod weights_support;

use rstest::rstest;
use serde_json::{Value, json};
use verbatim_engine::{
    Result,
    weights::{
        Fields, Llama3Scaling, LlamaConfig, ModuleQuantization, QuantMode, QuantizationSpec,
        RopeScaling, parse_object,
    },
};
use weights_support::{config, config_with};

fn read(config: &serde_json::Map<String, Value>) -> Result<LlamaConfig> {
    LlamaConfig::from_fields(&Fields::new(config))
}

#[rstest]
// Integers: zero, negative, too large, fractional, wrong type, null.
#[case("num_hidden_layers", json!(0), "num_hidden_layers is 0; expected an integer from 1 to 1024")]
#[case("num_hidden_layers", json!(-1), "num_hidden_layers is -1")]
#[case("num_hidden_layers", json!(1u64 << 63), "num_hidden_layers is 9223372036854775808")]
#[case("num_hidden_layers", json!(1025), "from 1 to 1024")]
#[case("num_hidden_layers", json!(2.0), "num_hidden_layers is 2.0")]
#[case("num_hidden_layers", json!("2"), "num_hidden_layers is \"2\"")]
#[case("num_hidden_layers", json!(null), "num_hidden_layers is null")]
#[case("num_hidden_layers", json!([2]), "num_hidden_layers is a list")]
#[case("num_hidden_layers", json!({"a": 2}), "num_hidden_layers is an object")]
#[case("num_hidden_layers", json!(true), "num_hidden_layers is true")]
#[case("hidden_size", json!(0), "hidden_size is 0")]
#[case("hidden_size", json!(-64), "hidden_size is -64")]
#[case("hidden_size", json!(1u64 << 63), "hidden_size is 9223372036854775808")]
#[case("hidden_size", json!(u64::MAX), "hidden_size is 18446744073709551615")]
#[case("hidden_size", json!(1e30), "hidden_size is 1e+30")]
#[case("hidden_size", json!((1 << 24) + 1), "hidden_size is 16777217")]
#[case("intermediate_size", json!(0), "intermediate_size is 0")]
#[case("intermediate_size", json!(i64::MIN), "intermediate_size is -9223372036854775808")]
#[case("intermediate_size", json!(127.5), "intermediate_size is 127.5")]
#[case("num_attention_heads", json!(0), "num_attention_heads is 0")]
#[case("num_attention_heads", json!(-4), "num_attention_heads is -4")]
#[case("num_attention_heads", json!(1u64 << 63), "num_attention_heads is 9223372036854775808")]
#[case("num_attention_heads", json!(1 << 20), "num_attention_heads times head_dim is 33554432")]
#[case("num_key_value_heads", json!(0), "num_key_value_heads is 0")]
#[case("num_key_value_heads", json!(3), "num_key_value_heads is 3; expected a divisor")]
#[case("num_key_value_heads", json!(8), "num_key_value_heads is 8; expected a divisor")]
#[case("num_key_value_heads", json!("2"), "num_key_value_heads is \"2\"")]
#[case("head_dim", json!(0), "head_dim is 0")]
#[case("head_dim", json!(31), "head_dim is 31; rotary embeddings need an even number")]
#[case("head_dim", json!(-32), "head_dim is -32")]
#[case("head_dim", json!(1u64 << 62), "head_dim is 4611686018427387904")]
#[case("vocab_size", json!(0), "vocab_size is 0")]
#[case("vocab_size", json!(-1), "vocab_size is -1")]
#[case("vocab_size", json!(1u64 << 40), "vocab_size is 1099511627776")]
#[case("max_position_embeddings", json!(0), "max_position_embeddings is 0")]
#[case("max_position_embeddings", json!(1u64 << 63), "max_position_embeddings is 9223372036854775808")]
#[case("max_position_embeddings", json!("4k"), "max_position_embeddings is \"4k\"")]
#[case("sliding_window", json!(0), "sliding_window is 0")]
#[case("sliding_window", json!(-1), "sliding_window is -1")]
// Floats: zero, negative, not representable, wrong type.
#[case("rms_norm_eps", json!(0), "rms_norm_eps is 0; expected a finite number greater than 0")]
#[case("rms_norm_eps", json!(0.0), "rms_norm_eps is 0.0")]
#[case("rms_norm_eps", json!(-1e-6), "rms_norm_eps is -1e-6")]
#[case("rms_norm_eps", json!(1e-60), "rms_norm_eps is 1e-60")]
#[case("rms_norm_eps", json!(1e300), "rms_norm_eps is 1e+300")]
#[case("rms_norm_eps", json!("1e-6"), "rms_norm_eps is \"1e-6\"")]
#[case("rms_norm_eps", json!(null), "rms_norm_eps is null")]
#[case("rms_norm_eps", json!({"__float__": "NaN"}), "rms_norm_eps is an object")]
#[case("rope_theta", json!(0), "rope_theta is 0")]
#[case("rope_theta", json!(-10000.0), "rope_theta is -10000.0")]
#[case("rope_theta", json!(null), "rope_theta is null")]
#[case("rope_theta", json!({"__float__": "Infinity"}), "rope_theta is an object")]
#[case("rope_theta", json!([1e4]), "rope_theta is a list")]
// Booleans.
#[case("attention_bias", json!(1), "attention_bias is 1; expected true or false")]
#[case("mlp_bias", json!("false"), "mlp_bias is \"false\"")]
#[case("tie_word_embeddings", json!(0), "tie_word_embeddings is 0")]
#[case("rope_traditional", json!("yes"), "rope_traditional is \"yes\"")]
// Rotary scaling.
#[case("rope_scaling", json!("llama3"), "rope_scaling is \"llama3\"; expected an object")]
#[case("rope_scaling/rope_type", json!("yarn"), "rope_scaling.rope_type is \"yarn\"")]
#[case("rope_scaling", json!({"type": "longrope"}), "is \"longrope\"; expected default, linear or llama3 (this engine has no such scaling yet)")]
#[case("rope_scaling", json!({"type": "dynamic", "factor": 2}), "is \"dynamic\"")]
#[case("rope_scaling", json!({"type": "spiral"}), "is \"spiral\"; expected default, linear or llama3")]
#[case("rope_scaling", json!({"type": 7}), "rope_scaling.type is 7; expected a string")]
#[case("rope_scaling", json!({"type": "linear"}), "rope_scaling.factor is missing")]
#[case("rope_scaling", json!({"type": "linear", "factor": 0}), "rope_scaling.factor is 0")]
#[case("rope_scaling", json!({"type": "linear", "factor": -2.0}), "rope_scaling.factor is -2.0")]
#[case("rope_scaling", json!({"type": "linear", "factor": "2"}), "rope_scaling.factor is \"2\"")]
#[case("rope_scaling", json!({"type": "linear", "factor": 2, "beta_fast": 32}), "unknown key: rope_scaling.beta_fast")]
#[case("rope_scaling", json!({"rope_type": "llama3"}), "rope_scaling.factor is missing")]
#[case("rope_scaling", json!({"rope_type": "llama3", "factor": 8, "low_freq_factor": 0}), "low_freq_factor is 0")]
#[case("rope_scaling", json!({"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4}), "high_freq_factor is 4; expected more than low_freq_factor, 4")]
#[case("rope_scaling", json!({"rope_type": "llama3", "factor": 8, "original_max_position_embeddings": 0}), "original_max_position_embeddings is 0")]
#[case("rope_scaling", json!({"rope_theta": 1e4}), "rope_scaling.rope_theta is 10000, but rope_theta")]
#[case("rope_parameters", json!({"rope_type": "linear", "factor": 2}), "rope_parameters differs from rope_scaling")]
#[case("rope_parameters", json!({"rope_theta": 1e6}), "rope_parameters.rope_theta is 1000000, but rope_theta")]
// Layers.
#[case("layer_types", json!(["full_attention"]), "layer_types lists 1 layers; expected num_hidden_layers, 2")]
#[case("layer_types", json!(["full_attention", "sliding_attention"]), "sliding_attention layers")]
#[case("layer_types", json!(["full_attention", "linear_attention"]), "layer_types is \"linear_attention\"")]
#[case("layer_types", json!(["full_attention", 3]), "layer_types is a list; expected a list of strings")]
#[case("layer_types", json!("full_attention"), "layer_types is \"full_attention\"")]
// What could change the answer.
#[case("hidden_act", json!("gelu"), "hidden_act is \"gelu\"; expected silu")]
#[case("hidden_act", json!(["silu"]), "hidden_act is a list; expected a string")]
#[case("partial_rotary_factor", json!(0.5), "unknown key: partial_rotary_factor")]
#[case("logit_scale", json!(0.0625), "unknown key: logit_scale")]
#[case("num_experts", json!(0), "unknown key: num_experts")]
#[case("residual\u{7}multiplier", json!(2), "unknown key: residualmultiplier")]
fn a_bad_value_is_refused_by_name(#[case] path: &str, #[case] value: Value, #[case] says: &str) {
    let error = read(&config_with(path, value)).unwrap_err().to_string();
    assert!(error.starts_with("config.json: "), "{error}");
    assert!(error.contains(says), "{error}\nshould contain: {says}");
}

#[rstest]
fn a_required_key_is_missed_by_name(
    #[values(
        "hidden_size",
        "num_hidden_layers",
        "intermediate_size",
        "num_attention_heads",
        "rms_norm_eps",
        "vocab_size"
    )]
    key: &str,
) {
    let mut config = config();
    config.shift_remove(key);
    let error = read(&config).unwrap_err().to_string();
    assert!(error.contains(&format!("{key} is missing; expected a")), "{error}");
}

#[test]
fn defaults_are_those_of_model_args() {
    let mut config = config();
    for key in [
        "num_key_value_heads",
        "max_position_embeddings",
        "attention_bias",
        "rope_theta",
        "rope_scaling",
        "tie_word_embeddings",
        "head_dim",
        "hidden_act",
    ] {
        config.shift_remove(key);
    }
    let read = read(&config).unwrap();
    assert_eq!(read.num_key_value_heads, read.num_attention_heads);
    assert_eq!(read.head_dim, 16);
    assert_eq!(read.max_position_embeddings, None);
    assert_eq!(read.rope_theta, 10_000.0);
    assert_eq!(read.rope_scaling, RopeScaling::Default);
    assert!(read.tie_word_embeddings && !read.attention_bias && !read.mlp_bias);
    assert!(!read.rope_traditional);
}

#[rstest]
#[case("head_dim", json!(null), |c: &LlamaConfig| c.head_dim == 16)]
#[case("num_key_value_heads", json!(null), |c: &LlamaConfig| c.num_key_value_heads == 4)]
// Python's None is false, and mlx-lm then makes an output head.
#[case("tie_word_embeddings", json!(null), |c: &LlamaConfig| !c.tie_word_embeddings)]
#[case("rope_theta", json!(10000), |c: &LlamaConfig| c.rope_theta == 1e4)]
#[case("rope_scaling", json!({}), |c: &LlamaConfig| c.rope_scaling == RopeScaling::Default)]
#[case("rope_scaling", json!({"type": "linear", "factor": 4}), |c: &LlamaConfig| c.rope_scaling == RopeScaling::Linear { factor: 4.0 })]
// `type` wins over `rope_type`.
#[case("rope_scaling", json!({"type": "linear", "rope_type": "llama3", "factor": 4}), |c: &LlamaConfig| c.rope_scaling == RopeScaling::Linear { factor: 4.0 })]
#[case("rope_scaling", json!({"rope_type": "llama3", "factor": 32.0}), |c: &LlamaConfig| c.rope_scaling == RopeScaling::Llama3(Llama3Scaling { factor: 32.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_position_embeddings: 8192.0 }))]
#[case("rope_parameters", json!({"rope_type": "default", "rope_theta": 5e6}), |c: &LlamaConfig| c.rope_theta == 5e6)]
#[case("layer_types", json!(["full_attention", "full_attention"]), |c: &LlamaConfig| c.num_hidden_layers == 2)]
// Without sliding layers mlx-lm never looks at the window.
#[case("sliding_window", json!(512), |c: &LlamaConfig| c.num_hidden_layers == 2)]
#[case("_name_or_path", json!("x"), |_: &LlamaConfig| true)]
#[case("some_future_key", json!(null), |_: &LlamaConfig| true)]
fn a_good_value_is_taken(
    #[case] path: &str,
    #[case] value: Value,
    #[case] holds: fn(&LlamaConfig) -> bool,
) {
    let read = read(&config_with(path, value)).unwrap();
    assert!(holds(&read), "{read:?}");
}

#[test]
fn heads_must_divide_the_width_unless_head_dim_is_given() {
    let mut config = config_with("num_attention_heads", json!(6));
    read(&config).unwrap();
    config.shift_remove("head_dim");
    let error = read(&config).unwrap_err().to_string();
    assert!(error.contains("head_dim is missing"), "{error}");
}

#[rstest]
#[case(b"", "not valid JSON")]
#[case(b"{", "not valid JSON")]
#[case(b"[]", "holds a list; expected a JSON object")]
#[case(b"null", "holds null")]
#[case(b"{} {}", "trailing characters")]
#[case(b"{\"a\": NaN}", "NaN and Infinity are not JSON")]
#[case(b"{\"a\": Infinity}", "NaN and Infinity are not JSON")]
#[case(b"{\"a\": 1e400}", "number out of range")]
#[case(b"{\"a\": -1e400}", "number out of range")]
#[case(b"{\"a\": 1, \"a\": 2}", "duplicate key \"a\"")]
#[case(b"{\"a\": {\"b\": 1, \"c\": 2, \"b\": 3}}", "duplicate key \"b\"")]
#[case(b"{\"a\": \"\xff\"}", "not valid JSON")]
#[case(b"{\"a\": \"\\ud800\"}", "not valid JSON")]
#[case(b"{\"a\": 01}", "not valid JSON")]
#[case(b"{'a': 1}", "not valid JSON")]
#[case(b"{\"a\": 1,}", "not valid JSON")]
fn malformed_json_is_refused(#[case] bytes: &[u8], #[case] says: &str) {
    let error = parse_object(bytes).unwrap_err();
    assert!(error.contains(says), "{error}\nshould contain: {says}");
}

#[test]
fn deep_nesting_is_refused_before_the_stack_ends() {
    let deep = format!("{{\"a\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let error = parse_object(deep.as_bytes()).unwrap_err();
    assert!(error.contains("recursion limit"), "{error}");
}

fn quantization(value: Value) -> Result<Option<QuantizationSpec>> {
    QuantizationSpec::from_config(&config_with("quantization", value))
}

#[rstest]
#[case(json!({}), "quantization.group_size is missing")]
#[case(json!({"group_size": 64}), "quantization.bits is missing")]
#[case(json!({"bits": 4}), "quantization.group_size is missing")]
#[case(json!({"group_size": 64, "bits": 0}), "quantization.bits is 0")]
#[case(json!({"group_size": 64, "bits": 7}), "quantization is affine with 7 bits")]
#[case(json!({"group_size": 64, "bits": 16}), "bits 2, 3, 4, 5, 6 or 8")]
#[case(json!({"group_size": 64, "bits": -4}), "quantization.bits is -4")]
#[case(json!({"group_size": 64, "bits": 4.0}), "quantization.bits is 4.0")]
#[case(json!({"group_size": 64, "bits": 1u64 << 63}), "quantization.bits is 9223372036854775808")]
#[case(json!({"group_size": 64, "bits": "4"}), "quantization.bits is \"4\"")]
#[case(json!({"group_size": 0, "bits": 4}), "quantization.group_size is 0")]
#[case(json!({"group_size": -64, "bits": 4}), "quantization.group_size is -64")]
#[case(json!({"group_size": 48, "bits": 4}), "group_size 48; expected bits 2")]
#[case(json!({"group_size": 1u64 << 63, "bits": 4}), "quantization.group_size is 9223372036854775808")]
#[case(json!({"group_size": 64, "bits": 4, "mode": "int4"}), "quantization.mode is \"int4\"; expected affine, mxfp4, mxfp8 or nvfp4")]
#[case(json!({"group_size": 64, "bits": 4, "mode": null}), "quantization.mode is null")]
#[case(json!({"group_size": 64, "bits": 4, "mode": "mxfp4"}), "mxfp4 with 4 bits and group_size 64; expected bits 4 and group_size 32")]
#[case(json!({"group_size": 64, "bits": 4, "lm_head": 8}), "quantization.lm_head is 8; expected a module's settings")]
#[case(json!({"group_size": 64, "bits": 4, "lm_head": "no"}), "quantization.lm_head is \"no\"")]
#[case(json!({"group_size": 64, "bits": 4, "lm_head": {"bits": 0}}), "quantization.lm_head.bits is 0")]
#[case(json!({"group_size": 64, "bits": 4, "lm_head": {"bits": 1}}), "quantization.lm_head is affine with 1 bits")]
#[case(json!({"group_size": 64, "bits": 4, "lm_head": {"group_size": 0}}), "quantization.lm_head.group_size is 0")]
#[case(json!({"group_size": 64, "bits": 4, "lm_head": {"bits": 8, "sym": true}}), "unknown key: quantization.lm_head.sym")]
#[case(json!({"group_size": 64, "bits": 4, "lm_head": {"quantize_input": true}}), "quantized activations are not supported")]
#[case(json!([64, 4]), "quantization is a list; expected an object")]
#[case(json!("q4"), "quantization is \"q4\"")]
fn a_bad_quantization_is_refused(#[case] value: Value, #[case] says: &str) {
    let error = quantization(value).unwrap_err().to_string();
    assert!(error.contains(says), "{error}\nshould contain: {says}");
}

#[rstest]
#[case("gptq", "another order than MLX")]
#[case("awq", "another order than MLX")]
#[case("compressed-tensors", "container")]
#[case("fp8", "blocks")]
#[case("bitnet", "ternary")]
#[case("modelopt", "ModelOpt")]
#[case("bitsandbytes", "run-time format")]
#[case("quip", "not a format of MLX")]
fn other_tools_formats_are_refused_with_advice(#[case] method: &str, #[case] says: &str) {
    let config = config_with("quantization_config", json!({"quant_method": method, "bits": 4}));
    let error = QuantizationSpec::from_config(&config).unwrap_err().to_string();
    assert!(error.contains(says) && error.contains("mlx_lm.convert -q"), "{error}");
}

#[test]
fn quantized_activations_are_refused() {
    let config = config_with("quantize_activations", json!(true));
    let error = QuantizationSpec::from_config(&config).unwrap_err().to_string();
    assert!(error.contains("quantize_activations"), "{error}");
}

#[rstest]
#[case(json!({"quant_method": "mxfp4"}), QuantMode::Mxfp4, 4, 32)]
#[case(json!({"quant_method": "mxfp8"}), QuantMode::Mxfp8, 8, 32)]
#[case(json!({"quant_method": "fp8", "scale_fmt": "ue8m0", "weight_block_size": [32, 32]}), QuantMode::Mxfp8, 8, 32)]
#[case(json!({"group_size": 128, "bits": 3}), QuantMode::Affine, 3, 128)]
fn quantization_config_has_meaning(
    #[case] value: Value,
    #[case] mode: QuantMode,
    #[case] bits: u32,
    #[case] group_size: usize,
) {
    let config = config_with("quantization_config", value);
    let spec = QuantizationSpec::from_config(&config).unwrap().unwrap();
    assert_eq!(spec.default(), ModuleQuantization { mode, bits, group_size });
}

#[test]
fn quantization_wins_over_quantization_config() {
    let mut config = config_with("quantization", json!({"group_size": 64, "bits": 8}));
    config.insert("quantization_config".into(), json!({"quant_method": "gptq"}));
    let spec = QuantizationSpec::from_config(&config).unwrap().unwrap();
    assert_eq!(spec.default().bits, 8);
}

#[test]
fn a_module_is_quantized_by_mlx_lms_rules() {
    use verbatim_engine::weights::Dtype::{Bf16, U8};
    let spec = quantization(json!({
        "group_size": null, "bits": 4,
        "named": {"bits": 6, "group_size": null},
        "kept": false, "nothing": {}, "null": null, "as_top": true,
    }))
    .unwrap()
    .unwrap();
    let affine =
        |bits, group_size| Some(ModuleQuantization { mode: QuantMode::Affine, bits, group_size });
    let module = |path: &str, weight: &[usize], scales: &[usize]| {
        spec.module(path, 256, Some(weight), Some((Bf16, scales))).unwrap()
    };
    assert_eq!(Some(spec.default()), affine(4, 64));
    // What the configuration names is taken at its word, tensors or not.
    assert_eq!(spec.module("named", 256, None, None).unwrap(), affine(6, 64));
    assert_eq!(spec.module("as_top", 256, None, None).unwrap(), affine(4, 64));
    for dense in ["kept", "nothing", "null"] {
        assert_eq!(module(dense, &[8, 32], &[8, 4]), None, "{dense}");
    }
    // The rest is judged by its tensors; the top level does not count.
    assert_eq!(module("other", &[8, 64], &[8, 2]), affine(8, 128));
    assert_eq!(module("other", &[8, 24], &[8, 8]), affine(3, 32));
    assert_eq!(spec.module("other", 256, Some(&[8, 256]), None).unwrap(), None);
    let mxfp4 = spec.module("other", 256, Some(&[8, 32]), Some((U8, &[8, 8]))).unwrap().unwrap();
    assert_eq!(mxfp4.mode, QuantMode::Mxfp4);
    let nvfp4 = spec.module("other", 256, Some(&[8, 32]), Some((U8, &[8, 16]))).unwrap().unwrap();
    assert_eq!(nvfp4.mode, QuantMode::Nvfp4);
    for (weight, scales, dtype) in [
        (&[8usize, 32][..], &[8usize, 0][..], Bf16),
        (&[8, 32], &[], Bf16),
        (&[], &[8, 4], Bf16),
        (&[8, 32], &[8, 3], Bf16),
        (&[8, 56], &[8, 4], Bf16),
        (&[8, 32], &[8, 4], U8),
    ] {
        let result = spec.module("other", 256, Some(weight), Some((dtype, scales)));
        assert!(result.is_err(), "{weight:?} {scales:?} {dtype}");
    }
    assert!(spec.module("other", 0, Some(&[8, 32]), Some((Bf16, &[8, 4]))).is_err());
}
