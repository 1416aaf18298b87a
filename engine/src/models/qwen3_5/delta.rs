//! The gated delta rule (`GatedDeltaNet` of `mlx_lm/models/qwen3_5.py`; `normalize_qk`,
//! `compute_g` and `gated_delta_ops` of `gated_delta.py`).
//!
//! One token after another, as mlx-lm computes on CPU and CUDA. Its Metal kernels are not ported
//! yet; models that need them are refused there.

use mlx_rs::{Array, Dtype, ops};

use super::{config::Qwen35Config, norm_eps};
use crate::{
    Error, Result,
    cache::ArraysCache,
    mlx::ops::{scalar_like, slice},
    models::Mutation,
    nn::{Linear, Mask, Params, RmsNorm, Silu, WeakScalar, rms_norm},
};

/// Added to the squared length of queries and keys.
const LENGTH_EPS: f64 = 1e-6;

pub struct GatedDeltaNet {
    in_proj_qkv: Linear,
    in_proj_z: Linear,
    in_proj_b: Linear,
    in_proj_a: Linear,
    out_proj: Linear,
    /// Depthwise: `[channels, taps, 1]`.
    conv1d: Array,
    dt_bias: Array,
    /// `-exp(A)`, in f32: `[value heads]`.
    rate: Array,
    norm: RmsNorm,
    silu: Silu,
    zero: WeakScalar,
    q_scale: WeakScalar,
    k_scale: WeakScalar,
    qk_eps: f64,
    key_heads: i32,
    value_heads: i32,
    key_head_dim: i32,
    value_head_dim: i32,
    taps: i32,
    mutation: Mutation,
}

/// What one step of the recurrence reads: `q, k: [B, H, Dk]`, `v: [B, H, Dv]`, `g, beta: [B, H]`.
struct StepInput {
    q: Array,
    k: Array,
    v: Array,
    g: Array,
    beta: Array,
}

impl GatedDeltaNet {
    pub fn take(
        p: &mut Params,
        path: &str,
        c: &Qwen35Config,
        (dtype, silu): (Dtype, &Silu),
        mutation: Mutation,
    ) -> Result<Self> {
        let norm = RmsNorm::take(p, &format!("{path}.norm"), norm_eps(c, mutation))?;
        let conv1d = p.take(&format!("{path}.conv1d.weight"))?;
        let dt_bias = p.take(&format!("{path}.dt_bias"))?;
        let a_log = p.take(&format!("{path}.A_log"))?;
        let narrow = mutation == Mutation::DecayInModelDtype;
        let rate = a_log.as_dtype(if narrow { dtype } else { Dtype::Float32 })?;
        let mut linear = |name: &str| Linear::take(p, &format!("{path}.{name}"), false);
        let inverse = (c.linear_key_head_dim as f64).powf(-0.5);
        let unscaled = mutation == Mutation::QkEpsUnscaled;
        Ok(Self {
            in_proj_qkv: linear("in_proj_qkv")?,
            in_proj_z: linear("in_proj_z")?,
            in_proj_b: linear("in_proj_b")?,
            in_proj_a: linear("in_proj_a")?,
            out_proj: linear("out_proj")?,
            conv1d,
            dt_bias,
            rate: ops::negative(ops::exp(rate)?)?,
            zero: WeakScalar::new(0.0, dtype)?,
            norm,
            silu: silu.clone(),
            q_scale: WeakScalar::new(inverse.powi(2), dtype)?,
            k_scale: WeakScalar::new(inverse, dtype)?,
            qk_eps: if unscaled { LENGTH_EPS } else { LENGTH_EPS * inverse.powi(2) },
            key_heads: c.linear_num_key_heads as i32,
            value_heads: c.linear_num_value_heads as i32,
            key_head_dim: c.linear_key_head_dim as i32,
            value_head_dim: c.linear_value_head_dim as i32,
            taps: c.linear_conv_kernel_dim as i32,
            mutation,
        })
    }

    /// `x: [B, S, hidden]` to `[B, S, hidden]`; `mask` is true where a token is no padding.
    pub fn forward(&self, x: &Array, mask: &Mask, cache: &mut ArraysCache) -> Result<Array> {
        let (b, s) = (x.dim(0), x.dim(1));
        let qkv = self.in_proj_qkv.forward(x)?;
        let z = self.in_proj_z.forward(x)?;
        let z = z.reshape(&[b, s, self.value_heads, self.value_head_dim])?;
        let beta = self.in_proj_b.forward(x)?;
        let a = self.in_proj_a.forward(x)?;

        let real = if let Mask::Array(real) = mask { Some(real) } else { None };
        let qkv = match real {
            Some(real) => {
                let real = ops::expand_dims(real, -1)?;
                ops::select(real, &qkv, scalar_like(0.0, &qkv)?)?
            }
            None => qkv,
        };
        let mixed = self.convolve(&qkv, cache)?;
        let key_dim = self.key_heads * self.key_head_dim;
        let parts = ops::split_at_indices(&mixed, &[key_dim, 2 * key_dim], -1)?;
        let [q, k, v] = parts.as_slice() else {
            return Err(Error::Mlx("queries, keys and values do not split in three".into()));
        };
        let keys = [b, s, self.key_heads, self.key_head_dim];
        let q = self.q_scale.multiply(&rms_norm(&q.reshape(&keys)?, self.qk_eps)?)?;
        let k = self.k_scale.multiply(&rms_norm(&k.reshape(&keys)?, self.qk_eps)?)?;
        let v = v.reshape(&[b, s, self.value_heads, self.value_head_dim])?;

        let beta = ops::sigmoid(&beta)?;
        let g = self.decay(&a)?;
        let out = self.recur(&StepInput { q, k, v, g, beta }, real, cache)?;
        cache.advance(s);

        let out = self.gate(&out, &z)?;
        self.out_proj.forward(&out.reshape(&[b, s, self.value_heads * self.value_head_dim])?)
    }

    /// Causal depthwise convolution over the last inputs and these, then SiLU.
    fn convolve(&self, qkv: &Array, cache: &mut ArraysCache) -> Result<Array> {
        let (b, channels) = (qkv.dim(0), qkv.dim(2));
        let before = match cache.conv.take() {
            Some(state) => state,
            None => ops::zeros_dtype(&[b, self.taps - 1, channels], qkv.dtype())?,
        };
        let input = ops::concatenate(&[&before, qkv], 1)?;
        cache.conv = Some(match cache.row_ends(qkv.dim(1)) {
            None => {
                let one_off = i32::from(self.mutation == Mutation::ConvStateOneOff);
                let end = input.dim(1) - one_off;
                let last = slice(&input, &[0, end - (self.taps - 1), 0], &[b, end, channels])?;
                last.contiguous()?
            }
            Some(ends) => self.last_inputs(&input, &ends)?,
        });
        self.silu.forward(&ops::conv1d(&input, &self.conv1d, 1, 0, 1, channels)?)
    }

    /// The inputs that the next token of each row looks back on, where row `i` ends at `ends[i]`.
    fn last_inputs(&self, input: &Array, ends: &[i32]) -> Result<Array> {
        let kept = self.taps - 1;
        let at: Vec<i32> = ends.iter().flat_map(|&end| end..end + kept).collect();
        let at = Array::from_slice(&at, &[ends.len() as i32, kept, 1]);
        Ok(ops::indexing::take_along_axis(input, at, 1)?)
    }

    /// `exp(-exp(A) softplus(a + dt))`, in f32 by promotion: `[B, S, value heads]`.
    fn decay(&self, a: &Array) -> Result<Array> {
        let shifted = ops::add(a, &self.dt_bias)?;
        let soft = self.zero.logaddexp(&shifted)?;
        Ok(ops::exp(ops::multiply(&self.rate, soft)?)?)
    }

    /// Runs the recurrence over the tokens: `[B, S, value heads, value dim]`. Tokens that are not
    /// `real: [B, S]` leave the memory as it was.
    fn recur(&self, x: &StepInput, real: Option<&Array>, cache: &mut ArraysCache) -> Result<Array> {
        let (b, steps) = (x.q.dim(0), x.q.dim(1));
        let mut state = if let Some(state) = cache.delta.take() {
            state
        } else {
            let shape = [b, self.value_heads, self.value_head_dim, self.key_head_dim];
            ops::zeros_dtype(&shape, Dtype::Float32)?
        };
        let repeat = self.value_heads / self.key_heads;
        let in_turn = self.mutation == Mutation::KeyHeadsInTurn;
        let spread = |a: &Array| -> Result<Array> {
            if repeat == 1 { Ok(a.clone()) } else { repeat_heads(a, repeat, in_turn) }
        };
        let (q, k) = (spread(&x.q)?, spread(&x.k)?);
        let mut outputs = Vec::with_capacity(steps as usize);
        for t in 0..steps {
            let at = |a: &Array| step_of(a, t);
            let step = StepInput {
                q: at(&q)?,
                k: at(&k)?,
                v: at(&x.v)?,
                g: at(&x.g)?,
                beta: at(&x.beta)?,
            };
            let (y, next) = advance(&step, &state)?;
            outputs.push(y);
            state = match real {
                Some(real) => {
                    let real = ops::expand_dims_axes(step_of(real, t)?, &[1, 2, 3])?;
                    ops::select(real, &next, &state)?
                }
                None => next,
            };
            if self.mutation == Mutation::MemoryInModelDtype {
                state = state.as_dtype(x.q.dtype())?;
            }
        }
        cache.delta = Some(state);
        if let [only] = outputs.as_slice() {
            return Ok(ops::expand_dims(only, 1)?);
        }
        Ok(ops::stack(&outputs, 1)?)
    }

    /// `silu(z) * norm(x)` in f32, back in the dtype of `x` (`precise_swiglu`).
    fn gate(&self, x: &Array, z: &Array) -> Result<Array> {
        let narrow = self.mutation == Mutation::GateInModelDtype;
        let normed = self.norm.forward(x)?;
        let (gate, normed) = if narrow {
            (self.silu.forward(z)?, normed)
        } else {
            (self.silu.forward_in_f32(z)?, normed.as_dtype(Dtype::Float32)?)
        };
        Ok(ops::multiply(gate, normed)?.as_dtype(x.dtype())?)
    }

    pub fn arrays<'a>(&'a self, out: &mut Vec<&'a Array>) {
        for linear in
            [&self.in_proj_qkv, &self.in_proj_z, &self.in_proj_b, &self.in_proj_a, &self.out_proj]
        {
            linear.arrays(out);
        }
        out.extend([&self.conv1d, &self.dt_bias, &self.rate]);
        self.norm.arrays(out);
    }
}

/// Each key head serves `times` value heads in a row: `[B, S, H, D] -> [B, S, H * times, D]`.
/// `in_turn` is the mistake that [`Mutation::KeyHeadsInTurn`] names.
fn repeat_heads(a: &Array, times: i32, in_turn: bool) -> Result<Array> {
    let shape = a.shape();
    let (b, s, h, d) = (shape[0], shape[1], shape[2], shape[3]);
    if in_turn {
        return Ok(ops::concatenate(&vec![a; times as usize], 2)?);
    }
    let wide = ops::broadcast_to(a.reshape(&[b, s, h, 1, d])?, &[b, s, h, times, d])?;
    Ok(wide.reshape(&[b, s, h * times, d])?)
}

/// `a[:, t]`.
fn step_of(a: &Array, t: i32) -> Result<Array> {
    let shape = a.shape();
    let mut rest = vec![shape[0]];
    rest.extend(&shape[2..]);
    if shape[1] == 1 {
        return Ok(a.reshape(&rest)?);
    }
    let mut start = vec![0; shape.len()];
    let mut stop = shape.to_vec();
    start[1] = t;
    stop[1] = t + 1;
    Ok(slice(a, &start, &stop)?.reshape(&rest)?)
}

/// One step: the output `[B, H, Dv]` and the new state `[B, H, Dv, Dk]`.
fn advance(x: &StepInput, state: &Array) -> Result<(Array, Array)> {
    let decay = ops::expand_dims_axes(&x.g, &[-1, -2])?;
    let key = ops::expand_dims(&x.k, -2)?;
    let query = ops::expand_dims(&x.q, -2)?;
    let state = ops::multiply(state, decay)?;
    let remembered = ops::sum_axis(ops::multiply(&state, &key)?, -1, false)?;
    let error = ops::subtract(&x.v, remembered)?;
    let delta = ops::multiply(error, ops::expand_dims(&x.beta, -1)?)?;
    let state = ops::add(&state, ops::multiply(&key, ops::expand_dims(&delta, -1)?)?)?;
    let y = ops::sum_axis(ops::multiply(&state, query)?, -1, false)?;
    Ok((y.as_dtype(x.q.dtype())?, state))
}
