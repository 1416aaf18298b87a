//! Dense and quantized linear layers (`mlx/nn/layers/linear.py`, `quantized.py`).

use mlx_rs::{Array, ops};

use super::Params;
use crate::{Result, mlx::ops as gap, weights::ModuleQuantization};

/// `y = x Wᵀ (+ b)`; `x: [.., in]`, `y: [.., out]`.
pub struct Linear {
    kind: Kind,
    bias: Option<Array>,
}

enum Kind {
    /// Holds `Wᵀ`, a view made once, where mlx-lm transposes at every call: `[in, out]`.
    Dense(Array),
    Quantized(QuantizedWeight),
}

/// A packed weight with its per-group scales and biases.
pub struct QuantizedWeight {
    /// `[out, in * bits / 32]` u32.
    pub weight: Array,
    /// `[out, in / group_size]`.
    pub scales: Array,
    /// `[out, in / group_size]`.
    pub biases: Array,
    /// Group size, bits and mode.
    pub spec: ModuleQuantization,
}

impl QuantizedWeight {
    /// Takes `path.{weight,scales,biases}`.
    pub fn take(params: &mut Params, path: &str, spec: ModuleQuantization) -> Result<Self> {
        Ok(Self {
            weight: params.take(&format!("{path}.weight"))?,
            scales: params.take(&format!("{path}.scales"))?,
            biases: params.take(&format!("{path}.biases"))?,
            spec,
        })
    }

    /// `x Wᵀ` without unpacking the weight.
    pub fn matmul(&self, x: &Array) -> Result<Array> {
        Ok(ops::quantized_matmul(
            x,
            &self.weight,
            &self.scales,
            &self.biases,
            true,
            self.spec.group_size as i32,
            self.spec.bits as i32,
        )?)
    }
}

impl Linear {
    /// Takes `path.weight` (and scales, biases, bias where the checkpoint has them).
    pub fn take(params: &mut Params, path: &str, with_bias: bool) -> Result<Self> {
        let kind = match params.quantization(path) {
            Some(spec) => Kind::Quantized(QuantizedWeight::take(params, path, spec)?),
            None => Kind::Dense(params.take(&format!("{path}.weight"))?.transpose()?),
        };
        let bias = if with_bias { Some(params.take(&format!("{path}.bias"))?) } else { None };
        Ok(Self { kind, bias })
    }

    /// Applies the layer.
    pub fn forward(&self, x: &Array) -> Result<Array> {
        match (&self.kind, &self.bias) {
            (Kind::Dense(weight_t), None) => Ok(ops::matmul(x, weight_t)?),
            (Kind::Dense(weight_t), Some(bias)) => Ok(ops::addmm(bias, x, weight_t, None, None)?),
            (Kind::Quantized(q), None) => q.matmul(x),
            (Kind::Quantized(q), Some(bias)) => gap::add(&q.matmul(x)?, bias),
        }
    }

    /// Every array that the layer holds.
    pub fn arrays<'a>(&'a self, out: &mut Vec<&'a Array>) {
        match &self.kind {
            Kind::Dense(w) => out.push(w),
            Kind::Quantized(q) => out.extend([&q.weight, &q.scales, &q.biases]),
        }
        out.extend(&self.bias);
    }
}
