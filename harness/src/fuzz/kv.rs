//! Which layers keep packed keys and values, and how attention reads them.

use super::{Draw, Space, space::Geometry};
use crate::case::{Case, KvLayer, KvMode, KvUniform, ModelSource};

const GROUPS: [usize; 3] = [32, 64, 128];
const BITS: [u64; 6] = [2, 3, 4, 5, 6, 8];

/// Whether any layer of a model whose caches have these head dimensions can be packed.
pub(super) fn is_packable(dims: &[Option<usize>]) -> bool {
    dims.iter().flatten().any(|dim| dim.is_multiple_of(GROUPS[0]))
}

/// A mode for a model whose caches have these head dimensions, one at least packable; `tokens` is
/// what a sequence will hold.
pub(super) fn draw(
    draw: &mut Draw,
    space: &Space,
    dims: &[Option<usize>],
    tokens: usize,
) -> KvMode {
    match draw.between(0, 9) {
        0..=2 if !space.has_rings => {
            let dim = dims.iter().flatten().copied().next().unwrap_or(GROUPS[0]);
            let (bits, group_size) = format(draw, dim, &BITS);
            let start = if draw.chance(50) { 0 } else { draw.small(0, tokens) };
            KvMode::Uniform(KvUniform { bits, group_size, start })
        }
        0..=5 => KvMode::Seq(listed(draw, dims, &BITS)),
        // mlx-optiq's tiles take 4 and 8 bits; others fall back to mlx-lm's attention.
        6 => KvMode::Fused(listed(draw, dims, &BITS)),
        _ => KvMode::Fused(listed(draw, dims, &[4, 8])),
    }
}

/// Some of the layers that can be packed, or all.
fn listed(draw: &mut Draw, dims: &[Option<usize>], bits: &[u64]) -> Vec<KvLayer> {
    let open: Vec<(usize, usize)> = dims
        .iter()
        .enumerate()
        .filter_map(|(layer, dim)| Some((layer, (*dim)?)))
        .filter(|(_, dim)| dim.is_multiple_of(GROUPS[0]))
        .collect();
    let percent = draw.pick(&[100, 60, 30]);
    let always = draw.between(0, open.len() - 1);
    open.into_iter()
        .enumerate()
        .filter(|(i, _)| *i == always || draw.chance(percent))
        .map(|(_, layer)| layer)
        .collect::<Vec<_>>()
        .into_iter()
        .map(|(layer_idx, dim)| {
            let (bits, group_size) = format(draw, dim, bits);
            KvLayer { layer_idx, bits, group_size }
        })
        .collect()
}

/// Bits and a group size for heads of `dim` values.
fn format(draw: &mut Draw, dim: usize, bits: &[u64]) -> (u64, u64) {
    let groups: Vec<usize> = GROUPS.into_iter().filter(|g| dim.is_multiple_of(*g)).collect();
    let bits: Vec<u64> = bits.iter().copied().filter(|bits| has_room(dim, *bits)).collect();
    (draw.pick(&bits), draw.pick(&groups) as u64)
}

/// mlx-lm's caches (and mlx-optiq's) round the values per word before they count words: where 3, 5
/// or 6 bits leave some of a word unused, wide heads do not fit what they make room for.
fn has_room(dim: usize, bits: u64) -> bool {
    let bits = bits as usize;
    dim / (32 / bits) == dim * bits / 32
}

/// Leaves out listed layers that a smaller model lacks; nothing packed is unpacked.
pub(super) fn fit(case: &mut Case, space: &Space) {
    let dims = dims(case, space);
    if let KvMode::Seq(layers) | KvMode::Fused(layers) = &mut case.kv {
        layers.retain(|layer| dims.get(layer.layer_idx).copied().flatten().is_some());
        if layers.is_empty() {
            case.kv = KvMode::Bf16;
        }
    }
}

/// Whether the case's model can be packed as the case says.
pub(super) fn is_sound(case: &Case, space: &Space) -> bool {
    let dims = dims(case, space);
    let takes = |dim: usize, bits: u64, group_size: u64| {
        dim.is_multiple_of(group_size as usize) && has_room(dim, bits)
    };
    match &case.kv {
        KvMode::Bf16 => true,
        KvMode::Uniform(KvUniform { bits, group_size, .. }) => {
            dims.iter().flatten().all(|dim| takes(*dim, *bits, *group_size))
        }
        KvMode::Seq(layers) | KvMode::Fused(layers) => layers.iter().all(|layer| {
            let dim = dims.get(layer.layer_idx).copied().flatten();
            dim.is_some_and(|dim| takes(dim, layer.bits, layer.group_size))
        }),
    }
}

fn dims(case: &Case, space: &Space) -> Vec<Option<usize>> {
    let empty = Geometry::new();
    let geometry = match &case.model.source {
        ModelSource::Made(made) => &made.geometry,
        ModelSource::Directory(_) => &empty,
    };
    (space.head_dims)(geometry)
}

/// Simpler modes than `kv`, the simplest first. Nothing becomes uniform: mlx-lm's own packing is not
/// to be run once mlx-optiq is in the process.
pub(super) fn simpler(kv: &KvMode) -> Vec<KvMode> {
    let mut all = Vec::new();
    let layers = match kv {
        KvMode::Bf16 => return all,
        KvMode::Uniform(uniform) => {
            all.push(KvMode::Bf16);
            all.push(KvMode::Uniform(KvUniform { start: 0, ..*uniform }));
            all.push(KvMode::Uniform(KvUniform { bits: 8, ..*uniform }));
            all.push(KvMode::Uniform(KvUniform { group_size: 32, ..*uniform }));
            return all;
        }
        KvMode::Seq(layers) | KvMode::Fused(layers) => layers,
    };
    all.push(KvMode::Bf16);
    let of = |layers: Vec<KvLayer>| match kv {
        KvMode::Fused(_) => KvMode::Fused(layers),
        _ => KvMode::Seq(layers),
    };
    if matches!(kv, KvMode::Fused(_)) {
        all.push(KvMode::Seq(layers.clone()));
    }
    for at in 0..layers.len() {
        let mut fewer = layers.clone();
        fewer.remove(at);
        if !fewer.is_empty() {
            all.push(of(fewer));
        }
    }
    let each = |change: fn(&mut KvLayer)| {
        let mut changed = layers.clone();
        changed.iter_mut().for_each(change);
        of(changed)
    };
    all.push(each(|layer| (layer.bits, layer.group_size) = (8, 32)));
    all.push(each(|layer| layer.bits = 8));
    all.push(each(|layer| layer.group_size = 32));
    all
}

/// How much of a mode a reader has to take in: oddities and a size.
pub(super) fn weight(kv: &KvMode) -> (usize, u64) {
    let size = |bits: u64, group_size: u64| 8 - bits + group_size / 32;
    match kv {
        KvMode::Bf16 => (0, 0),
        KvMode::Uniform(KvUniform { bits, group_size, start }) => {
            (1 + usize::from(*start > 0), size(*bits, *group_size) + *start as u64)
        }
        KvMode::Seq(layers) | KvMode::Fused(layers) => {
            let fused = usize::from(matches!(kv, KvMode::Fused(_)));
            let sum = layers.iter().map(|layer| 1 + size(layer.bits, layer.group_size)).sum();
            (2 + fused, sum)
        }
    }
}
