//! Layers shared by the model families; op order as in `mlx/nn/layers` and `mlx_lm/models/base.py`.

mod attention;
mod embedding;
mod linear;
mod norm;
mod params;
mod rope;

pub use attention::{Mask, attend};
pub use embedding::Embedding;
pub use linear::Linear;
pub use norm::RmsNorm;
pub use params::Params;
pub use rope::Rope;
