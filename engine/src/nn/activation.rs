//! Activations (`mlx/nn/layers/activations.py`).

use mlx_rs::{Array, Dtype, ops};

use super::WeakScalar;
use crate::{Result, mlx};

/// What a function gives for each of the 65,536 values of a half-precision type, in the order of
/// their bits.
///
/// MLX computes it with the function's own operations, so looking a value up gives their bits; on
/// the CPU backend that takes a third of the time, or less. Only where that backend computes every
/// element alike, wherever in an array it lies: not with vector units that leave a scalar rest.
#[derive(Debug, Clone)]
struct Table {
    /// Of the inputs.
    dtype: Dtype,
    /// `[65536]`.
    values: Array,
}

impl Table {
    fn new(dtype: Dtype, function: impl Fn(&Array) -> Result<Array>) -> Result<Option<Self>> {
        let half = matches!(dtype, Dtype::Float16 | Dtype::Bfloat16);
        if !half || !cfg!(target_arch = "x86_64") || !mlx::runs_on_cpu()? {
            return Ok(None);
        }
        let bits: Vec<u16> = (0..=u16::MAX).collect();
        let inputs = Array::from_slice(&bits, &[1 << 16]).view_dtype(dtype)?;
        Ok(Some(Self { dtype, values: function(&inputs)? }))
    }

    fn look_up(&self, x: &Array) -> Result<Array> {
        Ok(self.values.take(x.view_dtype(Dtype::Uint16)?)?)
    }
}

fn tabulated(
    table: Option<&Table>,
    x: &Array,
    function: impl Fn(&Array) -> Result<Array>,
) -> Result<Array> {
    match table {
        Some(table) if table.dtype == x.dtype() => table.look_up(x),
        _ => function(x),
    }
}

/// `x * sigmoid(x)`. Clones share what it holds.
#[derive(Debug, Clone)]
pub struct Silu {
    table: Option<Table>,
    /// Of f32 values.
    wide: Option<Table>,
}

impl Silu {
    /// For activations of `dtype`; others are right too, but slower.
    pub fn new(dtype: Dtype) -> Result<Self> {
        Ok(Self { table: Table::new(dtype, mlx::ops::silu)?, wide: Table::new(dtype, wide_silu)? })
    }

    /// Elementwise, in the dtype of `x`.
    pub fn forward(&self, x: &Array) -> Result<Array> {
        tabulated(self.table.as_ref(), x, mlx::ops::silu)
    }

    /// Elementwise, in f32 whatever the dtype of `x`.
    pub fn forward_in_f32(&self, x: &Array) -> Result<Array> {
        tabulated(self.wide.as_ref(), x, wide_silu)
    }

    /// `silu(gate) * x` (`swiglu` of `mlx_lm/models/activations.py`).
    pub fn gated(&self, gate: &Array, x: &Array) -> Result<Array> {
        Ok(ops::multiply(self.forward(gate)?, x)?)
    }
}

fn wide_silu(x: &Array) -> Result<Array> {
    mlx::ops::silu(&x.as_dtype(Dtype::Float32)?)
}

/// The tanh approximation of GELU, `0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³)))`, every constant
/// in the dtype of `x` and the cube by `power`. Clones share what it holds.
#[derive(Debug, Clone)]
pub struct GeluApprox {
    formula: GeluFormula,
    table: Option<Table>,
}

impl GeluApprox {
    /// For activations of `dtype`.
    pub fn new(dtype: Dtype) -> Result<Self> {
        let formula = GeluFormula::new(dtype)?;
        let table = Table::new(dtype, |x| formula.forward(x))?;
        Ok(Self { formula, table })
    }

    /// Elementwise, in the dtype of `x`.
    pub fn forward(&self, x: &Array) -> Result<Array> {
        tabulated(self.table.as_ref(), x, |x| self.formula.forward(x))
    }

    /// `gelu(gate) * x` (`geglu` of `mlx_lm/models/gemma4_text.py`).
    pub fn gated(&self, gate: &Array, x: &Array) -> Result<Array> {
        Ok(ops::multiply(self.forward(gate)?, x)?)
    }
}

#[derive(Debug, Clone)]
struct GeluFormula {
    half: WeakScalar,
    three: WeakScalar,
    cubic: WeakScalar,
    root: WeakScalar,
    one: WeakScalar,
}

impl GeluFormula {
    fn new(dtype: Dtype) -> Result<Self> {
        Ok(Self {
            half: WeakScalar::new(0.5, dtype)?,
            three: WeakScalar::new(3.0, dtype)?,
            cubic: WeakScalar::new(0.044_715, dtype)?,
            root: WeakScalar::new((2.0 / std::f64::consts::PI).sqrt(), dtype)?,
            one: WeakScalar::new(1.0, dtype)?,
        })
    }

    fn forward(&self, x: &Array) -> Result<Array> {
        let cube = self.cubic.multiply(&self.three.power(x)?)?;
        let inner = self.root.multiply(&ops::add(x, cube)?)?;
        let gate = self.one.add(&ops::tanh(inner)?)?;
        Ok(ops::multiply(self.half.multiply(x)?, gate)?)
    }
}

#[cfg(test)]
mod tests;
