//! Where bits go (`optimize_kv_cache` of `optiq/core/kv_cache.py`).

use super::LayerSensitivity;

/// One layer's step to the next candidate.
struct Upgrade {
    index: usize,
    to: u32,
    /// Divergence that a bit saves.
    efficiency: f64,
}

/// Bits of each layer: the fewest, then the step that saves the most divergence per bit, until the
/// average reaches the target or no step saves any. Of equal steps the lower layer's goes first.
pub(super) fn allocate(sensitivities: &[LayerSensitivity], target_bits: f64) -> Vec<u32> {
    let measured = sensitivities.first().map_or(&[][..], |layer| &layer.divergences);
    let mut candidates: Vec<u32> = measured.iter().map(|(bits, _)| *bits).collect();
    candidates.sort_unstable();
    let Some(&least) = candidates.first() else { return Vec::new() };
    let mut bits = vec![least; sensitivities.len()];
    let next = |index: usize, from: u32| upgrade(index, &sensitivities[index], from, &candidates);
    let mut upgrades: Vec<Upgrade> =
        (0..sensitivities.len()).filter_map(|index| next(index, least)).collect();
    while average(&bits) < target_bits {
        let best = upgrades
            .iter()
            .enumerate()
            .max_by(|(_, a), (_, b)| {
                a.efficiency.total_cmp(&b.efficiency).then(b.index.cmp(&a.index))
            })
            .map(|(place, _)| place);
        let Some(best) = best else { break };
        let Upgrade { index, to, .. } = upgrades.swap_remove(best);
        bits[index] = to;
        upgrades.extend(next(index, to));
    }
    bits
}

fn upgrade(
    index: usize,
    layer: &LayerSensitivity,
    from: u32,
    candidates: &[u32],
) -> Option<Upgrade> {
    let to = *candidates.iter().find(|&&bits| bits > from)?;
    let saved = layer.at(from) - layer.at(to);
    (saved > 0.0).then(|| Upgrade { index, to, efficiency: saved / f64::from(to - from) })
}

/// Mean of the layers' bits, zero without a layer.
pub(super) fn average(bits: &[u32]) -> f64 {
    let sum: u64 = bits.iter().map(|&b| u64::from(b)).sum();
    if bits.is_empty() { 0.0 } else { sum as f64 / bits.len() as f64 }
}
