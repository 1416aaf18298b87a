//! Samplers and logits processors on rows that a caller gives, without a model: the parity harness
//! holds them against recorded rows. Plain values go in, bits come out.

use std::thread;

use mlx_rs::{Array, Dtype};

use super::{check_sampling, processors::Processors, sampler::Sampler};
use crate::{
    Error, NamedTensor, Result, Sampling,
    mlx::{to_named_tensor, to_u32},
};

/// One draw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draw {
    /// The token.
    pub id: u32,
    /// Log-probabilities that reached the draw, `[1, V]`; absent for greedy, which filters nothing.
    pub filtered: Option<NamedTensor>,
}

/// Samples `rows` of log-probabilities one after the other with the key sequence of `seed`. Each row
/// becomes `dtype` (safetensors' name) first.
///
/// Works on an MLX thread of its own.
///
/// # Errors
/// [`Error::Request`] for settings that generation refuses too and for dtypes that models lack.
pub fn draw_rows(
    sampling: &Sampling,
    seed: u64,
    dtype: &str,
    rows: &[Vec<f32>],
) -> Result<Vec<Draw>> {
    let dtype = float(dtype)?;
    for row in rows {
        check_sampling(sampling, row.len())?;
    }
    on_a_thread(|| {
        let mut sampler = Sampler::new(sampling, seed)?;
        rows.iter().map(|row| draw(&mut sampler, sampling, &array(row, dtype)?)).collect()
    })
}

/// Applies the logits processors that `sampling` switches on to one row of logits, after `tokens`.
///
/// Works on an MLX thread of its own.
///
/// # Errors
/// As [`draw_rows`], and for token ids outside the row.
pub fn process_row(
    sampling: &Sampling,
    dtype: &str,
    row: &[f32],
    tokens: &[u32],
) -> Result<NamedTensor> {
    let dtype = float(dtype)?;
    check_sampling(sampling, row.len())?;
    if let Some(id) = tokens.iter().find(|id| **id as usize >= row.len()) {
        return Err(Error::Request(format!("no token {id} in a row of {}", row.len())));
    }
    on_a_thread(|| {
        let mut processors = Processors::new(sampling);
        processors.remember(&Array::from_slice(tokens, &[tokens.len() as i32]))?;
        to_named_tensor("logits", &processors.apply(&array(row, dtype)?)?)
    })
}

fn draw(sampler: &mut Sampler, sampling: &Sampling, logprobs: &Array) -> Result<Draw> {
    let (id, filtered) = if sampling.temperature == 0.0 {
        (sampler.sample(logprobs)?, None)
    } else {
        let filtered = sampler.filter(logprobs)?;
        (sampler.draw(&filtered)?, Some(to_named_tensor("filtered", &filtered)?))
    };
    let id = to_u32(&id)?.first().copied();
    Ok(Draw { id: id.ok_or_else(|| Error::Mlx("the sampler drew nothing".into()))?, filtered })
}

fn array(row: &[f32], dtype: Dtype) -> Result<Array> {
    Ok(Array::from_slice(row, &[1, row.len() as i32]).as_dtype(dtype)?)
}

fn float(dtype: &str) -> Result<Dtype> {
    match dtype {
        "BF16" => Ok(Dtype::Bfloat16),
        "F16" => Ok(Dtype::Float16),
        "F32" => Ok(Dtype::Float32),
        other => Err(Error::Request(format!("logits are BF16, F16 or F32, not {other}"))),
    }
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let worker = scope.spawn(work);
        worker.join().unwrap_or_else(|_| Err(Error::WorkerDied("while sampling rows".into())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hot(seed: Option<u64>) -> Sampling {
        Sampling { temperature: 1.0, top_k: 2, seed, ..Sampling::default() }
    }

    #[test]
    fn filters_leave_what_can_be_drawn() {
        let rows = vec![vec![-3.0, -1.0, -2.0, -9.0]; 20];
        let draws = draw_rows(&hot(None), 7, "F32", &rows).unwrap();
        let infinite = f32::NEG_INFINITY;
        let left: Vec<u8> =
            [infinite, -1.0, -2.0, infinite].iter().flat_map(|v| v.to_le_bytes()).collect();
        for draw in &draws {
            assert_eq!(draw.filtered.as_ref().unwrap().data, left);
            assert!([1, 2].contains(&draw.id));
        }
        assert!(draws.iter().any(|d| d.id != draws[0].id));
        assert_eq!(draws, draw_rows(&hot(Some(1)), 7, "F32", &rows).unwrap());
    }

    #[test]
    fn what_generation_refuses_is_refused() {
        let row = [0.0, 1.0];
        assert!(
            draw_rows(&hot(None), 0, "F32", &[row.to_vec()]).is_err(),
            "top_k is the vocabulary"
        );
        assert!(draw_rows(&Sampling::default(), 0, "F64", &[row.to_vec()]).is_err());
        assert!(process_row(&Sampling::default(), "F32", &row, &[2]).is_err());
    }
}
