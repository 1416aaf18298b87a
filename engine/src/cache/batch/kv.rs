//! Growing key-value cache of several sequences (`BatchKVCache`).

use mlx_rs::Array;

use super::{
    Buffers, Side, cut, merged, one_format, packed, pick_both, pick_numbers, roll_rows, stacked,
};
use crate::{
    Result,
    cache::{KvCache, kv},
    nn::{KvFormat, Mask},
};

/// Keys and values of all rows, which end together at `idx`.
#[derive(Debug, Clone)]
pub struct BatchKvCache {
    buffers: Option<Buffers>,
    /// Tokens in use, padding included.
    idx: i32,
    /// Tokens of each row, counted from the left, that hold nothing.
    left_padding: Vec<i32>,
    /// The same from the right, between `prepare` and `finalize`.
    right_padding: Option<Vec<i32>>,
    /// How tokens are packed before they are stored.
    format: Option<KvFormat>,
}

impl BatchKvCache {
    /// Single sequences as rows, all packed alike.
    pub fn merge(caches: &[KvCache]) -> Result<Self> {
        let length = caches.iter().map(|c| c.offset() as i32).max().unwrap_or(0);
        let buffers = if length == 0 {
            None
        } else {
            let rows = caches.iter().map(KvCache::filled).collect::<Result<Vec<_>>>()?;
            Some(merged(&rows, length)?)
        };
        Ok(Self {
            buffers,
            idx: length,
            left_padding: caches.iter().map(|c| length - c.offset() as i32).collect(),
            right_padding: None,
            format: one_format(caches.iter().map(KvCache::format))?,
        })
    }

    /// How tokens are packed.
    pub fn format(&self) -> Option<KvFormat> {
        self.format
    }

    /// The position of each row's next token.
    pub fn offsets(&self) -> Vec<i32> {
        self.left_padding.iter().map(|padding| self.idx - padding).collect()
    }

    /// What `new` further tokens see: `[B, 1, new, idx + new]`.
    pub fn mask(&self, new: usize, window: Option<usize>) -> Result<Mask> {
        let mask = Mask::padded_causal(
            new as i32,
            self.idx,
            window.map(|w| w as i32),
            &self.left_padding,
        )?;
        Ok(match (mask, window) {
            (Mask::Array(mask), None) => {
                Mask::Padded { mask, left_padding: self.left_padding.clone() }
            }
            (mask, _) => mask,
        })
    }

    /// Writes `k, v: [B, KV, S, D]` behind the stored tokens and returns the filled part.
    pub fn update_and_fetch(&mut self, k: &Array, v: &Array) -> Result<Buffers> {
        kv::append(&mut self.buffers, &mut self.idx, &packed(k, v, self.format)?)
    }

    /// Announces tokens whose last `right_padding[i]` are padding in row `i`.
    pub fn prepare(&mut self, right_padding: &[i32]) {
        if right_padding.iter().any(|&n| n > 0) {
            self.right_padding = Some(right_padding.to_vec());
        }
    }

    /// Rolls the padding on the right to the left.
    pub fn finalize(&mut self) -> Result<()> {
        let Some(padding) = self.right_padding.take() else { return Ok(()) };
        if let Some((keys, values)) = &self.buffers {
            self.buffers = Some((roll_rows(keys, &padding)?, roll_rows(values, &padding)?));
        }
        for (left, right) in self.left_padding.iter_mut().zip(padding) {
            *left += right;
        }
        Ok(())
    }

    /// Keeps rows, then drops the padding that all of them share.
    pub fn filter(&mut self, keep: &[usize]) -> Result<()> {
        if let Some(buffers) = &self.buffers {
            self.buffers = Some(pick_both(buffers, keep)?);
        }
        self.left_padding = pick_numbers(&self.left_padding, keep);
        let shared = self.left_padding.iter().copied().min().unwrap_or(0);
        if shared > 0 {
            if let Some((keys, values)) = &self.buffers {
                let n = keys.len();
                self.buffers = Some((keys.slice(shared, n)?, values.slice(shared, n)?));
            }
            self.idx -= shared;
            self.left_padding.iter_mut().for_each(|n| *n -= shared);
        }
        Ok(())
    }

    /// Appends another batch's rows, packed alike.
    pub fn extend(&mut self, other: Self) -> Result<()> {
        self.format = one_format([self.format, other.format])?;
        self.buffers = stacked(&self.side(), &other.side())?;
        let end = self.idx.max(other.idx);
        let shift = |idx: i32| move |n: &i32| n + end - idx;
        self.left_padding = self
            .left_padding
            .iter()
            .map(shift(self.idx))
            .chain(other.left_padding.iter().map(shift(other.idx)))
            .collect();
        self.idx = end;
        Ok(())
    }

    fn side(&self) -> Side<'_> {
        let batch = self.left_padding.len() as i32;
        Side { buffers: self.buffers.as_ref(), batch, idx: self.idx }
    }

    /// One row as a single sequence.
    pub fn extract(&self, row: usize) -> Result<KvCache> {
        let from = self.left_padding[row];
        let Some(buffers) = self.buffers.as_ref().filter(|_| from < self.idx) else {
            return Ok(KvCache::from_parts(None, 0, self.format));
        };
        let (keys, values) = pick_both(buffers, &[row])?;
        let rows = (cut(&keys, from, self.idx)?, cut(&values, from, self.idx)?);
        Ok(KvCache::from_parts(Some(rows), self.idx - from, self.format))
    }

    /// Forgets the last `n` tokens of every row, or all; returns how many.
    pub fn trim(&mut self, n: usize) -> usize {
        let n = (n as i32).min(self.idx);
        self.idx -= n;
        n as usize
    }

    /// Both buffers, or nothing before the first token.
    pub fn state(&self) -> Vec<&Array> {
        self.buffers.iter().flat_map(|(k, v)| k.arrays().iter().chain(v.arrays())).collect()
    }
}
