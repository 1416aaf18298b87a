//! What a call takes beside caches: intermediate results, attention's scores, logits.

use super::facts::{Phase, WorkFacts};
use crate::{
    nn::{KvAttention, KvFormat},
    weights::Dtype,
};

/// Arrays of logits that a step holds: raw, processed, log-probabilities, what the sampler sorts.
const LOGITS: u64 = 6;
/// Those of them that wait until the token is read.
const PENDING_LOGITS: u64 = 2;
/// Constants that models make once: rotations, scales, and for half precision tables of activations.
const CONSTANTS: u64 = 96 << 10;
const TABLES: u64 = 320 << 10;
/// Scores of tiles in relation to those of all keys at once: several tiles are there at a time.
const TILED: (u64, u64) = (5, 4);

/// Bytes of a call with `tokens` tokens which attend to `keys`; `format` says how keys are packed.
pub fn bytes(
    facts: &WorkFacts,
    tokens: u64,
    keys: u64,
    dtype: Dtype,
    format: Option<KvFormat>,
) -> u64 {
    let phase = |phase: &Phase| phase_bytes(phase, tokens, keys, dtype, format);
    let most = facts.phases.iter().map(phase).max().unwrap_or(0);
    let throughout = tokens.saturating_mul(facts.throughout * dtype.bytes());
    let logits = if tokens == 1 { LOGITS * facts.vocab * dtype.bytes() } else { 0 };
    let constants = if dtype == Dtype::F32 { CONSTANTS } else { CONSTANTS + TABLES };
    most.saturating_add(throughout).saturating_add(logits).saturating_add(constants)
}

/// Bytes that a sequence's next step keeps until it is read.
pub fn pending(facts: &WorkFacts, dtype: Dtype) -> u64 {
    PENDING_LOGITS * facts.vocab * dtype.bytes()
}

fn phase_bytes(
    phase: &Phase,
    tokens: u64,
    keys: u64,
    dtype: Dtype,
    format: Option<KvFormat>,
) -> u64 {
    let own = if dtype == Dtype::F32 { phase.single } else { phase.half };
    let row = own * dtype.bytes() + phase.wide * Dtype::F32.bytes();
    let keys = phase.window.map_or(keys, |window| keys.min(window + tokens));
    // A score per head, and the mask.
    let fused = format.is_some_and(|f| f.attention() == KvAttention::Fused);
    let scores = phase.heads * dtype.bytes();
    let per_key = if phase.heads == 0 { 0 } else { scores + 1 };
    let per_key = if fused && dtype != Dtype::F32 { per_key * TILED.0 / TILED.1 } else { per_key };
    tokens.saturating_mul(row.saturating_add(keys.saturating_mul(per_key)))
}
