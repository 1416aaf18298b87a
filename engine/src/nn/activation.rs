//! Activations (`mlx/nn/layers/activations.py`).

use mlx_rs::{Array, Dtype, ops};

use super::WeakScalar;
use crate::Result;

/// The tanh approximation of GELU, `0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³)))`, every constant
/// in the dtype of `x` and the cube by `power`.
#[derive(Debug)]
pub struct GeluApprox {
    half: WeakScalar,
    three: WeakScalar,
    cubic: WeakScalar,
    root: WeakScalar,
    one: WeakScalar,
}

impl GeluApprox {
    /// For activations of `dtype`.
    pub fn new(dtype: Dtype) -> Result<Self> {
        Ok(Self {
            half: WeakScalar::new(0.5, dtype)?,
            three: WeakScalar::new(3.0, dtype)?,
            cubic: WeakScalar::new(0.044_715, dtype)?,
            root: WeakScalar::new((2.0 / std::f64::consts::PI).sqrt(), dtype)?,
            one: WeakScalar::new(1.0, dtype)?,
        })
    }

    /// Elementwise, in the dtype of `x`.
    pub fn forward(&self, x: &Array) -> Result<Array> {
        let cube = self.cubic.multiply(&self.three.power(x)?)?;
        let inner = self.root.multiply(&ops::add(x, cube)?)?;
        let gate = self.one.add(&ops::tanh(inner)?)?;
        Ok(ops::multiply(self.half.multiply(x)?, gate)?)
    }

    /// `gelu(gate) * x` (`geglu` of `mlx_lm/models/gemma4_text.py`).
    pub fn gated(&self, gate: &Array, x: &Array) -> Result<Array> {
        Ok(ops::multiply(self.forward(gate)?, x)?)
    }
}
