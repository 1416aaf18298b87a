//! The model that a command was given: a directory, or a name in the hub's cache.

use std::path::PathBuf;

use anyhow::Result;

use crate::hub::{RepoId, Settings, locate};

/// Puts the model's directory in the place of its name; returns the name of one from a hub.
pub(super) fn settle(model: &mut PathBuf) -> Result<Option<RepoId>> {
    // A directory needs no cache, and so none of its variables.
    if model.exists() {
        return Ok(None);
    }
    let located = locate(model, &Settings::from_env()?)?;
    *model = located.dir;
    Ok(located.id)
}
