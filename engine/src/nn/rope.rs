//! Rotary position embeddings (`mlx_lm/models/rope_utils.py`).

use std::{cell::RefCell, rc::Rc};

use mlx_rs::{Array, Dtype, fast, ops};

use crate::{
    Result, mlx,
    mlx::ops::{scalar, slice},
    weights::RopeScaling,
};

/// Where the first of some tokens stands.
#[derive(Debug, Clone)]
pub enum Position {
    /// At one place in every row.
    Same(i32),
    /// At a place of each row's own: `[B]` i32.
    Rows(Array),
}

/// Rotates the first `dims` features of each head by its position. Clones share the angles of the
/// last position, so layers with one rotation should be given clones of one.
#[derive(Debug, Clone)]
pub struct Rope {
    dims: i32,
    traditional: bool,
    base: Option<f32>,
    scale: f32,
    freqs: Option<Array>,
    /// Where MLX has no kernel of its own, and would compute the angles anew for every call.
    shared: Option<Rc<RefCell<SharedAngles>>>,
}

/// What MLX's composition of `rope` (`mlx/fast.cpp`) makes of a position before it looks at the
/// features.
#[derive(Debug, Clone)]
struct Angles {
    /// `[S, dims / 2]`, in the features' dtype, as are the sines.
    cosines: Array,
    sines: Array,
}

#[derive(Debug, Default)]
struct SharedAngles {
    /// `[dims / 2]` f32.
    inverse_freqs: Option<Array>,
    /// Of `(offset, S, dtype)`.
    last: Option<((i32, i32, Dtype), Angles)>,
}

impl Rope {
    /// The rotation that `rope_scaling` asks for (`initialize_rope`).
    pub fn new(dims: usize, base: f64, traditional: bool, scaling: &RopeScaling) -> Result<Self> {
        let dims = dims as i32;
        let (scale, freqs) = match scaling {
            RopeScaling::Default => (1.0, None),
            RopeScaling::Linear { factor } => ((1.0 / factor) as f32, None),
            RopeScaling::Llama3(llama3) => (1.0, Some(llama3_freqs(dims, base, llama3)?)),
            RopeScaling::Proportional { partial_rotary_factor, factor } => {
                (1.0, Some(proportional_freqs(dims, base, *partial_rotary_factor, *factor)?))
            }
        };
        let composed = mlx::runs_on_cpu()? && !traditional;
        Ok(Self {
            dims,
            traditional,
            base: freqs.is_none().then_some(base as f32),
            scale,
            freqs,
            shared: composed.then(Rc::default),
        })
    }

    /// Rotates `x: [B, H, S, D]` whose first tokens stand at `position`.
    pub fn forward(&self, x: &Array, position: &Position) -> Result<Array> {
        let Self { dims, traditional, base, scale, freqs, shared } = self;
        let freqs = freqs.as_ref();
        Ok(match (position, shared) {
            (Position::Same(offset), Some(shared)) => {
                let angles = self.angles(&mut shared.borrow_mut(), *offset, x)?;
                self.rotate(x, &angles)?
            }
            (Position::Same(offset), None) => {
                fast::rope(x, *dims, *traditional, *base, *scale, *offset, freqs)?
            }
            (Position::Rows(offsets), _) => {
                fast::rope_dynamic(x, *dims, *traditional, *base, *scale, offsets, freqs)?
            }
        })
    }

    fn angles(&self, shared: &mut SharedAngles, offset: i32, x: &Array) -> Result<Angles> {
        let key = (offset, x.dim(-2), x.dtype());
        if let Some((_, angles)) = shared.last.as_ref().filter(|(last, _)| *last == key) {
            return Ok(angles.clone());
        }
        let inverse_freqs = match &shared.inverse_freqs {
            Some(known) => known.clone(),
            None => shared.inverse_freqs.insert(self.inverse_freqs()?).clone(),
        };
        let steps = ops::arange::<i32, f32>(0, x.dim(-2), 1)?;
        let positions =
            ops::multiply(ops::add(steps, Array::from_int(offset))?, Array::from_f32(self.scale))?;
        let theta = ops::multiply(ops::expand_dims(positions, -1)?, inverse_freqs)?;
        let angles = Angles {
            cosines: ops::cos(&theta)?.as_dtype(x.dtype())?,
            sines: ops::sin(&theta)?.as_dtype(x.dtype())?,
        };
        shared.last = Some((key, angles.clone()));
        Ok(angles)
    }

    /// `[dims / 2]` f32.
    fn inverse_freqs(&self) -> Result<Array> {
        let half = self.dims / 2;
        Ok(match (&self.freqs, self.base) {
            (Some(freqs), _) => ops::reciprocal(freqs.as_dtype(Dtype::Float32)?)?,
            (None, base) => {
                let step = base.unwrap_or(1.0).ln() / half as f32;
                let steps = ops::arange::<i32, f32>(0, -half, -1)?;
                ops::exp(ops::multiply(steps, Array::from_f32(step))?)?
            }
        })
    }

    fn rotate(&self, x: &Array, angles: &Angles) -> Result<Array> {
        let Angles { cosines, sines } = angles;
        let (dims, half, shape) = (self.dims, self.dims / 2, x.shape());
        let features =
            |from: i32, to: i32| slice(x, &[0, 0, 0, from], &[shape[0], shape[1], shape[2], to]);
        let (first, second) = (features(0, half)?, features(half, dims)?);
        let mut parts = vec![
            ops::subtract(ops::multiply(&first, cosines)?, ops::multiply(&second, sines)?)?,
            ops::add(ops::multiply(&first, sines)?, ops::multiply(&second, cosines)?)?,
        ];
        if dims < shape[3] {
            parts.push(features(dims, shape[3])?);
        }
        Ok(ops::concatenate(&parts, -1)?)
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

#[cfg(test)]
mod tests;
