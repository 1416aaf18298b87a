//! Gemma-4 in all its shapes (`mlx_lm/models/gemma4.py`, `gemma4_text.py`).
//!
//! One text model driven by its configuration: sliding and full attention, layers that share
//! keys and values, per-layer inputs, experts beside the dense MLP. Multimodal checkpoints load as
//! text models.

mod attention;
mod config;
mod facts;
mod inputs;
mod layer;
mod mlp;
mod model;

pub use config::Gemma4Config;

use super::{Family, Mutation, QuantOverride};

/// E2B, E4B, 12B (`gemma4_unified`), 26B-A4B, 31B.
pub const FAMILY: Family = Family {
    model_types: &["gemma4", "gemma4_text", "gemma4_unified"],
    facts: |dir| Ok(Box::new(Gemma4Config::from_dir(dir)?)),
    build: model::build,
    checkpoint: model::checkpoint,
    quant_override,
    keeps_dtype: |_| false,
};

/// The router decides by small differences: it keeps eight bits.
fn quant_override(path: &str) -> Option<QuantOverride> {
    path.ends_with("router.proj").then_some(QuantOverride { bits: 8, group_size: 64 })
}

fn norm_eps(c: &Gemma4Config, mutation: Mutation) -> f64 {
    if mutation == Mutation::NormEpsDoubled { c.rms_norm_eps * 2.0 } else { c.rms_norm_eps }
}
