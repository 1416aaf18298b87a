//! Sampler and logits processors of a case.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::is_default;

/// Arguments of `make_sampler` and `make_logits_processors` (`mlx_lm/sample_utils.py`), with their
/// defaults and under the engine's names. Numbers are doubles, as Python's are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// `temp`; 0 is greedy.
    #[serde(skip_serializing_if = "is_default")]
    pub temperature: f64,
    /// `top_p`; active strictly between 0 and 1.
    #[serde(skip_serializing_if = "is_default")]
    pub top_p: f64,
    /// `top_k`; 0 is off.
    #[serde(skip_serializing_if = "is_default")]
    pub top_k: usize,
    /// `min_p`; 0 is off.
    #[serde(skip_serializing_if = "is_default")]
    pub min_p: f64,
    /// `min_tokens_to_keep`.
    #[serde(skip_serializing_if = "is_one")]
    pub min_tokens_to_keep: usize,
    /// `xtc_probability`; 0 is off.
    #[serde(skip_serializing_if = "is_default")]
    pub xtc_probability: f64,
    /// `xtc_threshold`.
    #[serde(skip_serializing_if = "is_tenth")]
    pub xtc_threshold: f64,
    /// `xtc_special_tokens`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub xtc_special_tokens: Vec<u32>,
    /// `logit_bias`, in this order.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub logit_bias: BTreeMap<u32, f64>,
    /// `repetition_penalty`; 0 is off.
    #[serde(skip_serializing_if = "is_default")]
    pub repetition_penalty: f64,
    /// `repetition_context_size`.
    #[serde(skip_serializing_if = "is_twenty")]
    pub repetition_context_size: usize,
    /// `presence_penalty`; 0 is off.
    #[serde(skip_serializing_if = "is_default")]
    pub presence_penalty: f64,
    /// `presence_context_size`.
    #[serde(skip_serializing_if = "is_twenty")]
    pub presence_context_size: usize,
    /// `frequency_penalty`; 0 is off.
    #[serde(skip_serializing_if = "is_default")]
    pub frequency_penalty: f64,
    /// `frequency_context_size`.
    #[serde(skip_serializing_if = "is_twenty")]
    pub frequency_context_size: usize,
    /// Passed to `mx.random.seed` before the first step; required when anything is drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_p: 0.0,
            top_k: 0,
            min_p: 0.0,
            min_tokens_to_keep: 1,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            xtc_special_tokens: Vec::new(),
            logit_bias: BTreeMap::new(),
            repetition_penalty: 0.0,
            repetition_context_size: 20,
            presence_penalty: 0.0,
            presence_context_size: 20,
            frequency_penalty: 0.0,
            frequency_context_size: 20,
            seed: None,
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde hands references
fn is_one(value: &usize) -> bool {
    *value == 1
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde hands references
fn is_twenty(value: &usize) -> bool {
    *value == 20
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde hands references
fn is_tenth(value: &f64) -> bool {
    *value == 0.1
}
