//! Adapter folders: what is accepted, every refusal with its advice, hostile files.

mod weights_support;

use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use verbatim_engine::{
    Engine, EngineOptions,
    adapter::{AdapterDir, AdapterFormat, AdapterInfo, AdapterKind},
    weights::{Dtype, Fields, LlamaConfig, ModelDir, QuantizationSpec},
};
use verbatim_harness::maker::write_model;
use weights_support::{Tensor, config, dir_of, model_tensors, object, safetensors, text};

/// The model of [`config`]: 2 layers, hidden 64, queries 128 wide; `bits` wide where quantized.
fn model(changes: Value, bits: Option<u32>) -> TempDir {
    let mut config = config();
    config.extend(object(changes));
    let expected = LlamaConfig::from_fields(&Fields::new(&config));
    if let Some(bits) = bits {
        config.insert("quantization".into(), json!({"bits": bits, "group_size": 32}));
    }
    let spec = QuantizationSpec::from_config(&config).unwrap();
    let tensors = model_tensors(&expected.unwrap().expected(), spec.as_ref());
    dir_of(&[("config.json", &text(&config)), ("model.safetensors", &safetensors(&tensors))])
}

fn plain() -> TempDir {
    model(json!({}), None)
}

fn mlx_config(changes: Value) -> Map<String, Value> {
    let mut config = json!({
        "fine_tune_type": "lora", "num_layers": 1, "batch_size": 4, "data": "somewhere",
        "lora_parameters": {"rank": 4, "scale": 20.0, "dropout": 0.0, "keys": ["self_attn.q_proj"]},
    });
    merge(&mut config, &changes);
    object(config)
}

fn peft_config(changes: Value) -> Map<String, Value> {
    let mut config = json!({
        "peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "bias": "none",
        "modules_to_save": null, "rank_pattern": {}, "alpha_pattern": {}, "task_type": "CAUSAL_LM",
        "fan_in_fan_out": false, "use_dora": false, "use_rslora": false, "lora_dropout": 0.1,
        "inference_mode": true, "loftq_config": {}, "init_lora_weights": true,
    });
    merge(&mut config, &changes);
    object(config)
}

fn merge(target: &mut Value, changes: &Value) {
    match changes {
        Value::Object(map) => {
            for (key, value) in map {
                merge(&mut target[key.as_str()], value);
            }
        }
        other => *target = other.clone(),
    }
}

/// `model.layers.1.self_attn.q_proj`, `[64, 4]` and `[4, 128]`.
fn mlx_tensors() -> Vec<Tensor> {
    let name = |part: &str| format!("model.layers.1.self_attn.q_proj.{part}");
    vec![
        Tensor::new(name("lora_a"), Dtype::F32, &[64, 4]),
        Tensor::new(name("lora_b"), Dtype::F32, &[4, 128]),
    ]
}

fn peft_tensors() -> Vec<Tensor> {
    let name = |part: &str| format!("base_model.model.model.layers.0.self_attn.q_proj.{part}");
    vec![
        Tensor::new(name("lora_A.weight"), Dtype::F32, &[4, 64]),
        Tensor::new(name("lora_B.weight"), Dtype::F32, &[128, 4]),
    ]
}

fn folder(weights: &str, config: &Map<String, Value>, tensors: &[Tensor]) -> TempDir {
    dir_of(&[("adapter_config.json", &text(config)), (weights, &safetensors(tensors))])
}

fn mlx(config: &Map<String, Value>, tensors: &[Tensor]) -> TempDir {
    folder("adapters.safetensors", config, tensors)
}

fn peft(config: &Map<String, Value>, tensors: &[Tensor]) -> TempDir {
    folder("adapter_model.safetensors", config, tensors)
}

fn fit(adapter: &TempDir, model: &TempDir) -> Result<AdapterInfo, String> {
    let dir = ModelDir::open(model.path()).unwrap();
    let plan = AdapterDir::open(adapter.path()).and_then(|adapter| adapter.fit(&dir));
    plan.map(|plan| plan.info).map_err(|e| e.to_string())
}

#[test]
fn both_formats_fit_with_their_facts() {
    let info = fit(&mlx(&mlx_config(json!({})), &mlx_tensors()), &plain()).unwrap();
    assert_eq!((info.format, info.kind), (AdapterFormat::MlxLm, AdapterKind::Lora));
    assert_eq!((info.rank, info.scale, info.modules), (Some(4), Some(20.0), 1));
    assert_eq!((info.parameters, info.bytes), (64 * 4 + 4 * 128, 4 * (64 * 4 + 4 * 128)));
    let info = fit(&peft(&peft_config(json!({})), &peft_tensors()), &plain()).unwrap();
    assert_eq!((info.format, info.scale), (AdapterFormat::Peft, Some(2.0)));
    let stable = peft_config(json!({"use_rslora": true}));
    assert_eq!(fit(&peft(&stable, &peft_tensors()), &plain()).unwrap().scale, Some(4.0));
    assert!(info.to_string().contains("PEFT lora · rank 4 · scale 2 · 1 module · 768 parameters"));
}

#[rstest]
#[case::kind(json!({"fine_tune_type": "ia3"}), "fine_tune_type is \"ia3\"; expected lora, dora or full")]
#[case::no_parameters(json!({"lora_parameters": null}), "lora_parameters is missing")]
#[case::layers(json!({"num_layers": 1.5}), "num_layers is 1.5; expected an integer")]
#[case::no_layers(json!({"num_layers": null}), "num_layers is null")]
#[case::rank(json!({"lora_parameters": {"rank": 0}}), "lora_parameters.rank is 0")]
#[case::rank_of_tensors(json!({"lora_parameters": {"rank": 5}}), "q_proj.lora_a is [64, 4], the model asks for [64, 5]")]
#[case::scale(json!({"lora_parameters": {"scale": "big"}}), "lora_parameters.scale is \"big\"")]
#[case::dropout(json!({"lora_parameters": {"dropout": 1.0}}), "dropout is 1.0; expected a number from 0 to below 1")]
#[case::keys(json!({"lora_parameters": {"keys": "self_attn.q_proj"}}), "expected a list of strings")]
#[case::other_keys(json!({"lora_parameters": {"keys": ["self_attn.k_proj"]}}), "belong to no adapted module of the model: model.layers.1.self_attn.q_proj.lora_a")]
#[case::twice(json!({"lora_parameters": {"keys": ["self_attn.q_proj", "model.layers.1.self_attn.q_proj"]}}), "keys name model.layers.1.self_attn.q_proj twice")]
#[case::container(json!({"lora_parameters": {"keys": ["self_attn.q_proj", "mlp"]}}), "key mlp names")]
#[case::norm(json!({"lora_parameters": {"keys": ["self_attn.q_proj", "input_layernorm"]}}), "key input_layernorm names")]
#[case::dora_without_lengths(json!({"fine_tune_type": "dora"}), "missing beside their partners: model.layers.1.self_attn.q_proj.m")]
#[case::full(json!({"fine_tune_type": "full"}), "belong to no adapted module")]
fn mlx_configurations_are_refused(#[case] changes: Value, #[case] part: &str) {
    let error = fit(&mlx(&mlx_config(changes), &mlx_tensors()), &plain()).unwrap_err();
    assert!(error.contains(part), "{error}");
}

#[test]
fn a_missing_scale_names_alpha() {
    let mut config = mlx_config(json!({"lora_parameters": {"alpha": 16}}));
    config["lora_parameters"].as_object_mut().unwrap().shift_remove("scale");
    let error = fit(&mlx(&config, &mlx_tensors()), &plain()).unwrap_err();
    assert!(error.contains("alpha is not read"), "{error}");
}

#[test]
fn keys_that_name_nothing_are_passed_over_as_by_mlx_lm() {
    let keys = json!({"lora_parameters": {"keys": ["self_attn.q_proj", "linear_attn.in_proj_z"]}});
    fit(&mlx(&mlx_config(keys), &mlx_tensors()), &plain()).unwrap();
    // Products that were never trained are zero.
    let all = json!({"num_layers": 16, "lora_parameters": {"keys": null}});
    assert_eq!(fit(&mlx(&mlx_config(all), &mlx_tensors()), &plain()).unwrap().modules, 1);
}

#[rstest]
#[case::other_layer(
    0,
    Some("model.layers.0.self_attn.q_proj.lora_a"),
    None,
    None,
    "no adapted module"
)]
#[case::no_layer(0, Some("model.layers.9.self_attn.q_proj.lora_a"), None, None, "model.layers.9")]
#[case::shape(0, None, Some([4, 64]), None, "lora_a is [4, 64], the model asks for [64, 4]")]
#[case::dtype(1, None, None, Some(Dtype::I32), "lora_b is I32; expected BF16, F16 or F32")]
fn mlx_tensors_are_refused(
    #[case] which: usize,
    #[case] name: Option<&str>,
    #[case] shape: Option<[usize; 2]>,
    #[case] dtype: Option<Dtype>,
    #[case] part: &str,
) {
    let mut tensors = mlx_tensors();
    if let Some(name) = name {
        name.clone_into(&mut tensors[which].name);
    }
    if let Some(shape) = shape {
        tensors[which].shape = shape.to_vec();
    }
    tensors[which].dtype = dtype.unwrap_or(tensors[which].dtype);
    let error = fit(&mlx(&mlx_config(json!({})), &tensors), &plain()).unwrap_err();
    assert!(error.contains(part) && error.contains("use the model it was trained on"), "{error}");
}

#[rstest]
#[case::kind(json!({"peft_type": "LOHA"}), "peft_type is \"LOHA\"; expected LORA")]
#[case::bias(json!({"bias": "all"}), "bias is \"all\"; expected none")]
#[case::modules_to_save(json!({"modules_to_save": ["lm_head"]}), "modules_to_save is a list")]
#[case::rank_pattern(json!({"rank_pattern": {"q": 2}}), "rank_pattern is an object")]
#[case::alpha_pattern(json!({"alpha_pattern": {"q": 2}}), "alpha_pattern is an object")]
#[case::target_parameters(json!({"target_parameters": ["experts"]}), "target_parameters is a list")]
#[case::replication(json!({"layer_replication": [[0, 2]]}), "layer_replication")]
#[case::fan(json!({"fan_in_fan_out": true}), "fan_in_fan_out is true")]
#[case::unknown(json!({"use_something_new": true}), "use_something_new is true; expected it unset")]
#[case::pissa(json!({"init_lora_weights": "pissa"}), "init_lora_weights is \"pissa\"")]
#[case::alpha(json!({"lora_alpha": "8"}), "lora_alpha is \"8\"")]
#[case::rank(json!({"r": 3}), "lora_A.weight is [4, 64], the model asks for [3, 64]")]
#[case::targets(json!({"target_modules": ["v_proj"]}), "belong to no adapted module")]
#[case::dora(json!({"use_dora": true}), "missing beside their partners: base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector")]
fn peft_configurations_are_refused(#[case] changes: Value, #[case] part: &str) {
    let error = fit(&peft(&peft_config(changes), &peft_tensors()), &plain()).unwrap_err();
    assert!(error.starts_with("adapter: ") && error.contains(part), "{error}");
}

#[test]
fn peft_settings_without_effect_are_accepted() {
    let changes = json!({"target_modules": ".*q_proj", "use_qalora": false, "megatron_config": null,
        "layers_to_transform": [0], "trainable_token_indices": [], "peft_version": "0.18.0"});
    fit(&peft(&peft_config(changes), &peft_tensors()), &plain()).unwrap();
}

#[rstest]
#[case::quantized_embedding("model.embed_tokens", Some(4), "is a quantized embedding")]
#[case::three_bits("self_attn.q_proj", Some(3), "is quantized to 3, 5 or 6 bits")]
fn what_mlx_lms_dora_does_not_take(
    #[case] key: &str,
    #[case] bits: Option<u32>,
    #[case] part: &str,
) {
    let config = mlx_config(json!({"fine_tune_type": "dora", "lora_parameters": {"keys": [key]}}));
    let error = fit(&mlx(&config, &mlx_tensors()), &model(json!({}), bits)).unwrap_err();
    assert!(error.contains(part), "{error}");
}

/// Gemma-4 with experts in mlx-lm's layout, every matrix packed to 4 bits beside norms of `dtype`.
fn quantized_experts(dtype: Dtype) -> TempDir {
    let config = json!({
        "model_type": "gemma4_text", "hidden_size": 64, "intermediate_size": 64,
        "num_hidden_layers": 1, "layer_types": ["full_attention"], "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 32, "global_head_dim": 32, "vocab_size": 64,
        "num_kv_shared_layers": 0, "hidden_size_per_layer_input": 0, "enable_moe_block": true,
        "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 32,
        "tie_word_embeddings": true, "quantization": {"bits": 4, "group_size": 32},
    });
    let made = json!({"geometry": config, "layout": "mlx", "seed": 1, "dtype": "bf16"});
    let whole = TempDir::new().unwrap();
    write_model(&serde_json::from_value(made).unwrap(), whole.path()).unwrap();
    let mut tensors = Vec::new();
    for (name, info) in ModelDir::open(whole.path()).unwrap().tensors() {
        let mut shape = info.shape.clone();
        let (Some(path), 2..) = (name.strip_suffix(".weight"), shape.len()) else {
            tensors.push(Tensor::new(name, dtype, &shape));
            continue;
        };
        let last = shape.len() - 1;
        let dims = shape[last];
        shape[last] = dims / 8;
        tensors.push(Tensor::new(name, Dtype::U32, &shape));
        shape[last] = dims / 32;
        tensors.extend(
            ["scales", "biases"].map(|part| Tensor::new(format!("{path}.{part}"), dtype, &shape)),
        );
    }
    let config = text(&object(config));
    dir_of(&[("config.json", &config), ("model.safetensors", &safetensors(&tensors))])
}

#[rstest]
#[case::both_narrow(Dtype::Bf16, Dtype::Bf16, Some("convert the adapter to F32"))]
#[case::narrow_model(Dtype::Bf16, Dtype::F32, None)]
#[case::narrow_adapter(Dtype::F32, Dtype::Bf16, None)]
#[cfg_attr(not(target_os = "linux"), ignore = "MLX's GPU backends have no such limit")]
fn products_on_experts_need_f32_on_cpu(
    #[case] of_model: Dtype,
    #[case] of_adapter: Dtype,
    #[case] refusal: Option<&str>,
) {
    let key = "experts.switch_glu.down_proj";
    let name = |part: &str| format!("model.layers.0.{key}.{part}");
    let tensors = [
        Tensor::new(name("lora_a"), of_adapter, &[4, 4, 32]),
        Tensor::new(name("lora_b"), of_adapter, &[4, 64, 4]),
    ];
    let config = mlx_config(json!({"lora_parameters": {"keys": [key]}}));
    let fitted = fit(&mlx(&config, &tensors), &quantized_experts(of_model));
    match (fitted, refusal) {
        (Ok(info), None) => assert_eq!(info.modules, 1),
        (Err(error), Some(part)) => assert!(error.contains(part), "{error}"),
        (fitted, _) => panic!("{fitted:?}"),
    }
}

#[test]
fn peft_on_a_tied_embedding_is_refused() {
    let tensors = [
        Tensor::new("base_model.model.model.embed_tokens.lora_embedding_A", Dtype::F32, &[4, 96]),
        Tensor::new("base_model.model.model.embed_tokens.lora_embedding_B", Dtype::F32, &[64, 4]),
    ];
    let adapter = peft(&peft_config(json!({"target_modules": ["embed_tokens"]})), &tensors);
    fit(&adapter, &plain()).unwrap();
    let error = fit(&adapter, &model(json!({"tie_word_embeddings": true}), None)).unwrap_err();
    assert!(error.contains("is the output head too"), "{error}");
}

#[test]
fn full_fine_tuning_keeps_shapes_and_dtypes() {
    let config = mlx_config(json!({"fine_tune_type": "full", "lora_parameters": null}));
    let one = |dtype, shape: &[usize]| {
        mlx(&config, &[Tensor::new("model.layers.1.self_attn.k_proj.weight", dtype, shape)])
    };
    let info = fit(&one(Dtype::Bf16, &[64, 64]), &plain()).unwrap();
    assert_eq!((info.kind, info.rank, info.modules), (AdapterKind::Full, None, 1));
    let error = fit(&one(Dtype::F32, &[64, 64]), &plain()).unwrap_err();
    assert!(error.contains("is F32; the model has BF16"), "{error}");
    let error = fit(&one(Dtype::Bf16, &[64, 32]), &plain()).unwrap_err();
    assert!(error.contains("[64, 32], the model has [64, 64]"), "{error}");
}

#[test]
fn folders_that_are_no_adapters_say_what_is_missing() {
    let refused =
        |files: &[(&str, &[u8])]| AdapterDir::open(dir_of(files).path()).unwrap_err().to_string();
    assert!(refused(&[]).contains("has no adapter_config.json"));
    let config: (&str, &[u8]) = ("adapter_config.json", b"{}");
    assert!(refused(&[config]).contains("holds neither"));
    assert!(refused(&[config, ("adapter_model.bin", b"")]).contains("a pickle"));
    let both = [config, ("adapters.safetensors", b"" as &[u8]), ("adapter_model.safetensors", b"")];
    assert!(refused(&both).contains("remove the one"));
    assert!(AdapterDir::open("no/such/adapter").unwrap_err().to_string().contains("no/such"));
}

#[test]
fn an_engine_refuses_a_misfit_before_it_loads() {
    let model = plain();
    let adapter = mlx(&mlx_config(json!({"lora_parameters": {"rank": 5}})), &mlx_tensors());
    let mut options = EngineOptions::new(model.path());
    options.set_adapter(Some(adapter.path()));
    let error = Engine::load(options).unwrap_err().to_string();
    assert!(error.contains("the model asks for [64, 5]"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// A damaged file or configuration is an error or still an adapter, never a panic.
    #[test]
    fn damaged_adapters_never_panic(
        peft_format: bool,
        in_config: bool,
        places in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let model = plain();
        let (name, config, tensors) = if peft_format {
            ("adapter_model.safetensors", peft_config(json!({})), peft_tensors())
        } else {
            ("adapters.safetensors", mlx_config(json!({})), mlx_tensors())
        };
        let (mut config, mut weights) = (text(&config), safetensors(&tensors));
        let header = 8 + u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
        let (bytes, end) = if in_config {
            let end = config.len();
            (&mut config, end)
        } else {
            (&mut weights, header)
        };
        for (place, value) in places {
            bytes[place.index(end)] = value;
        }
        if let Some(cut) = cut {
            let at = cut.index(bytes.len());
            bytes.truncate(at);
        }
        let _ = fit(&dir_of(&[("adapter_config.json", &config), (name, &weights)]), &model);
    }
}
