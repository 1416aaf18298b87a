//! Steps of a sequence whose tokens a grammar allows.
//!
//! The mask of a token depends on the token before it, so sampling waits until that is read. The
//! model's call does not: it is dispatched at once, and MLX computes while the mask is made.

use mlx_rs::{Array, ops, transforms::async_eval};

use super::{Decoder, Step};
use crate::{
    Result,
    constrain::{Mask, Matcher},
    mlx::{self, ops::scalar_like},
    models::Model,
};

/// A sequence's grammar and the call that is dispatched ahead.
#[derive(Debug)]
pub(super) struct Constrained {
    matcher: Matcher,
    /// Logits `[1, V]` that no token was chosen from yet.
    ahead: Option<Array>,
}

impl Constrained {
    pub(super) fn new(matcher: Matcher) -> Self {
        Self { matcher, ahead: None }
    }
}

impl Decoder {
    /// Lets a grammar choose among the tokens.
    pub fn constrain(&mut self, matcher: Matcher) {
        self.constrained = Some(Constrained::new(matcher));
    }

    /// The next token that the grammar allows.
    pub(super) fn constrained_token(
        &mut self,
        model: &dyn Model,
        constrained: &mut Constrained,
    ) -> Result<Step> {
        let raw = if let Some(raw) = constrained.ahead.take() {
            raw
        } else {
            let input = self.last_prompt_token();
            self.dispatch(model, &input)?
        };
        let mask = constrained.matcher.mask()?;
        let logits = masked(&self.processors.apply(&raw)?, &mask)?;
        let logprobs = ops::subtract(&logits, ops::logsumexp(&logits, true)?)?;
        let chosen = mlx::to_u32(&self.sampler.sample(&logprobs)?)?[0];
        // A draw at the upper end of the unit interval can miss every token that is left.
        let token = if mask.allows(chosen) { chosen } else { best(&logprobs)? };
        constrained.matcher.accept(token)?;
        if self.yielded < self.max_tokens {
            let input = Array::from_slice(&[token], &[1]);
            constrained.ahead = Some(self.dispatch(model, &input)?);
        }
        self.count_token()?;
        Ok(Step {
            token,
            logprobs: logprobs.reshape(&[-1])?,
            logits: self.capture.logits.then(|| raw.reshape(&[-1])).transpose()?,
            completes: constrained.matcher.is_complete(),
        })
    }

    /// Dispatches the model's call for input token `[1]`: logits `[1, V]`.
    fn dispatch(&mut self, model: &dyn Model, input: &Array) -> Result<Array> {
        let raw = self.logits(model, input)?;
        async_eval([&raw])?;
        Ok(raw)
    }
}

/// Logits `[1, V]` with those of forbidden tokens at -∞.
fn masked(logits: &Array, mask: &Mask) -> Result<Array> {
    let vocab = logits.dim(-1);
    let allowed: Vec<bool> = (0..vocab as u32).map(|token| mask.allows(token)).collect();
    let allowed = Array::from_slice(&allowed, &[1, vocab]);
    Ok(ops::select(allowed, logits, scalar_like(f64::NEG_INFINITY, logits)?)?)
}

fn best(logprobs: &Array) -> Result<u32> {
    Ok(mlx::to_u32(&ops::indexing::argmax_axis(logprobs, -1, false)?)?[0])
}
