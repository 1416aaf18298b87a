//! What the cache holds.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{HubError, RepoId, Settings};
use crate::limits;

/// A model in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    /// Its name on the hub.
    pub id: RepoId,
    /// The branch, tag or commit that it was fetched by.
    pub revision: String,
    /// Its directory.
    pub dir: PathBuf,
    /// Bytes of its files.
    pub bytes: u64,
}

/// Every model of the cache, by name. An absent cache is an empty one.
///
/// # Errors
/// [`HubError::Io`] when the cache cannot be read.
pub fn list(settings: &Settings) -> Result<Vec<Cached>, HubError> {
    let folders = match fs::read_dir(&settings.cache_dir) {
        Ok(folders) => folders,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(HubError::io(&settings.cache_dir)(e)),
    };
    let ids = folders
        .flatten()
        .filter_map(|folder| RepoId::from_folder(folder.file_name().to_str()?))
        .take(limits::MAX_CACHED_MODELS);
    let mut found: Vec<Cached> = ids.flat_map(|id| revisions(settings, &id)).collect();
    found.sort_by(|a, b| (&a.id, &a.revision).cmp(&(&b.id, &b.revision)));
    Ok(found)
}

/// The directory of a model at a revision, when its files are there.
pub(super) fn snapshot(settings: &Settings, id: &RepoId, revision: &str) -> Option<PathBuf> {
    let repo = settings.cache_dir.join(id.folder());
    let commit = read_commit(&repo.join("refs").join(revision))?;
    let dir = repo.join("snapshots").join(commit);
    dir.is_dir().then_some(dir)
}

fn revisions(settings: &Settings, id: &RepoId) -> Vec<Cached> {
    let refs = settings.cache_dir.join(id.folder()).join("refs");
    let names = fs::read_dir(refs).into_iter().flatten().flatten();
    names
        .filter_map(|name| name.file_name().into_string().ok())
        .filter_map(|revision| {
            let dir = snapshot(settings, id, &revision)?;
            let bytes = size(&dir);
            Some(Cached { id: id.clone(), revision, dir, bytes })
        })
        .collect()
}

/// A commit is a plain hash: whatever else a file holds must not become a path.
fn read_commit(path: &Path) -> Option<String> {
    let small = fs::metadata(path).ok()?.len() <= limits::MAX_TOKEN_FILE_BYTES;
    let text = small.then(|| fs::read_to_string(path).ok()).flatten()?;
    let commit = text.trim();
    is_commit(commit).then(|| commit.to_owned())
}

pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn size(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files.filter_map(|file| fs::metadata(file.path()).ok()).map(|file| file.len()).sum()
}
