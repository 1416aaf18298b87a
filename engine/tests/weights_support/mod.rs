//! Builders that the `weights_*` tests share: model directories and safetensors files.
#![allow(dead_code)]

use std::path::Path;

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use verbatim_engine::weights::{Dtype, Expected, Inspection, QuantizationSpec, inspect};

/// A small llama configuration as MiniCPM5's looks.
pub fn config() -> Map<String, Value> {
    object(json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "intermediate_size": 128,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "rms_norm_eps": 1e-6,
        "vocab_size": 96,
        "max_position_embeddings": 4096,
        "rope_theta": 5_000_000.0,
        "rope_scaling": null,
        "tie_word_embeddings": false,
        "attention_bias": false,
        "hidden_act": "silu",
        "torch_dtype": "bfloat16",
        "bos_token_id": 0,
        "eos_token_id": [1, 7]
    }))
}

/// The object that `value` holds.
pub fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("not an object: {other}"),
    }
}

/// [`config`] with the value at a dotted path replaced (created when absent).
pub fn config_with(path: &str, value: Value) -> Map<String, Value> {
    let mut config = Value::Object(config());
    let mut at = &mut config;
    for segment in path.split('/') {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[segment];
    }
    *at = value;
    object(config)
}

/// A tensor to write: its bytes follow from its place in the list.
#[derive(Debug, Clone)]
pub struct Tensor {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
}

impl Tensor {
    pub fn new(name: impl Into<String>, dtype: Dtype, shape: &[usize]) -> Self {
        Self { name: name.into(), dtype, shape: shape.to_vec() }
    }

    pub fn len_bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bytes() as usize
    }
}

/// A valid safetensors file.
pub fn safetensors(tensors: &[Tensor]) -> Vec<u8> {
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!({"format": "mlx"}));
    let mut data = Vec::new();
    for (i, tensor) in tensors.iter().enumerate() {
        let begin = data.len();
        // 0x3c repeated is a small finite number in every float type.
        data.resize(begin + tensor.len_bytes(), 0x3c ^ (i as u8 & 1));
        let (dtype, shape) = (tensor.dtype.name(), &tensor.shape);
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [begin, data.len()]});
        header.insert(tensor.name.clone(), entry);
    }
    raw_safetensors(&serde_json::to_vec(&header).unwrap(), &data)
}

/// A file of any header and data.
pub fn raw_safetensors(header: &[u8], data: &[u8]) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend(data);
    file
}

/// Every tensor of a model, quantized where `spec` says so.
pub fn model_tensors(expected: &Expected, spec: Option<&QuantizationSpec>) -> Vec<Tensor> {
    let mut tensors = Vec::new();
    for module in expected.modules() {
        let path = &module.path;
        let scheme = spec.and_then(|spec| {
            let named = spec.overrides().find(|(p, _)| p == path);
            named.map_or_else(|| Some(spec.default()), |(_, q)| q)
        });
        let weight = format!("{path}.weight");
        match scheme {
            None => tensors.push(Tensor::new(weight, Dtype::Bf16, &module.weight)),
            Some(q) => {
                let (out, dims) = (module.weight[0], module.weight[1]);
                let packed = q.packed_dims(dims).unwrap();
                tensors.push(Tensor::new(weight, Dtype::U32, &[out, packed]));
                for name in ["scales", "biases"] {
                    let name = format!("{path}.{name}");
                    tensors.push(Tensor::new(name, Dtype::Bf16, &[out, dims / q.group_size]));
                }
            }
        }
        if let Some(bias) = &module.bias {
            tensors.push(Tensor::new(format!("{path}.bias"), Dtype::Bf16, bias));
        }
    }
    for (name, shape) in expected.tensors() {
        tensors.push(Tensor::new(name, Dtype::Bf16, shape));
    }
    tensors
}

/// A temporary directory with these files.
pub fn dir_of(files: &[(&str, &[u8])]) -> TempDir {
    let dir = TempDir::new().unwrap();
    for (name, bytes) in files {
        put(dir.path(), name, bytes);
    }
    dir
}

/// Writes one file of a directory.
pub fn put(dir: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(dir.join(name), bytes).unwrap();
}

/// The JSON text of a configuration.
pub fn text(config: &Map<String, Value>) -> Vec<u8> {
    serde_json::to_vec(config).unwrap()
}

/// A small deterministic generator (xorshift64*), so that every failure names its seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// What `verbatim inspect` says of a directory that holds `config` alone.
pub fn report(config: &Map<String, Value>) -> Inspection {
    inspect(dir_of(&[("config.json", &text(config))]).path()).unwrap()
}

/// What is wrong with `config` beyond its lack of weights and tokenizer.
pub fn problems(config: &Map<String, Value>) -> String {
    let report = report(config);
    let expected = |p: &&String| !p.contains("no model*.safetensors") && !p.contains("tokenizer");
    report.problems.iter().filter(expected).cloned().collect::<Vec<_>>().join("\n")
}
