//! An entry's file:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `VBPROMPT` |
//! | 4 | version of the format, little-endian |
//! | 4 | length of the description, little-endian |
//! | 32 | SHA-256 of the description |
//! | … | the description, in JSON |
//! | … | bytes of all arrays, one behind another, row-major and little-endian |
//! | 32 | SHA-256 of the description's SHA-256 and of the arrays' bytes |

use std::{
    collections::{BTreeMap, HashMap},
    io::Read,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::super::{History, Kind, identity::Digest};
use crate::{Error, Result, limits, mlx};

/// Changes whenever older files could be misread.
const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"VBPROMPT";
/// What stands before the description, and the checksum behind the arrays.
const FRAME: u64 = 48 + 32;

/// What a description says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// What the state belongs to ([`super::super::identity`]).
    pub identity: String,
    /// The tokens behind the state.
    pub tokens: Vec<u32>,
    /// The calls that read them.
    pub history: History,
    /// What the entry is good for.
    pub kind: Kind,
    /// Whether the state can be cut back.
    pub trimmable: bool,
    /// What mlx-lm notes beside arrays ([`crate::cache::file`]).
    pub texts: BTreeMap<String, String>,
    /// The arrays, in the order of their bytes.
    pub arrays: Vec<ArrayEntry>,
}

/// One array.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArrayEntry {
    /// Its name among the cache's parts.
    pub name: String,
    /// Safetensors' name of its dtype.
    pub dtype: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl ArrayEntry {
    /// Its length in the file; `None` for what no array of a cache is.
    pub fn bytes(&self) -> Option<usize> {
        let width = mlx::state_width(&self.dtype)?;
        self.shape.iter().try_fold(width, |all, &n| all.checked_mul(n))
    }
}

impl Description {
    /// Bytes of all arrays.
    pub fn array_bytes(&self) -> Option<u64> {
        self.arrays.iter().try_fold(0_u64, |sum, array| sum.checked_add(array.bytes()? as u64))
    }
}

/// What stands before an entry's arrays.
#[derive(Debug)]
pub struct Head {
    /// What it says.
    pub description: Description,
    /// The description's SHA-256.
    pub digest: Digest,
    /// Length of the whole file.
    pub file_bytes: u64,
}

/// The bytes before the arrays' of `description`.
///
/// # Errors
/// [`Error::Mlx`] for a state that is too large to be described.
pub fn write_head(description: Description) -> Result<(Vec<u8>, Head)> {
    let too_large = || Error::Mlx("a state is too large to be written to disk".into());
    let json = serde_json::to_vec(&description).map_err(|e| Error::Mlx(e.to_string()))?;
    let len = u32::try_from(json.len()).map_err(|_| too_large())?;
    let arrays = description.array_bytes().ok_or_else(too_large)?;
    if u64::from(len) > limits::MAX_CACHE_INDEX_BYTES {
        return Err(too_large());
    }
    let digest: Digest = Sha256::digest(&json).into();
    let version = VERSION.to_le_bytes();
    let bytes = [MAGIC.as_slice(), &version, &len.to_le_bytes(), &digest, &json].concat();
    let file_bytes = FRAME + u64::from(len) + arrays;
    Ok((bytes, Head { description, digest, file_bytes }))
}

/// Reads what stands before the arrays of a file of `len` bytes.
///
/// # Errors
/// Why it is no entry of this version.
pub fn read_head(file: &mut impl Read, len: u64) -> Result<Head, String> {
    let mut start = [0; 48];
    file.read_exact(&mut start).map_err(|e| e.to_string())?;
    let [version, length] = [8, 12].map(|at| {
        start[at..at + 4].iter().rev().fold(0_u32, |number, &byte| number << 8 | u32::from(byte))
    });
    if &start[..8] != MAGIC || version != VERSION {
        return Err("is of another version".into());
    }
    let length = u64::from(length);
    if length > limits::MAX_CACHE_INDEX_BYTES || length > len {
        return Err("is damaged: its description cannot be that long".into());
    }
    let mut json = vec![0; length as usize];
    file.read_exact(&mut json).map_err(|e| e.to_string())?;
    let digest: Digest = Sha256::digest(&json).into();
    if digest != start[16..] {
        return Err("is damaged: its description has another checksum".into());
    }
    let description: Description = serde_json::from_slice(&json).map_err(|e| e.to_string())?;
    let arrays = description.array_bytes().ok_or("describes arrays that no cache has")?;
    if arrays.checked_add(FRAME + length) != Some(len) {
        return Err(format!("is damaged: it has {len} bytes"));
    }
    let tokens = description.tokens.len();
    if tokens == 0 || !description.history.is_plausible(tokens) {
        return Err("describes no state".into());
    }
    Ok(Head { description, digest, file_bytes: len })
}

/// The checksum behind the arrays, fed with their bytes.
#[derive(Debug, Clone)]
pub struct Checksum(Sha256);

impl Checksum {
    /// Of arrays behind the description with this digest.
    pub fn new(description: &Digest) -> Self {
        Self(Sha256::new_with_prefix(description))
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum.
    pub fn finish(self) -> Digest {
        self.0.finalize().into()
    }
}

/// Reads the arrays behind `head`, each handed to `make`, and holds them against the checksum.
///
/// # Errors
/// Why they are not the arrays that were written.
pub fn read_arrays<T>(
    file: &mut impl Read,
    head: &Head,
    mut make: impl FnMut(&ArrayEntry, &[u8]) -> Result<T, String>,
) -> Result<HashMap<String, T>, String> {
    let mut checksum = Checksum::new(&head.digest);
    let mut arrays = HashMap::new();
    let mut bytes = Vec::new();
    for entry in &head.description.arrays {
        bytes.resize(entry.bytes().ok_or("describes arrays that no cache has")?, 0);
        file.read_exact(&mut bytes).map_err(|e| e.to_string())?;
        checksum.update(&bytes);
        if arrays.insert(entry.name.clone(), make(entry, &bytes)?).is_some() {
            return Err("describes an array twice".into());
        }
    }
    let mut told = Digest::default();
    file.read_exact(&mut told).map_err(|e| e.to_string())?;
    if checksum.finish() != told {
        return Err("is damaged: its arrays have another checksum".into());
    }
    Ok(arrays)
}

#[cfg(test)]
mod tests;
