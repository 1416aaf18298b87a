//! What one request takes at most.

use serde::Serialize;

use super::{
    facts::{CacheFacts, MemoryFacts},
    rows::Rows,
    work,
};
use crate::{kv::KvQuantization, limits, weights::Dtype};

/// The arithmetic of one model with its settings.
#[derive(Debug, Clone)]
pub struct MemoryModel {
    /// What the family says.
    pub facts: MemoryFacts,
    /// Bytes of the weights that the model keeps.
    pub weights: u64,
    /// Bytes of mounted adapters.
    pub adapters: u64,
    /// Dtype of activations and of plain keys and values.
    pub dtype: Dtype,
    /// Which layers keep packed keys and values.
    pub kv: KvQuantization,
}

/// What a request asks for, as far as memory goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Demand {
    /// Tokens of the prompt.
    pub prompt: u64,
    /// Tokens to generate at most.
    pub max_tokens: u64,
    /// Prompt tokens per call.
    pub step: u64,
}

impl Demand {
    /// A prompt as long as the context allows, and one token behind it.
    pub fn of_context(context: u64, step: u64) -> Self {
        Self { prompt: context.saturating_sub(1).max(1), max_tokens: 1, step }
    }
}

/// The most that a request takes beside weights and adapters, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Estimate {
    /// Bytes of keys, values and recurrent state at that moment.
    pub cache: u64,
    /// Bytes of intermediate results at that moment.
    pub work: u64,
    /// Bytes that the request holds at most while others have their turn.
    pub held: u64,
    /// Bytes that its row of a shared call takes at most beside what is held: a single token's, or those
    /// of the prompt's last [`limits::MAX_SHARED_CHUNK`] tokens.
    pub shared: u64,
    /// Tokens that the model has seen by then.
    pub tokens: u64,
}

impl Estimate {
    /// Cache and intermediate results together.
    pub fn peak(self) -> u64 {
        self.cache.saturating_add(self.work)
    }

    /// What a turn takes at most beside what is held anyway.
    pub fn turn(self) -> u64 {
        self.peak().saturating_sub(self.held)
    }
}

/// A call of the model.
#[derive(Debug, Clone, Copy)]
struct Call {
    before: Rows,
    after: Rows,
    tokens: u64,
}

impl MemoryModel {
    /// What is there whether or not anything runs.
    pub fn resident(&self) -> u64 {
        self.weights.saturating_add(self.adapters)
    }

    /// What a request takes at most.
    pub fn estimate(&self, demand: Demand) -> Estimate {
        let calls = self.calls(demand);
        let moments = calls.iter().flat_map(|&call| self.moments(call));
        let peak = moments.max_by_key(|at| at.peak()).unwrap_or_default();
        let held = calls.iter().map(|&call| self.between(call)).max().unwrap_or(0);
        let shared = self.shared(demand, calls.last().map_or(Rows::default(), |call| call.after));
        Estimate { cache: peak.cache, work: peak.work, held, shared, tokens: peak.tokens }
    }

    /// What a row takes of a shared call at most, with the prompt's last tokens or a single one: where
    /// prompts are cut depends on marks and on what is cached, so as many as may be shared, at the end.
    fn shared(&self, demand: Demand, end: Rows) -> u64 {
        let chunk = demand.step.min(limits::MAX_SHARED_CHUNK as u64);
        let chunk = demand.prompt.saturating_sub(1).clamp(1, chunk.max(1));
        let packed = self.is_packed(end);
        let format = self.kv.first_format(self.facts.caches.len()).filter(|_| packed);
        let format = format.map(|format| format.read_by(self.kv.attention));
        let work = |n| work::bytes(&self.facts.work, n, end.tokens, self.dtype, format);
        let layers = (0..self.facts.caches.len()).map(|layer| self.layer_bytes(layer, end, packed));
        // The layer whose rows are copied into longer ones is there twice.
        work(chunk).max(work(1)).saturating_add(layers.max().unwrap_or(0))
    }

    /// The most tokens that a request may generate so that its peak stays within `bytes`: `None`
    /// when not even one fits.
    pub fn most_tokens(&self, demand: Demand, bytes: u64) -> Option<u64> {
        let fits = |max_tokens| self.estimate(Demand { max_tokens, ..demand }).peak() <= bytes;
        greatest(1, demand.max_tokens, fits)
    }

    /// The longest prompt, up to `limit` tokens, whose peak with one token behind it stays within
    /// `bytes`: `None` when not even one token fits.
    pub fn longest_prompt(&self, step: u64, limit: u64, bytes: u64) -> Option<u64> {
        let fits = |prompt| self.estimate(Demand { prompt, max_tokens: 1, step }).peak() <= bytes;
        greatest(1, limit, fits)
    }

    /// Bytes by which a further token makes the growing caches longer, while none is packed.
    pub fn token_bytes(&self) -> u64 {
        let growing = self.facts.caches.iter().filter_map(|cache| match cache {
            CacheFacts::Growing(heads) | CacheFacts::Window(heads, _) => Some(heads),
            CacheFacts::Recurrent { .. } => None,
        });
        growing.map(|heads| heads.token_bytes(None, self.dtype)).sum()
    }

    /// The width of each cache's heads; `None` for recurrent state.
    pub(super) fn head_dims(&self) -> Vec<Option<usize>> {
        let width = |cache: &CacheFacts| match cache {
            CacheFacts::Growing(heads) | CacheFacts::Window(heads, _) => Some(heads.width as usize),
            CacheFacts::Recurrent { .. } => None,
        };
        self.facts.caches.iter().map(width).collect()
    }

    /// Bytes of all caches at a request's end.
    pub fn cache_after(&self, demand: Demand) -> u64 {
        let rows = self.calls(demand).last().map_or(Rows::default(), |call| call.after);
        self.cache_bytes(rows, self.is_packed(rows))
    }

    /// Bytes of all caches after calls that left buffers of `rows`.
    pub fn cache_bytes(&self, rows: Rows, packed: bool) -> u64 {
        (0..self.facts.caches.len())
            .map(|layer| self.layer_bytes(layer, rows, packed))
            .fold(0, u64::saturating_add)
    }

    fn layer_bytes(&self, layer: usize, rows: Rows, packed: bool) -> u64 {
        let format = self.kv.format(layer).filter(|_| packed);
        self.facts.caches[layer].bytes(rows, format, self.dtype)
    }

    /// The calls at which memory can be at its highest: of prefill the first, the one after which
    /// keys and values are packed, the last whole one and the last; of decoding, the last before
    /// they are packed and the last of all.
    fn calls(&self, demand: Demand) -> Vec<Call> {
        let step = demand.step.max(1);
        let chunked = demand.prompt.saturating_sub(1);
        let (whole, rest) = (chunked / step, chunked % step);
        let call = |before: Rows, tokens| Call { before, after: before.after(tokens), tokens };
        let start = self.kv.start as u64;
        let due = start.div_ceil(step).max(1);
        let mut at: Vec<u64> =
            [1, due, whole].into_iter().filter(|&i| (1..=whole).contains(&i)).collect();
        at.dedup();
        let mut calls: Vec<Call> =
            at.into_iter().map(|i| call(Rows::default().after_calls(step, i - 1), step)).collect();
        let mut rows = Rows::default().after_calls(step, whole);
        if rest > 0 {
            calls.push(call(rows, rest));
            rows = rows.after(rest);
        }
        // The prompt's last token, and those that are generated: each goes through the model.
        let singles = demand.max_tokens.saturating_add(1);
        let packs = start.saturating_sub(rows.tokens).clamp(1, singles);
        for n in [1, packs, singles] {
            calls.push(call(rows.after_calls(1, n - 1), 1));
        }
        calls
    }

    /// Whether keys and values were packed after a call that ended with `rows`.
    fn is_packed(&self, rows: Rows) -> bool {
        rows.tokens > 0 && rows.tokens >= self.kv.start as u64
    }

    /// What is there while a call runs, and while keys and values are packed behind it.
    fn moments(&self, call: Call) -> [Moment; 2] {
        let during = self.during(call);
        if self.is_packed(call.before) || !self.is_packed(call.after) {
            return [during; 2];
        }
        // One layer at a time is there twice.
        let twice = (0..self.facts.caches.len())
            .filter(|&layer| self.facts.caches[layer].keeps_rows())
            .map(|layer| self.layer_bytes(layer, call.after, true));
        [during, Moment { work: twice.max().unwrap_or(0), ..during }]
    }

    /// What is there while a call runs.
    fn during(&self, call: Call) -> Moment {
        let packed = self.is_packed(call.before);
        let keys = call.after.tokens;
        let cache = self.cache_bytes(call.after, packed);
        let format = self.kv.first_format(self.facts.caches.len()).filter(|_| packed);
        let format = format.map(|format| format.read_by(self.kv.attention));
        let growth = self.growth(call, packed);
        let work = work::bytes(&self.facts.work, call.tokens, keys, self.dtype, format);
        Moment { cache, work: work.saturating_add(growth), tokens: keys }
    }

    /// The layer whose buffers are copied into longer ones is there twice.
    fn growth(&self, call: Call, packed: bool) -> u64 {
        if call.after.growing() == call.before.growing() {
            return 0;
        }
        let before =
            (0..self.facts.caches.len()).map(|layer| self.layer_bytes(layer, call.before, packed));
        before.max().unwrap_or(0)
    }

    /// What is left of a call until the next one: caches, and the step that was dispatched ahead.
    fn between(&self, call: Call) -> u64 {
        let cache = self.cache_bytes(call.after, self.is_packed(call.after));
        cache.saturating_add(work::pending(&self.facts.work, self.dtype))
    }
}

/// A point in time.
#[derive(Debug, Clone, Copy, Default)]
struct Moment {
    cache: u64,
    work: u64,
    tokens: u64,
}

impl Moment {
    fn peak(self) -> u64 {
        self.cache.saturating_add(self.work)
    }
}

/// The greatest number of `low..=high` that `fits`, which larger numbers do less.
pub(super) fn greatest(low: u64, high: u64, fits: impl Fn(u64) -> bool) -> Option<u64> {
    if high < low || !fits(low) {
        return None;
    }
    let (mut low, mut above) = (low, high.saturating_add(1));
    while above - low > 1 {
        let middle = low + (above - low) / 2;
        if fits(middle) { low = middle } else { above = middle }
    }
    Some(low)
}

#[cfg(test)]
mod tests;
