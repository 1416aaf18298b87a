//! Where the hub and its cache are: the variables that its own tools read.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use super::HubError;
use crate::limits;

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// Address, cache and token.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// Address of the hub, without a slash at its end.
    pub endpoint: String,
    /// Folder of the cache.
    pub cache_dir: PathBuf,
    /// Token for repositories that ask for one.
    pub token: Option<String>,
    /// The network must not be used.
    pub offline: bool,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("endpoint", &self.endpoint)
            .field("cache_dir", &self.cache_dir)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("offline", &self.offline)
            .finish()
    }
}

impl Settings {
    /// What the environment says: `HF_ENDPOINT`, `HF_HUB_CACHE` (`HUGGINGFACE_HUB_CACHE`), `HF_HOME`,
    /// `XDG_CACHE_HOME`, `HF_TOKEN`, `HF_TOKEN_PATH` and `HF_HUB_OFFLINE`.
    ///
    /// # Errors
    /// [`HubError::Settings`] when there is no place for a cache or the endpoint is no address.
    pub fn from_env() -> Result<Self, HubError> {
        Self::from_variables(|name| env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_variables(get: impl Fn(&str) -> Option<String>) -> Result<Self, HubError> {
        let endpoint = get("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        if !(endpoint.starts_with("https://") || endpoint.starts_with("http://")) {
            return Err(HubError::Settings(format!(
                "HF_ENDPOINT must begin with https:// or http://, not {endpoint:?}"
            )));
        }
        let home = get("HF_HOME").map(PathBuf::from).or_else(|| {
            let cache = get("XDG_CACHE_HOME")
                .map(PathBuf::from)
                .or_else(|| Some(Path::new(&get("HOME")?).join(".cache")));
            Some(cache?.join("huggingface"))
        });
        let cache_dir = get("HF_HUB_CACHE")
            .or_else(|| get("HUGGINGFACE_HUB_CACHE"))
            .map(PathBuf::from)
            .or_else(|| Some(home.as_ref()?.join("hub")))
            .ok_or_else(|| {
                HubError::Settings("no place for a cache: set HF_HOME or HOME".to_owned())
            })?;
        let token_path =
            get("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| Some(home?.join("token")));
        let token = get("HF_TOKEN").or_else(|| read_token(&token_path?));
        let offline = get("HF_HUB_OFFLINE").is_some_and(|value| is_on(&value));
        Ok(Self { endpoint, cache_dir, token, offline })
    }
}

fn read_token(path: &Path) -> Option<String> {
    let small = fs::metadata(path).ok()?.len() <= limits::MAX_TOKEN_FILE_BYTES;
    let text = small.then(|| fs::read_to_string(path).ok()).flatten()?;
    Some(text.trim().to_owned()).filter(|token| !token.is_empty())
}

fn is_on(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].contains(&value.to_ascii_uppercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn with(pairs: &[(&str, &str)]) -> Result<Settings, HubError> {
        let find = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|p| p.1.to_owned());
        Settings::from_variables(find)
    }

    #[rstest]
    #[case(&[("HOME", "/h")], "/h/.cache/huggingface/hub")]
    #[case(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub")]
    #[case(&[("HOME", "/h"), ("HF_HOME", "/f")], "/f/hub")]
    #[case(&[("HF_HOME", "/f"), ("HUGGINGFACE_HUB_CACHE", "/o")], "/o")]
    #[case(&[("HF_HUB_CACHE", "/n"), ("HUGGINGFACE_HUB_CACHE", "/o")], "/n")]
    fn caches(#[case] pairs: &[(&str, &str)], #[case] dir: &str) {
        let settings = with(pairs).unwrap();
        assert_eq!(settings.cache_dir, Path::new(dir));
        assert_eq!(settings.endpoint, DEFAULT_ENDPOINT);
        assert!(!settings.offline);
    }

    #[test]
    fn what_is_set_is_used() {
        let settings = with(&[
            ("HOME", "/h"),
            ("HF_ENDPOINT", "http://hub.test:1/"),
            ("HF_TOKEN", "secret"),
            ("HF_HUB_OFFLINE", "true"),
        ])
        .unwrap();
        assert_eq!(settings.endpoint, "http://hub.test:1");
        assert_eq!(settings.token.as_deref(), Some("secret"));
        assert!(settings.offline);
        assert!(!format!("{settings:?}").contains("secret"));
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        assert!(with(&[]).is_err());
        assert!(with(&[("HOME", "/h"), ("HF_ENDPOINT", "hub.test")]).is_err());
    }

    #[test]
    fn a_token_may_lie_in_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), " hf_x\n").unwrap();
        let path = file.path().to_str().unwrap();
        let token = with(&[("HOME", "/h"), ("HF_TOKEN_PATH", path)]).unwrap().token;
        assert_eq!(token.as_deref(), Some("hf_x"));
    }
}
