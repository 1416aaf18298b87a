//! Python numbers in arithmetic with arrays.

use std::borrow::Cow;

use mlx_rs::{Array, Dtype, ops};

use crate::{Result, mlx::ops::scalar};

/// A number that takes its array operand's dtype first, as Python's numbers do in MLX.
///
/// Made once, so that no call converts it again.
#[derive(Debug, Clone)]
pub struct WeakScalar {
    value: f64,
    cached: Array,
}

impl WeakScalar {
    /// `value`, kept ready for operands of `dtype`.
    pub fn new(value: f64, dtype: Dtype) -> Result<Self> {
        Ok(Self { value, cached: scalar(value, dtype)? })
    }

    /// `x * value`.
    pub fn multiply(&self, x: &Array) -> Result<Array> {
        Ok(ops::multiply(x, &*self.like(x)?)?)
    }

    /// `x / value`.
    pub fn divide(&self, x: &Array) -> Result<Array> {
        Ok(ops::divide(x, &*self.like(x)?)?)
    }

    /// `x + value`.
    pub fn add(&self, x: &Array) -> Result<Array> {
        Ok(ops::add(x, &*self.like(x)?)?)
    }

    /// `x ** value`.
    pub fn power(&self, x: &Array) -> Result<Array> {
        Ok(ops::power(x, &*self.like(x)?)?)
    }

    /// `log(exp(x) + exp(value))`.
    pub fn logaddexp(&self, x: &Array) -> Result<Array> {
        Ok(ops::logaddexp(x, &*self.like(x)?)?)
    }

    fn like(&self, x: &Array) -> Result<Cow<'_, Array>> {
        if x.dtype() == self.cached.dtype() {
            return Ok(Cow::Borrowed(&self.cached));
        }
        Ok(Cow::Owned(scalar(self.value, x.dtype())?))
    }
}
