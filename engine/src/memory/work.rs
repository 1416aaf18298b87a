//! What a call takes beside caches: intermediate results, attention's scores, logits.

use super::facts::WorkFacts;
use crate::{
    nn::{KvAttention, KvFormat},
    weights::Dtype,
};

/// Arrays of logits that a step holds: raw, processed, log-probabilities, what the sampler sorts.
const LOGITS: u64 = 6;
/// Those of them that wait until the token is read.
const PENDING_LOGITS: u64 = 2;
/// Constants that models make once: tables of activations, rotations, scales.
const CONSTANTS: u64 = 1 << 20;

/// Bytes of a call with `tokens` tokens which attend to `keys`; `format` says how keys are packed.
pub fn bytes(
    facts: &WorkFacts,
    tokens: u64,
    keys: u64,
    dtype: Dtype,
    format: Option<KvFormat>,
) -> u64 {
    let width = dtype.bytes();
    let rows = facts.row * width + facts.wide_row * Dtype::F32.bytes();
    let keys = facts.window.map_or(keys, |window| keys.min(window + tokens));
    let scores = tokens.saturating_mul(keys).saturating_mul(score_bytes(facts, width, format));
    let logits = if tokens == 1 { LOGITS * facts.vocab * width } else { 0 };
    tokens
        .saturating_mul(rows)
        .saturating_add(scores)
        .saturating_add(logits)
        .saturating_add(CONSTANTS)
}

/// Bytes that a sequence's next step keeps until it is read.
pub fn pending(facts: &WorkFacts, dtype: Dtype) -> u64 {
    PENDING_LOGITS * facts.vocab * dtype.bytes()
}

/// Bytes for each token and key: a score per head, and the mask. Tiles hold the scores of several
/// at a time.
fn score_bytes(facts: &WorkFacts, width: u64, format: Option<KvFormat>) -> u64 {
    let scores = facts.heads * width;
    let tiled = format.is_some_and(|f| f.attention() == KvAttention::Fused);
    let scores = if tiled { scores * 11 / 8 } else { scores };
    scores + scores / 8 + 1
}
