//! From log-probabilities to a token (`make_sampler` of `mlx_lm/sample_utils.py`).
//!
//! mlx-lm compiles these functions (`mx.compile`), and MLX writes constants into compiled kernels
//! with seven significant digits, which is not always the same float. [`written`] and [`uniform`]
//! do the same, without a compiler at run time.

use mlx_rs::{Array, Dtype, ops, random};

use crate::{
    Error, Result, Sampling,
    mlx::ops::{scalar, scalar_like},
};

/// The key sequence of MLX's default generator: each draw splits off a key (`mx.random.seed`).
#[derive(Debug)]
pub struct KeySequence {
    state: Array,
}

impl KeySequence {
    /// The sequence that `mx.random.seed(seed)` starts.
    pub fn new(seed: u64) -> Result<Self> {
        Ok(Self { state: random::key(seed)? })
    }

    fn next(&mut self) -> Result<Array> {
        let (state, key) = random::split(&self.state, 2)?;
        self.state = state;
        Ok(key)
    }
}

/// Chooses tokens; a fixed chain of filters, then a draw.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    keys: KeySequence,
}

impl Sampler {
    /// A sampler with its own key sequence for settings that [`check`] accepts.
    pub fn new(sampling: &Sampling, seed: u64) -> Result<Self> {
        Ok(Self { sampling: sampling.clone(), keys: KeySequence::new(seed)? })
    }

    /// Whether the most probable token is always taken.
    pub fn is_greedy(&self) -> bool {
        self.sampling.temperature == 0.0
    }

    /// Token ids `[B]` from log-probabilities `[B, V]`.
    pub fn sample(&mut self, logprobs: &Array) -> Result<Array> {
        if self.sampling.temperature == 0.0 {
            return Ok(ops::indexing::argmax_axis(logprobs, -1, false)?);
        }
        let logprobs = self.filter(logprobs)?;
        self.draw(&logprobs)
    }

    /// What the chain of filters leaves of log-probabilities `[B, V]`: the rest is -∞.
    pub fn filter(&mut self, logprobs: &Array) -> Result<Array> {
        let s = &self.sampling;
        let mut logprobs = logprobs.clone();
        if s.top_p > 0.0 && s.top_p < 1.0 {
            logprobs = top_p(&logprobs, s.top_p)?;
        }
        if s.min_p != 0.0 {
            logprobs = min_p(&logprobs, s.min_p, s.min_tokens_to_keep)?;
        }
        if s.xtc_probability > 0.0 {
            logprobs = xtc(&logprobs, s, &self.keys.next()?)?;
        }
        if s.top_k > 0 {
            logprobs = top_k(&logprobs, s.top_k)?;
        }
        Ok(logprobs)
    }

    /// Token ids `[B]` drawn from filtered log-probabilities `[B, V]`, temperature applied.
    pub fn draw(&mut self, logprobs: &Array) -> Result<Array> {
        let factor = written(1.0 / self.sampling.temperature, logprobs.dtype())?;
        categorical(&ops::multiply(logprobs, factor)?, &self.keys.next()?)
    }
}

/// A scalar of `dtype` as a compiled kernel has it: the C++ literal holds seven significant digits.
fn written(value: f64, dtype: Dtype) -> Result<Array> {
    let literal = if dtype == Dtype::Float32 {
        seven_digits(value as f32)
    } else {
        // Seven digits are enough for every half-precision value.
        value
    };
    scalar(literal, dtype)
}

fn seven_digits(value: f32) -> f64 {
    format!("{value:.6e}").parse().unwrap_or(f64::from(value))
}

/// One uniform f32 in [0, 1) as a compiled `mx.random.uniform` draws it: 32 bits over 2³² − 1 and
/// at most the float below one, both constants as written in the kernel.
fn uniform(key: &Array) -> Result<Array> {
    let plain = random::uniform::<_, f32>(0.0f32, 1.0f32, &[1], key)?;
    // The plain draw is the bits over 2³², a power of two: this gives the bits back.
    let bits = ops::multiply(plain, scalar(4_294_967_296.0, Dtype::Float32)?)?;
    let draw = ops::divide(bits, written(f64::from(u32::MAX), Dtype::Float32)?)?;
    Ok(ops::minimum(draw, written(f64::from(1.0_f32.next_down()), Dtype::Float32)?)?)
}

/// `mx.random.categorical` of one row, compiled: the first token whose cumulative probability
/// exceeds the draw. More rows take another way in MLX.
fn categorical(logits: &Array, key: &Array) -> Result<Array> {
    if logits.dim(0) != 1 {
        return Ok(random::categorical(logits, None, None, key)?);
    }
    let logits = logits.as_dtype(Dtype::Float32)?;
    let top = ops::max_axis(&logits, -1, true)?;
    let weights = ops::exp(ops::subtract(&logits, top)?)?;
    let threshold = ops::multiply(uniform(key)?, ops::sum_axis(&weights, -1, false)?)?;
    let passed = ops::le(ops::cumsum(&weights, -1, false, true)?, threshold)?;
    Ok(ops::sum_axis(passed, -1, false)?.as_dtype(Dtype::Uint32)?)
}

/// Refuses values outside the ranges of mlx-lm's filters, or tokens outside the vocabulary.
pub fn check(s: &Sampling, vocab_size: usize) -> Result<()> {
    let within = |name: &str, value: f64, low: f64, high: f64| {
        if value >= low && value <= high {
            Ok(())
        } else {
            Err(Error::Request(format!("{name} must lie between {low} and {high}, got {value}")))
        }
    };
    within("temperature", s.temperature, 0.0, f64::from(f32::MAX))?;
    within("top_p", s.top_p, 0.0, 1.0)?;
    within("min_p", s.min_p, 0.0, 1.0)?;
    within("xtc_probability", s.xtc_probability, 0.0, 1.0)?;
    within("xtc_threshold", s.xtc_threshold, 0.0, 0.5)?;
    if s.top_k >= vocab_size && s.top_k > 0 {
        return Err(Error::Request(format!(
            "top_k must be below the vocabulary size {vocab_size}, got {}",
            s.top_k
        )));
    }
    if s.min_tokens_to_keep == 0 || s.min_tokens_to_keep > vocab_size {
        return Err(Error::Request(format!(
            "min_tokens_to_keep must lie between 1 and {vocab_size}, got {}",
            s.min_tokens_to_keep
        )));
    }
    let finite = |name: &str, value: f64| {
        if value.is_finite() {
            Ok(())
        } else {
            Err(Error::Request(format!("{name} must be finite, got {value}")))
        }
    };
    finite("presence_penalty", s.presence_penalty)?;
    finite("frequency_penalty", s.frequency_penalty)?;
    within("repetition_penalty", s.repetition_penalty, 0.0, f64::from(f32::MAX))?;
    let known = |name: &str, id: u32| {
        if (id as usize) < vocab_size {
            Ok(())
        } else {
            Err(Error::Request(format!("{name}: no token {id} in the vocabulary")))
        }
    };
    for (&id, &value) in &s.logit_bias {
        known("logit_bias", id)?;
        finite("logit_bias", value)?;
    }
    s.xtc_special_tokens.iter().try_for_each(|&id| known("xtc_special_tokens", id))
}

fn negative_infinity(like: &Array) -> Result<Array> {
    scalar_like(f64::NEG_INFINITY, like)
}

/// `apply_top_p`: keeps the smallest set of tokens whose mass reaches `p`; ties stay together.
fn top_p(logprobs: &Array, p: f64) -> Result<Array> {
    let sorted = ops::sort_axis(logprobs, -1)?;
    let probs = ops::exp(sorted.as_dtype(Dtype::Float32)?)?;
    let mass_above = ops::cumsum(&probs, -1, true, false)?;
    let first = |a: &Array| -> Result<Array> {
        let rows = a.dim(0);
        crate::mlx::ops::slice(a, &[0, 0], &[rows, 1])
    };
    let total = ops::add(first(&mass_above)?, first(&probs)?)?;
    let reached = ops::ge(&mass_above, ops::multiply(written(p, Dtype::Float32)?, total)?)?;
    let dropped = ops::sum_axis(&reached, -1, true)?;
    let threshold = ops::indexing::take_along_axis(&sorted, dropped, -1)?;
    let below = ops::lt(logprobs, threshold)?;
    Ok(ops::select(below, negative_infinity(logprobs)?, logprobs)?)
}

/// `apply_min_p`: drops tokens below `p` times the best probability.
fn min_p(logprobs: &Array, p: f64, min_tokens_to_keep: usize) -> Result<Array> {
    let top = ops::max_axis(logprobs, -1, true)?;
    let threshold = ops::add(top, written(p.ln(), logprobs.dtype())?)?;
    let mut remove = ops::lt(logprobs, threshold)?;
    if min_tokens_to_keep > 1 {
        let keep = min_tokens_to_keep as i32;
        let (rows, vocab) = (logprobs.dim(0), logprobs.dim(1));
        let order = ops::argpartition_axis(logprobs, -keep, -1)?;
        let kept = crate::mlx::ops::slice(&order, &[0, vocab - keep], &[rows, vocab])?;
        remove = ops::indexing::put_along_axis(&remove, kept, Array::from_bool(false), -1)?;
    }
    Ok(ops::select(remove, negative_infinity(logprobs)?, logprobs)?)
}

/// `apply_xtc`: at some steps, drops every token above the threshold but the least likely one.
fn xtc(logits: &Array, s: &Sampling, key: &Array) -> Result<Array> {
    let probs = ops::softmax_axis(logits, -1, None)?;
    let above = ops::gt(&probs, written(s.xtc_threshold, probs.dtype())?)?;
    let candidates = ops::select(above, &probs, scalar_like(f64::INFINITY, &probs)?)?;
    let mut mask = ops::gt(&probs, ops::min_axis(candidates, -1, true)?)?;
    if !s.xtc_special_tokens.is_empty() {
        let n = s.xtc_special_tokens.len() as i32;
        let ids = Array::from_slice(&s.xtc_special_tokens, &[1, n]);
        let ids = ops::broadcast_to(ids, &[logits.dim(0), n])?;
        mask = ops::indexing::put_along_axis(&mask, ids, Array::from_bool(false), -1)?;
    }
    let draw = uniform(key)?;
    let skip = ops::gt(draw, written(s.xtc_probability, Dtype::Float32)?)?;
    let masked = ops::select(mask, negative_infinity(logits)?, logits)?;
    Ok(ops::select(skip, logits, masked)?)
}

/// `apply_top_k`: drops all but `k` tokens.
fn top_k(logprobs: &Array, k: usize) -> Result<Array> {
    let k = k as i32;
    let (rows, vocab) = (logprobs.dim(0), logprobs.dim(1));
    let order = ops::argpartition_axis(ops::negative(logprobs)?, k - 1, -1)?;
    let dropped = crate::mlx::ops::slice(&order, &[0, k], &[rows, vocab])?;
    let floor = negative_infinity(logprobs)?;
    Ok(ops::indexing::put_along_axis(logprobs, dropped, floor, -1)?)
}
