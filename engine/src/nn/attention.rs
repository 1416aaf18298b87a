//! Attention against a cache (`mlx_lm/models/base.py`, `scaled_dot_product_attention`).

use mlx_rs::{
    Array,
    fast::{self, ScaledDotProductAttentionMask},
    ops,
};

use super::{Rows, packed_attention::attend_packed};
use crate::{Error, Result};

/// Which keys a query may see.
pub enum Mask {
    /// Every key (single-token decoding).
    None,
    /// Keys up to the query's own position, counted from the end.
    Causal,
    /// Those marked true: `[S, N]`, or what broadcasts to `[B, H, S, N]`.
    Array(Array),
    /// Of a batch: keys up to the query's own position, the padding on each row's left excepted.
    Padded {
        /// Those marked true: `[B, 1, S, N]`.
        mask: Array,
        /// Keys of each row, counted from the left, that hold nothing.
        left_padding: Vec<i32>,
    },
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
        (Rows::Packed(..), Rows::Packed(..)) => attend_packed(q, k, v, scale, mask),
        _ => Err(Error::Mlx("keys and values must be packed alike".into())),
    }
}

fn attend_plain(q: &Array, k: &Array, v: &Array, scale: f32, mask: &Mask) -> Result<Array> {
    let mask = match mask {
        Mask::None => {
            return Ok(fast::scaled_dot_product_attention(q, k, v, scale, None, None)?);
        }
        Mask::Causal => ScaledDotProductAttentionMask::Causal,
        Mask::Array(mask) | Mask::Padded { mask, .. } => ScaledDotProductAttentionMask::Array(mask),
    };
    Ok(fast::scaled_dot_product_attention(q, k, v, scale, mask, None)?)
}
