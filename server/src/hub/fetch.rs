//! Fetching a model, file by file; what is there and whole is not fetched again.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use hf_hub::{
    Cache, Repo, RepoType,
    api::{
        RepoInfo,
        sync::{Api, ApiBuilder, ApiRepo},
    },
};
use tempfile::NamedTempFile;

use super::{
    HubError, RepoId, Settings, id,
    list::{is_commit, snapshot},
    verify::Hash,
};
use crate::limits;

/// What the hub's client names a file by that is not complete.
const PART: &str = "sync.part";

/// Tells how a fetch gets on.
pub trait Progress {
    /// `file` is the `n`th of `of` files.
    fn file(&mut self, file: &str, n: usize, of: usize);
    /// Shows the bytes of a file that is being fetched.
    fn bar(&mut self) -> indicatif::ProgressBar;
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
    let fetch = Fetch::new(settings, id, revision)?;
    let info = fetch.info()?;
    let files = fetch.wanted(&info)?;
    let mut new = 0;
    for (i, file) in files.iter().enumerate() {
        progress.file(file, i + 1, files.len());
        let fetched = fetch.file(file, &info.sha, progress)?;
        new += usize::from(fetched);
        progress.verified(file, fetched);
    }
    // Only now does the revision mean this commit: until then the model that was there stays.
    fetch.point(revision, &info.sha)?;
    let dir = snapshot(settings, id, revision)
        .ok_or_else(|| fetch.refused("the files did not get into the cache"))?;
    Ok(Fetched { dir, files: files.len(), new })
}

struct Fetch<'a> {
    settings: &'a Settings,
    id: &'a RepoId,
    api: Api,
    /// At the revision that was asked for.
    named: ApiRepo,
    cache: hf_hub::CacheRepo,
}

impl<'a> Fetch<'a> {
    fn new(settings: &'a Settings, id: &'a RepoId, revision: &str) -> Result<Self, HubError> {
        let cache = Cache::new(settings.cache_dir.clone());
        let api = ApiBuilder::from_cache(cache.clone())
            .with_endpoint(settings.endpoint.clone())
            .with_token(settings.token.clone())
            .with_retries(limits::HUB_RETRIES)
            .with_user_agent("verbatim", crate::version::VERSION)
            .build()
            .map_err(|e| HubError::Settings(e.to_string()))?;
        let repo = at(id, revision);
        let (named, cache) = (api.repo(repo.clone()), cache.repo(repo));
        Ok(Self { settings, id, api, named, cache })
    }

    fn refused(&self, reason: impl ToString) -> HubError {
        HubError::Hub { endpoint: self.settings.endpoint.clone(), reason: reason.to_string() }
    }

    /// The hub's client expects answers to make sense; one that does not is the hub's failure.
    fn ask<T>(
        &self,
        question: impl FnOnce() -> Result<T, hf_hub::api::sync::ApiError>,
    ) -> Result<T, HubError> {
        match catch_unwind(AssertUnwindSafe(question)) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(e)) => Err(self.refused(explain(&e.to_string(), self.id))),
            Err(_) => Err(self.refused("its answer makes no sense")),
        }
    }

    fn info(&self) -> Result<RepoInfo, HubError> {
        let info = self.ask(|| self.named.info())?;
        if is_commit(&info.sha) { Ok(info) } else { Err(self.refused("it names no commit")) }
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
        commit: &str,
        progress: &mut dyn Progress,
    ) -> Result<bool, HubError> {
        let repo = self.api.repo(at(self.id, commit));
        let announced = self.ask(|| self.api.metadata(&repo.url(file)))?;
        let hash = Hash::parse(announced.etag())
            .ok_or_else(|| self.refused(format!("{file} has no hash for an ETag")))?;
        if announced.commit_hash() != commit {
            return Err(self.refused(format!("{file} is not of the commit {commit}")));
        }
        let blob = self.cache.blob_path(hash.hex());
        let pointer = self.cache.pointer_path(commit).join(file);
        if pointer.exists() && is_whole(&pointer, &hash)? {
            return Ok(false);
        }
        discard(&[&pointer]);
        let part = blob.with_extension(PART);
        if fs::metadata(&part).is_ok_and(|part| part.len() >= announced.size() as u64) {
            discard(&[&part]);
        }
        let bar = progress.bar();
        let fetched = self.ask(|| repo.download_with_progress(file, bar.clone()));
        bar.finish_and_clear();
        let pointer = fetched?;
        if is_whole(&pointer, &hash)? {
            return Ok(true);
        }
        discard(&[&pointer, &blob]);
        Err(HubError::Corrupt { file: file.to_owned(), expected: hash.hex().to_owned() })
    }

    /// Makes `revision` mean `commit`.
    fn point(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        let refs = self.settings.cache_dir.join(self.id.folder()).join("refs");
        if revision != commit {
            // The hub's client leaves one for the commit, which it was asked for.
            discard(&[&refs.join(commit)]);
        }
        let path = refs.join(revision);
        let folder = path.parent().unwrap_or(&refs);
        let write = || {
            fs::create_dir_all(folder)?;
            let mut staged = NamedTempFile::new_in(folder)?;
            staged.write_all(commit.as_bytes())?;
            staged.persist(&path)?;
            Ok(())
        };
        write().map_err(HubError::io(&path))
    }
}

fn at(id: &RepoId, revision: &str) -> Repo {
    Repo::with_revision(id.as_str().to_owned(), RepoType::Model, revision.to_owned())
}

/// Removes files that are of no use. One that stays is found again by its hash.
fn discard(paths: &[&Path]) {
    for path in paths {
        let _ = fs::remove_file(path);
    }
}

fn is_whole(path: &Path, hash: &Hash) -> Result<bool, HubError> {
    hash.matches(path).map_err(HubError::io(path))
}

/// The usual refusals in words that tell what to do.
fn explain(reason: &str, id: &RepoId) -> String {
    if reason.contains("404") {
        return format!("there is no {id}, or no such revision of it");
    }
    if reason.contains("401") || reason.contains("403") {
        return format!("{id} does not exist or needs a token with access to it (HF_TOKEN)");
    }
    reason.to_owned()
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
