//! Made models: same bytes everywhere, whole or not at all, loadable.

use std::{collections::BTreeMap, fs};

use serde_json::{Value, json};
use verbatim_harness::{
    case::{Dtype, Layout, MadeModel, ModelSource, ModelSpec},
    maker::{ModelStore, plan, write_model},
    tensor::{TensorFile, weight_files, weights_sha256},
};

fn tiny() -> MadeModel {
    let geometry = json!({
        "model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 67,
        "rms_norm_eps": 1e-6, "rope_theta": 10000, "tie_word_embeddings": false, "eos_token_id": [1, 3]
    });
    let geometry: BTreeMap<String, Value> = serde_json::from_value(geometry).unwrap();
    MadeModel {
        geometry,
        layout: Layout::Hf,
        seed: 1,
        dtype: Dtype::Bf16,
        logit_deviation: None,
        shards: 1,
    }
}

#[test]
fn weights_have_the_recorded_digest() {
    let folder = tempfile::tempdir().unwrap();
    write_model(&tiny(), folder.path()).unwrap();
    // Computed by an independent implementation of the same recipe.
    assert_eq!(
        weights_sha256(folder.path()).unwrap(),
        "64d5d830de92be471d760ef7367452544e7e1771c9e485ad67efd6a77e212668"
    );
}

#[test]
fn shards_and_layout_change_files_not_weights() {
    let one = tempfile::tempdir().unwrap();
    let many = tempfile::tempdir().unwrap();
    write_model(&tiny(), one.path()).unwrap();
    write_model(&MadeModel { shards: 3, layout: Layout::Mlx, ..tiny() }, many.path()).unwrap();
    assert_eq!(weight_files(many.path()).unwrap().len(), 3);
    assert_eq!(weights_sha256(one.path()).unwrap(), weights_sha256(many.path()).unwrap());

    let index: Value = serde_json::from_slice(
        &fs::read(many.path().join("model.safetensors.index.json")).unwrap(),
    )
    .unwrap();
    for (tensor, file) in index["weight_map"].as_object().unwrap() {
        let file = TensorFile::read(&many.path().join(file.as_str().unwrap())).unwrap();
        assert!(file.tensors.contains_key(tensor), "{tensor}");
    }
}

#[test]
fn seeds_and_dtypes_change_weights() {
    let digest = |model: MadeModel| {
        let folder = tempfile::tempdir().unwrap();
        write_model(&model, folder.path()).unwrap();
        weights_sha256(folder.path()).unwrap()
    };
    let base = digest(tiny());
    assert_ne!(base, digest(MadeModel { seed: 2, ..tiny() }));
    assert_ne!(base, digest(MadeModel { dtype: Dtype::F16, ..tiny() }));
}

#[test]
fn tied_models_have_no_head_and_biases_come_with_their_flags() {
    let mut model = tiny();
    model.geometry.insert("tie_word_embeddings".into(), json!(true));
    model.geometry.insert("attention_bias".into(), json!(true));
    let names: Vec<String> = plan(&model).unwrap().into_iter().map(|t| t.name).collect();
    assert!(!names.contains(&"lm_head.weight".to_owned()));
    assert!(names.contains(&"model.layers.1.self_attn.o_proj.bias".to_owned()));
    assert!(!names.contains(&"model.layers.1.mlp.up_proj.bias".to_owned()));
}

#[test]
fn absurd_geometry_is_refused() {
    for (key, value) in [
        ("hidden_size", json!(0)),
        ("hidden_size", json!(1_u64 << 60)),
        ("vocab_size", json!("many")),
        ("model_type", json!("bert")),
        ("num_hidden_layers", Value::Null),
        ("tie_word_embeddings", json!(1)),
    ] {
        let mut model = tiny();
        model.geometry.insert(key.into(), value.clone());
        assert!(plan(&model).is_err(), "{key} = {value}");
    }
}

#[test]
fn the_store_makes_once_and_never_leaves_halves() {
    let cache = tempfile::tempdir().unwrap();
    let store = ModelStore::new(cache.path()).with_cache(cache.path().join("models"));
    let spec = ModelSpec { source: ModelSource::Made(tiny()), quantization: None };

    let folder = store.dense(&spec).unwrap();
    let written = fs::metadata(folder.join("model.safetensors")).unwrap().modified().unwrap();
    assert_eq!(store.dense(&spec).unwrap(), folder);
    assert_eq!(
        fs::metadata(folder.join("model.safetensors")).unwrap().modified().unwrap(),
        written
    );

    let other = ModelSpec {
        source: ModelSource::Made(MadeModel { seed: 9, ..tiny() }),
        quantization: None,
    };
    let failed = store.cached(&other, |folder| {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("model.safetensors"), "half").unwrap();
        Err(verbatim_harness::Error::Model("interrupted".into()))
    });
    assert!(failed.is_err());
    assert_eq!(fs::read_dir(cache.path().join("models")).unwrap().count(), 1);
}

fn tiny_qwen() -> MadeModel {
    let geometry = json!({
        "model_type": "qwen3_5",
        "vision_config": { "depth": 1 },
        "text_config": {
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
            "full_attention_interval": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
            "head_dim": 16, "linear_num_key_heads": 1, "linear_num_value_heads": 2,
            "linear_key_head_dim": 8, "linear_value_head_dim": 12, "linear_conv_kernel_dim": 3,
            "vocab_size": 67, "tie_word_embeddings": true, "mtp_num_hidden_layers": 1
        }
    });
    MadeModel { geometry: serde_json::from_value(geometry).unwrap(), ..tiny() }
}

#[test]
fn qwen3_5_differs_by_layout_as_published_checkpoints_do() {
    let shapes = |layout| -> BTreeMap<String, (Vec<usize>, f32)> {
        let tensors = plan(&MadeModel { layout, ..tiny_qwen() }).unwrap();
        tensors.into_iter().map(|t| (t.name, (t.shape, t.init.offset))).collect()
    };
    let (hf, mlx) = (shapes(Layout::Hf), shapes(Layout::Mlx));
    assert_eq!(hf.len(), mlx.len());
    let at = |tensors: &BTreeMap<String, (Vec<usize>, f32)>, name: &str| tensors[name].clone();
    let layer = "layers.0.linear_attn.conv1d.weight";
    assert_eq!(at(&hf, &format!("model.language_model.{layer}")).0, [40, 1, 3]);
    assert_eq!(at(&mlx, &format!("language_model.model.{layer}")).0, [40, 3, 1]);
    // Norms lie around zero in the one and around one in the other, but for the recurrent layer's.
    for (norm, in_hf) in [("layers.0.input_layernorm", 0.0), ("layers.0.linear_attn.norm", 1.0)] {
        assert_eq!(at(&hf, &format!("model.language_model.{norm}.weight")).1, in_hf);
        assert_eq!(at(&mlx, &format!("language_model.model.{norm}.weight")).1, 1.0);
    }
    assert!(hf.keys().any(|n| n.starts_with("model.visual.")) && hf.contains_key("mtp.fc.weight"));
    assert!(!hf.contains_key("lm_head.weight"), "tied models have no head");
}
