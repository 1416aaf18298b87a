//! The crate's error type.

use std::path::PathBuf;

/// Result with the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong around cases, models and goldens.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read, written or understood.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system or the parser said.
        reason: String,
    },
    /// A suite or case is malformed.
    #[error("case {id}: {reason}")]
    Case {
        /// The case, or the pattern in its suite that should have become one.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A model cannot be made from its specification.
    #[error("model: {0}")]
    Model(String),
    /// A golden does not say what it must.
    #[error("golden: {0}")]
    Golden(String),
    /// A process of a run and the one that started it do not understand each other.
    #[error("worker: {0}")]
    Worker(String),
}

impl Error {
    /// A [`Error::File`] from anything printable.
    pub fn file(path: impl Into<PathBuf>, reason: impl std::fmt::Display) -> Self {
        Self::File { path: path.into(), reason: reason.to_string() }
    }

    /// A [`Error::Case`] from anything printable.
    pub fn case(id: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Case { id: id.into(), reason: reason.to_string() }
    }
}
