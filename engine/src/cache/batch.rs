//! State of several sequences at once (`BatchKVCache`, `BatchRotatingKVCache` of
//! `mlx_lm/models/cache.py`).
//!
//! Every sequence is a row and all rows end together: shorter ones stand behind padding that masks
//! hide. Prompts of different lengths are padded on the right while they are processed and rolled
//! into place afterwards. mlx-lm keeps offsets and paddings in arrays; here they are plain numbers.

mod kv;
mod rotating;

use mlx_rs::{Array, ops};

pub use kv::BatchKvCache;
pub use rotating::BatchRotatingKvCache;

use super::{ArraysCache, KvCache, LayerCache, RotatingKvCache};
use crate::{
    Error, Result,
    nn::{KvFormat, Rows},
};

/// Keys and values of all rows.
type Buffers = (Rows, Rows);

/// The format that all rows of a batch have.
fn one_format(formats: impl IntoIterator<Item = Option<KvFormat>>) -> Result<Option<KvFormat>> {
    let mut formats = formats.into_iter();
    let format = formats.next().flatten();
    if formats.any(|other| other != format) {
        return Err(Error::Mlx("rows of one batch must be packed alike".into()));
    }
    Ok(format)
}

/// New keys and values as the batch's format wants them.
fn packed(k: &Array, v: &Array, format: Option<KvFormat>) -> Result<Buffers> {
    Ok((Rows::Plain(k.clone()).packed(format)?, Rows::Plain(v.clone()).packed(format)?))
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

/// The sequences `keep`, in this order.
fn pick(rows: &Rows, keep: &[usize]) -> Result<Rows> {
    let keep: Vec<i32> = keep.iter().map(|&row| row as i32).collect();
    let keep = Array::from_slice(&keep, &[keep.len() as i32]);
    rows.map(|array| Ok(array.take_axis(&keep, 0)?))
}

/// The numbers of rows `keep`, in this order.
fn pick_numbers(numbers: &[i32], keep: &[usize]) -> Vec<i32> {
    keep.iter().map(|&row| numbers[row]).collect()
}

fn pick_both((keys, values): &Buffers, keep: &[usize]) -> Result<Buffers> {
    Ok((pick(keys, keep)?, pick(values, keep)?))
}

/// Rolls the tokens of row `i` right by `shifts[i]` places (`dynamic_roll`).
fn roll_rows(rows: &Rows, shifts: &[i32]) -> Result<Rows> {
    let n = rows.len();
    if n == 0 {
        return Ok(rows.clone());
    }
    let from: Vec<i32> =
        shifts.iter().flat_map(|shift| (0..n).map(move |i| (i - shift).rem_euclid(n))).collect();
    let from = Array::from_slice(&from, &[shifts.len() as i32, 1, n, 1]);
    rows.map(|array| Ok(ops::indexing::take_along_axis(array, &from, -2)?))
}

/// Tokens `start..stop` in memory of their own.
fn cut(rows: &Rows, start: i32, stop: i32) -> Result<Rows> {
    rows.slice(start, stop)?.map(|array| Ok(array.contiguous()?))
}

/// `left` and `right` empty tokens around those of `rows`; a negative `right` cuts tokens off.
fn padded(rows: &Rows, left: i32, right: i32) -> Result<Rows> {
    let kept = if right < 0 { rows.slice(0, rows.len() + right)? } else { rows.clone() };
    if left == 0 && right <= 0 {
        return Ok(kept);
    }
    Rows::concatenate(&[rows.zeros(left)?, kept, rows.zeros(right.max(0))?])
}

/// `batch` sequences without a token, of the kind of `like`.
fn empty_rows(like: &Rows, batch: i32) -> Result<Rows> {
    like.zeros(0)?.map(|array| {
        let mut shape = array.shape().to_vec();
        shape[0] = batch;
        Ok(ops::zeros_dtype(&shape, array.dtype())?)
    })
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
    let length = |side: &Side<'_>| side.buffers.map_or(0, |(keys, _)| keys.len());
    let (end, size) = (a.idx.max(b.idx), length(a).max(length(b)));
    let place = |side: &Side<'_>, of: fn(&Buffers) -> &Rows| -> Result<Rows> {
        let rows = match side.buffers {
            Some(buffers) => of(buffers).clone(),
            None => empty_rows(of(like), side.batch)?,
        };
        let left = end - side.idx;
        padded(&rows, left, size - rows.len() - left)
    };
    let join = |of: fn(&Buffers) -> &Rows| Rows::stacked(&[place(a, of)?, place(b, of)?]);
    Ok(Some((join(|buffers| &buffers.0)?, join(|buffers| &buffers.1)?)))
}

/// Single sequences' tokens as rows of `length` tokens, right-justified. Not all are `None`.
fn merged(rows: &[Option<Buffers>], length: i32) -> Result<Buffers> {
    let Some(like) = rows.iter().flatten().next() else {
        return Err(Error::Mlx("a batch of empty caches has no buffers".into()));
    };
    let join = |of: fn(&Buffers) -> &Rows| {
        let place = |row: &Option<Buffers>| match row {
            Some(buffers) => padded(of(buffers), length - of(buffers).len(), 0),
            None => of(like).zeros(length),
        };
        Rows::stacked(&rows.iter().map(place).collect::<Result<Vec<_>>>()?)
    };
    Ok((join(|buffers| &buffers.0)?, join(|buffers| &buffers.1)?))
}

#[cfg(test)]
mod tests;
