//! Models of a hub: fetched into the standard cache, verified, listed, and found there by name.
//!
//! The cache is the one that the hub's own tools keep (`models--ORG--NAME` with `refs`, `snapshots`
//! and `blobs`), so what they fetched is found and what is fetched here they find.

mod client;
mod download;
mod fetch;
mod id;
mod list;
mod settings;
mod store;
mod verify;

use std::path::{Path, PathBuf};

pub use fetch::{Fetched, Progress, fetch};
pub use id::RepoId;
pub use list::{Cached, list};
pub use settings::Settings;

/// What can go wrong with a hub or its cache.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Not of the form `ORG/NAME`.
    #[error("{0:?} is no name of a model on a hub: ORG/NAME is expected")]
    Name(String),
    /// A variable that cannot be used.
    #[error("{0}")]
    Settings(String),
    /// The variables forbid the network.
    #[error("HF_HUB_OFFLINE is set: nothing can be fetched")]
    Offline,
    /// The hub said no, or something that makes no sense.
    #[error("{endpoint}: {reason}")]
    Hub {
        /// The hub's address.
        endpoint: String,
        /// What it said.
        reason: String,
    },
    /// A file that is not what the hub says it is. It has been removed.
    #[error(
        "{file} is not what the hub announced ({expected}): it was removed, run the command again"
    )]
    Corrupt {
        /// Its name.
        file: String,
        /// The hash that was announced.
        expected: String,
    },
    /// A file of which more bytes came than announced. It has been removed.
    #[error("{file} is longer than the {bytes} bytes that the hub announced: it was removed")]
    TooLong {
        /// Its name.
        file: String,
        /// The size that was announced.
        bytes: u64,
    },
    /// Another process is fetching the same file.
    #[error("{0} is being fetched by another process: wait until that is done")]
    Busy(String),
    /// The repository has no model that could be loaded.
    #[error("{repo} has no {missing}: only models with safetensors weights can be loaded")]
    NoModel {
        /// The repository.
        repo: String,
        /// What was looked for.
        missing: &'static str,
    },
    /// Too much of something.
    #[error("{0}")]
    TooMuch(String),
    /// The model is not there.
    #[error(
        "{0} is neither a directory nor a model in the cache ({1}); `verbatim get {0}` fetches it"
    )]
    NotCached(RepoId, String),
    /// The cache cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

impl HubError {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::Io { path, source }
    }
}

/// A model on disk, and the name that it has on the hub where it comes from one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// Its directory.
    pub dir: PathBuf,
    /// Its name on the hub.
    pub id: Option<RepoId>,
}

/// The directory of the model that a user named: a path, or `ORG/NAME` in the cache.
///
/// # Errors
/// [`HubError::NotCached`] for a name that is not there. Whatever does not look like a name is taken
/// for a path.
pub fn locate(model: &Path, settings: &Settings) -> Result<Located, HubError> {
    let named = model.to_str().and_then(|text| text.parse::<RepoId>().ok());
    match named {
        Some(id) if !model.exists() => {
            let dir = list::snapshot(settings, &id, "main").ok_or_else(|| {
                HubError::NotCached(id.clone(), settings.cache_dir.display().to_string())
            })?;
            Ok(Located { dir, id: Some(id) })
        }
        _ => Ok(Located { dir: model.to_owned(), id: None }),
    }
}
