use std::{collections::BTreeMap, path::Path};

use serde_json::{Value, json};
use verbatim_harness::{
    case::{Layout, MadeModel},
    maker::write_model,
    tensor::{RawTensor, TensorFile},
};

use super::*;
use crate::{cache, mlx::to_named_tensor};

const PROMPT: [i32; 12] = [3, 41, 7, 7, 19, 60, 2, 33, 8, 50, 12, 27];

/// A tiny model in the f32 layout of Hugging Face, changed by a merge of `change` into its text
/// configuration and of `outer` into the rest.
fn write_tiny(folder: &Path, change: &Value, outer: &Value) {
    let mut text = json!({
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
        "full_attention_interval": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "head_dim": 16, "linear_num_key_heads": 1, "linear_num_value_heads": 2,
        "linear_key_head_dim": 8, "linear_value_head_dim": 12, "linear_conv_kernel_dim": 4,
        "vocab_size": 64, "tie_word_embeddings": true,
    });
    merge(&mut text, change);
    let mut geometry = json!({"model_type": "qwen3_5", "text_config": text});
    merge(&mut geometry, outer);
    let model = json!({"geometry": geometry, "seed": 3, "dtype": "f32"});
    let model: MadeModel = serde_json::from_value(model).unwrap();
    assert_eq!(model.layout, Layout::Hf);
    write_model(&model, folder).unwrap();
}

fn merge(target: &mut Value, change: &Value) {
    for (key, value) in change.as_object().unwrap() {
        target[key] = value.clone();
    }
}

fn tiny(change: &Value, outer: &Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_tiny(folder.path(), change, outer);
    folder
}

fn load(folder: &Path) -> Box<dyn Model> {
    build(&ModelDir::open(folder).unwrap(), Mutation::None).unwrap()
}

/// The bits of the logits for `ids`, which go behind what `caches` hold.
fn step(model: &dyn Model, caches: &mut [LayerCache], ids: &[i32]) -> Vec<u8> {
    let ids = Array::from_slice(ids, &[1, ids.len() as i32]);
    let hidden = model.hidden(&ids, caches, &mut Probe::default()).unwrap();
    to_named_tensor("logits", &model.logits(&hidden).unwrap()).unwrap().data
}

fn logits(folder: &Path) -> Vec<u8> {
    let model = load(folder);
    step(model.as_ref(), &mut model.new_caches(), &PROMPT)
}

/// The last row of `bits`.
fn last(bits: &[u8], rows: usize) -> &[u8] {
    &bits[bits.len() / rows * (rows - 1)..]
}

#[test]
fn copied_and_saved_caches_continue_as_if_uninterrupted() {
    let folder = tiny(&json!({}), &json!({}));
    let model = load(folder.path());
    let whole = step(model.as_ref(), &mut model.new_caches(), &PROMPT);

    let mut caches = model.new_caches();
    step(model.as_ref(), &mut caches, &PROMPT[..7]);
    let mut copy = caches.clone();
    let path = folder.path().join("cache.safetensors");
    cache::file::save(&path, &caches, &BTreeMap::new()).unwrap();
    // The original moves on elsewhere; neither copy may follow it.
    let elsewhere = step(model.as_ref(), &mut caches, &[1, 2, 3, 4, 5]);
    let (mut saved, _) = cache::file::load(&path).unwrap();

    let continued = step(model.as_ref(), &mut copy, &PROMPT[7..]);
    assert_eq!(last(&continued, 5), last(&whole, 12));
    assert_eq!(step(model.as_ref(), &mut saved, &PROMPT[7..]), continued);
    assert_ne!(last(&elsewhere, 5), last(&whole, 12));
}

#[test]
fn recurrent_memory_matters_and_cannot_be_trimmed() {
    let folder = tiny(&json!({}), &json!({}));
    let model = load(folder.path());
    let mut caches = model.new_caches();
    step(model.as_ref(), &mut caches, &PROMPT[..7]);
    assert_eq!(cache::trim(&mut caches, 2), 0);
    let mut forgetful = caches.clone();
    for layer in &mut forgetful {
        if let LayerCache::Arrays(state) = layer {
            assert_eq!(state.delta.as_ref().unwrap().dtype(), Dtype::Float32);
            state.delta = None;
        }
    }
    let kept = step(model.as_ref(), &mut caches, &PROMPT[7..]);
    assert_ne!(step(model.as_ref(), &mut forgetful, &PROMPT[7..]), kept);
}

/// The tensors of `folder` as mlx-lm saves them: names, convolution axes, norms raised by one.
fn to_mlx_layout(folder: &Path) {
    let path = folder.join("model.safetensors");
    let mut file = TensorFile::read(&path).unwrap();
    let norms =
        ["layernorm.weight", "q_norm.weight", "k_norm.weight", "language_model.norm.weight"];
    let tensors = std::mem::take(&mut file.tensors);
    for (name, mut tensor) in tensors {
        if name.ends_with("conv1d.weight") {
            tensor.shape.swap(1, 2);
        }
        if norms.iter().any(|norm| name.ends_with(norm)) {
            raise_by_one(&mut tensor);
        }
        let name = match name.strip_prefix("model.language_model.") {
            Some(rest) => format!("language_model.model.{rest}"),
            None => format!("language_model.{name}"),
        };
        file.tensors.insert(name, tensor);
    }
    file.write(&path).unwrap();
}

fn raise_by_one(tensor: &mut RawTensor) {
    for value in tensor.data.chunks_exact_mut(4) {
        let raised = f32::from_le_bytes(value.try_into().unwrap()) + 1.0;
        value.copy_from_slice(&raised.to_le_bytes());
    }
}

#[test]
fn both_layouts_are_one_model() {
    for tied in [true, false] {
        let folder = tiny(&json!({"tie_word_embeddings": tied}), &json!({}));
        let original = logits(folder.path());
        to_mlx_layout(folder.path());
        assert_eq!(logits(folder.path()), original, "tied: {tied}");
    }
}

#[test]
fn other_modalities_and_predictors_are_set_aside() {
    let plain = tiny(&json!({}), &json!({}));
    let change = json!({"mtp_num_hidden_layers": 2, "mtp_use_dedicated_embeddings": false});
    let outer = json!({"vision_config": {"depth": 1}, "vision_start_token_id": 5});
    let full = tiny(&change, &outer);
    let names = ModelDir::open(full.path()).unwrap();
    assert!(names.tensors().keys().any(|n| n.starts_with("model.visual.")));
    assert!(names.tensors().contains_key("mtp.fc.weight"));
    assert_eq!(logits(full.path()), logits(plain.path()));
}

#[test]
fn a_tied_model_ignores_a_head_that_lies_there() {
    let folder = tiny(&json!({}), &json!({}));
    let tied = logits(folder.path());
    let path = folder.path().join("model.safetensors");
    let mut file = TensorFile::read(&path).unwrap();
    let mut head = file.tensors["model.language_model.embed_tokens.weight"].clone();
    head.data.reverse();
    file.tensors.insert("lm_head.weight".into(), head);
    file.write(&path).unwrap();
    assert_eq!(logits(folder.path()), tied);
}

#[test]
fn what_metal_would_round_differently_is_refused_there() {
    let config = |dims: usize| {
        let text = json!({"linear_key_head_dim": dims});
        Qwen35Config::from_map(text.as_object().unwrap()).unwrap()
    };
    assert!(refuse_metal(&config(128), false).is_ok());
    assert!(refuse_metal(&config(24), true).is_ok());
    let refused = refuse_metal(&config(128), true).unwrap_err().to_string();
    assert!(refused.contains("not ported yet"), "{refused}");
}
