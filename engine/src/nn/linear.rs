//! Dense and quantized linear layers (`mlx/nn/layers/linear.py`, `quantized.py`).

use mlx_rs::{Array, Dtype, ops, transforms::eval};

use super::{LowRank, Params, Patch, Site};
use crate::{
    Result,
    mlx::{ops as gap, quantized::Packed},
    weights::ModuleQuantization,
};

/// `y = x Wᵀ (+ b)`; `x: [.., in]`, `y: [.., out]`.
pub struct Linear {
    kind: Kind,
    bias: Option<Array>,
    site: Site,
}

enum Kind {
    /// Holds `Wᵀ`, a view made once, where mlx-lm transposes at every call: `[in, out]`.
    Dense(Array),
    Quantized(QuantizedWeight),
}

/// A packed weight with its per-group scales and, in affine mode, biases.
pub struct QuantizedWeight {
    /// `[.., out, in * bits / 32]` u32.
    pub weight: Array,
    /// `[.., out, in / group_size]`.
    pub scales: Array,
    /// `[.., out, in / group_size]`.
    pub biases: Option<Array>,
    /// Group size, bits and mode.
    pub spec: ModuleQuantization,
}

impl QuantizedWeight {
    /// Takes `path.{weight,scales}` and, in affine mode, `path.biases`.
    pub fn take(params: &mut Params, path: &str, spec: ModuleQuantization) -> Result<Self> {
        Ok(Self {
            weight: params.take(&format!("{path}.weight"))?,
            scales: params.take(&format!("{path}.scales"))?,
            biases: spec
                .has_biases()
                .then(|| params.take(&format!("{path}.biases")))
                .transpose()?,
            spec,
        })
    }

    /// `x Wᵀ` without unpacking the weight.
    pub fn matmul(&self, x: &Array) -> Result<Array> {
        self.packed().matmul(x)
    }

    /// `x Wₑᵀ` with the matrix `e` that `indices` names per row of `x`.
    pub fn gather_matmul(&self, x: &Array, indices: &Array, sorted: bool) -> Result<Array> {
        self.packed().gather_matmul(x, indices, sorted)
    }

    /// The rows that `ids` name, unpacked.
    pub fn rows(&self, ids: &Array) -> Result<Array> {
        let (weight, scales) = (self.weight.take_axis(ids, 0)?, self.scales.take_axis(ids, 0)?);
        let biases = self.biases.as_ref().map(|b| b.take_axis(ids, 0)).transpose()?;
        let spec = self.spec;
        Packed { weight: &weight, scales: &scales, biases: biases.as_ref(), spec }.unpack()
    }

    /// The whole weight, unpacked.
    pub fn unpack(&self) -> Result<Array> {
        self.packed().unpack()
    }

    /// The dtype of what the weight stands for: that of its scales or, where those are bytes, bf16.
    pub fn dtype(&self) -> Dtype {
        if self.spec.has_biases() { self.scales.dtype() } else { Dtype::Bfloat16 }
    }

    /// Every array that the weight consists of.
    pub fn arrays<'a>(&'a self, out: &mut Vec<&'a Array>) {
        out.extend([&self.weight, &self.scales]);
        out.extend(&self.biases);
    }

    fn packed(&self) -> Packed<'_> {
        let Self { weight, scales, biases, spec } = self;
        Packed { weight, scales, biases: biases.as_ref(), spec: *spec }
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
        Ok(Self { kind, bias, site: params.site(path) })
    }

    /// Applies the layer with the adapters that are selected.
    pub fn forward(&self, x: &Array) -> Result<Array> {
        if let Some(dora) = self.site.dora().as_deref().and_then(Patch::dora) {
            let y = dora.linear(x, || self.weight(), self.bias.as_ref())?;
            if matches!(self.kind, Kind::Quantized(_)) {
                // The unpacked weight goes before the next one comes.
                eval([&y])?;
            }
            return Ok(y);
        }
        self.site.add_products(self.base(x)?, x, LowRank::linear)
    }

    /// The dense weight, unpacked if need be: `[out, in]`.
    fn weight(&self) -> Result<Array> {
        match &self.kind {
            Kind::Dense(weight_t) => Ok(weight_t.transpose()?),
            Kind::Quantized(q) => q.unpack(),
        }
    }

    /// The layer without adapters.
    fn base(&self, x: &Array) -> Result<Array> {
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
            Kind::Quantized(q) => q.arrays(out),
        }
        out.extend(&self.bias);
    }
}
