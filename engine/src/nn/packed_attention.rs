//! Attention on packed keys and values: mlx-lm's own composition (`mlx_lm/models/base.py`,
//! `quantized_scaled_dot_product_attention`) and mlx-optiq's tiled one
//! (`optiq/runtime/fused_quant_sdpa.py`).

use mlx_rs::{Array, Dtype, ops};

use super::{Mask, Rows, rows::KvAttention};
use crate::{Result, mlx::ops::scalar_like, models::Mutation};

/// Keys per tile.
const TILE: i32 = 512;

/// [`super::attend`] for packed `k` and `v`.
pub(super) fn attend_packed(
    q: &Array,
    k: &Rows,
    v: &Rows,
    scale: f32,
    mask: &Mask,
) -> Result<Array> {
    let (b, heads, s, d) = (q.dim(0), q.dim(1), q.dim(2), q.dim(3));
    if let Mask::Padded { left_padding, .. } = mask
        && tileable(q, k)
    {
        return attend_one_by_one(q, (k, v), scale, left_padding);
    }
    let tiled = tileable(q, k) && !matches!(mask, Mask::Array(_));
    let kv_heads = k.arrays()[0].dim(1);
    let repeats = heads / kv_heads;
    let mistake = mistake(k);
    let late_scale = (mistake == Mutation::ScaleAfterProduct).then_some(scale);
    let mut q = if late_scale.is_some() { q.clone() } else { scaled(q, scale)? };
    let (mut k, mut v) = (k.clone(), v.clone());
    if repeats > 1 {
        q = q.reshape(&[b, kv_heads, repeats, s, d])?;
        k = k.for_groups()?;
        v = v.for_groups()?;
    }
    let mask = boolean(mask, s, k.len(), repeats > 1)?;
    let out = if tiled {
        attend_tiles(&q, &k, &v, mask.as_ref(), late_scale)?
    } else {
        let precise = mistake != Mutation::SoftmaxNotPrecise;
        let scores = scores(&q, &k, mask.as_ref(), late_scale)?;
        v.weigh(&ops::softmax_axis(&scores, -1, precise)?)?
    };
    if repeats > 1 {
        return Ok(out.reshape(&[b, heads, s, d])?);
    }
    Ok(out)
}

/// The rows of a batch each by itself: tiles count from a row's own first key.
fn attend_one_by_one(
    q: &Array,
    (k, v): (&Rows, &Rows),
    scale: f32,
    left_padding: &[i32],
) -> Result<Array> {
    let mask = if q.dim(2) == 1 { Mask::None } else { Mask::Causal };
    let rows = left_padding.iter().zip(0..).map(|(&padding, row)| {
        let one = |array: &Array| {
            let mut start = vec![0; array.ndim()];
            let mut stop = array.shape().to_vec();
            (start[0], stop[0]) = (row, row + 1);
            crate::mlx::ops::slice(array, &start, &stop)
        };
        let own = |rows: &Rows| rows.map(one)?.slice(padding, rows.len());
        attend_packed(&one(q)?, &own(k)?, &own(v)?, scale, &mask)
    });
    Ok(ops::concatenate(&rows.collect::<Result<Vec<_>>>()?, 0)?)
}

/// Whether mlx-optiq's tiles take such a call, unless an array masks it; what they leave is
/// mlx-lm's.
fn tileable(q: &Array, k: &Rows) -> bool {
    let Rows::Packed(_, format) = k else { return false };
    format.attention() == KvAttention::Fused
        && matches!(format.bits(), 4 | 8)
        && matches!(q.dtype(), Dtype::Bfloat16 | Dtype::Float16)
        && !(format.mistake() == Mutation::SingleTokensUntiled && q.dim(2) == 1)
}

fn mistake(k: &Rows) -> Mutation {
    if let Rows::Packed(_, format) = k { format.mistake() } else { Mutation::None }
}

fn scaled(x: &Array, scale: f32) -> Result<Array> {
    Ok(ops::multiply(x, scalar_like(f64::from(scale), x)?)?)
}

/// `q Kᵀ`, the scores of hidden keys at their dtype's least value: `[.., S, N]`.
fn scores(q: &Array, k: &Rows, mask: Option<&Array>, late_scale: Option<f32>) -> Result<Array> {
    let mut scores = k.dot(q)?;
    if let Some(scale) = late_scale {
        scores = scaled(&scores, scale)?;
    }
    if let Some(mask) = mask.filter(|_| mistake(k) == Mutation::MaskAdded) {
        return Ok(ops::add(&scores, mask.as_dtype(scores.dtype())?)?);
    }
    hidden(scores, mask)
}

/// Softmax over tiles of keys with a running maximum and sum, all in the queries' dtype.
fn attend_tiles(
    q: &Array,
    k: &Rows,
    v: &Rows,
    mask: Option<&Array>,
    late_scale: Option<f32>,
) -> Result<Array> {
    let n = k.len();
    let mut running: Option<Running> = None;
    for start in (0..n).step_by(TILE as usize) {
        let stop = (start + TILE).min(n);
        let (k, v) = (k.slice(start, stop)?, v.slice(start, stop)?);
        let mask = mask.map(|mask| columns(mask, start, stop)).transpose()?;
        let scores = scores(q, &k, mask.as_ref(), late_scale)?;
        let top = ops::max_axis(&scores, -1, true)?;
        running = Some(match running {
            None => Running::first(&scores, top, &v)?,
            Some(before) => before.next(&scores, &top, &v)?,
        });
    }
    match running {
        Some(Running { out, sum, .. }) => Ok(ops::divide(&out, &sum)?),
        None => Err(crate::Error::Mlx("attention without a key".into())),
    }
}

/// What the tiles so far add up to.
struct Running {
    /// `[.., S, D]`.
    out: Array,
    /// Largest score and sum of the exponentials: `[.., S, 1]`.
    top: Array,
    sum: Array,
}

impl Running {
    fn first(scores: &Array, top: Array, v: &Rows) -> Result<Self> {
        let weights = ops::exp(ops::subtract(scores, &top)?)?;
        let sum = ops::sum_axis(&weights, -1, true)?;
        Ok(Self { out: v.weigh(&weights)?, top, sum })
    }

    fn next(self, scores: &Array, top: &Array, v: &Rows) -> Result<Self> {
        let top = ops::maximum(&self.top, top)?;
        let factor = ops::exp(ops::subtract(&self.top, &top)?)?;
        let weights = ops::exp(ops::subtract(scores, &top)?)?;
        let added = ops::sum_axis(&weights, -1, true)?;
        let sum = ops::add(ops::multiply(&factor, &self.sum)?, added)?;
        let out = ops::add(ops::multiply(&self.out, &factor)?, v.weigh(&weights)?)?;
        Ok(Self { out, top, sum })
    }
}

/// Columns `start..stop` of a `[S, N]` mask.
fn columns(mask: &Array, start: i32, stop: i32) -> Result<Array> {
    crate::mlx::ops::slice(mask, &[0, start], &[mask.dim(0), stop])
}

/// The mask as an array that fits the scores, or nothing where every key is seen.
fn boolean(mask: &Mask, new: i32, keys: i32, grouped: bool) -> Result<Option<Array>> {
    Ok(match mask {
        Mask::None => None,
        Mask::Causal => match Mask::causal_array(new, keys - new, None)? {
            Mask::Array(mask) => Some(mask),
            _ => None,
        },
        Mask::Array(mask) | Mask::Padded { mask, .. } if grouped && mask.ndim() > 3 => {
            Some(mask.expand_dims(-3)?)
        }
        Mask::Array(mask) | Mask::Padded { mask, .. } => Some(mask.clone()),
    })
}

/// `scores: [.., S, N]`, those of hidden keys at their dtype's least value.
fn hidden(scores: Array, mask: Option<&Array>) -> Result<Array> {
    let Some(mask) = mask else { return Ok(scores) };
    let least = match scores.dtype() {
        Dtype::Float16 => -65504.0,
        Dtype::Bfloat16 => f64::from(f32::from_bits(0xff7f_0000)),
        _ => f64::from(f32::MIN),
    };
    Ok(ops::select(mask, &scores, scalar_like(least, &scores)?)?)
}
