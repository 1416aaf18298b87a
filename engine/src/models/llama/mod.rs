//! Llama and MiniCPM5 (`mlx_lm/models/llama.py`).

mod config;
mod model;

pub use config::LlamaConfig;

use super::Family;

/// MiniCPM5 is a plain llama.
pub const FAMILY: Family = Family {
    model_types: &["llama"],
    facts: |dir| Ok(Box::new(LlamaConfig::from_dir(dir)?)),
    build: model::build,
    checkpoint: model::checkpoint,
    quant_override: |_| None,
    keeps_dtype: |_| false,
};
