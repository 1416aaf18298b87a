//! The folder below which adapters may be added from.

use std::{
    io,
    path::{Component, Path, PathBuf},
};

use verbatim_engine::adapter::FILES;

use crate::error::{ApiError, ApiResult};

/// A folder that clients choose adapters from, and nothing outside.
#[derive(Debug, Clone)]
pub struct AdapterRoot(PathBuf);

impl AdapterRoot {
    /// The folder `dir`.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let dir = dir.canonicalize()?;
        if !dir.is_dir() {
            return Err(io::Error::from(io::ErrorKind::NotADirectory));
        }
        Ok(Self(dir))
    }

    /// The adapter's folder at `path`, counted from the root. It and the files in it may be links,
    /// as in the hub's cache, but not out of the root.
    ///
    /// # Errors
    /// A 400 that is the same for what is not there and what is not inside, so nothing outside can be
    /// felt out.
    pub fn find(&self, path: &str) -> ApiResult<PathBuf> {
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        let relative = Path::new(path);
        if path.is_empty() || !relative.components().all(plain) {
            return Err(ApiError::field(
                "path",
                "path must lead from --adapter-root down to the adapter's folder: relative, \
                 without dots",
            ));
        }
        let inside = |path: PathBuf| path.canonicalize().ok().filter(|p| p.starts_with(&self.0));
        let folder = inside(self.0.join(relative)).filter(|folder| folder.is_dir());
        let folder = folder.ok_or_else(not_there)?;
        let links_out = |name: &&str| {
            let file = folder.join(name);
            file.symlink_metadata().is_ok() && inside(file).is_none()
        };
        if FILES.iter().any(links_out) {
            return Err(not_there());
        }
        Ok(folder)
    }
}

fn not_there() -> ApiError {
    ApiError::field("path", "there is no such adapter's folder below --adapter-root")
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use rstest::rstest;
    use tempfile::TempDir;

    use super::*;

    /// `root/` with folders and links, beside a `secret/` that links lead to.
    fn tree() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        for dir in ["root/runs/sql", "root/stolen", "root/cached", "root/blobs", "secret"] {
            fs::create_dir_all(at(dir)).unwrap();
        }
        fs::write(at("secret/adapter_config.json"), "{}").unwrap();
        fs::write(at("root/blobs/1"), "{}").unwrap();
        fs::write(at("root/file"), "").unwrap();
        symlink(at("secret"), at("root/out")).unwrap();
        symlink(at("root/runs/sql"), at("root/alias")).unwrap();
        symlink("../blobs/1", at("root/cached/adapter_config.json")).unwrap();
        symlink("../../secret/adapter_config.json", at("root/stolen/adapter_config.json")).unwrap();
        folder
    }

    #[rstest]
    #[case("runs/sql", Some("root/runs/sql"))]
    #[case("alias", Some("root/runs/sql"))]
    #[case("cached", Some("root/cached"))]
    #[case("stolen", None)]
    #[case("out", None)]
    #[case("../secret", None)]
    #[case("runs/../../secret", None)]
    #[case("./runs", None)]
    #[case("file", None)]
    #[case("nowhere", None)]
    #[case("", None)]
    #[case("/", None)]
    #[case("a\0b", None)]
    fn only_what_is_inside_is_found(#[case] path: &str, #[case] found: Option<&str>) {
        let tree = tree();
        let root = AdapterRoot::open(&tree.path().join("root")).unwrap();
        let real = tree.path().canonicalize().unwrap();
        assert_eq!(root.find(path).ok(), found.map(|path| real.join(path)));
    }

    #[test]
    fn absolute_paths_are_refused_even_inside() {
        let tree = tree();
        let root = AdapterRoot::open(&tree.path().join("root")).unwrap();
        assert!(root.find(tree.path().join("root/runs/sql").to_str().unwrap()).is_err());
        assert!(AdapterRoot::open(&tree.path().join("root/file")).is_err());
    }

    #[test]
    fn outside_looks_like_nowhere() {
        let tree = tree();
        let root = AdapterRoot::open(&tree.path().join("root")).unwrap();
        assert_eq!(root.find("out"), root.find("nowhere"));
        assert_eq!(root.find("stolen"), root.find("nowhere"));
    }
}
