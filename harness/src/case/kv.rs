//! How a case's keys and values are cached, and by whose rules.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

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
    /// Its name in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bf16 => "unquantized",
            Self::Uniform(_) => "uniform",
            Self::Seq(_) => "seq",
            Self::Fused(_) => "fused",
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
        let layers = match &self.kv {
            KvMode::Seq(layers) | KvMode::Fused(layers) => layers.as_slice(),
            KvMode::Bf16 | KvMode::Uniform(_) => &[],
        };
        let distinct: BTreeSet<usize> = layers.iter().map(|layer| layer.layer_idx).collect();
        (distinct.len() < layers.len()).then(|| "kv lists a layer twice".into())
    }
}
