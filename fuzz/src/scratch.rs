//! Files for parsers that read folders, and where the repository's own lie.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// What separates the parts of an input that stands for several files.
pub const SEPARATOR: u8 = 0;
/// Largest file of weights that a header may ask for; nothing is written of it but its length.
const MAX_FILE_BYTES: u64 = 1 << 32;

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// A JSON file of the repository.
pub fn json(path: &str) -> Value {
    let text = fs::read_to_string(repository(path)).expect("a file of the repository");
    serde_json::from_str(&text).expect("JSON")
}

/// An empty folder, in memory where the system has such a place.
pub fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.expect("a folder")
}

/// Writes a file.
pub fn put(folder: &TempDir, name: &str, bytes: &[u8]) {
    fs::write(folder.path().join(name), bytes).expect("written");
}

/// Writes a file of weights: the header, and as much data as its tensors reach to. The data are a
/// hole, so that large tensors cost nothing.
pub fn put_weights(folder: &TempDir, name: &str, header: &[u8]) {
    let path = folder.path().join(name);
    fs::write(&path, framed(header, &[])).expect("written");
    let reach = data_bytes(header).filter(|bytes| *bytes <= MAX_FILE_BYTES).unwrap_or(0);
    let file = fs::OpenOptions::new().write(true).open(&path).expect("the file");
    file.set_len(8 + header.len() as u64 + reach).expect("a hole");
}

/// A safetensors file of a header and data.
pub fn framed(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

/// A safetensors header of tensors with these names, dtypes and shapes.
pub fn header<'a>(tensors: impl IntoIterator<Item = (&'a str, &'a str, &'a [usize])>) -> Vec<u8> {
    let mut entries = Map::new();
    let mut at = 0;
    for (name, dtype, shape) in tensors {
        let width = match dtype {
            "F64" | "I64" | "U64" => 8,
            "F32" | "I32" | "U32" => 4,
            "F16" | "BF16" | "I16" | "U16" => 2,
            _ => 1,
        };
        let end = at + width * shape.iter().product::<usize>();
        entries.insert(
            name.to_owned(),
            json!({"dtype": dtype, "shape": shape, "data_offsets": [at, end]}),
        );
        at = end;
    }
    Value::from(entries).to_string().into_bytes()
}

/// The header of a safetensors file.
pub fn header_of(file: &[u8]) -> &[u8] {
    let length = u64::from_le_bytes(file[..8].try_into().expect("eight bytes"));
    &file[8..8 + length as usize]
}

fn data_bytes(header: &[u8]) -> Option<u64> {
    let header: Value = serde_json::from_slice(header).ok()?;
    let ends = header.as_object()?.values().filter_map(|t| t["data_offsets"][1].as_u64());
    ends.max()
}

/// Parts, put together as one input.
pub fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.join(&SEPARATOR)
}

/// The first part of an input, and all that follows it.
pub fn first(input: &[u8]) -> (&[u8], Option<&[u8]>) {
    match input.iter().position(|byte| *byte == SEPARATOR) {
        Some(at) => (&input[..at], Some(&input[at + 1..])),
        None => (input, None),
    }
}
