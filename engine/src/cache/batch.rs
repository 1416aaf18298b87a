//! State of several sequences at once (`BatchKVCache`, `BatchRotatingKVCache` of
//! `mlx_lm/models/cache.py`).
//!
//! Every sequence is a row and all rows end together: shorter ones stand behind padding that masks
//! hide. Prompts of different lengths are padded on the right while they are processed and rolled
//! into place afterwards. mlx-lm keeps offsets and paddings in arrays; here they are plain numbers.

mod kv;
mod rotating;

use mlx_rs::{Array, Dtype, ops};

pub use kv::BatchKvCache;
pub use rotating::BatchRotatingKvCache;

use super::{ArraysCache, KvCache, LayerCache, RotatingKvCache};
use crate::{Error, Result, mlx::ops::slice_rows, nn::Rows};

/// Keys and values: `[B, KV, rows, D]` each.
type Buffers = (Array, Array);

/// The arrays of unpacked keys and values.
fn plain((keys, values): (Rows, Rows)) -> Result<Buffers> {
    match (keys, values) {
        (Rows::Plain(keys), Rows::Plain(values)) => Ok((keys, values)),
        _ => Err(Error::Mlx("packed keys and values cannot be part of a batch".into())),
    }
}

fn as_rows((keys, values): Buffers) -> (Rows, Rows) {
    (Rows::Plain(keys), Rows::Plain(values))
}

/// One layer's caches of single sequences as rows of one cache.
///
/// # Errors
/// [`Error::Mlx`] when the layers are of different kinds, or batches already.
pub fn merge(caches: Vec<LayerCache>) -> Result<LayerCache> {
    let mut kinds = Kinds::default();
    let rows = caches.len();
    for cache in caches {
        match cache {
            LayerCache::Kv(c) => kinds.kv.push(c),
            LayerCache::Rotating(c) => kinds.rotating.push(c),
            LayerCache::Arrays(c) => kinds.arrays.push(c),
            LayerCache::BatchKv(_) | LayerCache::BatchRotating(_) => {}
        }
    }
    match kinds {
        Kinds { kv, .. } if kv.len() == rows => Ok(LayerCache::BatchKv(BatchKvCache::merge(&kv)?)),
        Kinds { rotating, .. } if rotating.len() == rows => {
            Ok(LayerCache::BatchRotating(BatchRotatingKvCache::merge(&rotating)?))
        }
        Kinds { arrays, .. } if arrays.len() == rows => {
            Ok(LayerCache::Arrays(ArraysCache::merge(&arrays)?))
        }
        _ => Err(mixed()),
    }
}

#[derive(Default)]
struct Kinds {
    kv: Vec<KvCache>,
    rotating: Vec<RotatingKvCache>,
    arrays: Vec<ArraysCache>,
}

fn mixed() -> Error {
    Error::Mlx("a layer's caches of different kinds cannot be one batch".into())
}

impl LayerCache {
    /// Appends the rows of `other`, a batch of the same layer.
    pub fn extend(&mut self, other: Self) -> Result<()> {
        match (self, other) {
            (Self::BatchKv(a), Self::BatchKv(b)) => a.extend(b),
            (Self::BatchRotating(a), Self::BatchRotating(b)) => a.extend(b),
            (Self::Arrays(a), Self::Arrays(b)) => a.extend(&b),
            _ => Err(mixed()),
        }
    }

    /// Keeps the rows `keep`, in this order.
    pub fn filter(&mut self, keep: &[usize]) -> Result<()> {
        match self {
            Self::BatchKv(c) => c.filter(keep),
            Self::BatchRotating(c) => c.filter(keep),
            Self::Arrays(c) => c.filter(keep),
            Self::Kv(_) | Self::Rotating(_) => Err(single()),
        }
    }

    /// Row `row` as the cache of a single sequence.
    pub fn extract(&self, row: usize) -> Result<Self> {
        match self {
            Self::BatchKv(c) => c.extract(row).map(Self::Kv),
            Self::BatchRotating(c) => c.extract(row).map(Self::Rotating),
            Self::Arrays(c) => c.extract(row).map(Self::Arrays),
            Self::Kv(_) | Self::Rotating(_) => Err(single()),
        }
    }

    /// Announces tokens of which row `i` has `lengths[i]`, the rest being padding on the right.
    /// [`LayerCache::finalize`] follows once they are appended.
    pub fn prepare(&mut self, lengths: &[i32], right_padding: &[i32]) {
        match self {
            Self::BatchKv(c) => c.prepare(right_padding),
            Self::BatchRotating(c) => c.prepare(lengths),
            Self::Arrays(c) => c.prepare(lengths),
            Self::Kv(_) | Self::Rotating(_) => {}
        }
    }

    /// Moves the padding on the right to the left.
    pub fn finalize(&mut self) -> Result<()> {
        match self {
            Self::BatchKv(c) => c.finalize(),
            Self::BatchRotating(c) => c.finalize(),
            Self::Arrays(c) => {
                c.finalize();
                Ok(())
            }
            Self::Kv(_) | Self::Rotating(_) => Ok(()),
        }
    }
}

fn single() -> Error {
    Error::Mlx("the cache of a single sequence has no rows".into())
}

/// Rows `keep` of every array, in this order.
fn pick(array: &Array, keep: &[usize]) -> Result<Array> {
    let keep: Vec<i32> = keep.iter().map(|&row| row as i32).collect();
    Ok(array.take_axis(Array::from_slice(&keep, &[keep.len() as i32]), 0)?)
}

/// The numbers of rows `keep`, in this order.
fn pick_numbers(numbers: &[i32], keep: &[usize]) -> Vec<i32> {
    keep.iter().map(|&row| numbers[row]).collect()
}

fn pick_both((keys, values): &Buffers, keep: &[usize]) -> Result<Buffers> {
    Ok((pick(keys, keep)?, pick(values, keep)?))
}

/// Rolls the tokens of row `i` right by `shifts[i]` places (`dynamic_roll`).
fn roll_rows(rows: &Array, shifts: &[i32]) -> Result<Array> {
    let n = rows.dim(-2);
    if n == 0 {
        return Ok(rows.clone());
    }
    let from: Vec<i32> =
        shifts.iter().flat_map(|shift| (0..n).map(move |i| (i - shift).rem_euclid(n))).collect();
    let from = Array::from_slice(&from, &[shifts.len() as i32, 1, n, 1]);
    Ok(ops::indexing::take_along_axis(rows, from, -2)?)
}

/// `left` and `right` empty tokens around those of `rows`; a negative `right` cuts tokens off.
fn padded(rows: &Array, left: i32, right: i32) -> Result<Array> {
    let kept = if right < 0 { slice_rows(rows, 0, rows.dim(-2) + right)? } else { rows.clone() };
    if left == 0 && right <= 0 {
        return Ok(kept);
    }
    let zeros = |n: i32| empty_rows(&shape_with_rows(rows.shape(), n), rows.dtype());
    Ok(ops::concatenate(&[zeros(left)?, kept, zeros(right.max(0))?], -2)?)
}

fn shape_with_rows(shape: &[i32], rows: i32) -> Vec<i32> {
    let mut shape = shape.to_vec();
    let axis = shape.len() - 2;
    shape[axis] = rows;
    shape
}

fn empty_rows(shape: &[i32], dtype: Dtype) -> Result<Array> {
    Ok(ops::zeros_dtype(shape, dtype)?)
}

/// Where the tokens of a batch lie in its buffers while two batches become one.
struct Side<'a> {
    buffers: Option<&'a Buffers>,
    /// Rows of the batch.
    batch: i32,
    /// Tokens in use.
    idx: i32,
}

/// Both batches' buffers, right-justified to the larger `idx` and of one length; `None` where
/// neither has any.
fn stacked(a: &Side<'_>, b: &Side<'_>) -> Result<Option<Buffers>> {
    let Some(like) = a.buffers.or(b.buffers) else { return Ok(None) };
    let length = |side: &Side<'_>| side.buffers.map_or(0, |(keys, _)| keys.dim(-2));
    let (end, size) = (a.idx.max(b.idx), length(a).max(length(b)));
    let place = |side: &Side<'_>, of: fn(&Buffers) -> &Array| -> Result<Array> {
        let rows = if let Some(buffers) = side.buffers {
            of(buffers).clone()
        } else {
            let mut shape = shape_with_rows(of(like).shape(), 0);
            shape[0] = side.batch;
            empty_rows(&shape, of(like).dtype())?
        };
        let left = end - side.idx;
        padded(&rows, left, size - rows.dim(-2) - left)
    };
    let join = |of: fn(&Buffers) -> &Array| -> Result<Array> {
        Ok(ops::concatenate(&[place(a, of)?, place(b, of)?], 0)?)
    };
    Ok(Some((join(|buffers| &buffers.0)?, join(|buffers| &buffers.1)?)))
}

/// Single sequences' tokens as rows of `length` tokens, right-justified. Not all are `None`.
fn merged(rows: &[Option<Buffers>], length: i32) -> Result<Buffers> {
    let Some(like) = rows.iter().flatten().next() else {
        return Err(Error::Mlx("a batch of empty caches has no buffers".into()));
    };
    let join = |of: fn(&Buffers) -> &Array| -> Result<Array> {
        let parts = rows
            .iter()
            .map(|row| match row {
                Some(buffers) => padded(of(buffers), length - of(buffers).dim(-2), 0),
                None => empty_rows(&shape_with_rows(of(like).shape(), length), of(like).dtype()),
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(ops::concatenate(&parts, 0)?)
    };
    Ok((join(|buffers| &buffers.0)?, join(|buffers| &buffers.1)?))
}

#[cfg(test)]
mod tests;
