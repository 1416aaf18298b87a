//! Attention against a cache (`mlx_lm/models/base.py`, `scaled_dot_product_attention`).

use mlx_rs::{Array, fast::{self, ScaledDotProductAttentionMask}};

use crate::Result;

/// Which keys a query may see.
pub enum Mask {
    /// Every key (single-token decoding).
    None,
    /// Keys up to the query's own position, counted from the end.
    Causal,
}

/// `softmax(scale · q kᵀ) v`; `q: [B, H, S, D]`, `k, v: [B, KV, N, D]`, result `[B, H, S, D]`.
pub fn attend(q: &Array, k: &Array, v: &Array, scale: f32, mask: &Mask) -> Result<Array> {
    Ok(match mask {
        Mask::None => fast::scaled_dot_product_attention(q, k, v, scale, None, None)?,
        Mask::Causal => fast::scaled_dot_product_attention(
            q, k, v, scale, ScaledDotProductAttentionMask::Causal, None,
        )?,
    })
}
