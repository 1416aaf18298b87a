//! Qwen3.5, dense (`mlx_lm/models/qwen3_5.py`, `qwen3_next.py`, `gated_delta.py`).
//!
//! Most layers keep a recurrent memory by the gated delta rule; every fourth attends to all keys.
//! Multimodal checkpoints load as text models.

mod attention;
mod config;
mod delta;
mod facts;
mod model;

pub use config::Qwen35Config;

use super::{Family, Mutation};

/// `qwen3_5_text` is the text model alone, which mlx-lm reads under the name `qwen3_5` only.
pub const FAMILY: Family = Family {
    model_types: &["qwen3_5", "qwen3_5_text"],
    facts: |dir| Ok(Box::new(Qwen35Config::from_dir(dir)?)),
    build: model::build,
    checkpoint: model::checkpoint,
    quant_override: |_| None,
    keeps_dtype: |path| path.ends_with("A_log"),
};

fn norm_eps(c: &Qwen35Config, mutation: Mutation) -> f64 {
    if mutation == Mutation::NormEpsDoubled { c.rms_norm_eps * 2.0 } else { c.rms_norm_eps }
}
