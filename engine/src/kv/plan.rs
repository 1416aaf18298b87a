//! Which layers keep how many bits: the search of `optiq kv-cache` (`optiq/core/kv_cache.py`).
//!
//! A layer's sensitivity to a number of bits is KL(full precision ‖ quantized) of the model's
//! predictions when that layer alone keeps packed keys and values, from the first token on. Bits
//! then go where they lower it most. The same token ids give mlx-optiq's numbers bit for bit, and
//! so its allocation: the operations are the same, only a sequence's reference is kept no longer
//! than it is needed.

mod files;
mod measure;
mod solver;

use std::{collections::BTreeSet, path::Path, thread};

use crate::{
    Error, Result,
    limits::{self, WORKER_STACK_BYTES},
};

pub use super::KvFormat;

/// Below this, no layer's bits change the predictions: the measurement is broken, not the model
/// robust.
const LEAST_PEAK: f64 = 1e-6;

/// What to search for.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanOptions {
    /// Bits that a layer may get: 2, 3, 4, 5, 6 or 8.
    pub candidate_bits: Vec<u64>,
    /// Bits that the layers get on average, at least.
    pub target_bits: f64,
    /// Values that share a scale: 32, 64 or 128.
    pub group_size: u64,
}

impl Default for PlanOptions {
    /// mlx-optiq's.
    fn default() -> Self {
        Self { candidate_bits: vec![4, 8], target_bits: 5.0, group_size: 64 }
    }
}

impl PlanOptions {
    /// The candidates' formats, in the order in which they were given.
    ///
    /// # Errors
    /// [`Error::Request`] for no candidate, the same twice, one that MLX lacks, or a target that is
    /// no positive number.
    pub fn formats(&self) -> Result<Vec<KvFormat>> {
        let refuse = |text: String| Err(Error::Request(text));
        if self.candidate_bits.is_empty() {
            return refuse("at least one candidate for a layer's bits is needed".into());
        }
        let distinct: BTreeSet<u64> = self.candidate_bits.iter().copied().collect();
        if distinct.len() < self.candidate_bits.len() {
            return refuse("each of the candidate bits may be listed once".into());
        }
        if !(self.target_bits.is_finite() && self.target_bits > 0.0) {
            return refuse(format!(
                "the target must be a positive number of bits, got {}",
                self.target_bits
            ));
        }
        let format = |&bits: &u64| {
            KvFormat::new(bits, self.group_size)
                .map_err(|reason| Error::Request(format!("keys and values cannot be {reason}")))
        };
        self.candidate_bits.iter().map(format).collect()
    }
}

/// How far the search has come, in calls of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanProgress {
    /// Calls that are done.
    pub done: usize,
    /// Calls in all.
    pub total: usize,
}

/// What quantizing one layer's keys and values costs.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSensitivity {
    /// Index among the caches, which is the layer's own.
    pub layer: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Features of a head.
    pub head_dim: usize,
    /// Bits, in the order of the candidates, and the mean KL divergence in nats.
    pub divergences: Vec<(u32, f64)>,
}

impl LayerSensitivity {
    /// The divergence at `bits`, zero where it was not measured.
    pub fn at(&self, bits: u32) -> f64 {
        self.divergences.iter().find(|(b, _)| *b == bits).map_or(0.0, |(_, kl)| *kl)
    }
}

/// What was measured, and the bits that follow from it.
#[derive(Debug, Clone, PartialEq)]
pub struct KvPlan {
    /// Layers of the model, those without keys and values of their own included.
    pub layers: usize,
    /// Values that share a scale.
    pub group_size: u64,
    /// Layers with keys and values, in order.
    pub sensitivities: Vec<LayerSensitivity>,
    /// Their bits, in the same order.
    pub bits: Vec<u32>,
}

impl KvPlan {
    /// The same measurement, solved for another average.
    #[must_use]
    pub fn with_target(mut self, target_bits: f64) -> Self {
        self.bits = solver::allocate(&self.sensitivities, target_bits);
        self
    }

    /// Mean of the layers' bits.
    pub fn average_bits(&self) -> f64 {
        solver::average(&self.bits)
    }

    /// `kv_config.json`, as mlx-optiq writes it.
    pub fn config_json(&self) -> String {
        files::config(self)
    }

    /// `kv_sensitivity.json`, as mlx-optiq writes it.
    pub fn sensitivity_json(&self) -> String {
        files::sensitivity(self)
    }
}

/// Measures the model in `model_dir` on `sequences` of token ids and allocates bits to its layers.
/// `progress` hears of every call of the model.
///
/// Works on an MLX thread of its own; `progress` runs there.
///
/// # Errors
/// [`Error::Request`] for options or ids out of range, [`Error::Kv`] when the model has no keys and
/// values that the groups divide, or when nothing was measured; whatever opening the model finds
/// wrong.
pub fn plan(
    model_dir: &Path,
    sequences: &[Vec<u32>],
    options: &PlanOptions,
    progress: &mut (dyn FnMut(PlanProgress) + Send),
) -> Result<KvPlan> {
    let formats = options.formats()?;
    check_sequences(sequences)?;
    let measured = thread::scope(|scope| {
        let worker = thread::Builder::new()
            .name("mlx".into())
            .stack_size(WORKER_STACK_BYTES)
            .spawn_scoped(scope, || measure::run(model_dir, sequences, &formats, progress))
            .map_err(|e| Error::WorkerDied(format!("it could not be started: {e}")))?;
        worker.join().unwrap_or_else(|_| Err(Error::WorkerDied("while measuring".into())))
    })?;
    check_measured(&measured.sensitivities)?;
    let bits = solver::allocate(&measured.sensitivities, options.target_bits);
    Ok(KvPlan {
        layers: measured.layers,
        group_size: options.group_size,
        sensitivities: measured.sensitivities,
        bits,
    })
}

fn check_sequences(sequences: &[Vec<u32>]) -> Result<()> {
    let refuse = |text: String| Err(Error::Request(text));
    if sequences.is_empty() {
        return refuse("no calibration sequence was given".into());
    }
    if sequences.len() > limits::MAX_CALIBRATION_SEQUENCES {
        let limit = limits::MAX_CALIBRATION_SEQUENCES;
        return refuse(format!("{} calibration sequences; the limit is {limit}", sequences.len()));
    }
    let limit = limits::MAX_CALIBRATION_TOKENS;
    match sequences.iter().map(Vec::len).find(|n| !(1..=limit).contains(n)) {
        Some(n) => refuse(format!("a calibration sequence must have 1 to {limit} tokens, got {n}")),
        None => Ok(()),
    }
}

/// Refuses to allocate bits on noise.
fn check_measured(sensitivities: &[LayerSensitivity]) -> Result<()> {
    let all = || sensitivities.iter().flat_map(|s| s.divergences.iter().map(|(_, kl)| *kl));
    if all().any(|kl| !kl.is_finite()) {
        return Err(Error::Kv(
            "the model's predictions on the calibration text are not finite; check its weights"
                .into(),
        ));
    }
    let peak = all().fold(0.0, f64::max);
    if peak < LEAST_PEAK {
        return Err(Error::Kv(format!(
            "no layer's bits change the predictions (the largest divergence is {peak:.1e}); use \
             another or longer calibration text"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
