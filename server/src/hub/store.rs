//! The cache's folder of one model: files under their hashes (`blobs`), a folder of links to them for
//! each commit (`snapshots`), and the commits that branches and tags mean (`refs`).
//!
//! A cache may be shared: what is written has the permissions that the umask leaves.

use std::{
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io::{self, ErrorKind, Write},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use tempfile::Builder;

use super::{HubError, RepoId, Settings, id::Commit, verify::Hash};

pub(super) struct Store {
    root: PathBuf,
    /// Where the hub's own tools lock files that they fetch.
    locks: PathBuf,
}

impl Store {
    pub(super) fn new(settings: &Settings, id: &RepoId) -> Self {
        Self {
            root: settings.cache_dir.join(id.folder()),
            locks: settings.cache_dir.join(".locks").join(id.folder()),
        }
    }

    pub(super) fn blob(&self, hash: &Hash) -> PathBuf {
        self.root.join("blobs").join(hash.hex())
    }

    /// What is there of a file that is being fetched.
    pub(super) fn part(&self, hash: &Hash) -> PathBuf {
        self.blob(hash).with_extension("verbatim.part")
    }

    pub(super) fn pointer(&self, commit: &Commit, file: &str) -> PathBuf {
        self.root.join("snapshots").join(commit.as_str()).join(file)
    }

    /// Keeps others from fetching the same file until it is dropped.
    pub(super) fn lock(&self, hash: &Hash, file: &str) -> Result<File, HubError> {
        let path = self.locks.join(format!("{}.lock", hash.hex()));
        let open = || {
            fs::create_dir_all(&self.locks)?;
            OpenOptions::new().append(true).create(true).open(&path)
        };
        let lock = open().map_err(HubError::io(&path))?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            // Some file systems have no locks.
            Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => Ok(lock),
            Err(TryLockError::Error(e)) => Err(HubError::io(&path)(e)),
            Err(TryLockError::WouldBlock) => Err(HubError::Busy(file.to_owned())),
        }
    }

    /// Makes the fetched and verified part the file itself.
    pub(super) fn keep(&self, hash: &Hash) -> Result<(), HubError> {
        let blob = self.blob(hash);
        fs::rename(self.part(hash), &blob).map_err(HubError::io(&blob))
    }

    /// Shows a file in the folder of a commit: by a link, or by a copy where there are no links.
    pub(super) fn link(&self, commit: &Commit, file: &str, hash: &Hash) -> Result<(), HubError> {
        let (pointer, blob) = (self.pointer(commit, file), self.blob(hash));
        let target = Path::new("../../blobs").join(hash.hex());
        let write = || {
            create_folder_of(&pointer)?;
            match staging().make_in(&self.root, |path| symlink(&target, path)) {
                Ok(link) => link.persist(&pointer).map(drop).map_err(io::Error::from),
                Err(_) => {
                    self.write(&pointer, |copy| io::copy(&mut File::open(&blob)?, copy).map(drop))
                }
            }
        };
        write().map_err(HubError::io(&pointer))
    }

    /// Makes `revision` mean `commit`.
    pub(super) fn point(&self, revision: &str, commit: &Commit) -> Result<(), HubError> {
        let path = self.root.join("refs").join(revision);
        self.write(&path, |file| file.write_all(commit.as_str().as_bytes()))
            .map_err(HubError::io(&path))
    }

    /// Writes a file that appears whole or not at all. It is staged in a folder in which nobody looks
    /// for files.
    fn write(
        &self,
        path: &Path,
        content: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        create_folder_of(path)?;
        let mut staged =
            staging().permissions(Permissions::from_mode(0o666)).tempfile_in(&self.root)?;
        content(staged.as_file_mut())?;
        staged.as_file().sync_all()?;
        staged.persist(path)?;
        Ok(())
    }
}

/// Whether the file at `path` is there and whole. One that is damaged is removed.
pub(super) fn is_whole(path: &Path, hash: &Hash) -> Result<bool, HubError> {
    let whole = hash.matches(path).map_err(HubError::io(path))?;
    if !whole {
        discard(path);
    }
    Ok(whole)
}

fn staging() -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    builder.prefix(".verbatim-").suffix(".tmp");
    builder
}

pub(super) fn create_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

/// Removes a file that is of no use. One that stays is found again by its hash.
pub(super) fn discard(path: &Path) {
    let _ = fs::remove_file(path);
}
