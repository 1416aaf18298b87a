//! What each layer's bits cost (`measure_kv_sensitivity` of `optiq/core/kv_cache.py`).

use std::path::Path;

use mlx_rs::{Array, Dtype, memory, ops, transforms::eval};

use super::{LayerSensitivity, PlanProgress};
use crate::{
    Error, Result,
    cache::LayerCache,
    kv::{KvFormat, KvLayers, KvQuantization},
    mlx,
    models::{self, Model, Mutation, Probe},
    weights::ModelDir,
};

/// A model's sensitivities.
pub(super) struct Measured {
    /// Layers of the model.
    pub(super) layers: usize,
    /// Those with keys and values of their own.
    pub(super) sensitivities: Vec<LayerSensitivity>,
}

/// Measures on this thread, which becomes an MLX thread.
pub(super) fn run(
    model_dir: &Path,
    sequences: &[Vec<u32>],
    formats: &[KvFormat],
    progress: &mut (dyn FnMut(PlanProgress) + Send),
) -> Result<Measured> {
    let dir = ModelDir::open(model_dir)?;
    let model = models::build(&dir, Mutation::None)?;
    let measured = check(model.as_ref(), sequences, formats)
        .and_then(|layers| measure(model.as_ref(), &layers, sequences, formats, progress));
    // Nothing may run on when the thread ends.
    mlx::ops::synchronize();
    Ok(Measured { layers: model.layers(), sensitivities: measured? })
}

/// The layers with keys and values, and their head dimensions.
fn check(
    model: &dyn Model,
    sequences: &[Vec<u32>],
    formats: &[KvFormat],
) -> Result<Vec<(usize, usize)>> {
    let vocab_size = model.vocab_size();
    if let Some(id) = sequences.iter().flatten().find(|&&id| id as usize >= vocab_size) {
        return Err(Error::Request(format!(
            "calibration token {id} is outside the model's vocabulary of {vocab_size}"
        )));
    }
    let head_dims = model.head_dims();
    for format in formats {
        let all = KvQuantization { layers: KvLayers::All(*format), ..KvQuantization::default() };
        all.check(&head_dims)?;
    }
    let layers: Vec<(usize, usize)> =
        head_dims.into_iter().enumerate().filter_map(|(i, dim)| Some((i, dim?))).collect();
    if layers.is_empty() {
        return Err(Error::Kv("the model has no layer with keys and values".into()));
    }
    Ok(layers)
}

fn measure(
    model: &dyn Model,
    layers: &[(usize, usize)],
    sequences: &[Vec<u32>],
    formats: &[KvFormat],
    progress: &mut (dyn FnMut(PlanProgress) + Send),
) -> Result<Vec<LayerSensitivity>> {
    let total = sequences.len() * (1 + layers.len() * formats.len());
    let mut done = 0;
    let mut count = |n: usize| {
        done += n;
        progress(PlanProgress { done, total });
    };
    count(0);
    eval(model.weights())?;
    // Divergences by layer, format and sequence.
    let mut found = vec![vec![Vec::with_capacity(sequences.len()); formats.len()]; layers.len()];
    let mut kv_heads = Vec::new();
    for ids in sequences {
        let mut caches = model.new_caches();
        let reference = Reference::new(&logits(model, ids, &mut caches)?)?;
        kv_heads = layers.iter().map(|(layer, _)| heads(&caches[*layer])).collect();
        drop(caches);
        count(1);
        for ((layer, _), found) in layers.iter().zip(&mut found) {
            for (format, found) in formats.iter().zip(found) {
                let mut caches = model.new_caches();
                caches[*layer].quantize(*format)?;
                found.push(reference.divergence(&logits(model, ids, &mut caches)?)?);
                count(1);
            }
        }
        memory::clear_cache()?;
    }
    let divergence =
        |(format, found): (&KvFormat, &Vec<f64>)| (format.bits(), clamped(mean(found)));
    Ok(layers
        .iter()
        .zip(kv_heads)
        .zip(&found)
        .map(|((&(layer, head_dim), kv_heads), found)| LayerSensitivity {
            layer,
            kv_heads,
            head_dim,
            divergences: formats.iter().zip(found).map(divergence).collect(),
        })
        .collect())
}

/// Logits `[1, S, vocab]` of all of `ids` in one call, evaluated.
fn logits(model: &dyn Model, ids: &[u32], caches: &mut [LayerCache]) -> Result<Array> {
    let ids = Array::from_slice(ids, &[1, ids.len() as i32]);
    let hidden = model.hidden(&ids, caches, &mut Probe::default())?;
    let logits = model.logits(&hidden)?;
    eval([&logits])?;
    Ok(logits)
}

/// Heads of the keys that a filled cache holds.
fn heads(cache: &LayerCache) -> usize {
    cache.state().first().map_or(0, |keys| keys.dim(1) as usize)
}

/// What full-precision keys and values predict for every position, `[S, vocab]` f32.
struct Reference {
    log_probs: Array,
    probs: Array,
}

impl Reference {
    fn new(logits: &Array) -> Result<Self> {
        let log_probs = log_probs(logits)?;
        let probs = ops::exp(&log_probs)?;
        eval([&log_probs, &probs])?;
        Ok(Self { log_probs, probs })
    }

    /// Mean over positions of KL(reference ‖ `logits`).
    fn divergence(&self, logits: &Array) -> Result<f64> {
        let apart = ops::subtract(&self.log_probs, log_probs(logits)?)?;
        let by_position = ops::sum_axis(ops::multiply(&self.probs, apart)?, -1, false)?;
        let mean = mlx::to_f32(&ops::mean(&by_position, false)?)?;
        Ok(f64::from(mean[0]))
    }
}

/// Log-probabilities of logits `[1, S, vocab]`: `[S, vocab]` f32.
fn log_probs(logits: &Array) -> Result<Array> {
    let rows = logits.reshape(&[logits.dim(1), logits.dim(2)])?.as_dtype(Dtype::Float32)?;
    Ok(ops::subtract(&rows, ops::logsumexp_axis(&rows, -1, true)?)?)
}

/// A divergence below zero is rounding.
fn clamped(kl: f64) -> f64 {
    if kl < 0.0 { 0.0 } else { kl }
}

/// `numpy.mean`.
pub(super) fn mean(values: &[f64]) -> f64 {
    (0.0 + pairwise_sum(values)) / values.len() as f64
}

/// The order in which `NumPy` adds: eight sums at a time in blocks of 128, halves above.
fn pairwise_sum(values: &[f64]) -> f64 {
    const LANES: usize = 8;
    const BLOCK: usize = 128;
    let n = values.len();
    if n < LANES {
        return values.iter().fold(0.0, |sum, value| sum + value);
    }
    if n > BLOCK {
        let half = n / 2 - (n / 2) % LANES;
        return pairwise_sum(&values[..half]) + pairwise_sum(&values[half..]);
    }
    let (rows, rest) = values.as_chunks::<LANES>();
    let mut r = rows[0];
    for row in &rows[1..] {
        r.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
    let lanes = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
    rest.iter().fold(lanes, |sum, value| sum + value)
}
