//! Where things lie: the checkout, the Python environment, scratch space.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// The checkout's folders.
#[derive(Debug, Clone)]
pub struct Checkout {
    /// Its root.
    pub root: PathBuf,
}

impl Checkout {
    /// The checkout around the working directory.
    ///
    /// # Errors
    /// When no parent folder is one.
    pub fn find() -> Result<Self> {
        let here = env::current_dir().context("the working directory is gone")?;
        here.ancestors()
            .find(|folder| folder.join("oracle/requirements.lock").is_file())
            .map(|root| Self { root: root.to_owned() })
            .context("run this inside the checkout (no oracle/requirements.lock above the working directory)")
    }

    /// The environment that `oracle/python/setup_env.py` makes.
    pub fn venv(&self) -> PathBuf {
        env::var_os("VERBATIM_VENV").map_or_else(|| self.root.join(".venv"), PathBuf::from)
    }

    /// The environment's packages.
    ///
    /// # Errors
    /// When there is no environment.
    pub fn site_packages(&self) -> Result<PathBuf> {
        let lib = self.venv().join("lib");
        let entries = lib.read_dir().with_context(|| missing(&self.venv()))?;
        entries
            .filter_map(|entry| Some(entry.ok()?.path().join("site-packages")))
            .find(|path| path.is_dir())
            .with_context(|| missing(&self.venv()))
    }

    /// Installation prefix of the interpreter that the environment was made with.
    ///
    /// # Errors
    /// When the environment does not say.
    pub fn python_home(&self) -> Result<PathBuf> {
        let path = self.venv().join("pyvenv.cfg");
        let text = std::fs::read_to_string(&path).with_context(|| missing(&self.venv()))?;
        let home =
            text.lines().find_map(|line| line.strip_prefix("home")?.trim().strip_prefix('='));
        match home.and_then(|bin| Path::new(bin.trim()).parent()) {
            Some(prefix) => Ok(prefix.to_owned()),
            None => bail!("{} names no home", path.display()),
        }
    }

    /// Where made models are kept. The harness has its own folder, so that a model it converts is
    /// never the reference's.
    pub fn models(&self) -> PathBuf {
        self.root.join(".cache/oracle-models")
    }

    /// The library that the engine links and Python must load too.
    pub fn libmlx(&self) -> PathBuf {
        let deps =
            env::var_os("VERBATIM_DEPS").map_or_else(|| self.root.join(".deps"), PathBuf::from);
        let name = if cfg!(target_os = "macos") { "libmlx.dylib" } else { "libmlx.so" };
        deps.join("mlx/active/mlx/lib").join(name)
    }
}

fn missing(venv: &Path) -> String {
    format!("{} is no Python environment; run `./just oracle-setup`", venv.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkout(cfg: &str) -> (tempfile::TempDir, Checkout) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join(".venv/lib/python3.11/site-packages")).unwrap();
        std::fs::write(folder.path().join(".venv/pyvenv.cfg"), cfg).unwrap();
        let root = folder.path().to_owned();
        (folder, Checkout { root })
    }

    #[test]
    fn the_interpreters_prefix_comes_from_the_environment() {
        let (_folder, checkout) = checkout("home = /opt/python/bin\nversion = 3.11.7\n");
        assert_eq!(checkout.python_home().unwrap(), Path::new("/opt/python"));
        assert!(checkout.site_packages().unwrap().ends_with("python3.11/site-packages"));
    }

    #[test]
    fn a_missing_environment_is_told_with_its_remedy() {
        let (_folder, incomplete) = checkout("version = 3.11.7\n");
        assert!(incomplete.python_home().unwrap_err().to_string().contains("home"));
        let none = Checkout { root: PathBuf::from("nowhere") };
        assert!(none.site_packages().unwrap_err().to_string().contains("oracle-setup"));
    }
}
