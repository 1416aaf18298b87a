//! Adapters that mlx-lm can mount.

use super::{Draw, Space, space::Geometry};
use crate::case::{
    Adapter, AdapterFormat, AdapterKind, Affine, Dtype, Layout, ModelSource, ModelSpec,
    Quantization,
};

/// An adapter for `model`: LoRA, DoRA and full fine-tuning in mlx-lm's folders, the first two in
/// PEFT's.
pub(super) fn draw(
    draw: &mut Draw,
    space: &Space,
    geometry: &Geometry,
    model: &ModelSpec,
) -> Option<Adapter> {
    let ModelSource::Made(made) = &model.source else { return None };
    let experts = geometry.get("text_config").is_some_and(|text| text["enable_moe_block"] == true);
    // PEFT names modules as the original layout does.
    let format = if made.layout == Layout::Hf && draw.chance(40) {
        AdapterFormat::Peft
    } else {
        AdapterFormat::MlxLm
    };
    let kind = kind(draw, format, model);
    // Only mlx-lm's LoRA adapts experts, which are among the default keys.
    let lora = (format, kind) == (AdapterFormat::MlxLm, AdapterKind::Lora);
    let some = draw.chance(50) || (experts && !lora);
    // PEFT's embeddings leave a tied head as it is, which mlx-lm's cannot.
    let tied = geometry.get("tie_word_embeddings").is_some_and(|tied| *tied == true);
    let looks_up = match (format, kind) {
        (_, AdapterKind::Full) => false,
        (AdapterFormat::Peft, kind) => kind == AdapterKind::Lora && !tied,
        (AdapterFormat::MlxLm, kind) => kind == AdapterKind::Lora || model.quantization.is_none(),
    };
    let keys = some.then(|| keys(draw, space, looks_up));
    let full = kind == AdapterKind::Full;
    Some(Adapter {
        format,
        kind,
        seed: draw.bits(),
        rank: if full { 0 } else { draw.small(1, 16) },
        scale: if full { 0.0 } else { draw.hundredths(50, 2_000) },
        rank_stabilized: format == AdapterFormat::Peft && draw.chance(30),
        num_layers: if format == AdapterFormat::MlxLm { draw.pick(&[0, 0, 1, 2]) } else { 0 },
        keys,
        // MLX's CPU backend multiplies the experts' products in float32 only.
        dtype: if experts { Dtype::F32 } else { draw.pick(&[Dtype::F32, Dtype::F32, made.dtype]) },
    })
}

fn kind(draw: &mut Draw, format: AdapterFormat, model: &ModelSpec) -> AdapterKind {
    let plain = model.quantization.is_none();
    // mlx-lm's DoRA takes the width of such layers for another than it is.
    let odd = match &model.quantization {
        None => false,
        Some(Quantization::Uniform(Affine { bits, .. })) => matches!(bits, 3 | 5 | 6),
        Some(_) => true,
    };
    match draw.between(0, 9) {
        0 if plain && format == AdapterFormat::MlxLm => AdapterKind::Full,
        1..=4 if !odd => AdapterKind::Dora,
        _ => AdapterKind::Lora,
    }
}

/// Some of the family's modules, one of which every layer has; sometimes the embedding too.
fn keys(draw: &mut Draw, space: &Space, looks_up: bool) -> Vec<String> {
    let mut keys = vec!["mlp.down_proj".to_owned()];
    keys.extend(space.modules.iter().filter(|_| draw.chance(40)).map(|key| (*key).to_owned()));
    if looks_up && draw.chance(25) {
        keys.push(space.embedding.to_owned());
    }
    keys
}
