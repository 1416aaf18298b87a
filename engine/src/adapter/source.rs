//! Where an adapter lies and what it is called.

use std::path::{Path, PathBuf};

use super::folder_name;
use crate::{Error, Result, limits};

/// Words that requests use for the bare model.
const RESERVED: [&str; 2] = ["base", "none"];

/// An adapter's folder and the name that requests use for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterSource {
    /// A [plain](check_name) name.
    pub name: String,
    /// Folder with `adapter_config.json`.
    pub path: PathBuf,
}

impl AdapterSource {
    /// The adapter at `path`, called as its folder, with dashes for what names do not have.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { name: plain_name(&path), path }
    }
}

/// Refuses names that requests could not tell apart from lists, paths and the words for the bare
/// model: letters, digits, `-`, `_` and `.` are fine, the last one not in front.
///
/// # Errors
/// [`Error::Request`].
pub fn check_name(name: &str) -> Result<()> {
    let most = limits::MAX_ADAPTER_NAME_BYTES;
    let plain = (1..=most).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(is_plain)
        && !is_reserved(name);
    if plain {
        return Ok(());
    }
    Err(Error::Request(format!(
        "an adapter's name must have 1 to {most} letters, digits, dashes, dots and underscores, not \
         begin with a dot, and not be one of {}",
        RESERVED.join(", ")
    )))
}

/// Whether a name stands for the bare model.
pub fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|word| name.eq_ignore_ascii_case(word))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)
}

fn plain_name(path: &Path) -> String {
    let name: String = folder_name(path)
        .chars()
        .map(|c| if u8::try_from(c).is_ok_and(is_plain) { c } else { '-' })
        .take(limits::MAX_ADAPTER_NAME_BYTES)
        .collect();
    let name = name.trim_start_matches('.');
    if name.is_empty() || is_reserved(name) { "adapter".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{AdapterSource, check_name};

    #[rstest]
    #[case("sql", true)]
    #[case("v1.2_final-B", true)]
    #[case("", false)]
    #[case(".hidden", false)]
    #[case("a+b", false)]
    #[case("a,b", false)]
    #[case("a/b", false)]
    #[case("..", false)]
    #[case("none", false)]
    #[case("Base", false)]
    #[case(&"x".repeat(64), true)]
    #[case(&"x".repeat(65), false)]
    fn names_are_plain(#[case] name: &str, #[case] fine: bool) {
        assert_eq!(check_name(name).is_ok(), fine);
    }

    #[rstest]
    #[case("runs/sql", "sql")]
    #[case("runs/sql/", "sql")]
    #[case("my adapter + more", "my-adapter---more")]
    #[case(".cache", "cache")]
    #[case("None", "adapter")]
    #[case("/", "-")]
    fn folders_name_adapters(#[case] path: &str, #[case] name: &str) {
        let source = AdapterSource::at(path);
        assert_eq!(source.name, name);
        check_name(&source.name).unwrap();
    }
}
