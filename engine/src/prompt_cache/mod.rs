//! State of earlier requests' prompts, for requests that begin alike.
//!
//! Lives on the MLX thread. A request goes on from the longest stored prefix that gives it the bits of
//! a run from its first token ([`History`]); states share arrays copy-on-write, so that conversations
//! branch without harm to each other.

mod disk;
mod history;
mod identity;
mod snapshot;
mod store;

use std::{collections::BTreeSet, sync::Arc, thread, time::Instant};

use tracing::warn;

pub use disk::{Disk, Folder, Shape};
pub use history::{History, Rules};
pub use identity::identity;
pub use store::{Hit, Kind, State, Store};

use crate::{
    cache::LayerCache, generate::Chunks, models::Mutation, nn::AdapterId, scheduler::Status,
};
use snapshot::Snapshot;
use store::Inserted;

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

/// Asks whether the cache may take in so many bytes, which may cost entries.
pub type MayTake<'a> = dyn Fn(&mut PromptCache, usize) -> bool + 'a;

/// Entries of state under a byte cap.
pub struct PromptCache {
    store: Store<Key, Snapshot>,
    disk: Option<Disk>,
    /// Ids of entries that are to be written to disk.
    unsaved: BTreeSet<u64>,
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
        let store = Store::new(rules, cap);
        Self { store, disk: None, unsaved: BTreeSet::new(), rules, status, mutation }
    }

    /// Keeps states, which look like `shape`, in `folder` as well, where they survive a restart.
    pub fn keep_on_disk(&mut self, folder: Folder, shape: Shape) {
        match Disk::new(folder, self.rules, shape) {
            Ok(disk) => self.disk = Some(disk),
            Err(e) => warn!(error = %e, "the prompt cache stays in memory"),
        }
        self.publish();
    }

    /// Whether anything may be kept.
    pub fn is_on(&self) -> bool {
        self.store.cap() > 0
    }

    /// The key of states that are computed with these adapters, in the order of their selection.
    pub fn key(&self, adapters: &[AdapterId]) -> Key {
        if self.mutation == Mutation::CachedWhateverAdapters {
            return Key::new();
        }
        adapters.to_vec()
    }

    /// What states depend on.
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// State for the longest part of `prompt`, which is read in `chunks`, that is there, in memory or,
    /// as far as `may_take` allows, on disk.
    pub fn start(
        &mut self,
        key: &Key,
        prompt: &[u32],
        chunks: &Chunks,
        may_take: &MayTake<'_>,
    ) -> Option<Start> {
        self.restore(key, prompt, chunks, may_take);
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
        if let Some(disk) = self.disk.as_mut().filter(|_| key.is_empty()) {
            disk.touch(&entry.tokens, &entry.history);
        }
        self.store.touch(hit.index);
        if self.mutation == Mutation::CachedOneLate && hit.history.at() < chunks.last() {
            hit.history.read(&self.rules, 1);
        }
        Some(Start { caches, history: hit.history })
    }

    /// Reads the state on disk that is of more use than all in memory, if there is one.
    fn restore(&mut self, key: &Key, prompt: &[u32], chunks: &Chunks, may_take: &MayTake<'_>) {
        // What cannot be read is gone then: look again.
        while let Some(disk) = self.disk.as_mut().filter(|_| key.is_empty()) {
            let here = self.store.find(key, prompt, chunks).map_or(0, |hit| hit.history.at());
            let better = disk.find(prompt, chunks).filter(|hit| hit.history.at() > here);
            let Some(hit) = better else { break };
            let bytes = disk.bytes_of(&hit);
            if bytes > self.store.cap() || !may_take(self, bytes) {
                break;
            }
            self.store.make_room(bytes);
            self.settle();
            let restored = self.disk.as_mut().and_then(|disk| disk.load(&hit));
            if let Some(disk::Restored { tokens, history, kind, state }) = restored {
                self.store.insert(key.clone(), tokens, history, kind, state);
                break;
            }
        }
        self.settle();
        self.publish();
    }

    /// Hands a piece of a state that is not on disk yet over to be written, the newest state first;
    /// false when there was nothing to do, or nothing can be done for now.
    pub fn write_on(&mut self) -> bool {
        let Some(disk) = &mut self.disk else { return false };
        while !disk.is_writing()
            && let Some(id) = self.unsaved.pop_last()
        {
            let Some(entry) = self.store.entry(id) else { continue };
            if !disk.holds(&entry.tokens, &entry.history)
                && let Err(e) = disk.begin(entry)
            {
                warn!(error = %e, "a prompt's state is not written to disk");
            }
        }
        let worked = disk.write_on();
        if worked {
            self.publish();
        }
        worked
    }

    /// Writes what is not on disk yet, as far as time allows.
    pub fn finish_writing(&mut self, until: Instant) {
        loop {
            let worked = self.write_on();
            let waits = self.disk.as_ref().is_some_and(Disk::is_writing);
            let now = Instant::now();
            if now >= until || !(worked || waits) {
                return;
            }
            if !worked {
                thread::park_timeout(until - now);
            }
        }
    }

    /// Gives up writing what is gone.
    fn settle(&mut self) {
        self.unsaved.retain(|&id| self.store.entry(id).is_some());
        if let Some(disk) = &mut self.disk
            && disk.writing().is_some_and(|id| self.store.entry(id).is_none())
        {
            disk.abort();
        }
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
                let Inserted { id, .. } =
                    self.store.insert(key.clone(), tokens, history.clone(), kind, state);
                // Ids of adapters mean nothing to another process.
                if self.disk.is_some() && key.is_empty() {
                    self.unsaved.extend(id);
                }
                self.settle();
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
        self.settle();
        self.publish();
        freed
    }

    /// Forgets what was computed with an adapter.
    pub fn forget_adapter(&mut self, id: AdapterId) {
        self.store.retain(|key| !key.contains(&id));
        self.settle();
        self.publish();
    }

    fn publish(&self) {
        self.status.set_cache(
            self.store.entries().len(),
            self.store.bytes(),
            self.store.evictions(),
        );
        if let Some(disk) = &self.disk {
            self.status.set_cache_disk(disk.health());
        }
    }
}
