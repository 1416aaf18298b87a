//! Reading files within bounds, and writing them so that nobody ever reads half of one.

use std::{fs, path::Path};

use crate::{Error, Result};

/// The text of a file of at most `max_bytes`.
///
/// # Errors
/// [`Error::File`], also for a larger file.
pub fn read_text(path: &Path, max_bytes: u64) -> Result<String> {
    let size = fs::metadata(path).map_err(|e| Error::file(path, e))?.len();
    if size > max_bytes {
        return Err(Error::file(path, format!("larger than {max_bytes} bytes")));
    }
    fs::read_to_string(path).map_err(|e| Error::file(path, e))
}

/// Writes `bytes` beside `path` under a temporary name, then renames; makes missing folders.
///
/// # Errors
/// [`Error::File`].
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|e| Error::file(folder, e))?;
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let scratch = folder.join(format!(".{name}.{}.tmp", std::process::id()));
    let written = fs::write(&scratch, bytes).and_then(|()| fs::rename(&scratch, path));
    written.map_err(|e| {
        let _ = fs::remove_file(&scratch);
        Error::file(path, e)
    })
}
