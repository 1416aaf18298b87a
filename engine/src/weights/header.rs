//! Checks a safetensors header before MLX reads the file.
//!
//! A file is eight bytes of little-endian header length, a JSON header, then the data. MLX trusts
//! the header's shapes and offsets; this check makes sure that it may.

use std::{
    collections::BTreeMap,
    fmt,
    io::Read,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{
    Deserialize,
    de::{Deserializer, Error as _, MapAccess, Visitor},
};

use super::Dtype;
use crate::{Error, Result, limits};

/// Key of the header's free-form string map.
const METADATA: &str = "__metadata__";
/// Bytes of the length that opens a file.
const LENGTH_BYTES: u64 = 8;

/// One tensor of a file, as its checked header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name in the file.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Row-major shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// The file that holds it.
    pub file: Arc<Path>,
    /// Where its bytes lie, counted from the start of the file.
    pub bytes: Range<u64>,
}

impl TensorInfo {
    /// Stored bytes.
    pub fn len_bytes(&self) -> u64 {
        self.bytes.end - self.bytes.start
    }

    /// Elements as stored (packed words, for a quantized weight).
    pub fn elements(&self) -> u64 {
        self.len_bytes() / self.dtype.bytes()
    }
}

/// Reads and checks the headers of `files`: every tensor, sorted by name.
///
/// # Errors
/// [`Error::File`] naming the file for what [`read_header`] refuses, for a tensor that two files
/// hold, and when [`limits::MAX_TENSORS`] is passed.
pub fn read_headers(files: &[PathBuf]) -> Result<BTreeMap<String, TensorInfo>> {
    let mut all: BTreeMap<String, TensorInfo> = BTreeMap::new();
    for path in files {
        for tensor in read_header(path)? {
            if let Some(other) = all.get(&tensor.name) {
                let other = other.file.file_name().unwrap_or_default().display();
                let reason = format!("tensor {} is also in {other}; remove one", tensor.name);
                return Err(Error::file(path, reason));
            }
            all.insert(tensor.name.clone(), tensor);
        }
        if all.len() > limits::MAX_TENSORS {
            let reason = format!("more than {} tensors in the model", limits::MAX_TENSORS);
            return Err(Error::file(path, reason));
        }
    }
    Ok(all)
}

/// Reads and checks the header of one file: its tensors, sorted by name. The data stays unread.
///
/// # Errors
/// [`Error::File`] when the file cannot be read or [`check_header`] refuses it.
pub fn read_header(path: &Path) -> Result<Vec<TensorInfo>> {
    let meta = std::fs::metadata(path).map_err(|e| Error::file(path, e))?;
    if !meta.is_file() {
        return Err(Error::file(path, "is not a regular file"));
    }
    let mut file = std::fs::File::open(path).map_err(|e| Error::file(path, e))?;
    let shared: Arc<Path> = path.into();
    check_header(&mut file, meta.len(), &shared)
}

/// Checks the header at the start of `reader`, whose whole length is `file_len` bytes.
///
/// # Errors
/// [`Error::File`] when the header is larger than [`limits::MAX_SAFETENSORS_HEADER_BYTES`] or than
/// the file, is not JSON of the format, repeats a name, names a dtype that MLX lacks, or when the
/// tensors do not cover the data exactly, without gap or overlap, each with the bytes that its
/// shape and dtype ask for.
pub fn check_header(
    reader: &mut impl Read,
    file_len: u64,
    path: &Arc<Path>,
) -> Result<Vec<TensorInfo>> {
    let fail = |reason: String| Error::file(path.to_path_buf(), reason);
    let header = read_header_bytes(reader, file_len).map_err(fail)?;
    let data_start = LENGTH_BYTES + header.len() as u64;
    let Header(entries) = serde_json::from_slice(&header)
        .map_err(|e| fail(format!("the safetensors header is malformed: {e}")))?;
    let mut tensors = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        tensors.push(entry.check(name, data_start, path).map_err(fail)?);
    }
    check_cover(&tensors, data_start, file_len).map_err(fail)?;
    Ok(tensors)
}

fn read_header_bytes(reader: &mut impl Read, file_len: u64) -> Result<Vec<u8>, String> {
    if file_len < LENGTH_BYTES {
        return Err(format!("is {file_len} bytes long, too short for a safetensors file"));
    }
    let mut length = [0; LENGTH_BYTES as usize];
    reader.read_exact(&mut length).map_err(|e| e.to_string())?;
    let length = u64::from_le_bytes(length);
    if length > limits::MAX_SAFETENSORS_HEADER_BYTES {
        let limit = limits::MAX_SAFETENSORS_HEADER_BYTES;
        return Err(format!("claims a header of {length} bytes; the limit is {limit}"));
    }
    if length > file_len - LENGTH_BYTES {
        return Err(format!(
            "claims a header of {length} bytes but is only {file_len} bytes long; \
             the file is damaged or incomplete"
        ));
    }
    let mut header = Vec::with_capacity(length as usize);
    reader.take(length).read_to_end(&mut header).map_err(|e| e.to_string())?;
    if header.len() as u64 != length {
        return Err("ended inside its header".to_owned());
    }
    if header.first() != Some(&b'{') {
        return Err("the safetensors header does not start with '{'".to_owned());
    }
    Ok(header)
}

/// The tensors must follow one another from the data's first byte to the file's last.
fn check_cover(tensors: &[TensorInfo], data_start: u64, file_len: u64) -> Result<(), String> {
    let mut order: Vec<&TensorInfo> = tensors.iter().collect();
    order.sort_by_key(|t| (t.bytes.start, t.bytes.end));
    let mut at = data_start;
    for tensor in order {
        let TensorInfo { name, bytes, .. } = tensor;
        if bytes.start != at {
            let what = if bytes.start < at { "overlaps another tensor" } else { "leaves a gap" };
            return Err(format!("tensor {name} {what} at byte {}", bytes.start.min(at)));
        }
        at = bytes.end;
    }
    if at < file_len {
        return Err(format!("{} bytes at the end belong to no tensor", file_len - at));
    }
    if at > file_len {
        return Err(format!(
            "{} bytes are missing at the end; the file is damaged or incomplete",
            at - file_len
        ));
    }
    Ok(())
}

/// A tensor as the header spells it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl Entry {
    fn check(self, name: String, data_start: u64, file: &Arc<Path>) -> Result<TensorInfo, String> {
        let dtype = Dtype::from_name(&self.dtype).ok_or_else(|| {
            let known = Dtype::ALL.map(Dtype::name).join(", ");
            format!("tensor {name} has dtype {:?}; MLX reads {known}", self.dtype)
        })?;
        if self.shape.len() > limits::MAX_TENSOR_RANK {
            let rank = self.shape.len();
            return Err(format!(
                "tensor {name} has {rank} dimensions; the limit is {}",
                limits::MAX_TENSOR_RANK
            ));
        }
        if let Some(big) = self.shape.iter().find(|&&d| d > i32::MAX as u64) {
            return Err(format!("tensor {name} has a dimension of {big}; MLX stops at 2^31 - 1"));
        }
        let (begin, end) = self.data_offsets;
        let wanted = self
            .shape
            .iter()
            .try_fold(dtype.bytes(), |bytes, &d| bytes.checked_mul(d))
            .ok_or_else(|| format!("tensor {name} has a shape whose size overflows"))?;
        let stored = end
            .checked_sub(begin)
            .ok_or_else(|| format!("tensor {name} ends at {end}, before it begins at {begin}"))?;
        if stored != wanted {
            return Err(format!(
                "tensor {name} ({dtype} {:?}) needs {wanted} bytes but occupies {stored}",
                self.shape
            ));
        }
        let absolute = |offset: u64| {
            offset
                .checked_add(data_start)
                .ok_or_else(|| format!("tensor {name} has an offset that overflows"))
        };
        let bytes = absolute(begin)?..absolute(end)?;
        let shape = self.shape.iter().map(|&d| d as usize).collect();
        Ok(TensorInfo { name, dtype, shape, file: file.clone(), bytes })
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > limits::MAX_TENSOR_NAME_BYTES {
        return Err(format!(
            "a tensor's name has {} bytes; expected 1 to {}",
            name.len(),
            limits::MAX_TENSOR_NAME_BYTES
        ));
    }
    // MLX's C interface ends a name at its first NUL.
    if name.chars().any(char::is_control) {
        return Err(format!("tensor {name:?} has a control character in its name"));
    }
    Ok(())
}

/// The header's tensors by name; duplicates are refused and the count is bounded while parsing.
struct Header(BTreeMap<String, Entry>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tensors;

        impl<'de> Visitor<'de> for Tensors {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Header, A::Error> {
                let mut tensors = BTreeMap::new();
                let mut has_metadata = false;
                while let Some(name) = access.next_key::<String>()? {
                    if name == METADATA {
                        if has_metadata {
                            return Err(A::Error::custom("__metadata__ appears twice"));
                        }
                        has_metadata = true;
                        access.next_value::<BTreeMap<String, String>>()?;
                        continue;
                    }
                    check_name(&name).map_err(A::Error::custom)?;
                    if tensors.len() == limits::MAX_TENSORS {
                        let limit = limits::MAX_TENSORS;
                        return Err(A::Error::custom(format_args!("more than {limit} tensors")));
                    }
                    let entry: Entry = access
                        .next_value()
                        .map_err(|e| A::Error::custom(format_args!("tensor {name:?}: {e}")))?;
                    if tensors.contains_key(&name) {
                        return Err(A::Error::custom(format_args!(
                            "tensor {name:?} appears twice"
                        )));
                    }
                    tensors.insert(name, entry);
                }
                Ok(Header(tensors))
            }
        }

        deserializer.deserialize_map(Tensors)
    }
}
