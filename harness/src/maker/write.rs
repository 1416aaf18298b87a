//! Model files: safetensors in one or many shards, JSON.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use serde_json::{Map, Value, json};

use super::{TensorPlan, rng::Stream};
use crate::{
    Error, Result,
    case::{Layout, MadeModel},
    tensor,
};

/// Writes `model.safetensors`, or numbered shards and their index.
pub(super) fn weights(model: &MadeModel, tensors: &[TensorPlan], folder: &Path) -> Result<()> {
    let shards = model.shards.min(tensors.len());
    if shards == 1 {
        return shard(model, tensors, &folder.join("model.safetensors"));
    }
    let per_shard = tensors.len().div_ceil(shards);
    let parts: Vec<&[TensorPlan]> = tensors.chunks(per_shard).collect();
    let mut map = Map::new();
    let mut total = 0;
    for (i, part) in parts.iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", i + 1, parts.len());
        shard(model, part, &folder.join(&name))?;
        for tensor in *part {
            map.insert(tensor.name.clone(), json!(name));
            total += bytes(model, tensor);
        }
    }
    map.sort_keys();
    let index = json!({ "metadata": { "total_size": total }, "weight_map": map });
    json(&folder.join("model.safetensors.index.json"), &index)
}

fn bytes(model: &MadeModel, tensor: &TensorPlan) -> usize {
    tensor.elements() * tensor.dtype.unwrap_or(model.dtype).size()
}

fn shard(model: &MadeModel, tensors: &[TensorPlan], path: &Path) -> Result<()> {
    let format = match model.layout {
        Layout::Hf => "pt",
        Layout::Mlx => "mlx",
    };
    let metadata = BTreeMap::from([("format".to_owned(), format.to_owned())]);
    let entries = tensors.iter().map(|t| {
        let dtype = t.dtype.unwrap_or(model.dtype).safetensors_name();
        (t.name.as_str(), dtype, &*t.shape, bytes(model, t))
    });
    let header = tensor::header(entries, &metadata);
    put(path, |out| {
        out.write_all(&header)?;
        for tensor in tensors {
            let dtype = tensor.dtype.unwrap_or(model.dtype);
            let stream = Stream::new(model.seed, &tensor.name);
            out.write_all(&stream.tensor(
                tensor.elements(),
                tensor.init.offset,
                tensor.init.scale,
                dtype,
            ))?;
        }
        Ok(())
    })
}

/// Pretty JSON, newline at the end.
pub(super) fn json(path: &Path, value: &Value) -> Result<()> {
    text(path, &format!("{value:#}\n"))
}

/// Text as it is.
pub(super) fn text(path: &Path, text: &str) -> Result<()> {
    put(path, |out| out.write_all(text.as_bytes()))
}

fn put(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>) -> Result<()> {
    let write = || {
        let mut out = BufWriter::new(File::create(path)?);
        fill(&mut out)?;
        out.flush()
    };
    write().map_err(|e| Error::file(path, e))
}
