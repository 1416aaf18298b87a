//! Whole model directories: strict checking, loading through MLX, and the report.

mod weights_support;

use rstest::rstest;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use verbatim_engine::weights::{
    Dtype, Fields, LlamaConfig, ModelDir, QuantizationSpec, inspect, load_lazy,
};
use weights_support::{Tensor, config, config_with, dir_of, model_tensors, safetensors, text};

/// The tensors that `config` asks for.
fn tensors_of(config: &Map<String, Value>) -> Vec<Tensor> {
    let llama = LlamaConfig::from_fields(&Fields::new(config)).unwrap();
    let spec = QuantizationSpec::from_config(config).unwrap();
    model_tensors(&llama.expected(), spec.as_ref())
}

fn model_dir(config: &Map<String, Value>, tensors: &[Tensor]) -> TempDir {
    dir_of(&[
        ("config.json", &text(config)),
        ("model.safetensors", &safetensors(tensors)),
        ("tokenizer.json", b"{}"),
        ("tokenizer_config.json", br#"{"chat_template": "x"}"#),
    ])
}

fn check(dir: &TempDir) -> verbatim_engine::Result<usize> {
    let dir = ModelDir::open(dir.path())?;
    Ok(LlamaConfig::from_dir(&dir)?.check(&dir)?.quantized().len())
}

fn quantized_config() -> Map<String, Value> {
    let mut config = config();
    config.insert(
        "quantization".into(),
        json!({
            "group_size": 32, "bits": 4,
            "lm_head": {"group_size": 64, "bits": 8},
            "model.layers.0.self_attn.q_proj": false,
            "model.layers.1.mlp.up_proj": {"group_size": 32, "bits": 3},
        }),
    );
    config
}

#[test]
fn a_dense_model_is_accepted() {
    let config = config();
    assert_eq!(check(&model_dir(&config, &tensors_of(&config))), Ok(0));
}

#[test]
fn a_quantized_model_is_accepted() {
    let config = quantized_config();
    // Two layers of seven linears, embedding and head, less the one kept dense.
    assert_eq!(check(&model_dir(&config, &tensors_of(&config))), Ok(15));
}

#[test]
fn what_sanitize_drops_may_be_there() {
    let config = config_with("tie_word_embeddings", json!(true));
    let mut tensors = tensors_of(&config);
    assert!(tensors.iter().all(|t| t.name != "lm_head.weight"));
    tensors.push(Tensor::new("lm_head.weight", Dtype::Bf16, &[96, 64]));
    let inv_freq = "model.layers.0.self_attn.rotary_emb.inv_freq";
    tensors.push(Tensor::new(inv_freq, Dtype::F32, &[16]));
    let dir = model_dir(&config, &tensors);
    assert_eq!(check(&dir), Ok(0));
    let opened = ModelDir::open(dir.path()).unwrap();
    let arrays = LlamaConfig::from_dir(&opened).unwrap().sanitize(load_lazy(&opened).unwrap());
    assert!(!arrays.contains_key(inv_freq) && !arrays.contains_key("lm_head.weight"));
}

/// Changes the tensor named `name`.
fn edit(tensors: &mut [Tensor], name: &str, change: impl FnOnce(&mut Tensor)) {
    change(tensors.iter_mut().find(|t| t.name == name).unwrap());
}

#[rstest]
#[case(|t: &mut Vec<Tensor>| { t.retain(|t| t.name != "model.norm.weight"); }, "1 missing: model.norm.weight")]
#[case(|t: &mut Vec<Tensor>| { t.retain(|t| !t.name.contains("layers.1")); }, "9 missing: model.layers.1.input_layernorm.weight, ")]
#[case(|t: &mut Vec<Tensor>| t.push(Tensor::new("extra", Dtype::F32, &[1])), "1 unexpected: extra")]
#[case(|t: &mut Vec<Tensor>| t.push(Tensor::new("model.layers.0.mlp.up_proj.bias", Dtype::F32, &[128])), "1 unexpected: model.layers.0.mlp.up_proj.bias")]
#[case(|t: &mut Vec<Tensor>| edit(t, "model.norm.weight", |t| t.shape = vec![63]), "1 with another shape: model.norm.weight is [63], the configuration asks for [64]")]
#[case(|t: &mut Vec<Tensor>| edit(t, "lm_head.weight", |t| t.shape.reverse()), "lm_head.weight is [64, 96]")]
#[case(|t: &mut Vec<Tensor>| edit(t, "lm_head.weight", |t| t.dtype = Dtype::I64), "lm_head.weight is I64; expected BF16, F16 or F32")]
#[case(|t: &mut Vec<Tensor>| edit(t, "lm_head.weight", |t| t.dtype = Dtype::F8E4m3), "lm_head.weight is F8_E4M3")]
fn a_dense_misfit_is_refused(#[case] change: fn(&mut Vec<Tensor>), #[case] says: &str) {
    let config = config();
    let mut tensors = tensors_of(&config);
    change(&mut tensors);
    let error = check(&model_dir(&config, &tensors)).unwrap_err().to_string();
    assert!(error.contains(says), "{error}\nshould contain: {says}");
}

#[rstest]
#[case(|t: &mut Vec<Tensor>| t.retain(|t| t.name != "lm_head.scales"), "1 missing: lm_head.scales")]
#[case(|t: &mut Vec<Tensor>| t.retain(|t| t.name != "model.embed_tokens.biases"), "1 missing: model.embed_tokens.biases")]
#[case(|t: &mut Vec<Tensor>| edit(t, "lm_head.weight", |t| t.shape[1] = 8), "lm_head.weight is [96, 8], the configuration asks for [96, 16]")]
#[case(|t: &mut Vec<Tensor>| edit(t, "lm_head.weight", |t| t.dtype = Dtype::I32), "lm_head.weight is I32; expected U32")]
#[case(|t: &mut Vec<Tensor>| edit(t, "model.embed_tokens.scales", |t| t.shape[1] = 7), "model.embed_tokens is quantized as affine with 4 bits and group_size 9")]
#[case(|t: &mut Vec<Tensor>| edit(t, "model.embed_tokens.scales", |t| t.shape[1] = 0), "shapes do not tell")]
#[case(|t: &mut Vec<Tensor>| edit(t, "model.embed_tokens.scales", |t| t.dtype = Dtype::U8), "1 unexpected: model.embed_tokens.biases")]
fn a_quantized_misfit_is_refused(#[case] change: fn(&mut Vec<Tensor>), #[case] says: &str) {
    let config = quantized_config();
    let mut tensors = tensors_of(&config);
    change(&mut tensors);
    let error = check(&model_dir(&config, &tensors)).unwrap_err().to_string();
    assert!(error.contains(says), "{error}\nshould contain: {says}");
}

#[test]
fn a_scheme_that_does_not_fit_is_refused() {
    let tensors = tensors_of(&quantized_config());
    let refused = |key: &str, value: Value| {
        let mut config = quantized_config();
        config["quantization"][key] = value;
        check(&model_dir(&config, &tensors)).unwrap_err().to_string()
    };
    let error = refused("lm_head", json!({"group_size": 128, "bits": 8}));
    assert!(error.contains("lm_head has rows of 64 weights, which groups of 128"), "{error}");
    let error = refused("model.norm", json!({"bits": 8}));
    assert!(error.contains("quantization names model.norm, which stays dense"), "{error}");
    let error = refused("lm_head", json!({"mode": "nvfp4"}));
    assert!(
        error.contains("lm_head.weight is [96, 16], the configuration asks for [96, 8]"),
        "{error}"
    );
    assert!(error.contains("lm_head.scales is BF16; expected U8"), "{error}");

    let mut config = quantized_config();
    config.shift_remove("quantization");
    let error = check(&model_dir(&config, &tensors)).unwrap_err().to_string();
    assert!(error.contains("config.json has no \"quantization\""), "{error}");
}

#[test]
fn mlx_loads_what_the_check_saw() {
    let config = quantized_config();
    let dir = model_dir(&config, &tensors_of(&config));
    let opened = ModelDir::open(dir.path()).unwrap();
    let arrays = load_lazy(&opened).unwrap();
    assert!(arrays.keys().eq(opened.tensors().keys()));
    let weight = &arrays["lm_head.weight"];
    assert_eq!(weight.shape(), [96, 16]);
    assert_eq!(weight.dtype(), mlx_rs::Dtype::Uint32);
    let values = weight.to_vec_exact::<u32>().unwrap();
    assert!(values.iter().all(|&v| v == 0x3c3c_3c3c || v == 0x3d3d_3d3d));
}

#[test]
fn mlx_reads_every_dtype_of_the_check() {
    let tensors: Vec<Tensor> =
        Dtype::ALL.iter().map(|&d| Tensor::new(d.name(), d, &[2, 3])).collect();
    let dir = model_dir(&config(), &tensors);
    let opened = ModelDir::open(dir.path()).unwrap();
    let arrays = load_lazy(&opened).unwrap();
    for dtype in Dtype::ALL {
        assert_eq!(arrays[dtype.name()].nbytes() as u64, 6 * dtype.bytes(), "{dtype}");
    }
}

#[test]
fn a_file_that_changed_is_refused() {
    let config = config();
    let dir = model_dir(&config, &tensors_of(&config));
    let opened = ModelDir::open(dir.path()).unwrap();
    let other = safetensors(&[Tensor::new("a", Dtype::F32, &[1])]);
    weights_support::put(dir.path(), "model.safetensors", &other);
    let error = load_lazy(&opened).unwrap_err().to_string();
    assert!(error.contains("changed while they were loaded"), "{error}");
}

#[test]
fn a_report_adds_up() {
    let config = quantized_config();
    let report = inspect(model_dir(&config, &tensors_of(&config)).path()).unwrap();
    assert!(report.supported, "{:?}", report.problems);
    assert_eq!(Some(report.weights.parameters), report.config_parameters);
    let by_dtype: u64 = report.weights.bytes_by_dtype.values().sum();
    let by_part: u64 = report.weights.components.iter().map(|c| c.bytes).sum();
    assert_eq!((by_dtype, by_part), (report.weights.bytes, report.weights.bytes));
    // Two layers, keys and values, two heads of 32, two bytes each.
    assert_eq!(report.cache_bytes_per_token, Some(512));
    assert_eq!(report.memory[0].cache_bytes, 512 * 1024);
    let quantization = report.quantization.unwrap();
    assert_eq!(quantization.modules["affine 4-bit, group 32"], 13);
    assert_eq!(quantization.modules["affine 8-bit, group 64"], 1);
    assert_eq!(quantization.modules["affine 3-bit, group 32"], 1);
}

/// MiniCPM5-1B's published sizes; no weights needed to count its parameters.
fn minicpm5() -> Map<String, Value> {
    let mut config = config();
    for (key, value) in [
        ("hidden_size", 1536),
        ("num_hidden_layers", 24),
        ("intermediate_size", 4608),
        ("num_attention_heads", 16),
        ("num_key_value_heads", 2),
        ("head_dim", 128),
        ("vocab_size", 130_560),
        ("max_position_embeddings", 131_072),
    ] {
        config.insert(key.into(), value.into());
    }
    config.insert("eos_token_id".into(), json!([1, 130_073]));
    config
}

#[test]
fn published_sizes_are_counted_from_the_configuration() {
    let dir = dir_of(&[("config.json", &text(&minicpm5()))]);
    let report = inspect(dir.path()).unwrap();
    assert!(!report.supported);
    assert_eq!(report.config_parameters, Some(1_080_632_832));
    assert_eq!(report.weights.parameters, 1_080_632_832);
    assert_eq!(report.weights.bytes, 2 * 1_080_632_832);
    assert_eq!(report.cache_bytes_per_token, Some(24 * 2 * 2 * 128 * 2));
    assert_eq!(report.memory.len(), 3);
}

#[test]
fn a_quantized_size_is_estimated_as_it_would_be_stored() {
    let config = quantized_config();
    let stored = inspect(model_dir(&config, &tensors_of(&config)).path()).unwrap();
    let estimated = inspect(dir_of(&[("config.json", &text(&config))]).path()).unwrap();
    assert_eq!(estimated.weights.components, stored.weights.components);
    assert_eq!(estimated.weights.bytes_by_dtype, stored.weights.bytes_by_dtype);
}

#[test]
fn an_unsupported_family_is_still_described() {
    let mut config = quantized_config();
    config.insert("model_type".into(), json!("gpt_j"));
    let tensors = [
        Tensor::new("transformer.h.0.attn.q.weight", Dtype::U32, &[8, 16]),
        Tensor::new("transformer.h.0.attn.q.scales", Dtype::F16, &[8, 4]),
        Tensor::new("transformer.h.0.attn.q.biases", Dtype::F16, &[8, 4]),
        Tensor::new("transformer.wte.weight", Dtype::F16, &[32, 128]),
    ];
    let report = inspect(model_dir(&config, &tensors).path()).unwrap();
    assert!(!report.supported && report.config_parameters.is_none() && report.memory.is_empty());
    let says = "model_type \"gpt_j\" is not supported; supported: llama";
    assert!(report.problems[0].contains(says), "{:?}", report.problems);
    assert_eq!(report.weights.parameters, 8 * 128 + 32 * 128);
}

#[test]
fn every_problem_is_listed() {
    let mut config = config();
    config.insert("model_file".into(), json!("m.py"));
    config.insert("num_hidden_layers".into(), json!(0));
    config.insert("eos_token_id".into(), json!("</s>"));
    config.insert("quantization".into(), json!({"group_size": 64, "bits": 0}));
    let dir = dir_of(&[("config.json", &text(&config)), ("model.safetensors", b"x")]);
    let report = inspect(dir.path()).unwrap();
    let problems = report.problems.join("\n");
    for says in [
        "model_file",
        "num_hidden_layers is 0",
        "eos_token_id is",
        "quantization.bits is 0",
        "too short for a safetensors file",
        "tokenizer.json is missing",
    ] {
        assert!(problems.contains(says), "{problems}\nshould contain: {says}");
    }
    assert!(report.warnings.iter().any(|w| w.contains("no chat template")));
}

#[test]
fn the_report_reads_well() {
    let root = TempDir::new().unwrap();
    let dir = root.path().join("MiniCPM5-tiny-4bit");
    std::fs::create_dir(&dir).unwrap();
    let config = quantized_config();
    weights_support::put(&dir, "config.json", &text(&config));
    weights_support::put(&dir, "model.safetensors", &safetensors(&tensors_of(&config)));
    weights_support::put(&dir, "tokenizer.json", b"{}");
    weights_support::put(&dir, "tokenizer_config.json", b"{}");
    weights_support::put(&dir, "chat_template.jinja", b"x");
    insta::assert_snapshot!("inspect_small", inspect(&dir).unwrap().to_string());

    let big = root.path().join("MiniCPM5-1B");
    std::fs::create_dir(&big).unwrap();
    weights_support::put(&big, "config.json", &text(&minicpm5()));
    let shown = inspect(&big).unwrap().to_string();
    let shown = shown.replace(&root.path().display().to_string(), "MODELS");
    insta::assert_snapshot!("inspect_config_only", shown);
}

#[test]
fn a_name_cannot_command_the_terminal() {
    let root = TempDir::new().unwrap();
    let dir = root.path().join("m\u{1b}[2J\n");
    std::fs::create_dir(&dir).unwrap();
    weights_support::put(&dir, "config.json", &text(&config()));
    let report = inspect(&dir).unwrap();
    let shown = report.to_string();
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["model_type"], "llama");
}
