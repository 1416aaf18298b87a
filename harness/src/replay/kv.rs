//! A case's key-value mode in the engine's terms.

use verbatim_engine::kv::{KvAttention, KvFormat, KvLayers, KvQuantization};

use crate::case::{KvLayer, KvMode, KvUniform};

/// What the engine is told.
///
/// # Errors
/// A format that does not exist.
pub(crate) fn quantization(mode: &KvMode) -> Result<KvQuantization, String> {
    match mode {
        KvMode::Bf16 => Ok(KvQuantization::default()),
        KvMode::Uniform(KvUniform { bits, group_size, start }) => Ok(KvQuantization {
            layers: KvLayers::All(KvFormat::new(*bits, *group_size)?),
            start: *start,
            attention: KvAttention::Stock,
        }),
        KvMode::Seq(layers) => listed(layers, KvAttention::Stock),
        KvMode::Fused(layers) => listed(layers, KvAttention::Fused),
    }
}

fn listed(layers: &[KvLayer], attention: KvAttention) -> Result<KvQuantization, String> {
    let format = |layer: &KvLayer| {
        KvFormat::new(layer.bits, layer.group_size).map(|format| (layer.layer_idx, format))
    };
    let formats = layers.iter().map(format).collect::<Result<_, _>>()?;
    Ok(KvQuantization { layers: KvLayers::Listed(formats), start: 0, attention })
}
