//! Rotary position embeddings (`mlx_lm/models/rope_utils.py`).

use mlx_rs::{Array, Dtype, fast, ops};

use crate::{Result, mlx::ops::scalar, weights::RopeScaling};

/// Where the first of some tokens stands.
#[derive(Debug, Clone)]
pub enum Position {
    /// At one place in every row.
    Same(i32),
    /// At a place of each row's own: `[B]` i32.
    Rows(Array),
}

impl Position {
    /// `[]` or `[B]` i32.
    pub fn to_array(&self) -> Array {
        match self {
            Self::Same(offset) => Array::from_int(*offset),
            Self::Rows(offsets) => offsets.clone(),
        }
    }
}

/// Rotates the first `dims` features of each head by its position.
pub struct Rope {
    dims: i32,
    traditional: bool,
    base: Option<f32>,
    scale: f32,
    freqs: Option<Array>,
}

impl Rope {
    /// The rotation that `rope_scaling` asks for (`initialize_rope`).
    pub fn new(dims: usize, base: f64, traditional: bool, scaling: &RopeScaling) -> Result<Self> {
        let dims = dims as i32;
        Ok(match scaling {
            RopeScaling::Default => {
                Self { dims, traditional, base: Some(base as f32), scale: 1.0, freqs: None }
            }
            RopeScaling::Linear { factor } => Self {
                dims,
                traditional,
                base: Some(base as f32),
                scale: (1.0 / factor) as f32,
                freqs: None,
            },
            RopeScaling::Llama3(llama3) => Self {
                dims,
                traditional,
                base: None,
                scale: 1.0,
                freqs: Some(llama3_freqs(dims, base, llama3)?),
            },
            RopeScaling::Proportional { partial_rotary_factor, factor } => Self {
                dims,
                traditional,
                base: None,
                scale: 1.0,
                freqs: Some(proportional_freqs(dims, base, *partial_rotary_factor, *factor)?),
            },
        })
    }

    /// Rotates `x: [B, H, S, D]` whose first tokens stand at `position`.
    pub fn forward(&self, x: &Array, position: &Position) -> Result<Array> {
        let Self { dims, traditional, base, scale, freqs } = self;
        let offset = match position {
            Position::Same(offset) => *offset,
            Position::Rows(offsets) => return self.forward_at(x, offsets),
        };
        Ok(fast::rope(x, *dims, *traditional, *base, *scale, offset, freqs.as_ref())?)
    }

    /// [`Rope::forward`] with the position in an array, which layers can share: `[]` or `[B]` i32.
    pub fn forward_at(&self, x: &Array, offset: &Array) -> Result<Array> {
        let Self { dims, traditional, base, scale, freqs } = self;
        let freqs = freqs.as_ref();
        Ok(fast::rope_dynamic(x, *dims, *traditional, *base, *scale, offset, freqs)?)
    }
}

/// Inverse frequencies with Llama 3's smoothed rescaling of long wavelengths (`Llama3RoPE`).
fn llama3_freqs(dims: i32, base: f64, s: &crate::weights::Llama3Scaling) -> Result<Array> {
    let number = |v: f64| scalar(v, Dtype::Float32);
    let low_wavelen = s.original_max_position_embeddings / s.low_freq_factor;
    let high_wavelen = s.original_max_position_embeddings / s.high_freq_factor;

    let exponents = ops::divide(ops::arange::<i32, f32>(0, dims, 2)?, number(f64::from(dims))?)?;
    let freqs = ops::power(number(base)?, exponents)?;
    let wavelens = ops::multiply(number(2.0 * std::f64::consts::PI)?, &freqs)?;

    let is_low = ops::gt(&wavelens, number(low_wavelen)?)?;
    let freqs = ops::select(&is_low, ops::multiply(&freqs, number(s.factor)?)?, &freqs)?;
    let is_medium = ops::logical_and(
        ops::gt(&wavelens, number(high_wavelen)?)?,
        ops::lt(&wavelens, number(low_wavelen)?)?,
    )?;
    let smooth = ops::divide(
        ops::subtract(
            ops::divide(number(s.original_max_position_embeddings)?, &wavelens)?,
            number(s.low_freq_factor)?,
        )?,
        number(s.high_freq_factor - s.low_freq_factor)?,
    )?;
    let blend =
        ops::add(ops::divide(ops::subtract(number(1.0)?, &smooth)?, number(s.factor)?)?, smooth)?;
    Ok(ops::select(is_medium, ops::divide(&freqs, blend)?, &freqs)?)
}

/// Inverse frequencies of which only the first part of the features rotates; the others have
/// infinite wavelengths (`ProportionalRoPE`).
fn proportional_freqs(dims: i32, base: f64, partial: f64, factor: f64) -> Result<Array> {
    let number = |v: f64| scalar(v, Dtype::Float32);
    let rotated = (f64::from(dims) * partial) as i32;
    let exponents = ops::divide(ops::arange::<i32, f32>(0, rotated, 2)?, number(f64::from(dims))?)?;
    let freqs = ops::multiply(number(factor)?, ops::power(number(base)?, exponents)?)?;
    let still = ops::full::<f32>(&[(dims - rotated) / 2], number(f64::INFINITY)?)?;
    Ok(ops::concatenate(&[freqs, still], 0)?)
}
