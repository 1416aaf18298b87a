//! Fetching a model, file by file; what is there and whole is not fetched again.
//!
//! Nothing that a hub says becomes a path before it is a [`Hash`](super::verify::Hash), a [`Commit`]
//! or a plain file name.

use std::{collections::BTreeSet, path::PathBuf};

use hf_hub::{
    Cache, Repo, RepoType,
    api::{
        RepoInfo,
        sync::{Api, ApiBuilder},
    },
};
use ureq::http::StatusCode;

use super::{
    HubError, RepoId, Settings,
    client::{Client, Refusal, check},
    download::download,
    id::{self, Commit},
    list::snapshot,
    store::{Store, is_whole},
};
use crate::limits;

/// Tells how a fetch gets on.
pub trait Progress {
    /// `file` is the `n`th of `of` files.
    fn file(&mut self, file: &str, n: usize, of: usize);
    /// Shows the bytes of `file`, `bytes` in all, while it is being fetched.
    fn bar(&mut self, file: &str, bytes: u64) -> indicatif::ProgressBar;
    /// `file` is there and whole.
    fn verified(&mut self, file: &str, fetched: bool);
}

/// What was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The model's directory.
    pub dir: PathBuf,
    /// Files of the model.
    pub files: usize,
    /// Files that had to be fetched.
    pub new: usize,
}

/// Fetches the model `id` at `revision` into the cache and verifies every file. A fetch that broke
/// off is taken up where it ended.
///
/// # Errors
/// [`HubError`]; what was fetched and verified before stays.
pub fn fetch(
    settings: &Settings,
    id: &RepoId,
    revision: &str,
    progress: &mut dyn Progress,
) -> Result<Fetched, HubError> {
    if settings.offline {
        return Err(HubError::Offline);
    }
    if !id::is_revision(revision) {
        return Err(HubError::Name(revision.to_owned()));
    }
    let fetch = Fetch::new(settings, id)?;
    let info = fetch.info(revision)?;
    let commit = Commit::parse(&info.sha).ok_or_else(|| fetch.nonsense("it names no commit"))?;
    let files = fetch.wanted(&info)?;
    let mut new = 0;
    for (i, file) in files.iter().enumerate() {
        progress.file(file, i + 1, files.len());
        let fetched = fetch.file(file, &commit, progress)?;
        new += usize::from(fetched);
        progress.verified(file, fetched);
    }
    // Only now does the revision mean this commit: until then the model that was there stays.
    fetch.store.point(revision, &commit)?;
    let dir = snapshot(settings, id, revision)
        .ok_or_else(|| fetch.nonsense("the files did not get into the cache"))?;
    Ok(Fetched { dir, files: files.len(), new })
}

struct Fetch<'a> {
    settings: &'a Settings,
    id: &'a RepoId,
    /// Knows the hub's addresses. Files are fetched by `client`: this one uses what a hub says as it
    /// is, also for paths.
    api: Api,
    client: Client,
    store: Store,
}

impl<'a> Fetch<'a> {
    fn new(settings: &'a Settings, id: &'a RepoId) -> Result<Self, HubError> {
        let api = ApiBuilder::from_cache(Cache::new(settings.cache_dir.clone()))
            .with_endpoint(settings.endpoint.clone())
            .with_token(settings.token.clone())
            .with_user_agent("verbatim", crate::version::VERSION)
            .build()
            .map_err(|e| HubError::Settings(e.to_string()))?;
        let (client, store) = (Client::new(settings)?, Store::new(settings, id));
        Ok(Self { settings, id, api, client, store })
    }

    /// The usual refusals in words that tell what to do.
    fn refused(&self, refusal: Refusal) -> HubError {
        let id = self.id;
        let reason = match refusal {
            Refusal::Failed(e) => return e,
            Refusal::Absent => format!("there is no {id}, or no such revision of it"),
            Refusal::Denied => {
                format!("{id} does not exist or needs a token with access to it (HF_TOKEN)")
            }
            Refusal::Passing(reason) | Refusal::Lasting(reason) => reason,
        };
        HubError::Hub { endpoint: self.settings.endpoint.clone(), reason }
    }

    fn nonsense(&self, reason: impl Into<String>) -> HubError {
        self.refused(Refusal::Lasting(reason.into()))
    }

    fn info(&self, revision: &str) -> Result<RepoInfo, HubError> {
        let request = self.api.repo(self.at(revision)).info_request();
        let request = request.config().timeout_global(Some(limits::HUB_TIMEOUT)).build();
        let answer = request.call().and_then(|mut response| {
            response.body_mut().with_config().limit(limits::MAX_HUB_INFO_BYTES).read_json()
        });
        answer.map_err(|e| {
            let status = match e {
                ureq::Error::StatusCode(code) => StatusCode::from_u16(code).ok(),
                _ => None,
            };
            let refusal = status.and_then(|status| check(status).err());
            self.refused(refusal.unwrap_or_else(|| Refusal::Passing(e.to_string())))
        })
    }

    fn wanted(&self, info: &RepoInfo) -> Result<Vec<String>, HubError> {
        let names: BTreeSet<&str> = info.siblings.iter().map(|s| s.rfilename.as_str()).collect();
        let files: Vec<String> =
            names.into_iter().filter(|name| is_wanted(name)).map(str::to_owned).collect();
        if files.len() > limits::MAX_HUB_FILES {
            let most = limits::MAX_HUB_FILES;
            return Err(HubError::TooMuch(format!("{} has more than {most} files", self.id)));
        }
        let missing = |missing| HubError::NoModel { repo: self.id.to_string(), missing };
        if !files.iter().any(|file| file == "config.json") {
            return Err(missing("config.json"));
        }
        if !files.iter().any(|file| file.ends_with(".safetensors")) {
            return Err(missing(".safetensors file"));
        }
        Ok(files)
    }

    /// Has `file` of the commit in the cache, verified; whether it had to be fetched.
    fn file(
        &self,
        file: &str,
        commit: &Commit,
        progress: &mut dyn Progress,
    ) -> Result<bool, HubError> {
        let url = self.api.repo(self.at(commit.as_str())).url(file);
        let announced = self.client.announced(&url).map_err(|e| self.refused(e))?;
        if announced.commit != *commit {
            return Err(self.nonsense(format!("{file} is not of the commit {commit}")));
        }
        if announced.bytes > limits::MAX_HUB_FILE_BYTES {
            let most = limits::MAX_HUB_FILE_BYTES;
            return Err(HubError::TooMuch(format!("{file} has more than {most} bytes")));
        }
        let hash = &announced.hash;
        if is_whole(&self.store.pointer(commit, file), hash)? {
            return Ok(false);
        }
        let _lock = self.store.lock(hash, file)?;
        let fetched = !is_whole(&self.store.blob(hash), hash)?;
        if fetched {
            let bar = progress.bar(file, announced.bytes);
            let part = self.store.part(hash);
            let whole = download(&self.client, &url, file, &announced, &part, &bar);
            bar.finish_and_clear();
            whole.map_err(|e| self.refused(e))?;
            self.store.keep(hash)?;
        }
        self.store.link(commit, file, hash)?;
        Ok(fetched)
    }

    fn at(&self, revision: &str) -> Repo {
        Repo::with_revision(self.id.as_str().to_owned(), RepoType::Model, revision.to_owned())
    }
}

/// Whether a file of a repository belongs to a model that we can load. Names in folders are other
/// formats' or other precisions' files.
fn is_wanted(name: &str) -> bool {
    const KINDS: &[&str] = &[".json", ".jinja", ".safetensors", ".txt", ".model"];
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    name.len() <= limits::MAX_REPO_NAME_BYTES
        && name.bytes().all(plain)
        && !name.starts_with('.')
        && KINDS.iter().any(|kind| name.ends_with(kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("config.json", true)]
    #[case("model-00001-of-00002.safetensors", true)]
    #[case("chat_template.jinja", true)]
    #[case("merges.txt", true)]
    #[case("tokenizer.model", true)]
    #[case("README.md", false)]
    #[case("pytorch_model.bin", false)]
    #[case("model.gguf", false)]
    #[case("onnx/config.json", false)]
    #[case("../config.json", false)]
    #[case("..\\config.json", false)]
    #[case(".json", false)]
    fn files(#[case] name: &str, #[case] wanted: bool) {
        assert_eq!(is_wanted(name), wanted);
    }
}
