//! Llama and MiniCPM5 (`mlx_lm/models/llama.py`).

mod model;

use super::Family;

/// MiniCPM5 is a plain llama.
pub const FAMILY: Family = Family { model_types: &["llama"], build: model::build };
