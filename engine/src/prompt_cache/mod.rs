//! State of earlier requests' prompts, for requests that begin alike.
//!
//! Lives on the MLX thread. A request goes on from the longest stored prefix that gives it the bits of
//! a run from its first token ([`History`]); states share arrays copy-on-write, so that conversations
//! branch without harm to each other.

mod history;
mod snapshot;
mod store;

use std::sync::Arc;

use tracing::warn;

pub use history::{History, Rules};
pub use store::Kind;

use crate::{
    cache::LayerCache, generate::Chunks, models::Mutation, nn::AdapterId, scheduler::Status,
};
use snapshot::Snapshot;
use store::Store;

/// What a state depends on beside tokens and calls: the adapters in the order of their selection.
pub type Key = Vec<AdapterId>;

/// Where a request goes on from.
#[derive(Debug)]
pub struct Start {
    /// State of every layer.
    pub caches: Vec<LayerCache>,
    /// What it depends on; tells how many tokens it holds.
    pub history: History,
}

/// Entries of state under a byte cap.
pub struct PromptCache {
    store: Store<Key, Snapshot>,
    rules: Rules,
    status: Arc<Status>,
    mutation: Mutation,
}

impl PromptCache {
    /// An empty cache of at most `cap` bytes; 0 keeps nothing.
    pub fn new(rules: Rules, cap: usize, status: Arc<Status>, mutation: Mutation) -> Self {
        let careless = Rules { strict: false, window: None, packs_from: None };
        let rules = if mutation == Mutation::CachedWhateverCalls { careless } else { rules };
        status.set_cache_cap(cap);
        Self { store: Store::new(rules, cap), rules, status, mutation }
    }

    /// Whether anything may be kept.
    pub fn is_on(&self) -> bool {
        self.store.cap() > 0
    }

    /// What states depend on.
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// State for the longest part of `prompt`, which is read in `chunks`, that is there.
    pub fn start(&mut self, key: &Key, prompt: &[u32], chunks: &Chunks) -> Option<Start> {
        let start = self.find(key, prompt, chunks);
        self.status.record_cache_lookup(start.as_ref().map_or(0, |start| start.history.at()));
        start
    }

    fn find(&mut self, key: &Key, prompt: &[u32], chunks: &Chunks) -> Option<Start> {
        let mut hit = self.store.find(key, prompt, chunks)?;
        let entry = &self.store.entries()[hit.index];
        let caches = match entry.state.caches(hit.history.at(), entry.tokens.len()) {
            Ok(caches) => caches?,
            Err(e) => {
                warn!(error = %e, "a cached prompt cannot be used");
                return None;
            }
        };
        self.store.touch(hit.index);
        if self.mutation == Mutation::CachedOneLate && hit.history.at() < chunks.last() {
            hit.history.read(&self.rules, 1);
        }
        Some(Start { caches, history: hit.history })
    }

    /// Keeps a copy of the state behind the first tokens of a prompt that is still being read.
    ///
    /// Caches that can be cut back are not copied: the sequence's end will stand in for its prompt.
    pub fn keep_prompt(
        &mut self,
        key: &Key,
        tokens: &[u32],
        caches: &[LayerCache],
        history: &History,
        kind: Kind,
    ) {
        let growing = caches.iter().all(|cache| matches!(cache, LayerCache::Kv(_)));
        if !self.is_on() || growing {
            return;
        }
        if let Some(known) = self.store.position(key, tokens, history) {
            self.store.touch(known);
            return;
        }
        if !self.store.covers(key, tokens, history) {
            self.insert(key, tokens.to_vec(), caches.to_vec(), history, kind);
        }
    }

    /// Keeps the state at a sequence's end, unless no prompt could go on from it: `prompt` is how
    /// many of its tokens were read as a prompt.
    pub fn keep_end(
        &mut self,
        key: &Key,
        tokens: Vec<u32>,
        caches: Vec<LayerCache>,
        history: &History,
        prompt: usize,
    ) {
        let trimmable = caches.iter().all(LayerCache::is_trimmable);
        if !self.is_on()
            || tokens.is_empty()
            || (history.is_peculiar(prompt.saturating_sub(1)) && !trimmable)
            || self.store.position(key, &tokens, history).is_some()
            || self.store.covers(key, &tokens, history)
        {
            return;
        }
        self.insert(key, tokens, caches, history, Kind::Tail);
    }

    fn insert(
        &mut self,
        key: &Key,
        tokens: Vec<u32>,
        caches: Vec<LayerCache>,
        history: &History,
        kind: Kind,
    ) {
        match Snapshot::take(caches) {
            Ok(state) => {
                self.store.insert(key.clone(), tokens, history.clone(), kind, state);
            }
            Err(e) => warn!(error = %e, "a prompt's state cannot be kept"),
        }
        self.publish();
    }

    /// Bytes of all states.
    pub fn bytes(&self) -> usize {
        self.store.bytes()
    }

    /// Makes room outside of the cache: evicts at least `bytes`, or all there is. Returns how many.
    pub fn evict(&mut self, bytes: usize) -> usize {
        let freed = self.store.evict(bytes);
        self.publish();
        freed
    }

    /// Forgets what was computed with an adapter.
    pub fn forget_adapter(&mut self, id: AdapterId) {
        self.store.retain(|key| !key.contains(&id));
        self.publish();
    }

    fn publish(&self) {
        self.status.set_cache(
            self.store.entries().len(),
            self.store.bytes(),
            self.store.evictions(),
        );
    }
}
