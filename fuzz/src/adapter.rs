//! Folders of adapters, held against the demo model.

use std::{fs, sync::LazyLock};

use serde_json::{Value, json};
use verbatim_engine::{adapter::AdapterDir, weights::ModelDir};
use verbatim_harness::{case::MadeModel, maker::write_adapter};

use crate::scratch::{self, first, folder, header_of, joined, put, put_weights, repository};

static MODEL: LazyLock<ModelDir> =
    LazyLock::new(|| ModelDir::open(repository("demo/model")).expect("the demo model"));

/// The files of weights, and the byte that an input begins with for each.
const WEIGHTS: [(u8, &str); 2] =
    [(b'm', "adapters.safetensors"), (b'p', "adapter_model.safetensors")];

/// An input is a byte for the format, `adapter_config.json` and, behind a separator, the header of
/// the weights.
pub fn body(input: &[u8]) -> bool {
    let Some((format, rest)) = input.split_first() else { return false };
    let (config, header) = first(rest);
    let dir = folder();
    let (_, weights) = WEIGHTS[usize::from(*format == WEIGHTS[1].0)];
    put(&dir, "adapter_config.json", config);
    put_weights(&dir, weights, header.unwrap_or(b"{}"));
    let Ok(adapter) = AdapterDir::open(dir.path()) else { return false };
    let Ok(plan) = adapter.fit(&MODEL) else { return false };
    assert!(!plan.info.to_string().is_empty());
    assert!(plan.info.modules > 0, "{:?}", plan.info);
    true
}

pub fn seeds() -> Vec<Vec<u8>> {
    [
        json!({"format": "mlx_lm", "seed": 1, "rank": 4, "scale": 3.0, "keys": ["self_attn.q_proj"]}),
        json!({"format": "mlx_lm", "kind": "dora", "seed": 3, "rank": 2, "scale": 4.0, "num_layers": 1}),
        json!({"format": "mlx_lm", "kind": "full", "seed": 3, "keys": ["self_attn.q_proj"]}),
        json!({"format": "peft", "seed": 2, "rank": 2, "scale": 8.0, "keys": ["mlp.down_proj"]}),
    ]
    .into_iter()
    .map(seed)
    .collect()
}

fn seed(adapter: Value) -> Vec<u8> {
    let geometry = scratch::json("demo/model/config.json");
    let made = json!({"geometry": geometry, "seed": 1, "dtype": "bf16"});
    let made: MadeModel = serde_json::from_value(made).expect("a model");
    let adapter = serde_json::from_value(adapter).expect("an adapter");
    let dir = folder();
    let path = dir.path().join("adapter");
    write_adapter(&made, &adapter, &path).expect("written");
    let config = fs::read(path.join("adapter_config.json")).expect("a configuration");
    let (format, file) = WEIGHTS
        .iter()
        .find_map(|(format, name)| Some((*format, fs::read(path.join(name)).ok()?)))
        .expect("weights");
    [vec![format], joined(&[&config, header_of(&file)])].concat()
}
