//! Size-limited reading of the small files of a model directory.

use std::{fs::File, io::Read, path::Path};

use serde_json::{Map, Value};

use crate::{Error, Result, limits};

/// Bytes of a file of at most `limit` bytes; `None` when there is no such file.
pub(super) fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::file(path, e)),
    };
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that is too large from one that just fits.
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| Error::file(path, e))?;
    if bytes.len() as u64 > limit {
        return Err(Error::file(path, format!("larger than the allowed {limit} bytes")));
    }
    Ok(Some(bytes))
}

/// A JSON object; `None` when there is no such file.
pub(super) fn read_object(path: &Path) -> Result<Option<Map<String, Value>>> {
    let Some(bytes) = read(path, limits::MAX_CONFIG_BYTES)? else { return Ok(None) };
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(map)) => Ok(Some(map)),
        Ok(_) => Err(Error::file(path, "not a JSON object")),
        Err(e) => Err(Error::file(path, e)),
    }
}

/// Text with newlines as Python's text mode reads them.
pub(super) fn read_text(path: &Path, limit: u64) -> Result<Option<String>> {
    let Some(bytes) = read(path, limit)? else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(|_| Error::file(path, "not UTF-8"))?;
    Ok(Some(text.replace("\r\n", "\n").replace('\r', "\n")))
}
