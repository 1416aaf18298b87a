//! How a case's keys and values are cached, and by whose rules.

use serde::{Deserialize, Serialize};
use verbatim_engine::kv::{KvAttention, KvFormat, KvLayers, KvQuantization};

use super::Case;

/// Which layers keep packed keys and values, and how attention reads them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum KvMode {
    /// Unquantized, in the model's own dtype.
    #[default]
    Bf16,
    /// mlx-lm's `kv_bits`: every layer alike.
    Uniform(KvUniform),
    /// mlx-optiq's `kv_config.json` on its sequential path, with mlx-lm's attention.
    Seq(Vec<KvLayer>),
    /// The same with mlx-optiq's tiled attention.
    Fused(Vec<KvLayer>),
}

/// One format for every layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KvUniform {
    /// Bits per value.
    pub bits: u64,
    /// Values that share a scale.
    pub group_size: u64,
    /// mlx-lm's `quantized_kv_start`.
    #[serde(default)]
    pub start: usize,
}

/// One entry of a `kv_config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KvLayer {
    /// Which cache, counted from 0.
    pub layer_idx: usize,
    /// Bits per value.
    pub bits: u64,
    /// Values that share a scale.
    pub group_size: u64,
}

impl KvMode {
    /// What the engine is told.
    ///
    /// # Errors
    /// A format that does not exist, or a layer listed twice.
    pub fn quantization(&self) -> Result<KvQuantization, String> {
        let listed = |layers: &[KvLayer], attention| -> Result<KvQuantization, String> {
            let mut formats = std::collections::BTreeMap::new();
            for layer in layers {
                let format = KvFormat::new(layer.bits, layer.group_size)?;
                if formats.insert(layer.layer_idx, format).is_some() {
                    return Err(format!("layer_idx {} is listed twice", layer.layer_idx));
                }
            }
            Ok(KvQuantization { layers: KvLayers::Listed(formats), start: 0, attention })
        };
        match self {
            Self::Bf16 => Ok(KvQuantization::default()),
            Self::Uniform(KvUniform { bits, group_size, start }) => Ok(KvQuantization {
                layers: KvLayers::All(KvFormat::new(*bits, *group_size)?),
                start: *start,
                attention: KvAttention::Stock,
            }),
            Self::Seq(layers) => listed(layers, KvAttention::Stock),
            Self::Fused(layers) => listed(layers, KvAttention::Fused),
        }
    }

    /// Where the case comes when all are recorded: mlx-optiq changes the process for good, so what
    /// mlx-lm does alone comes first.
    pub fn recording_rank(&self) -> u8 {
        match self {
            Self::Bf16 | Self::Uniform(_) => 0,
            Self::Seq(_) => 1,
            Self::Fused(_) => 2,
        }
    }
}

impl Case {
    pub(super) fn kv_problem(&self) -> Option<String> {
        if let Err(reason) = self.kv.quantization() {
            return Some(format!("kv: {reason}"));
        }
        let quantized = self.kv != KvMode::Bf16;
        (quantized && !self.company.is_empty())
            .then(|| "batches keep unquantized keys and values".into())
    }
}
