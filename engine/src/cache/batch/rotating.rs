//! Key-value cache of a sliding window, for several sequences (`BatchRotatingKVCache`).

use mlx_rs::Array;

use super::{
    Buffers, Side, cut, merged, one_format, packed, pick_both, pick_numbers, roll_rows, stacked,
};
use crate::{
    Result,
    cache::RotatingKvCache,
    nn::{KvFormat, Mask, Rows},
};

/// Rows by which the buffers grow while single tokens arrive.
const STEP: i32 = 256;

/// Keys and values of the last `max_size` tokens of all rows, which share one ring.
///
/// The ring turns with the longest row, not with each row's own length: once it has turned, rows
/// are summed over in another order than alone, and another batch gives other bits. For the same
/// reason its masks never lead packed rows to mlx-optiq's tiles.
#[derive(Debug, Clone)]
pub struct BatchRotatingKvCache {
    buffers: Option<Buffers>,
    max_size: i32,
    /// Position of each row's next token.
    offsets: Vec<i32>,
    /// Tokens of each row, counted from the oldest place, that hold nothing; below zero once
    /// tokens were pushed out.
    left_padding: Vec<i32>,
    /// Tokens seen, padding included.
    total: i32,
    /// Place behind the one written last.
    idx: i32,
    /// Whether `idx` has started over.
    rotated: bool,
    /// Offsets that rows will have when their right padding is gone, between `prepare` and
    /// `finalize`.
    lengths: Option<Vec<i32>>,
    /// How tokens are packed before they are stored.
    format: Option<KvFormat>,
}

impl BatchRotatingKvCache {
    /// `rows` sequences without a token.
    pub fn new(max_size: i32, rows: usize) -> Self {
        Self {
            buffers: None,
            max_size,
            offsets: vec![0; rows],
            left_padding: vec![0; rows],
            total: 0,
            idx: 0,
            rotated: false,
            lengths: None,
            format: None,
        }
    }

    /// Single sequences as rows, all packed alike. All have one window.
    pub fn merge(caches: &[RotatingKvCache]) -> Result<Self> {
        let max_size = caches.first().map_or(0, RotatingKvCache::max_size);
        let held = |c: &RotatingKvCache| (c.offset() as i32).min(c.max_size());
        let length = caches.iter().map(held).max().unwrap_or(0);
        if caches.iter().any(|c| c.max_size() != max_size) {
            return Err(crate::Error::Mlx("one batch cannot have several windows".into()));
        }
        let format = one_format(caches.iter().map(RotatingKvCache::format))?;
        if length == 0 {
            return Ok(Self { format, ..Self::new(max_size, caches.len()) });
        }
        let rows = caches.iter().map(RotatingKvCache::held).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            format,
            buffers: Some(merged(&rows, length)?),
            offsets: caches.iter().map(|c| c.offset() as i32).collect(),
            left_padding: caches.iter().map(|c| length - held(c)).collect(),
            total: length,
            idx: length,
            ..Self::new(max_size, 0)
        })
    }

    /// How tokens are packed.
    pub fn format(&self) -> Option<KvFormat> {
        self.format
    }

    /// The position of each row's next token.
    pub fn offsets(&self) -> Vec<i32> {
        self.offsets.clone()
    }

    /// Whether the ring has turned.
    #[cfg(test)]
    pub fn has_turned(&self) -> bool {
        self.rotated
    }

    /// What `new` further tokens see: `[B, 1, new, tokens]`.
    ///
    /// As in mlx-lm, several tokens after the ring has turned see too little where a row has
    /// padding; batches append several only while they read prompts.
    pub fn mask(&self, new: usize, window: Option<usize>) -> Result<Mask> {
        let new = new as i32;
        let window = window.map_or(self.max_size, |w| w as i32);
        let offset = self.total.min(self.max_size - 1);
        let pushed_out = (self.idx - self.max_size + i32::from(new > 1)).max(0);
        let turned = new == 1 && (self.rotated || self.idx >= self.max_size);
        let less = pushed_out + i32::from(turned);
        let padding: Vec<i32> = self.left_padding.iter().map(|n| n - less).collect();
        if new > 1 {
            return Mask::padded_causal(new, offset, Some(window), &padding);
        }
        let n = offset + 1;
        let turn = match (turned, self.idx >= self.max_size) {
            (false, _) => 0,
            (true, true) => 1,
            (true, false) => self.idx + 1,
        };
        let sees = |place: i32, padding: i32| {
            let age_order = (place - turn).rem_euclid(n);
            offset < age_order + window && age_order >= padding
        };
        let seen: Vec<bool> =
            padding.iter().flat_map(|&p| (0..n).map(move |place| sees(place, p))).collect();
        Ok(Mask::Array(Array::from_slice(&seen, &[padding.len() as i32, 1, 1, n])))
    }

    /// Appends `k, v: [B, KV, S, D]`; returns what to attend to, in the order of the buffers.
    pub fn update_and_fetch(&mut self, k: &Array, v: &Array) -> Result<Buffers> {
        let (k, v) = packed(k, v, self.format)?;
        if k.len() == 1 { self.update_in_place(&k, &v) } else { self.update_concat(&k, &v) }
    }

    fn update_concat(&mut self, k: &Rows, v: &Rows) -> Result<Buffers> {
        self.restore_temporal_order()?;
        let (keys, values) = match self.buffers.take() {
            None => (k.clone(), v.clone()),
            Some((keys, values)) => {
                let used = |rows: &Rows| rows.slice(0, self.idx.min(rows.len()));
                let mut rows = (used(&keys)?, used(&values)?);
                if let Some(lengths) = self.lengths.clone() {
                    // Padding behind a row that has ended must not push its tokens out.
                    rows = self.roll_past(&lengths, &rows)?;
                }
                let surplus = (self.idx - self.max_size + 1).max(0);
                self.left_padding.iter_mut().for_each(|n| *n -= surplus);
                let appended = |rows: &Rows, new: &Rows| {
                    Rows::concatenate(&[rows.slice(surplus, rows.len())?, new.clone()])
                };
                (appended(&rows.0, k)?, appended(&rows.1, v)?)
            }
        };
        self.count(k.len());
        self.idx = keys.len();
        self.buffers = Some((keys.clone(), values.clone()));
        Ok((keys, values))
    }

    fn update_in_place(&mut self, k: &Rows, v: &Rows) -> Result<Buffers> {
        if self.lengths.is_some() {
            return Err(crate::Error::Mlx("padding on the right must be rolled away first".into()));
        }
        let (mut keys, mut values) = self.with_room(k, v)?;
        let surplus = keys.len() - self.max_size;
        if surplus > 0 {
            keys = keys.slice(surplus, keys.len())?;
            values = values.slice(surplus, values.len())?;
            self.idx = self.max_size;
            self.left_padding.iter_mut().for_each(|n| *n -= surplus);
        }
        if self.idx == self.max_size {
            self.rotated = true;
            self.idx = 0;
        }
        if self.rotated {
            self.left_padding.iter_mut().for_each(|n| *n -= 1);
        }
        let keys = keys.written(k, self.idx)?;
        let values = values.written(v, self.idx)?;
        self.count(1);
        self.idx += 1;
        let filled = if self.total < keys.len() {
            (keys.slice(0, self.total)?, values.slice(0, self.total)?)
        } else {
            (keys.clone(), values.clone())
        };
        self.buffers = Some((keys, values));
        Ok(filled)
    }

    /// Takes the buffers out, grown where one more token has no place yet.
    fn with_room(&mut self, k: &Rows, v: &Rows) -> Result<Buffers> {
        let total = self.total;
        let grows = |keys: &Rows| total >= keys.len() && keys.len() < self.max_size;
        let new = STEP.min(self.max_size - total);
        match self.buffers.take() {
            Some((keys, values)) if grows(&keys) => {
                self.idx = total;
                let longer = |rows: Rows, like: &Rows| Rows::concatenate(&[rows, like.zeros(new)?]);
                Ok((longer(keys, k)?, longer(values, v)?))
            }
            Some(buffers) => Ok(buffers),
            None => {
                self.idx = total;
                Ok((k.zeros(new)?, v.zeros(new)?))
            }
        }
    }

    fn count(&mut self, new: i32) {
        self.offsets.iter_mut().for_each(|n| *n += new);
        self.total += new;
    }

    /// Announces tokens of which row `i` has `lengths[i]`.
    pub fn prepare(&mut self, lengths: &[i32]) {
        if lengths.iter().any(|n| n != &lengths[0]) {
            self.lengths = Some(lengths.iter().zip(&self.offsets).map(|(l, o)| l + o).collect());
        }
    }

    /// Rolls the padding on the right to the left.
    pub fn finalize(&mut self) -> Result<()> {
        if let Some(lengths) = self.lengths.take()
            && let Some(buffers) = self.buffers.take()
        {
            self.buffers = Some(self.roll_past(&lengths, &buffers)?);
        }
        Ok(())
    }

    /// Rolls every row right by the tokens that it has beyond its length.
    fn roll_past(&mut self, lengths: &[i32], (keys, values): &Buffers) -> Result<Buffers> {
        let beyond: Vec<i32> = self
            .offsets
            .iter()
            .zip(lengths)
            .map(|(offset, length)| (offset - length).max(0))
            .collect();
        for (row, n) in beyond.iter().enumerate() {
            self.left_padding[row] += n;
            self.offsets[row] -= n;
        }
        Ok((roll_rows(keys, &beyond)?, roll_rows(values, &beyond)?))
    }

    fn restore_temporal_order(&mut self) -> Result<()> {
        if self.rotated
            && let Some((keys, values)) = &self.buffers
        {
            let (keys, values) = (unrolled(keys, self.idx)?, unrolled(values, self.idx)?);
            self.idx = keys.len();
            self.rotated = false;
            self.buffers = Some((keys, values));
        }
        Ok(())
    }

    /// Keeps rows.
    pub fn filter(&mut self, keep: &[usize]) -> Result<()> {
        if let Some(buffers) = &self.buffers {
            self.buffers = Some(pick_both(buffers, keep)?);
        }
        self.offsets = pick_numbers(&self.offsets, keep);
        self.left_padding = pick_numbers(&self.left_padding, keep);
        Ok(())
    }

    /// Appends another batch's rows, packed alike.
    pub fn extend(&mut self, mut other: Self) -> Result<()> {
        self.format = one_format([self.format, other.format])?;
        let both_empty = self.buffers.is_none() && other.buffers.is_none();
        if !both_empty && (self.rotated != other.rotated || self.idx != other.idx) {
            self.restore_temporal_order()?;
            other.restore_temporal_order()?;
        }
        let end = self.idx.max(other.idx);
        self.buffers = stacked(&self.side(), &other.side())?;
        for (cache, idx) in
            [(&mut self.left_padding, self.idx), (&mut other.left_padding, other.idx)]
        {
            for n in cache {
                *n += end - idx;
            }
        }
        self.left_padding.append(&mut other.left_padding);
        self.offsets.append(&mut other.offsets);
        self.idx = end;
        self.total = self.total.max(other.total);
        Ok(())
    }

    fn side(&self) -> Side<'_> {
        let batch = self.left_padding.len() as i32;
        Side { buffers: self.buffers.as_ref(), batch, idx: self.idx }
    }

    /// One row as a single sequence, its tokens in temporal order.
    pub fn extract(&self, row: usize) -> Result<RotatingKvCache> {
        let empty = RotatingKvCache::from_parts(None, [0, 0, self.max_size, 0], self.format);
        let Some(buffers) = &self.buffers else { return Ok(empty) };
        let (mut keys, mut values) = pick_both(buffers, &[row])?;
        let mut end = self.idx;
        if self.rotated {
            (keys, values) = (unrolled(&keys, end)?, unrolled(&values, end)?);
            end = self.max_size;
        }
        let from = self.left_padding[row].max(0);
        if from >= end {
            return Ok(empty);
        }
        let numbers = [self.offsets[row], 0, self.max_size, end - from];
        let rows = (cut(&keys, from, end)?, cut(&values, from, end)?);
        Ok(RotatingKvCache::from_parts(Some(rows), numbers, self.format))
    }

    /// Whether tokens can be forgotten again: not once one was pushed out.
    pub fn is_trimmable(&self) -> bool {
        self.total < self.max_size
    }

    /// Forgets the last `n` tokens of every row, or all; returns how many. Only while
    /// [`BatchRotatingKvCache::is_trimmable`].
    pub fn trim(&mut self, n: usize) -> usize {
        let n = (n as i32).min(self.total);
        self.total -= n;
        self.idx -= n;
        self.offsets.iter_mut().for_each(|offset| *offset -= n);
        n as usize
    }

    /// Both buffers, or nothing before the first token.
    pub fn state(&self) -> Vec<&Array> {
        self.buffers.iter().flat_map(|(k, v)| k.arrays().iter().chain(v.arrays())).collect()
    }
}

/// `rows` with place `idx` first.
fn unrolled(rows: &Rows, idx: i32) -> Result<Rows> {
    Rows::concatenate(&[rows.slice(idx, rows.len())?, rows.slice(0, idx)?])
}
