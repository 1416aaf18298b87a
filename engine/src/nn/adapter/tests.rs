//! Mounting, selecting and unmounting on a made model.

use std::path::Path;

use mlx_rs::Array;
use serde_json::{Value, json};
use verbatim_harness::{
    case::MadeModel,
    maker::{write_adapter, write_model},
};

use super::AdapterId;
use crate::{
    Error,
    adapter::{AdapterDir, LoadedAdapter},
    limits, mlx,
    models::{self, Model, Mutation, Probe},
    weights::ModelDir,
};

fn made() -> MadeModel {
    let geometry = json!({
        "model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 64,
        "rms_norm_eps": 1e-6, "rope_theta": 10000, "tie_word_embeddings": true,
    });
    serde_json::from_value(json!({"geometry": geometry, "seed": 7, "dtype": "bf16"})).unwrap()
}

struct Tiny {
    folder: tempfile::TempDir,
    dir: ModelDir,
    model: Box<dyn Model>,
}

impl Tiny {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_model(&made(), folder.path()).unwrap();
        let dir = ModelDir::open(folder.path()).unwrap();
        let model = models::build(&dir, Mutation::None).unwrap();
        Self { folder, dir, model }
    }

    fn mount(&self, name: &str, adapter: Value) -> AdapterId {
        let path = self.folder.path().join(name);
        write_adapter(&made(), &serde_json::from_value(adapter).unwrap(), &path).unwrap();
        self.mount_from(&path)
    }

    fn mount_from(&self, path: &Path) -> AdapterId {
        let plan = AdapterDir::open(path).unwrap().fit(&self.dir).unwrap();
        let patches = LoadedAdapter::read(plan).unwrap().patches(Mutation::None).unwrap();
        self.model.adapters().mount(patches).unwrap()
    }

    /// Bits of the logits after a prompt with the adapters `ids`.
    fn logits(&self, ids: &[AdapterId]) -> Vec<u8> {
        self.model.adapters().select(ids).unwrap();
        let prompt = Array::from_slice(&[3_u32, 9, 27, 17], &[1, 4]);
        let mut caches = self.model.new_caches();
        let hidden = self.model.hidden(&prompt, &mut caches, &mut Probe::default()).unwrap();
        let logits = self.model.logits(&hidden).unwrap();
        mlx::to_named_tensor("logits", &logits).unwrap().data
    }
}

fn lora(seed: u64) -> Value {
    json!({"format": "mlx_lm", "seed": seed, "rank": 4, "scale": 2.0})
}

#[test]
fn adapters_come_and_go_without_a_trace() {
    let tiny = Tiny::new();
    let bare = tiny.logits(&[]);
    let first = tiny.mount("first", lora(1));
    let mut other = lora(2);
    other["keys"] = json!(["mlp.up_proj", "model.embed_tokens"]);
    let second = tiny.mount("second", other);
    let dora = tiny.mount(
        "dora",
        json!({"format": "peft", "kind": "dora", "seed": 3, "rank": 2, "scale": 4,
               "keys": ["self_attn.q_proj"]}),
    );
    assert_eq!(tiny.logits(&[]), bare, "mounted, but not selected");
    let alone: Vec<_> = [first, second, dora].iter().map(|id| tiny.logits(&[*id])).collect();
    assert!(!alone.contains(&bare));
    assert_ne!(alone[0], alone[1]);
    let both = tiny.logits(&[first, second]);
    assert!(!alone.contains(&both) && both != bare);
    assert_eq!(tiny.logits(&[]), bare, "selected and let go");

    let adapters = tiny.model.adapters();
    adapters.select(&[second]).unwrap();
    adapters.unmount(second);
    assert_eq!(tiny.logits(&[first]), alone[0], "another one was unmounted");
    adapters.unmount(first);
    adapters.unmount(dora);
    assert_eq!(tiny.logits(&[]), bare, "all unmounted");
    for id in [first, second, dora] {
        assert!(matches!(adapters.select(&[id]), Err(Error::Adapter(_))));
    }
    let again = tiny.mount_from(&tiny.folder.path().join("first"));
    assert_eq!(tiny.logits(&[again]), alone[0], "mounted again");
}

#[test]
fn selections_that_mean_nothing_are_refused() {
    let tiny = Tiny::new();
    let lora_id = tiny.mount("lora", lora(1));
    let dora = tiny.mount(
        "dora",
        json!({"format": "mlx_lm", "kind": "dora", "seed": 3, "rank": 2, "scale": 4.0}),
    );
    let adapters = tiny.model.adapters();
    adapters.select(&[lora_id]).unwrap();
    let refused = |ids: &[AdapterId]| adapters.select(ids).unwrap_err().to_string();
    assert!(refused(&[lora_id, lora_id]).contains("named twice"));
    assert!(refused(&[lora_id, dora]).contains("cannot be combined"));
    assert!(refused(&[dora, AdapterId(99)]).contains("cannot be combined"));
    assert!(refused(&[AdapterId(99)]).contains("not mounted"));
}

#[test]
fn mounting_is_bounded_and_all_or_nothing() {
    let tiny = Tiny::new();
    let adapters = tiny.model.adapters();
    let ids: Vec<_> =
        (0..limits::MAX_ADAPTERS).map(|_| adapters.mount(Vec::new()).unwrap()).collect();
    assert!(adapters.mount(Vec::new()).unwrap_err().to_string().contains("unmount one first"));
    adapters.unmount(ids[3]);
    adapters.mount(Vec::new()).unwrap();
}
