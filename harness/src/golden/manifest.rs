//! The list of committed goldens and their digests.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{Error, Result, files::write_whole, sha256};

/// Name of the manifest in `golden/`.
pub const MANIFEST_FILE: &str = "manifest.json";

/// Digest and size of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// Size.
    pub bytes: u64,
}

/// Every golden below `golden/`, by path with forward slashes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The files.
    pub files: BTreeMap<String, FileRecord>,
}

impl Manifest {
    /// Reads `golden/manifest.json`.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn read(golden: &Path) -> Result<Self> {
        let path = golden.join(MANIFEST_FILE);
        let text = fs::read_to_string(&path).map_err(|e| Error::file(&path, e))?;
        serde_json::from_str(&text).map_err(|e| Error::file(&path, e))
    }

    /// Lists what lies below `golden`: `.safetensors` and `.json` files, manifest excepted.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn scan(golden: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        let mut folders = vec![golden.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(|e| Error::file(&folder, e))? {
                let path = entry.map_err(|e| Error::file(&folder, e))?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|e| e == "safetensors" || e == "json") {
                    let name = slashed(golden, &path);
                    if name != MANIFEST_FILE {
                        let bytes = fs::read(&path).map_err(|e| Error::file(&path, e))?;
                        files.insert(
                            name,
                            FileRecord { sha256: sha256(&bytes), bytes: bytes.len() as u64 },
                        );
                    }
                }
            }
        }
        Ok(Self { files })
    }

    /// Writes `golden/manifest.json` under a temporary name, then renames it.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write(&self, golden: &Path) -> Result<()> {
        let path = golden.join(MANIFEST_FILE);
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::file(&path, e))? + "\n";
        write_whole(&path, text.as_bytes())
    }

    /// How `found` differs from this manifest, a line each; empty when it does not.
    pub fn differences(&self, found: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, record) in &self.files {
            match found.files.get(name) {
                None => lines.push(format!("{name} is missing")),
                Some(other) if other != record => lines.push(format!("{name} differs")),
                Some(_) => {}
            }
        }
        lines.extend(
            found
                .files
                .keys()
                .filter(|n| !self.files.contains_key(*n))
                .map(|n| format!("{n} is not listed")),
        );
        lines
    }
}

fn slashed(root: &Path, path: &Path) -> String {
    let relative: PathBuf = path.strip_prefix(root).unwrap_or(path).into();
    relative.components().map(|c| c.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_missing_changed_and_unlisted_files() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("m")).unwrap();
        for name in ["m/a.safetensors", "m/b.json", "readme.md"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        Manifest::scan(folder.path()).unwrap().write(folder.path()).unwrap();
        let listed = Manifest::read(folder.path()).unwrap();
        assert_eq!(listed.files.keys().collect::<Vec<_>>(), ["m/a.safetensors", "m/b.json"]);
        assert!(listed.differences(&Manifest::scan(folder.path()).unwrap()).is_empty());

        fs::write(folder.path().join("m/a.safetensors"), "changed").unwrap();
        fs::remove_file(folder.path().join("m/b.json")).unwrap();
        fs::write(folder.path().join("m/c.json"), "new").unwrap();
        assert_eq!(
            listed.differences(&Manifest::scan(folder.path()).unwrap()),
            ["m/a.safetensors differs", "m/b.json is missing", "m/c.json is not listed"]
        );
    }
}
