//! Whether a file is what the hub announced: its ETag is a hash.

use std::{fs::File, io::Read, path::Path};

use sha1::{Digest, Sha1};
use sha2::Sha256;

/// The hash that an ETag stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hash {
    /// Of a large file: SHA-256 of its bytes.
    Sha256(String),
    /// Of a small one: git's, SHA-1 of a header and its bytes.
    Git(String),
}

impl Hash {
    /// Reads an ETag without its quotes; `None` when it is neither, and so no name for a file.
    pub(super) fn parse(etag: &str) -> Option<Self> {
        let hex = etag.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match etag.len() {
            64 if hex => Some(Self::Sha256(etag.to_owned())),
            40 if hex => Some(Self::Git(etag.to_owned())),
            _ => None,
        }
    }

    /// The hash in hexadecimal.
    pub(super) fn hex(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::Git(hex) => hex,
        }
    }

    /// Whether the file at `path` is there and has it.
    pub(super) fn matches(&self, path: &Path) -> std::io::Result<bool> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(e),
        };
        let found = match self {
            Self::Sha256(_) => digest(Sha256::new(), &mut file)?,
            Self::Git(_) => {
                let mut hasher = Sha1::new();
                hasher.update(format!("blob {}\0", file.metadata()?.len()));
                digest(hasher, &mut file)?
            }
        };
        Ok(found == self.hex())
    }
}

fn digest(mut hasher: impl Digest, file: &mut File) -> std::io::Result<String> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hasher.update(&buffer[..n]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("3b18e512dba79e4c8300dd08aeb37f8e728b8dad", true)]
    #[case("a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447", true)]
    #[case("3b18e512dba79e4c8300dd08aeb37f8e728b8dae", false)]
    fn known_hashes(#[case] etag: &str, #[case] same: bool) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hello world\n").unwrap();
        assert_eq!(Hash::parse(etag).unwrap().matches(file.path()).unwrap(), same);
    }

    #[rstest]
    #[case("../../../etc/passwd")]
    #[case("")]
    #[case("A948904F2F0F479B8F8197694B30184B0D2ED1C1")]
    #[case("W/3b18e512dba79e4c8300dd08aeb37f8e728b8dad")]
    fn other_etags_are_no_names(#[case] etag: &str) {
        assert_eq!(Hash::parse(etag), None);
    }
}
