//! What a sequence's state owes to the calls that made it.
//!
//! A cached prefix may stand in for a cold run only where its bits are the cold run's. On MLX's CPU
//! backend a token's keys, values and recurrent state do not depend on how the tokens around it were
//! grouped into calls, with two exceptions, and those are what a [`History`] remembers there:
//!
//! - Keys and values are packed behind the first call that reaches `start`: tokens of that call and
//!   before saw plain ones, later tokens packed ones.
//! - A token read alone behind a full ring sums over rows as they lie in the ring, not oldest first.
//!
//! Elsewhere kernels are chosen by the shape of a call, and mlx-optiq's tiles take a window's layer
//! or leave it by the length of the call: there every call is remembered.

use serde::{Deserialize, Serialize};

use crate::{
    cache::LayerCache,
    generate::Chunks,
    kv::{KvAttention, KvQuantization},
};

/// What states of an engine depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Every call counts.
    pub strict: bool,
    /// Tokens after which the smallest ring is full.
    pub window: Option<usize>,
    /// Tokens from which on caches are packed, behind a call.
    pub packs_from: Option<usize>,
}

impl Rules {
    /// The rules for sequences with caches like these, which `kv` packs. `neutral`: the backend's
    /// sums do not depend on a call's shape.
    pub fn new(caches: &[LayerCache], kv: &KvQuantization, neutral: bool) -> Self {
        let window = caches.iter().filter_map(LayerCache::window).min();
        let tiled_rings = window.is_some() && !kv.is_none() && kv.attention == KvAttention::Fused;
        Self {
            strict: !neutral || tiled_rings,
            window,
            packs_from: (!kv.is_none()).then_some(kv.start),
        }
    }

    /// Whether prompts are cut at marks, for their states to be kept there. What only grows can be cut
    /// back to any length afterwards, where no call counts for itself.
    pub fn want_marks(&self, caches: &[LayerCache]) -> bool {
        let grow_only = caches.iter().all(|cache| matches!(cache, LayerCache::Kv(_)));
        self.strict || self.packs_from.is_some() || !grow_only
    }
}

/// What the state behind a number of tokens depends on, beside the tokens. States of the same tokens
/// with equal histories have equal bits, and so has all that follows from the same calls.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    at: usize,
    packed_at: Option<usize>,
    /// Positions of tokens that were read alone behind a full ring.
    alone: Vec<usize>,
    /// Ends of all calls, where every call counts.
    ends: Vec<usize>,
}

impl History {
    /// Tokens read.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Notes a call that read `len` tokens.
    pub fn read(&mut self, rules: &Rules, len: usize) {
        if len == 1 && rules.window.is_some_and(|window| self.at >= window) {
            self.alone.push(self.at);
        }
        self.at += len;
        if self.packed_at.is_none() && rules.packs_from.is_some_and(|from| self.at >= from) {
            self.packed_at = Some(self.at);
        }
        if rules.strict {
            self.ends.push(self.at);
        }
    }

    /// What the state depends on once it is cut back to its first `at` tokens; `None` where no call
    /// ended there and that matters.
    pub fn trimmed(&self, rules: &Rules, at: usize) -> Option<Self> {
        if at >= self.at {
            return (at == self.at).then(|| self.clone());
        }
        let before = |list: &[usize], last: usize| -> Vec<usize> {
            list.iter().copied().take_while(|&position| position <= last).collect()
        };
        let ends = before(&self.ends, at);
        if rules.strict && ends.last() != Some(&at) {
            return None;
        }
        let alone = before(&self.alone, at.saturating_sub(1));
        Some(Self { at, packed_at: self.packed_at.map(|packed| packed.min(at)), alone, ends })
    }

    /// What the state before the prompt's last token depends on, when reading goes on from here.
    #[must_use]
    pub fn through(mut self, rules: &Rules, chunks: &Chunks) -> Self {
        while self.at < chunks.last() {
            self.read(rules, chunks.end(self.at) - self.at);
        }
        self
    }

    /// Whether tokens from `position` on were read in a way that no prompt is read in.
    pub fn is_peculiar(&self, position: usize) -> bool {
        [&self.alone, &self.ends]
            .into_iter()
            .any(|list| list.last().is_some_and(|&last| last >= position))
    }
    /// Whether it can be that of a state with `tokens` tokens.
    pub(super) fn is_plausible(&self, tokens: usize) -> bool {
        let lists = [&self.alone, &self.ends];
        self.at == tokens
            && self.packed_at.is_none_or(|packed| (1..=tokens).contains(&packed))
            && lists.iter().all(|list| list.is_sorted() && list.last().is_none_or(|l| *l <= tokens))
    }
}
