//! Growing key-value cache of several sequences (`BatchKVCache`).

use mlx_rs::Array;

use super::{Buffers, Side, as_rows, merged, pick_both, pick_numbers, plain, roll_rows, stacked};
use crate::{
    Result,
    cache::{KvCache, kv},
    mlx::ops::slice_rows,
    nn::Mask,
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
}

impl BatchKvCache {
    /// `rows` sequences without a token.
    pub fn new(rows: usize) -> Self {
        Self { buffers: None, idx: 0, left_padding: vec![0; rows], right_padding: None }
    }

    /// Single sequences as rows.
    pub fn merge(caches: &[KvCache]) -> Result<Self> {
        let length = caches.iter().map(|c| c.offset() as i32).max().unwrap_or(0);
        if length == 0 {
            return Ok(Self::new(caches.len()));
        }
        let rows = caches
            .iter()
            .map(|cache| cache.filled()?.map(plain).transpose())
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            buffers: Some(merged(&rows, length)?),
            idx: length,
            left_padding: caches.iter().map(|c| length - c.offset() as i32).collect(),
            right_padding: None,
        })
    }

    /// The position of each row's next token.
    pub fn offsets(&self) -> Vec<i32> {
        self.left_padding.iter().map(|padding| self.idx - padding).collect()
    }

    /// What `new` further tokens see: `[B, 1, new, idx + new]`.
    pub fn mask(&self, new: usize, window: Option<usize>) -> Result<Mask> {
        Mask::padded_causal(new as i32, self.idx, window.map(|w| w as i32), &self.left_padding)
    }

    /// Writes `k, v: [B, KV, S, D]` behind the stored tokens and returns the filled part.
    pub fn update_and_fetch(&mut self, k: &Array, v: &Array) -> Result<Buffers> {
        let mut rows = self.buffers.take().map(as_rows);
        let filled = kv::append(&mut rows, &mut self.idx, &as_rows((k.clone(), v.clone())))?;
        self.buffers = rows.map(plain).transpose()?;
        plain(filled)
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
                let cut = |rows: &Array| slice_rows(rows, shared, rows.dim(-2));
                self.buffers = Some((cut(keys)?, cut(values)?));
            }
            self.idx -= shared;
            self.left_padding.iter_mut().for_each(|n| *n -= shared);
        }
        Ok(())
    }

    /// Appends another batch's rows.
    pub fn extend(&mut self, other: Self) -> Result<()> {
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
            return Ok(KvCache::default());
        };
        let (keys, values) = pick_both(buffers, &[row])?;
        let cut =
            |rows: &Array| -> Result<Array> { Ok(slice_rows(rows, from, self.idx)?.contiguous()?) };
        let rows = as_rows((cut(&keys)?, cut(&values)?));
        Ok(KvCache::from_parts(Some(rows), self.idx - from, None))
    }

    /// Forgets the last `n` tokens of every row, or all; returns how many.
    pub fn trim(&mut self, n: usize) -> usize {
        let n = (n as i32).min(self.idx);
        self.idx -= n;
        n as usize
    }

    /// Both buffers, or nothing before the first token.
    pub fn state(&self) -> Vec<&Array> {
        self.buffers.iter().flat_map(|(k, v)| [k, v]).collect()
    }
}
