//! Token generation with mlx-lm's semantics (`mlx_lm/generate.py`, `mlx_lm/sample_utils.py`).

mod decoder;
mod processors;
mod sampler;

pub use decoder::{Decoder, DecoderOptions, Progress, Step};
pub use sampler::check as check_sampling;
