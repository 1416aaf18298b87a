//! Key-value cache of a sliding window (`RotatingKVCache` of `mlx_lm/models/cache.py`, and
//! `RotatingQuantizedKVCache` of `optiq/runtime/kv/rotating.py`).

use mlx_rs::Array;

use super::{
    file::{Item, Parts, buffer_items},
    kv,
};
use crate::{
    Result,
    models::Mutation,
    nn::{KvAttention, KvFormat, Mask, Rows},
};

/// Rows by which the buffers grow while single tokens arrive.
const STEP: i32 = 256;

/// Keys and values of the last `max_size` tokens.
///
/// Single tokens overwrite the oldest row in place; several at once bring the rows into temporal
/// order and are appended, with up to `max_size - 1` rows before them. Attention sums over rows as
/// they lie, so their order is part of the result.
#[derive(Debug, Clone)]
pub struct RotatingKvCache {
    buffers: Option<(Rows, Rows)>,
    /// Tokens seen.
    offset: i32,
    /// Row behind the one written last.
    idx: i32,
    max_size: i32,
    /// Rows at the start that are never overwritten.
    keep: i32,
    /// How rows are packed before they are stored.
    format: Option<KvFormat>,
    /// Hands rows out in temporal order: a deliberate mistake.
    reordered: bool,
}

impl RotatingKvCache {
    /// An empty cache for the last `max_size` tokens, the first `keep` of all among them.
    pub fn new(max_size: usize, keep: usize) -> Self {
        let (max_size, keep) = (max_size as i32, keep as i32);
        Self { buffers: None, offset: 0, idx: 0, max_size, keep, format: None, reordered: false }
    }

    /// The same cache, with rows handed out oldest first.
    #[must_use]
    pub fn reordered(mut self) -> Self {
        self.reordered = true;
        self
    }

    /// Tokens seen.
    pub fn offset(&self) -> usize {
        self.offset as usize
    }

    /// Tokens that attention looks back on.
    pub(super) fn max_size(&self) -> i32 {
        self.max_size
    }

    /// Whether both have the same window and keep the same first tokens.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (self.max_size, self.keep) == (other.max_size, other.keep)
    }

    /// The tokens within the window, oldest first, or nothing before the first one.
    pub(super) fn held(&self) -> Result<Option<(Rows, Rows)>> {
        let n = self.offset.min(self.max_size);
        let Some((keys, values)) = self.buffers.as_ref().filter(|_| n > 0) else {
            return Ok(None);
        };
        let last = |rows: Rows| rows.slice(rows.len() - n, rows.len());
        Ok(Some((last(self.temporal(keys)?)?, last(self.temporal(values)?)?)))
    }

    /// Appends `k, v: [B, KV, S, D]`; returns the rows to attend to, in the order of the buffers.
    pub fn update_and_fetch(&mut self, k: &Array, v: &Array) -> Result<(Rows, Rows)> {
        let (k, v) = (Rows::Plain(k.clone()), Rows::Plain(v.clone()));
        let (k, v) = (k.packed(self.format)?, v.packed(self.format)?);
        if k.len() == 1 {
            return self.update_in_place(&k, &v);
        }
        self.update_concat(&k, &v)
    }

    /// Packs the rows where they lie, and every row to come (`quantize_cache_layer` of
    /// `optiq/runtime/kv/rotating.py`).
    pub fn quantize(&mut self, format: KvFormat) -> Result<()> {
        self.format = self.format.or(Some(format));
        self.reordered |= format.mistake() == Mutation::PackedRingInTemporalOrder;
        kv::pack(&mut self.buffers, self.format)
    }

    /// Moves buffers that are parts of larger ones.
    pub(super) fn compact(&mut self) -> Result<()> {
        kv::compact(&mut self.buffers)
    }

    /// How rows are packed.
    pub fn format(&self) -> Option<KvFormat> {
        self.format
    }

    /// Has attention read what is packed in this way.
    pub fn read_by(&mut self, attention: KvAttention) {
        kv::read_by(&mut self.buffers, &mut self.format, attention);
    }

    /// The mask for `new` further tokens that see the last `window` each (`max_size` when `None`).
    pub fn mask(&self, new: usize, window: Option<usize>) -> Result<Mask> {
        let (new, window) = (new as i32, window.map(|w| w as i32));
        if new == 1 {
            return Ok(self.single_mask(window));
        }
        let window = window.unwrap_or(self.max_size);
        let offset = self.offset.min(self.max_size - 1);
        if offset + new > window {
            return Mask::causal_array(new, offset, Some(window));
        }
        Ok(Mask::Causal)
    }

    /// Both buffers, or nothing before the first token.
    pub fn state(&self) -> Vec<&Array> {
        self.buffers.iter().flat_map(|(k, v)| k.arrays().iter().chain(v.arrays())).collect()
    }

    /// The state as mlx-lm names it.
    pub(super) fn parts(&self) -> Parts<'_> {
        let mut items = buffer_items(self.buffers.as_ref());
        let numbers = [("2", self.offset), ("3", self.keep), ("4", self.max_size), ("5", self.idx)];
        items.extend(numbers.map(|(name, n)| (name, Item::Number(n))));
        let Some(format) = self.format else { return Parts { class: "RotatingKVCache", items } };
        items.push(("6", Item::Number(format.group_size() as i32)));
        items.push(("7", Item::Number(format.bits() as i32)));
        Parts { class: "RotatingQuantizedKVCache", items }
    }

    /// A cache of checked parts: `offset`, `keep`, `max_size`, `idx`.
    pub(super) fn from_parts(
        buffers: Option<(Rows, Rows)>,
        numbers: [i32; 4],
        format: Option<KvFormat>,
    ) -> Self {
        let [offset, keep, max_size, idx] = numbers;
        Self { buffers, offset, idx, max_size, keep, format, reordered: false }
    }

    /// Whether tokens can be forgotten again: not once a row was overwritten.
    pub fn is_trimmable(&self) -> bool {
        self.offset < self.max_size
    }

    /// Forgets the last `n` tokens, or all; returns how many. Only while
    /// [`RotatingKvCache::is_trimmable`].
    pub fn trim(&mut self, n: usize) -> usize {
        let n = (n as i32).min(self.offset);
        self.offset -= n;
        self.idx -= n;
        n as usize
    }

    fn update_concat(&mut self, k: &Rows, v: &Rows) -> Result<(Rows, Rows)> {
        let (keys, values) = match self.buffers.take() {
            None => (k.clone(), v.clone()),
            Some((keys, values)) => {
                let (keys, values) = (self.temporal(&keys)?, self.temporal(&values)?);
                // Every new token gets to see `max_size` rows, its own included.
                let surplus = keys.len() - self.max_size + 1;
                (self.trimmed(&keys, surplus, Some(k))?, self.trimmed(&values, surplus, Some(v))?)
            }
        };
        self.offset += k.len();
        self.idx = keys.len();
        self.buffers = Some((keys.clone(), values.clone()));
        Ok((keys, values))
    }

    fn update_in_place(&mut self, k: &Rows, v: &Rows) -> Result<(Rows, Rows)> {
        let (keys, values) = self.with_room(k, v)?;
        let surplus = keys.len() - self.max_size;
        let (keys, values) = if surplus > 0 {
            self.idx = self.max_size;
            (self.trimmed(&keys, surplus, None)?, self.trimmed(&values, surplus, None)?)
        } else {
            (keys, values)
        };
        if self.idx == self.max_size {
            self.idx = self.keep;
        }
        let keys = keys.written(k, self.idx)?;
        let values = values.written(v, self.idx)?;
        self.offset += 1;
        self.idx += 1;
        let filled = if self.offset < keys.len() {
            (keys.slice(0, self.offset)?, values.slice(0, self.offset)?)
        } else {
            (keys.clone(), values.clone())
        };
        self.buffers = Some((keys, values));
        if self.reordered {
            return Ok((self.temporal(&filled.0)?, self.temporal(&filled.1)?));
        }
        Ok(filled)
    }

    /// Takes the buffers out, grown where one more row has no place yet.
    fn with_room(&mut self, k: &Rows, v: &Rows) -> Result<(Rows, Rows)> {
        let prev = self.offset;
        let grows = |keys: &Rows| prev >= keys.len() && keys.len() < self.max_size;
        let rows = STEP.min(self.max_size - prev);
        match self.buffers.take() {
            Some((keys, values)) if grows(&keys) => {
                self.idx = prev;
                let append = |old: &Rows, new: &Rows| -> Result<Rows> {
                    Rows::concatenate(&[old.clone(), new.zeros(rows)?])
                };
                Ok((append(&keys, k)?, append(&values, v)?))
            }
            Some(buffers) => Ok(buffers),
            None => {
                self.idx = prev;
                Ok((k.zeros(rows)?, v.zeros(rows)?))
            }
        }
    }

    /// `rows` oldest first, without those that hold nothing yet.
    fn temporal(&self, rows: &Rows) -> Result<Rows> {
        let n = rows.len();
        if self.idx == n {
            return Ok(rows.clone());
        }
        if self.idx < self.offset {
            let parts = [
                rows.slice(0, self.keep)?,
                rows.slice(self.idx, n)?,
                rows.slice(self.keep, self.idx)?,
            ];
            return Rows::concatenate(&parts);
        }
        rows.slice(0, self.idx)
    }

    /// `rows` without the oldest `surplus` behind the kept ones, followed by `append`.
    fn trimmed(&self, rows: &Rows, surplus: i32, append: Option<&Rows>) -> Result<Rows> {
        let mut parts = if surplus > 0 {
            let from = surplus + self.keep;
            vec![rows.slice(0, self.keep)?, rows.slice(from, rows.len())?]
        } else {
            vec![rows.clone()]
        };
        parts.extend(append.cloned());
        Rows::concatenate(&parts)
    }

    /// One token sees every row, unless its window is narrower than the cache.
    fn single_mask(&self, window: Option<i32>) -> Mask {
        let Some(window) = window else { return Mask::None };
        if self.offset < window || self.max_size <= window {
            return Mask::None;
        }
        let next = if self.idx >= self.max_size { 0 } else { self.idx };
        let rows = (self.offset + 1).min(self.max_size);
        // The newest rows by age, rolled to where the ring holds them.
        let seen: Vec<bool> =
            (0..rows).map(|row| (row - next - 1).rem_euclid(rows) >= rows - window).collect();
        Mask::Array(Array::from_slice(&seen, &[rows]))
    }
}

#[cfg(test)]
mod tests;
