//! Attention against a cache (`mlx_lm/models/base.py`, `scaled_dot_product_attention`).

use mlx_rs::{
    Array, Dtype,
    fast::{self, ScaledDotProductAttentionMask},
    ops,
};

use super::rows::{KvFormat, Rows, packed_view};
use crate::{Error, Result, mlx::ops::scalar_like};

/// Which keys a query may see.
pub enum Mask {
    /// Every key (single-token decoding).
    None,
    /// Keys up to the query's own position, counted from the end.
    Causal,
    /// Those marked true: `[S, N]`, or what broadcasts to `[B, H, S, N]`.
    Array(Array),
}

impl Mask {
    /// Keys up to the query's own position and, with a `window`, only the last that many, as an
    /// array for `new` queries behind `offset` keys: `[new, offset + new]` (`create_causal_mask`).
    pub fn causal_array(new: i32, offset: i32, window: Option<i32>) -> Result<Self> {
        let keys = ops::arange::<i32, i32>(0, offset + new, None)?;
        let queries = if offset == 0 {
            keys.clone()
        } else {
            ops::arange::<i32, i32>(offset, offset + new, None)?
        };
        let queries = ops::expand_dims(&queries, 1)?;
        let keys = ops::expand_dims(&keys, 0)?;
        let mut mask = ops::ge(&queries, &keys)?;
        if let Some(window) = window {
            let end = ops::add(&keys, Array::from_int(window))?;
            mask = ops::logical_and(&mask, ops::lt(&queries, end)?)?;
        }
        Ok(Self::Array(mask))
    }

    /// [`Mask::causal_array`] without the first `left_padding[i]` keys of row `i`:
    /// `[B, 1, new, offset + new]`.
    pub fn padded_causal(
        new: i32,
        offset: i32,
        window: Option<i32>,
        left_padding: &[i32],
    ) -> Result<Self> {
        let Self::Array(causal) = Self::causal_array(new, offset, window)? else {
            return Ok(Self::Causal);
        };
        let first = Array::from_slice(left_padding, &[left_padding.len() as i32, 1, 1, 1]);
        let keys = ops::arange::<i32, i32>(0, offset + new, None)?;
        let real = ops::le(&first, ops::expand_dims(&keys, 0)?)?;
        Ok(Self::Array(ops::logical_and(&causal, &real)?))
    }
}

/// `softmax(scale · q kᵀ) v`; `q: [B, H, S, D]`, `k, v: [B, KV, N, D]`, result `[B, H, S, D]`.
pub fn attend(q: &Array, k: &Rows, v: &Rows, scale: f32, mask: &Mask) -> Result<Array> {
    match (k, v) {
        (Rows::Plain(k), Rows::Plain(v)) => attend_plain(q, k, v, scale, mask),
        (Rows::Packed(k, k_format), Rows::Packed(v, v_format)) => {
            attend_packed(q, (k, *k_format), (v, *v_format), scale, mask)
        }
        _ => Err(Error::Mlx("keys and values must be packed alike".into())),
    }
}

fn attend_plain(q: &Array, k: &Array, v: &Array, scale: f32, mask: &Mask) -> Result<Array> {
    let mask = match mask {
        Mask::None => {
            return Ok(fast::scaled_dot_product_attention(q, k, v, scale, None, None)?);
        }
        Mask::Causal => ScaledDotProductAttentionMask::Causal,
        Mask::Array(array) => ScaledDotProductAttentionMask::Array(array),
    };
    Ok(fast::scaled_dot_product_attention(q, k, v, scale, mask, None)?)
}

/// Packed keys or values of one attention layer.
type PackedRows<'a> = (&'a [Array; 3], KvFormat);

/// Attention on packed keys and values (`quantized_scaled_dot_product_attention`).
fn attend_packed(
    q: &Array,
    k: PackedRows<'_>,
    v: PackedRows<'_>,
    scale: f32,
    mask: &Mask,
) -> Result<Array> {
    let (b, heads, s, d) = (q.dim(0), q.dim(1), q.dim(2), q.dim(3));
    let kv_heads = k.0[0].dim(1);
    let repeats = heads / kv_heads;
    let mut q = ops::multiply(q, scalar_like(f64::from(scale), q)?)?;
    let (mut keys, mut values) = (k.0.clone(), v.0.clone());
    if repeats > 1 {
        q = q.reshape(&[b, kv_heads, repeats, s, d])?;
        keys = for_groups(&keys)?;
        values = for_groups(&values)?;
    }
    let scores = packed_view(&keys, k.1).matmul(&q)?;
    let scores = masked(&scores, mask, repeats > 1)?;
    let weights = ops::softmax_axis(&scores, -1, true)?;
    let out = packed_view(&values, v.1).matmul_untransposed(&weights)?;
    if repeats > 1 {
        return Ok(out.reshape(&[b, heads, s, d])?);
    }
    Ok(out)
}

/// Room for the query heads that share a key head.
fn for_groups([weight, scales, biases]: &[Array; 3]) -> Result<[Array; 3]> {
    let wide = |a: &Array| a.expand_dims(-3);
    Ok([wide(weight)?, wide(scales)?, wide(biases)?])
}

/// `scores: [.., S, N]`, hidden ones at the dtype's least value.
fn masked(scores: &Array, mask: &Mask, grouped: bool) -> Result<Array> {
    let mask = match mask {
        Mask::None => return Ok(scores.clone()),
        Mask::Causal => {
            let (queries, keys) = (scores.dim(-2), scores.dim(-1));
            let Mask::Array(mask) = Mask::causal_array(queries, keys - queries, None)? else {
                return Err(Error::Mlx("a causal mask is an array".into()));
            };
            mask
        }
        Mask::Array(mask) if grouped && mask.ndim() > 3 => mask.expand_dims(-3)?,
        Mask::Array(mask) => mask.clone(),
    };
    let least = match scores.dtype() {
        Dtype::Float16 => -65504.0,
        Dtype::Bfloat16 => f64::from(f32::from_bits(0xff7f_0000)),
        _ => f64::from(f32::MIN),
    };
    Ok(ops::select(&mask, scores, scalar_like(least, scores)?)?)
}
