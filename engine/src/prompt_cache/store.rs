//! Entries under a byte cap: look-up, insertion, eviction (`LRUPromptCache` of
//! `mlx_lm/models/cache.py`). Knows nothing of arrays.

use serde::{Deserialize, Serialize};

use super::{History, Rules};
use crate::{generate::Chunks, limits};

/// State behind a number of tokens.
pub trait State: Sized {
    /// Bytes of its arrays.
    fn nbytes(&self) -> usize;

    /// Whether its last tokens can be forgotten.
    fn is_trimmable(&self) -> bool;
}

/// What an entry is good for; the first to go comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A sequence's end, or a chunk of its prompt.
    Tail,
    /// A conversation up to the answer that is asked for.
    Conversation,
    /// The head that conversations share: the system's message.
    Head,
}

const KINDS: [Kind; 3] = [Kind::Tail, Kind::Conversation, Kind::Head];

/// Tokens and the state behind them.
#[derive(Debug)]
pub struct Entry<K, S> {
    /// What else the state depends on, such as adapters.
    pub key: K,
    /// The tokens.
    pub tokens: Vec<u32>,
    /// The calls that read them.
    pub history: History,
    /// What it is good for.
    pub kind: Kind,
    /// The state.
    pub state: S,
    bytes: usize,
    used: u64,
    /// Unique within its store.
    pub id: u64,
}

/// Where a request can go on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The entry's place.
    pub index: usize,
    /// What the state, cut back to its first tokens, depends on.
    pub history: History,
}

/// What an insertion did.
#[derive(Debug)]
pub struct Inserted<K, S> {
    /// The new entry's; `None` when it is larger than the cap and was not stored.
    pub id: Option<u64>,
    /// What it stands in for, and what had to make room.
    pub gone: Vec<Entry<K, S>>,
}

/// Entries under a byte cap.
#[derive(Debug)]
pub struct Store<K, S> {
    rules: Rules,
    entries: Vec<Entry<K, S>>,
    cap: usize,
    max_entries: usize,
    bytes: usize,
    clock: u64,
    evictions: u64,
}

impl<K: PartialEq, S: State> Store<K, S> {
    /// An empty store of at most `cap` bytes.
    pub fn new(rules: Rules, cap: usize) -> Self {
        let max_entries = limits::MAX_CACHE_ENTRIES;
        Self { rules, entries: Vec::new(), cap, max_entries, bytes: 0, clock: 0, evictions: 0 }
    }

    /// The same with room for so many entries, however small they are.
    #[must_use]
    pub fn with_entries(self, max_entries: usize) -> Self {
        Self { max_entries, ..self }
    }

    /// The entries, in no order.
    pub fn entries(&self) -> &[Entry<K, S>] {
        &self.entries
    }

    /// Bytes of all states.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Most bytes of all states.
    pub fn cap(&self) -> usize {
        self.cap
    }

    /// Entries that had to make room.
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// The most that `prompt`, which is read in `chunks`, can go on from: state of fewer tokens than
    /// the prompt's, from which it gets the bits of a run from its first token.
    pub fn find(&self, key: &K, prompt: &[u32], chunks: &Chunks) -> Option<Hit> {
        let cold = History::default().through(&self.rules, chunks);
        let mut candidates: Vec<(usize, usize)> = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.key == *key)
            .map(|(index, entry)| (common(&entry.tokens, &prompt[..chunks.last()]), index))
            .filter(|&(shared, _)| shared > 0)
            .collect();
        // The longest first, of those the one used last.
        candidates.sort_by_key(|&(shared, index)| (shared, self.entries[index].used));
        let mut best: Option<Hit> = None;
        for (shared, index) in candidates.into_iter().rev() {
            if best.as_ref().is_some_and(|best| best.history.at() >= shared) {
                break;
            }
            let least = best.as_ref().map_or(0, |best| best.history.at());
            let found = self.usable(&self.entries[index], shared, least, chunks, &cold);
            best = found.map(|history| Hit { index, history }).or(best);
        }
        best
    }

    /// What the state of `entry` depends on where it is cut back to more than `least` and at most
    /// `shared` tokens and leads to the state of a cold run.
    fn usable(
        &self,
        entry: &Entry<K, S>,
        shared: usize,
        least: usize,
        chunks: &Chunks,
        cold: &History,
    ) -> Option<History> {
        let fits = |at: usize| {
            let history = entry.history.trimmed(&self.rules, at)?;
            (history.clone().through(&self.rules, chunks) == *cold).then_some(history)
        };
        if shared == entry.tokens.len()
            && let Some(history) = fits(shared)
        {
            return Some(history);
        }
        if !entry.state.is_trimmable() {
            return None;
        }
        let mut ends = vec![shared];
        let mut at = 0;
        while at < shared.min(chunks.last()) {
            at = chunks.end(at);
            ends.push(at);
        }
        ends.sort_unstable();
        ends.into_iter().rev().filter(|end| (least + 1..=shared).contains(end)).find_map(fits)
    }

    /// The entry with this id.
    pub fn entry(&self, id: u64) -> Option<&Entry<K, S>> {
        self.entries.iter().find(|entry| entry.id == id)
    }

    /// Notes that an entry was of use.
    pub fn touch(&mut self, index: usize) {
        self.clock += 1;
        self.entries[index].used = self.clock;
    }

    /// The entry of exactly these tokens and calls.
    pub fn position(&self, key: &K, tokens: &[u32], history: &History) -> Option<usize> {
        self.entries.iter().position(|entry| {
            entry.tokens == tokens && entry.history == *history && entry.key == *key
        })
    }

    /// Whether another entry, cut back, is the state of these tokens and calls.
    pub fn covers(&self, key: &K, tokens: &[u32], history: &History) -> bool {
        self.entries.iter().any(|entry| {
            entry.key == *key
                && entry.tokens.len() > tokens.len()
                && entry.tokens.starts_with(tokens)
                && entry.state.is_trimmable()
                && entry.history.trimmed(&self.rules, tokens.len()).as_ref() == Some(history)
        })
    }

    /// Stores a state, unless it alone is larger than the cap. Entries that it stands in for, cut
    /// back, go, and others where there is no room.
    pub fn insert(
        &mut self,
        key: K,
        tokens: Vec<u32>,
        history: History,
        kind: Kind,
        state: S,
    ) -> Inserted<K, S> {
        let bytes = state.nbytes();
        if bytes > self.cap {
            return Inserted { id: None, gone: Vec::new() };
        }
        let mut kind = kind;
        let mut gone = Vec::new();
        if let Some(known) = self.position(&key, &tokens, &history) {
            kind = kind.max(self.entries[known].kind);
            gone.push(self.remove(known));
        }
        if state.is_trimmable() {
            gone.extend(self.remove_prefixes(&key, &tokens, &history));
        }
        gone.extend(self.make_room(bytes));
        self.clock += 1;
        let id = self.clock;
        self.bytes += bytes;
        self.entries.push(Entry { key, tokens, history, kind, state, bytes, used: id, id });
        Inserted { id: Some(id), gone }
    }

    /// Evicts until a state of `bytes` has room, or nothing is left.
    pub fn make_room(&mut self, bytes: usize) -> Vec<Entry<K, S>> {
        let most = self.cap.saturating_sub(bytes);
        let mut gone = Vec::new();
        while self.bytes > most || self.entries.len() >= self.max_entries {
            let Some(entry) = self.evict_one() else { break };
            gone.push(entry);
        }
        gone
    }

    fn remove_prefixes(&mut self, key: &K, tokens: &[u32], history: &History) -> Vec<Entry<K, S>> {
        let mut gone = Vec::new();
        for index in (0..self.entries.len()).rev() {
            let entry = &self.entries[index];
            let stood_in_for = entry.key == *key
                && entry.tokens.len() < tokens.len()
                && tokens.starts_with(&entry.tokens)
                && history.trimmed(&self.rules, entry.tokens.len()).as_ref()
                    == Some(&entry.history);
            if stood_in_for {
                gone.push(self.remove(index));
            }
        }
        gone
    }

    /// Removes an entry.
    pub fn remove(&mut self, index: usize) -> Entry<K, S> {
        let entry = self.entries.swap_remove(index);
        self.bytes -= entry.bytes;
        entry
    }

    /// Evicts until at least `bytes` are free, or nothing is left. Returns how many were freed.
    pub fn evict(&mut self, bytes: usize) -> usize {
        let before = self.bytes;
        while before - self.bytes < bytes {
            if self.evict_one().is_none() {
                break;
            }
        }
        before - self.bytes
    }

    /// Keeps the entries whose key `keeps`.
    pub fn retain(&mut self, keeps: impl Fn(&K) -> bool) {
        for index in (0..self.entries.len()).rev() {
            if !keeps(&self.entries[index].key) {
                self.remove(index);
            }
        }
    }

    /// Of the first kind that has at least as many entries as the next, the one used longest ago.
    fn evict_one(&mut self) -> Option<Entry<K, S>> {
        let count = |kind: Kind| self.entries.iter().filter(|entry| entry.kind == kind).count();
        let counts = KINDS.map(count);
        let chosen = (0..KINDS.len())
            .find(|&i| counts[i] > 0 && counts.get(i + 1).is_none_or(|next| counts[i] >= *next))?;
        let (index, _) = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.kind == KINDS[chosen])
            .min_by_key(|(_, entry)| entry.used)?;
        self.evictions += 1;
        Some(self.remove(index))
    }
}

/// Tokens that both begin with.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests;
