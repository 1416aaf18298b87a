//! Prompts, chunks, what ran before, company and sampling.

use super::Draw;
use crate::case::{Companion, Past, Prompt, Sampling};

/// Longest prompt drawn.
const LONGEST_PROMPT: usize = 120;
/// Longest prompt of a companion, and of what ran before.
const LONGEST_OTHER: usize = 40;
/// Keys of one of mlx-optiq's tiles.
const TILE: usize = 512;

pub(super) fn prompt_len(draw: &mut Draw) -> usize {
    if draw.chance(15) { draw.between(1, 3) } else { draw.small(1, LONGEST_PROMPT) }
}

/// A chunk that divides the prompt in an awkward place, or does not.
pub(super) fn chunk(draw: &mut Draw, len: usize) -> usize {
    match draw.between(0, 5) {
        0 => 2048,
        1 => draw.between(1, 3),
        2 => len.saturating_sub(2).max(1),
        3 => len,
        4 => len.saturating_sub(1).max(1),
        _ => draw.between(1, len.max(2)),
    }
}

/// A prompt that fills a tile and reaches into the next.
pub(super) fn past_a_tile(draw: &mut Draw) -> usize {
    TILE + draw.between(1, 80)
}

/// What runs before on the same caches, perhaps all of it forgotten again.
pub(super) fn past(draw: &mut Draw) -> Past {
    let len = draw.small(1, LONGEST_OTHER);
    let steps = draw.small(1, 24);
    let trim = if draw.chance(50) { draw.small(1, 12) } else { draw.between(1, len + steps) };
    Past { prompt: Prompt::Random { seed: draw.bits(), len }, steps, trim }
}

/// Sequences beside a first one.
pub(super) fn company(draw: &mut Draw) -> Vec<Companion> {
    let mut joins: Vec<usize> = (0..draw.small(1, 5))
        .map(|_| if draw.chance(50) { 0 } else { draw.small(0, 20) })
        .collect();
    joins.sort_unstable();
    let companion = |join: usize| Companion {
        prompt: Prompt::Random { seed: draw.bits(), len: draw.small(1, LONGEST_OTHER) },
        steps: draw.small(1, 20),
        join,
    };
    joins.into_iter().map(companion).collect()
}

/// Greedy, perhaps with processors: what a batch's own sequence can ask for.
pub(super) fn greedy(draw: &mut Draw, vocab: usize) -> Sampling {
    let mut s = Sampling::default();
    if draw.chance(25) {
        processors(draw, vocab, &mut s);
    }
    s
}

/// Greedy more often than not; else a sampler with some filters and processors.
pub(super) fn sampling(draw: &mut Draw, vocab: usize) -> Sampling {
    let mut s = Sampling::default();
    if draw.chance(35) {
        s.temperature = draw.hundredths(5, 200);
        s.seed = Some(draw.bits());
        filters(draw, vocab, &mut s);
    }
    if draw.chance(30) {
        processors(draw, vocab, &mut s);
    }
    s
}

fn filters(draw: &mut Draw, vocab: usize, s: &mut Sampling) {
    if draw.chance(40) {
        s.top_p = draw.hundredths(1, 100);
    }
    if draw.chance(30) {
        s.top_k = draw.between(1, vocab - 1);
    }
    if draw.chance(30) {
        s.min_p = draw.hundredths(1, 100);
        s.min_tokens_to_keep = draw.small(1, 8.min(vocab));
    }
    if draw.chance(25) {
        s.xtc_probability = draw.hundredths(1, 100);
        s.xtc_threshold = draw.hundredths(0, 50);
        s.xtc_special_tokens = ids(draw, vocab, 3);
    }
}

fn processors(draw: &mut Draw, vocab: usize, s: &mut Sampling) {
    if draw.chance(40) {
        for id in ids(draw, vocab, 4) {
            s.logit_bias.insert(id, draw.hundredths(0, 800) - 4.0);
        }
    }
    if draw.chance(50) {
        s.repetition_penalty = draw.hundredths(60, 180);
        s.repetition_context_size = draw.between(0, 40);
    }
    if draw.chance(40) {
        s.presence_penalty = draw.hundredths(1, 200) - 0.5;
        s.presence_context_size = draw.between(0, 40);
    }
    if draw.chance(40) {
        s.frequency_penalty = draw.hundredths(1, 150) - 0.5;
        s.frequency_context_size = draw.between(0, 40);
    }
}

fn ids(draw: &mut Draw, vocab: usize, most: usize) -> Vec<u32> {
    let count = draw.between(0, most);
    let mut ids: Vec<u32> = (0..count).map(|_| draw.between(0, vocab - 1) as u32).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}
