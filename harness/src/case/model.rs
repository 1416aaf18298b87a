//! The model of a case: made from numbers or found in the checkout, then perhaps quantized.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest;

/// A model, as the oracle and the harness each build it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Where the unquantized weights come from.
    pub source: ModelSource,
    /// Quantization applied to them (`mlx_lm.convert` there, the engine's port here).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<Quantization>,
}

impl ModelSpec {
    /// Digest of the whole specification; names the model's folder in the cache.
    pub fn digest(&self) -> String {
        digest::short(self)
    }

    /// The same model without quantization.
    #[must_use]
    pub fn dense(&self) -> Self {
        Self { source: self.source.clone(), quantization: None }
    }
}

/// Where unquantized weights come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelSource {
    /// [`crate::maker`] writes them.
    Made(MadeModel),
    /// A model directory of the checkout.
    Directory(DirectoryModel),
}

/// A model directory that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectoryModel {
    /// Relative to the checkout's root.
    pub path: String,
}

/// A model made from a geometry and a seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeModel {
    /// The Hugging Face `config.json`, without `torch_dtype` (it follows `dtype`).
    pub geometry: BTreeMap<String, Value>,
    /// Which tensor names and shapes to write.
    #[serde(default)]
    pub layout: Layout,
    /// Seed of the weights.
    pub seed: u64,
    /// Dtype of the weights.
    pub dtype: Dtype,
    /// Standard deviation that the logits aim at; the family's own where absent. Small values make
    /// near ties, which tell the argmax of logits from that of rounded log-probabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logit_deviation: Option<f32>,
    /// Safetensors files to spread the weights over.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub shards: usize,
}

fn one() -> usize {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde hands references
fn is_one(value: &usize) -> bool {
    *value == 1
}

/// Tensor naming.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Hugging Face's names and shapes, as published checkpoints have them.
    #[default]
    Hf,
    /// mlx-lm's names and shapes, as `mlx_lm.convert` writes them.
    Mlx,
}

/// Dtype of weights and activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// bfloat16.
    Bf16,
    /// float16.
    F16,
    /// float32.
    F32,
}

impl Dtype {
    /// Name in `config.json`.
    pub fn config_name(self) -> &'static str {
        match self {
            Self::Bf16 => "bfloat16",
            Self::F16 => "float16",
            Self::F32 => "float32",
        }
    }

    /// Name in safetensors headers.
    pub fn safetensors_name(self) -> &'static str {
        match self {
            Self::Bf16 => "BF16",
            Self::F16 => "F16",
            Self::F32 => "F32",
        }
    }

    /// Bytes per value.
    pub fn size(self) -> usize {
        match self {
            Self::Bf16 | Self::F16 => 2,
            Self::F32 => 4,
        }
    }
}

/// How weights are quantized: the arguments of `mlx_lm.convert(quantize=True, …)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantization {
    /// `q_bits`, `q_group_size`, `q_mode`.
    Uniform(Affine),
    /// `quant_predicate` by name: `mixed_2_6`, `mixed_3_4`, `mixed_3_6`, `mixed_4_6`.
    Recipe {
        /// The recipe.
        name: String,
        /// `q_group_size`; mlx-lm's default where absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group_size: Option<u32>,
    },
    /// `quant_predicate` as a function: the listed modules differ from the rest.
    PerModule {
        /// Modules that are not listed.
        default: Affine,
        /// By module path as mlx-lm names it; `null` leaves the module unquantized.
        overrides: BTreeMap<String, Option<Affine>>,
    },
}

/// Parameters of one quantized module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Affine {
    /// Bits per weight.
    pub bits: u32,
    /// Weights that share a scale.
    pub group_size: u32,
    /// `affine`, `mxfp4`, `mxfp8` or `nvfp4`.
    #[serde(default = "affine")]
    pub mode: String,
}

fn affine() -> String {
    "affine".to_owned()
}
