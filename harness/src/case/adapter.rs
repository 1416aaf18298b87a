//! The adapter of a case: made from numbers, in mlx-lm's format or PEFT's.

use serde::{Deserialize, Serialize};

use super::{Case, Dtype, ModelSource};
use crate::digest;

/// Rank of one adapter at most.
const MAX_RANK: usize = 256;

/// An adapter made from a seed, for the modules of a made model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adapter {
    /// Who seems to have written it.
    pub format: AdapterFormat,
    /// What it does.
    #[serde(default)]
    pub kind: AdapterKind,
    /// Seed of its tensors.
    pub seed: u64,
    /// Rank of the products; none for [`AdapterKind::Full`].
    #[serde(default, skip_serializing_if = "digest::is_default")]
    pub rank: usize,
    /// mlx-lm: the factor of the products. PEFT: `lora_alpha`.
    #[serde(default, skip_serializing_if = "digest::is_default")]
    pub scale: f64,
    /// PEFT: `use_rslora`.
    #[serde(default, skip_serializing_if = "digest::is_default")]
    pub rank_stabilized: bool,
    /// mlx-lm's `num_layers`: the last layers that are adapted; all where absent or 0.
    #[serde(default, skip_serializing_if = "digest::is_default")]
    pub num_layers: usize,
    /// mlx-lm's `keys`: module paths inside a layer, or whole paths as mlx-lm spells them; every
    /// module of the layers where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Vec<String>>,
    /// Dtype of its tensors.
    #[serde(default = "f32_dtype")]
    pub dtype: Dtype,
}

fn f32_dtype() -> Dtype {
    Dtype::F32
}

/// A format of adapter folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdapterFormat {
    /// `adapters.safetensors`.
    MlxLm,
    /// `adapter_model.safetensors`, with Hugging Face's module names.
    Peft,
}

/// What an adapter does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdapterKind {
    /// Adds products.
    #[default]
    Lora,
    /// Adds products and sets the lengths of rows.
    Dora,
    /// Replaces weights.
    Full,
}

impl Case {
    pub(super) fn adapter_problem(&self) -> Option<String> {
        let adapter = self.adapter.as_ref()?;
        if !matches!(self.model.source, ModelSource::Made(_)) {
            return Some("adapters are made for made models only".into());
        }
        if adapter.kind == AdapterKind::Full {
            let plain = adapter.format == AdapterFormat::MlxLm && self.model.quantization.is_none();
            return (!plain || adapter.rank != 0).then(|| {
                "a full adapter is mlx-lm's, has no rank and belongs to an unquantized model".into()
            });
        }
        if !(1..=MAX_RANK).contains(&adapter.rank) {
            return Some(format!("an adapter's rank must be 1 to {MAX_RANK}"));
        }
        if !(adapter.scale.is_finite() && adapter.scale != 0.0) {
            return Some("an adapter's scale must be a number other than 0".into());
        }
        (adapter.rank_stabilized && adapter.format != AdapterFormat::Peft)
            .then(|| "only PEFT's adapters are rank_stabilized".into())
    }
}
