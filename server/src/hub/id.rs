//! Names of repositories and revisions.

use std::{fmt, str::FromStr};

use super::HubError;
use crate::limits;

/// `ORG/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RepoId(String);

impl RepoId {
    /// The name as the hub writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder of the cache that holds it.
    pub fn folder(&self) -> String {
        format!("models--{}", self.0.replace('/', "--"))
    }

    /// The repository of a folder of the cache.
    pub fn from_folder(folder: &str) -> Option<Self> {
        folder.strip_prefix("models--")?.replacen("--", "/", 1).parse().ok()
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RepoId {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let parts: Vec<&str> = text.split('/').collect();
        if text.len() <= limits::MAX_REPO_NAME_BYTES
            && parts.len() == 2
            && parts.into_iter().all(is_plain)
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(HubError::Name(text.chars().take(limits::MAX_QUOTED_CHARS).collect()))
        }
    }
}

/// A name that means nothing to a file system or an address. Two hyphens separate the parts of the
/// cache's folders, so a name cannot have them.
fn is_plain(part: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    !part.is_empty()
        && part.bytes().all(allowed)
        && !part.starts_with(['.', '-'])
        && !part.contains("--")
        && !part.contains("..")
}

/// Whether a branch, tag or commit can be asked for.
pub(super) fn is_revision(text: &str) -> bool {
    text.len() <= limits::MAX_REPO_NAME_BYTES && text.split('/').all(is_plain)
}

/// A commit: a plain hash, so that it is a name for a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Commit(String);

impl Commit {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let hash = text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit());
        hash.then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("mlx-community/gemma-4-e2b-it-4bit", true)]
    #[case("openbmb/MiniCPM5-1B_v2.0", true)]
    #[case("one", false)]
    #[case("a/b/c", false)]
    #[case("../b", false)]
    #[case("./model", false)]
    #[case("a/..", false)]
    #[case("a/b..c", false)]
    #[case("a/-b", false)]
    #[case("a/b--c", false)]
    #[case("a/b c", false)]
    #[case("/b", false)]
    #[case("a/", false)]
    #[case("a\\b/c", false)]
    #[case("a/b%2f", false)]
    #[case(&format!("a/{}", "b".repeat(200)), false)]
    fn names(#[case] text: &str, #[case] fine: bool) {
        assert_eq!(text.parse::<RepoId>().is_ok(), fine);
    }

    #[test]
    fn folders_come_back() {
        let id: RepoId = "org/na-me".parse().unwrap();
        assert_eq!(id.folder(), "models--org--na-me");
        assert_eq!(RepoId::from_folder(&id.folder()), Some(id));
        assert_eq!(RepoId::from_folder("datasets--org--name"), None);
        assert_eq!(RepoId::from_folder("models--gpt2"), None);
    }

    #[rstest]
    #[case("main", true)]
    #[case("refs/pr/1", true)]
    #[case("../main", false)]
    #[case("", false)]
    #[case(".tmpA1b2c3", false)]
    fn revisions(#[case] text: &str, #[case] fine: bool) {
        assert_eq!(is_revision(text), fine);
    }

    #[rstest]
    #[case("0123456789abcdef0123456789abcdef01234567", true)]
    #[case("0123456789abcdef0123456789abcdef0123456", false)]
    #[case("../../../../../../../../../../etc/passwd", false)]
    fn commits(#[case] text: &str, #[case] fine: bool) {
        assert_eq!(Commit::parse(text).is_some(), fine);
    }
}
