//! What the cache holds.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    HubError, RepoId, Settings,
    id::{Commit, is_revision},
};
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
    let dir = repo.join("snapshots").join(commit.as_str());
    dir.is_dir().then_some(dir)
}

fn revisions(settings: &Settings, id: &RepoId) -> Vec<Cached> {
    let mut names = Vec::new();
    find_refs(&settings.cache_dir.join(id.folder()).join("refs"), "", &mut names);
    let cached = names.into_iter().filter_map(|revision| {
        let dir = snapshot(settings, id, &revision)?;
        let bytes = size(&dir);
        Some(Cached { id: id.clone(), revision, dir, bytes })
    });
    cached.collect()
}

/// Names of the files below `folder` that can be revisions, such as `main` and `refs/pr/1`; whatever
/// else lies there is passed over. Links to folders are not followed, and a name's length bounds the
/// depth.
fn find_refs(folder: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let revision = format!("{prefix}{name}");
        if found.len() >= limits::MAX_CACHED_REVISIONS || !is_revision(&revision) {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find_refs(&entry.path(), &format!("{revision}/"), found);
        } else {
            found.push(revision);
        }
    }
}

/// A commit is a plain hash: whatever else a file holds must not become a path.
fn read_commit(path: &Path) -> Option<Commit> {
    let small = fs::metadata(path).ok()?.len() <= limits::MAX_TOKEN_FILE_BYTES;
    let text = small.then(|| fs::read_to_string(path).ok()).flatten()?;
    Commit::parse(text.trim())
}

fn size(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files.filter_map(|file| fs::metadata(file.path()).ok()).map(|file| file.len()).sum()
}
