//! Growing key-value cache (`KVCache` of `mlx_lm/models/cache.py`).

use mlx_rs::{Array, ops};

use super::file::{Item, Parts, buffer_items};
use crate::{
    Result,
    mlx::ops::{slice_rows, slice_update_rows},
    nn::Mask,
};

/// Rows by which the buffers grow.
const STEP: i32 = 256;

/// Keys and values in buffers that grow by [`STEP`] rows; rows from `offset` on are unused.
#[derive(Debug, Clone, Default)]
pub struct KvCache {
    /// `[B, KV, capacity, D]` each.
    buffers: Option<(Array, Array)>,
    offset: i32,
}

impl KvCache {
    /// Tokens stored.
    pub fn offset(&self) -> usize {
        self.offset as usize
    }

    /// One new token sees everything; several see what lies before them, within `window`.
    pub fn mask(&self, new: usize, window: Option<usize>) -> Result<Mask> {
        match window {
            Some(window) => Mask::causal_array(new as i32, self.offset, Some(window as i32)),
            None if new == 1 => Ok(Mask::None),
            None => Ok(Mask::Causal),
        }
    }

    /// Writes `k, v: [B, KV, S, D]` behind the stored rows and returns the filled part.
    pub fn update_and_fetch(&mut self, k: &Array, v: &Array) -> Result<(Array, Array)> {
        append(&mut self.buffers, &mut self.offset, k, v)
    }

    /// The filled part of both buffers, or nothing before the first token.
    pub(super) fn filled(&self) -> Result<Option<(Array, Array)>> {
        let Some((keys, values)) = self.buffers.as_ref().filter(|_| self.offset > 0) else {
            return Ok(None);
        };
        Ok(Some((slice_rows(keys, 0, self.offset)?, slice_rows(values, 0, self.offset)?)))
    }

    /// Both buffers, or nothing before the first token.
    pub fn state(&self) -> Vec<&Array> {
        self.buffers.iter().flat_map(|(k, v)| [k, v]).collect()
    }

    /// The state as mlx-lm names it.
    pub(super) fn parts(&self) -> Parts<'_> {
        let mut items = Vec::from(buffer_items(self.buffers.as_ref()));
        items.push(("2", Item::Number(self.offset)));
        Parts { class: "KVCache", items }
    }

    /// A cache of checked parts.
    pub(super) fn from_parts(buffers: Option<(Array, Array)>, offset: i32) -> Self {
        Self { buffers, offset }
    }

    /// Forgets the last `n` tokens, or all; returns how many.
    pub fn trim(&mut self, n: usize) -> usize {
        let n = (n as i32).min(self.offset);
        self.offset -= n;
        n as usize
    }
}

/// Writes `k, v: [B, KV, S, D]` at `end`, which moves behind them, into buffers that grow when they
/// are full. Returns the part before `end`.
pub(super) fn append(
    buffers: &mut Option<(Array, Array)>,
    end: &mut i32,
    k: &Array,
    v: &Array,
) -> Result<(Array, Array)> {
    let start = *end;
    let stop = start + k.dim(-2);
    let (keys, values) = match buffers.take() {
        Some((keys, values)) if stop <= keys.dim(-2) => (keys, values),
        Some((keys, values)) => (grown(keys, k, start)?, grown(values, v, start)?),
        None => (fresh_rows(k)?, fresh_rows(v)?),
    };
    let keys = slice_update_rows(&keys, k, start)?;
    let values = slice_update_rows(&values, v, start)?;
    *end = stop;
    let filled = if stop < keys.dim(-2) {
        (slice_rows(&keys, 0, stop)?, slice_rows(&values, 0, stop)?)
    } else {
        (keys.clone(), values.clone())
    };
    *buffers = Some((keys, values));
    Ok(filled)
}

/// Zeroed rows for at least the rows of `like`, in whole steps.
fn fresh_rows(like: &Array) -> Result<Array> {
    let mut shape = like.shape().to_vec();
    let axis = shape.len() - 2;
    shape[axis] = (STEP + shape[axis] - 1) / STEP * STEP;
    Ok(ops::zeros_dtype(&shape, like.dtype())?)
}

/// `buffer` with room for the rows of `new` behind its first `used` rows.
fn grown(buffer: Array, new: &Array, used: i32) -> Result<Array> {
    let kept = if used % STEP == 0 { buffer } else { slice_rows(&buffer, 0, used)? };
    Ok(ops::concatenate(&[kept, fresh_rows(new)?], -2)?)
}
