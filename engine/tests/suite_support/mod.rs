//! Models and settings of the suites that hold the engine against mlx-optiq and mlx-lm.

use std::path::Path;

use serde_json::Value;
use verbatim_engine::kv::{KvAttention, KvFormat, KvLayers, KvQuantization};
use verbatim_harness::{case::MadeModel, maker::write_model};

/// A family's suite of quantized keys and values.
pub fn suite(family: &str) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let path = root.join("harness/cases/suites").join(format!("{family}-kv.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Writes the suite's model.
pub fn write(suite: &Value, dtype: &str, folder: &Path) {
    let mut model = suite["base"]["model"]["source"]["made"].clone();
    model["dtype"] = dtype.into();
    let model: MadeModel = serde_json::from_value(model).unwrap();
    write_model(&model, folder).unwrap();
}

/// One of the suite's settings.
pub fn quantization(suite: &Value, mode: &str) -> KvQuantization {
    let kv = &suite["axes"]["kv"][mode]["kv"];
    let format = |entry: &Value| {
        let number = |key: &str| entry[key].as_u64().unwrap();
        KvFormat::new(number("bits"), number("group_size")).unwrap()
    };
    let listed = |list: &Value| {
        let layer = |entry: &Value| (entry["layer_idx"].as_u64().unwrap() as usize, format(entry));
        KvLayers::Listed(list.as_array().unwrap().iter().map(layer).collect())
    };
    if let Some(uniform) = kv.get("uniform") {
        let start = uniform.get("start").and_then(Value::as_u64).unwrap_or(0) as usize;
        let layers = KvLayers::All(format(uniform));
        return KvQuantization { layers, start, attention: KvAttention::Stock };
    }
    let (attention, list) = match kv.get("fused") {
        Some(list) => (KvAttention::Fused, list),
        None => (KvAttention::Stock, &kv["seq"]),
    };
    KvQuantization { layers: listed(list), start: 0, attention }
}
