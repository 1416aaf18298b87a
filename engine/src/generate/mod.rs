//! Token generation with mlx-lm's semantics (`mlx_lm/generate.py`, `mlx_lm/sample_utils.py`).

mod batch;
mod chunks;
mod constrained;
mod decoder;
mod group;
mod processors;
mod rows;
mod sampler;

pub use batch::{BatchDecoder, RowId};
pub use chunks::Chunks;
pub use decoder::{Decoder, DecoderOptions, Progress, Step};
pub use rows::{Draw, draw_rows, process_row};
pub use sampler::check as check_sampling;
