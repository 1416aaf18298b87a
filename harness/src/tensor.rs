//! Raw tensors in safetensors files.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::{Error, Result, files::write_whole, hex};

/// Largest safetensors file read here, in bytes.
pub const MAX_FILE_BYTES: u64 = 2 << 30;

/// A tensor's bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawTensor {
    /// Safetensors dtype name: `BF16`, `F32`, `I32`, ….
    pub dtype: String,
    /// Row-major shape.
    pub shape: Vec<usize>,
    /// Little-endian bytes.
    pub data: Vec<u8>,
}

/// What a safetensors file holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TensorFile {
    /// Tensors by name.
    pub tensors: BTreeMap<String, RawTensor>,
    /// The header's metadata.
    pub metadata: BTreeMap<String, String>,
}

impl TensorFile {
    /// Reads a whole file.
    ///
    /// # Errors
    /// [`Error::File`] for a file that is unreadable, too large or malformed.
    pub fn read(path: &Path) -> Result<Self> {
        let size = fs::metadata(path).map_err(|e| Error::file(path, e))?.len();
        if size > MAX_FILE_BYTES {
            return Err(Error::file(path, format!("larger than {MAX_FILE_BYTES} bytes")));
        }
        let bytes = fs::read(path).map_err(|e| Error::file(path, e))?;
        Self::parse(&bytes).map_err(|e| Error::file(path, e))
    }

    /// Understands a file's bytes.
    ///
    /// # Errors
    /// The parser's message.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
        let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
        let tensors = file
            .iter()
            .map(|(name, view)| {
                let tensor = RawTensor {
                    dtype: view.dtype().to_string(),
                    shape: view.shape().to_vec(),
                    data: view.data().to_vec(),
                };
                (name.to_owned(), tensor)
            })
            .collect();
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        Ok(Self { tensors, metadata })
    }

    /// Writes the file under a temporary name, then renames it.
    ///
    /// # Errors
    /// [`Error::File`] for trouble writing and for dtypes that safetensors does not have.
    pub fn write(&self, path: &Path) -> Result<()> {
        let bytes = self.to_bytes().map_err(|e| Error::file(path, e))?;
        write_whole(path, &bytes)
    }

    /// The file's bytes; the same content always gives the same bytes.
    ///
    /// # Errors
    /// A message for dtypes that safetensors does not have and sizes that do not fit shapes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        for (name, tensor) in &self.tensors {
            let dtype: Dtype = serde_json::from_value(Value::from(tensor.dtype.as_str()))
                .map_err(|_| format!("{name}: no dtype {}", tensor.dtype))?;
            TensorView::new(dtype, tensor.shape.clone(), &tensor.data)
                .map_err(|e| format!("{name}: {e}"))?;
        }
        let mut order: Vec<_> = self.tensors.iter().collect();
        // Widest first keeps every tensor aligned.
        order.sort_by_key(|(_, t)| {
            std::cmp::Reverse(t.data.len() / t.shape.iter().product::<usize>().max(1))
        });
        let entries = order
            .iter()
            .map(|(name, t)| (name.as_str(), t.dtype.as_str(), &*t.shape, t.data.len()));
        let mut bytes = header(entries, &self.metadata);
        for (_, tensor) in order {
            bytes.extend_from_slice(&tensor.data);
        }
        Ok(bytes)
    }
}

/// Length prefix and header of a safetensors file whose tensors `(name, dtype, shape, bytes)` lie in
/// the order given.
pub(crate) fn header<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a str, &'a [usize], usize)>,
    metadata: &BTreeMap<String, String>,
) -> Vec<u8> {
    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".into(), json!(metadata));
    }
    let mut offset = 0;
    for (name, dtype, shape, bytes) in tensors {
        let range = [offset, offset + bytes];
        header
            .insert(name.into(), json!({ "dtype": dtype, "shape": shape, "data_offsets": range }));
        offset += bytes;
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut text);
    bytes
}

/// Safetensors files of a model directory, in order.
///
/// # Errors
/// [`Error::File`] when the folder cannot be read or holds none.
pub fn weight_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| Error::file(folder, e))? {
        let path = entry.map_err(|e| Error::file(folder, e))?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with("model") && name.ends_with(".safetensors") {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(Error::file(folder, "holds no model*.safetensors"));
    }
    files.sort();
    Ok(files)
}

/// SHA-256 of an adapter folder's weights, as [`weights_sha256`].
///
/// # Errors
/// [`Error::File`] for unreadable weights.
pub fn adapter_sha256(folder: &Path) -> Result<String> {
    let files = ["adapters.safetensors", "adapter_model.safetensors"].map(|f| folder.join(f));
    let file = files.iter().find(|f| f.is_file()).unwrap_or(&files[0]);
    Ok(tensors_sha256(&TensorFile::read(file)?.tensors))
}

/// SHA-256 over a model's tensors: for each, by name, its name, dtype, shape and bytes. How they
/// are spread over files, and metadata, do not matter.
///
/// # Errors
/// [`Error::File`] for unreadable weights and a tensor that occurs twice.
pub fn weights_sha256(folder: &Path) -> Result<String> {
    let mut tensors = BTreeMap::new();
    for path in weight_files(folder)? {
        for (name, tensor) in TensorFile::read(&path)?.tensors {
            if tensors.insert(name.clone(), tensor).is_some() {
                return Err(Error::file(path, format!("{name} occurs twice")));
            }
        }
    }
    Ok(tensors_sha256(&tensors))
}

fn tensors_sha256(tensors: &BTreeMap<String, RawTensor>) -> String {
    let mut hash = Sha256::new();
    for (name, tensor) in tensors {
        let shape: Vec<String> = tensor.shape.iter().map(ToString::to_string).collect();
        hash.update(format!("{name}\0{}\0{}\0", tensor.dtype, shape.join(",")));
        hash.update(&tensor.data);
    }
    hex(&hash.finalize())
}
