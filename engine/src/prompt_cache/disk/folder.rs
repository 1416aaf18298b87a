//! The folder: its lock, the names in it, and what is found there at the start.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use sha2::{Digest as _, Sha256};
use tracing::warn;

use super::{
    super::{History, identity::hex},
    format::{Head, read_head},
};
use crate::{Error, Result, limits};

/// Begins the names of all files of entries.
const PREFIX: &str = "prompt-";
/// Ends the names of complete ones.
const COMPLETE: &str = "state";
/// Ends the names of those that are being written.
const STAGED: &str = "tmp";
const LOCK_FILE: &str = "prompt-cache.lock";
/// Prompts and answers can be read from these files: the owner's business alone.
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Whoever writes there can change answers.
const WRITABLE_BY_ALL: u32 = 0o002;

/// A complete file.
#[derive(Debug)]
pub struct Found {
    /// Where it lies.
    pub path: PathBuf,
    /// What it says of itself.
    pub head: Head,
}

/// The folder, held by one process at a time.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    /// What states belong to.
    identity: String,
    /// Most bytes of all files.
    cap: u64,
    /// What was there at the start, the one used last at the end.
    found: Vec<Found>,
    /// Files that were of no use.
    rejected: u64,
    /// Held while the process lives.
    _lock: File,
}

impl Folder {
    /// Opens the folder, made if it is new, for states that belong to `identity`. Entries of other
    /// models, settings and versions, damaged ones and what killed writes left are removed; files
    /// with other names are left alone.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be made or read, everybody can write to it, or another process
    /// uses it.
    pub fn open(dir: &Path, cap: u64, identity: String) -> Result<Self> {
        let fail = |e: io::Error| Error::file(dir, e);
        DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir).map_err(fail)?;
        if fs::metadata(dir).map_err(fail)?.mode() & WRITABLE_BY_ALL != 0 {
            let advice = "everybody can write there and so change answers; chmod 700 it";
            return Err(Error::file(dir, advice));
        }
        let lock = lock(dir)?;
        let mut folder =
            Self { dir: dir.into(), identity, cap, found: Vec::new(), rejected: 0, _lock: lock };
        folder.read().map_err(fail)?;
        Ok(folder)
    }

    fn read(&mut self) -> io::Result<()> {
        let mut complete = Vec::new();
        for file in fs::read_dir(&self.dir)? {
            let file = file?;
            let name = file.file_name();
            let Some(extension) = name.to_str().and_then(extension) else { continue };
            if extension == COMPLETE {
                // Not followed: a link or a pipe is no entry.
                let about = file.metadata()?;
                let used = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                complete.push((used, file.path(), about));
            } else {
                remove(&file.path());
            }
        }
        complete.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let surplus = complete.len().saturating_sub(limits::MAX_DISK_CACHE_ENTRIES);
        for (_, path, _) in complete.drain(..surplus) {
            remove(&path);
        }
        for (_, path, about) in complete {
            let head = if about.is_file() {
                open_head(&path).map(|(_, head)| head).and_then(|head| self.accept(head))
            } else {
                Err("is no plain file".into())
            };
            match head {
                Ok(head) => self.found.push(Found { path, head }),
                Err(reason) => {
                    warn!(file = %path.display(), reason, "removed from the prompt cache's folder");
                    self.rejected += 1;
                    remove(&path);
                }
            }
        }
        Ok(())
    }

    fn accept(&self, head: Head) -> Result<Head, String> {
        if head.description.identity == self.identity {
            return Ok(head);
        }
        Err("belongs to another model, setting or build".into())
    }

    /// What was there at the start, the one used last at the end; once.
    pub fn take_found(&mut self) -> Vec<Found> {
        std::mem::take(&mut self.found)
    }

    /// Files that were of no use at the start.
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// What states belong to.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Most bytes of all files.
    pub fn cap(&self) -> u64 {
        self.cap
    }

    /// Where the state behind these tokens and calls is kept.
    pub fn path(&self, tokens: &[u32], history: &History) -> Result<PathBuf> {
        let told = serde_json::to_vec(&(tokens, history)).map_err(|e| Error::Mlx(e.to_string()))?;
        let id = &hex(&Sha256::digest(&told))[..ID_DIGITS];
        Ok(self.dir.join(format!("{PREFIX}{id}.{COMPLETE}")))
    }
}

/// Hexadecimal digits in a name.
const ID_DIGITS: usize = 32;

fn lock(dir: &Path) -> Result<File> {
    let path = dir.join(LOCK_FILE);
    let file = File::options().create(true).truncate(false).write(true).mode(FILE_MODE).open(&path);
    let file = file.map_err(|e| Error::file(&path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::file(
            dir,
            "is the prompt cache of another process; give every process a folder of its own",
        )),
        Err(TryLockError::Error(e)) => Err(Error::file(&path, e)),
    }
}

/// The extension of an entry's file, complete or not; `None` for other names.
fn extension(name: &str) -> Option<&str> {
    let (id, extension) = name.strip_prefix(PREFIX)?.split_once('.')?;
    let ours = id.len() == ID_DIGITS
        && id.bytes().all(|b| b.is_ascii_hexdigit())
        && [COMPLETE, STAGED].contains(&extension);
    ours.then_some(extension)
}

/// Opens a complete file and reads what stands before its arrays.
pub fn open_head(path: &Path) -> Result<(File, Head), String> {
    // Opening a pipe would wait for its writer.
    if !fs::symlink_metadata(path).is_ok_and(|about| about.is_file()) {
        return Err("is no plain file".into());
    }
    let mut file = File::open(path).map_err(|e| e.to_string())?;
    let len = file.metadata().map_err(|e| e.to_string())?.len();
    let head = read_head(&mut file, len)?;
    Ok((file, head))
}

/// A new file beside `path`, and its path, to be renamed when it is complete.
pub fn stage(path: &Path) -> io::Result<(File, PathBuf)> {
    let staged = path.with_extension(STAGED);
    remove(&staged);
    let file = File::options().create_new(true).write(true).mode(FILE_MODE).open(&staged)?;
    Ok((file, staged))
}

/// For the order of use after a restart; where the system refuses, it is that of writing.
pub fn mark_used(file: &File) {
    let _ = file.set_modified(SystemTime::now());
}

/// Removes files.
pub fn remove_all(paths: &[PathBuf]) {
    for path in paths {
        remove(path);
    }
}

/// Removes a file that may be gone already.
pub fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            warn!(file = %path.display(), error = %e, "cannot be removed");
        }
        _ => {}
    }
}
