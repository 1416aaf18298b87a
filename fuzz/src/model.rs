//! Model directories: configurations of every family, with and without headers of weights.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use verbatim_engine::{
    kv::{KvFormat, KvLayers, KvQuantization},
    memory::{FitOptions, fit},
    weights::inspect,
};
use verbatim_harness::{
    case::{MadeModel, ModelSource, load_suites},
    maker::plan,
};

use crate::scratch::{self, first, folder, joined, put, put_weights, repository};

/// Largest header among the seeds, in bytes.
const MAX_SEED_HEADER: usize = 24 << 10;

/// An input is `config.json` and, behind a separator, the header of the weights.
pub fn body(input: &[u8]) -> bool {
    let (config, header) = first(input);
    let dir = folder();
    put(&dir, "config.json", config);
    put(&dir, "tokenizer.json", b"{}");
    if let Some(header) = header {
        put_weights(&dir, "model.safetensors", header);
    }
    let Ok(report) = inspect(dir.path()) else { return false };
    assert!(!report.to_string().is_empty());
    serde_json::to_string(&report).expect("a report is JSON");
    let packed = KvLayers::All(KvFormat::new(4, 32).expect("a format"));
    let packed = KvQuantization { layers: packed, ..KvQuantization::default() };
    let plain = fitted(&dir, &KvQuantization::default());
    fitted(&dir, &packed);
    assert!(plain || !report.supported, "what is supported is counted");
    plain
}

fn fitted(dir: &tempfile::TempDir, kv: &KvQuantization) -> bool {
    let options = FitOptions {
        context: None,
        requests: 3,
        max_batch: None,
        prefill_step_size: 512,
        budget: Some(8 << 30),
    };
    let Ok(fit) = fit(dir.path(), None, kv, &options) else { return false };
    assert!(!fit.to_string().is_empty());
    assert!(fit.total >= fit.weights, "{fit:?}");
    true
}

/// The made models of the harness's cases, one of each geometry.
fn made() -> Vec<MadeModel> {
    let cases = load_suites(&repository("harness/cases")).expect("cases");
    let mut models = BTreeMap::new();
    for case in cases {
        if let ModelSource::Made(model) = case.model.source {
            models.entry(json!(model.geometry).to_string()).or_insert(model);
        }
    }
    models.into_values().collect()
}

pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for model in made() {
        let config = json!(model.geometry).to_string().into_bytes();
        let tensors = plan(&model).expect("a plan");
        let dtype = model.dtype.safetensors_name();
        let header =
            scratch::header(tensors.iter().map(|t| (t.name.as_str(), dtype, t.shape.as_slice())));
        if header.len() <= MAX_SEED_HEADER {
            seeds.push(joined(&[&config, &header]));
        }
        seeds.push(config);
    }
    seeds.push(quantized());
    seeds
}

fn quantized() -> Vec<u8> {
    let mut config = scratch::json("demo/model/config.json");
    let quantization: Value = json!({"group_size": 64, "bits": 4, "mode": "affine",
                                     "model.embed_tokens": {"bits": 8, "group_size": 32}, "lm_head": false});
    config["quantization"] = quantization.clone();
    config["quantization_config"] = quantization;
    config["rope_scaling"] = json!({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192});
    config.to_string().into_bytes()
}
