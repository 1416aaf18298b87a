//! Logits processors in mlx-lm's order: bias, repetition, presence, frequency
//! (`make_logits_processors` of `mlx_lm/sample_utils.py`).

use mlx_rs::{Array, Dtype, ops, ops::indexing};

use crate::{Result, Sampling, mlx::ops::scalar_like};

/// The processors that a request switches on, and the tokens they look back on.
#[derive(Debug)]
pub struct Processors {
    chain: Vec<Processor>,
    /// All prompt and generated tokens, the current input included: `[n]`.
    tokens: Option<Array>,
}

#[derive(Debug)]
enum Processor {
    Bias { ids: Array, values: Array },
    Repetition { penalty: f64, context: usize },
    Presence { penalty: f64, context: usize },
    Frequency { penalty: f64, context: usize },
}

impl Processors {
    /// The chain for settings that [`super::check_sampling`] accepts.
    pub fn new(sampling: &Sampling) -> Self {
        let s = sampling;
        let mut chain = Vec::new();
        if !s.logit_bias.is_empty() {
            chain.push(bias(s));
        }
        if s.repetition_penalty != 0.0 {
            let context = s.repetition_context_size;
            chain.push(Processor::Repetition { penalty: s.repetition_penalty, context });
        }
        if s.presence_penalty != 0.0 {
            let context = s.presence_context_size;
            chain.push(Processor::Presence { penalty: s.presence_penalty, context });
        }
        if s.frequency_penalty != 0.0 {
            let context = s.frequency_context_size;
            chain.push(Processor::Frequency { penalty: s.frequency_penalty, context });
        }
        Self { chain, tokens: None }
    }

    /// Whether none is switched on.
    pub fn is_empty(&self) -> bool {
        self.chain.is_empty()
    }

    /// Remembers input tokens `[n]` that went through the model.
    pub fn remember(&mut self, input: &Array) -> Result<()> {
        if self.chain.is_empty() {
            return Ok(());
        }
        let input = input.as_dtype(Dtype::Int32)?;
        self.tokens = Some(match self.tokens.take() {
            Some(tokens) => ops::concatenate(&[tokens, input], 0)?,
            None => input,
        });
        Ok(())
    }

    /// Applies the chain to `logits: [1, V]`.
    pub fn apply(&self, logits: &Array) -> Result<Array> {
        let Some(tokens) = &self.tokens else {
            return Ok(logits.clone());
        };
        let mut logits = logits.clone();
        for processor in &self.chain {
            logits = processor.apply(tokens, &logits)?;
        }
        Ok(logits)
    }
}

fn bias(s: &Sampling) -> Processor {
    let n = s.logit_bias.len() as i32;
    let ids: Vec<u32> = s.logit_bias.keys().copied().collect();
    let values: Vec<f32> = s.logit_bias.values().map(|&v| v as f32).collect();
    Processor::Bias {
        ids: Array::from_slice(&ids, &[1, n]),
        values: Array::from_slice(&values, &[1, n]),
    }
}

impl Processor {
    /// New logits `[1, V]` after `tokens: [n]`.
    fn apply(&self, tokens: &Array, logits: &Array) -> Result<Array> {
        match *self {
            Self::Bias { ref ids, ref values } => {
                let values = values.as_dtype(logits.dtype())?;
                replace(logits, ids, |seen| Ok(ops::add(seen, values)?))
            }
            Self::Repetition { penalty, context } => {
                let penalty = scalar_like(penalty, logits)?;
                replace(logits, &last(tokens, context)?, |seen| {
                    let negative = ops::lt(seen, scalar_like(0.0, seen)?)?;
                    Ok(ops::select(
                        negative,
                        ops::multiply(seen, &penalty)?,
                        ops::divide(seen, &penalty)?,
                    )?)
                })
            }
            Self::Presence { penalty, context } => {
                let penalty = scalar_like(penalty, logits)?;
                replace(logits, &last(tokens, context)?, |seen| Ok(ops::subtract(seen, &penalty)?))
            }
            Self::Frequency { penalty, context } => {
                let ids = last(tokens, context)?.reshape(&[-1])?;
                let n = ids.dim(0);
                let update = ops::broadcast_to(scalar_like(-penalty, logits)?, &[n, 1, 1])?;
                // One token may stand in the window several times: each occurrence counts.
                let columns = logits.transpose()?;
                let sums = indexing::scatter_add_single(&columns, ids, update, 0)?;
                Ok(sums.transpose()?)
            }
        }
    }
}

/// The last `context` of `tokens: [n]` as `[1, m]`; all of them for 0 and where there are no more.
fn last(tokens: &Array, context: usize) -> Result<Array> {
    let n = tokens.dim(0);
    let start = match i32::try_from(context) {
        Ok(0) | Err(_) => 0,
        Ok(context) => (n - context).max(0),
    };
    Ok(crate::mlx::ops::slice(tokens, &[start], &[n])?.reshape(&[1, n - start])?)
}

/// `logits` with the values at `ids: [1, m]` replaced by `change` of them. A repeated id gets the
/// same value each time.
fn replace(
    logits: &Array,
    ids: &Array,
    change: impl FnOnce(&Array) -> Result<Array>,
) -> Result<Array> {
    let seen = indexing::take_along_axis(logits, ids, -1)?;
    Ok(indexing::put_along_axis(logits, ids, change(&seen)?, -1)?)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::all(0, 0)]
    #[case::one(1, 3)]
    #[case::just_all(4, 0)]
    #[case::more(5, 0)]
    #[case::most_of_an_i32(i32::MAX as usize, 0)]
    #[case::an_i32s_sign(1 << 31, 0)]
    #[case::nothing_of_an_i32(1 << 32, 0)]
    #[case::one_of_an_i32((1 << 32) + 1, 0)]
    #[case::everything(usize::MAX, 0)]
    fn penalties_look_back_as_far_as_they_can(#[case] context: usize, #[case] start: i32) {
        let tokens = Array::from_slice(&[5_i32, 6, 7, 8], &[4]);
        let seen = last(&tokens, context).unwrap();
        assert_eq!(seen.shape(), [1, 4 - start]);
        assert_eq!(seen.as_slice::<i32>(), &[5, 6, 7, 8][start as usize..]);
    }
}
