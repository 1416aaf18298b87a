//! Root-mean-square normalization (`mlx/nn/layers/normalization.py`).

use mlx_rs::{Array, fast};

use super::Params;
use crate::Result;

/// RMS norm over the last axis with a learned weight.
pub struct RmsNorm {
    weight: Array,
    eps: f32,
}

impl RmsNorm {
    /// Takes `path.weight`: `[hidden]`.
    pub fn take(params: &mut Params, path: &str, eps: f64) -> Result<Self> {
        Ok(Self { weight: params.take(&format!("{path}.weight"))?, eps: eps as f32 })
    }

    /// Normalizes `x: [.., hidden]`.
    pub fn forward(&self, x: &Array) -> Result<Array> {
        Ok(fast::rms_norm(x, Some(&self.weight), self.eps)?)
    }

    /// Every array that the layer holds.
    pub fn arrays<'a>(&'a self, out: &mut Vec<&'a Array>) {
        out.push(&self.weight);
    }
}

/// RMS norm over the last axis without a weight.
pub fn rms_norm(x: &Array, eps: f64) -> Result<Array> {
    Ok(fast::rms_norm(x, None, eps as f32)?)
}
