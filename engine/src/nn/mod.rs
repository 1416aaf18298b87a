//! Layers shared by the model families; op order as in `mlx/nn/layers` and `mlx_lm/models/base.py`.

mod activation;
mod adapter;
mod attention;
mod embedding;
mod linear;
mod norm;
mod packed_attention;
mod params;
mod rope;
mod rows;
mod scalar;
mod switch;

pub use activation::{GeluApprox, Silu};
pub use adapter::{AdapterId, Adapters, Dora, LowRank, Patch, Site};
pub use attention::{Mask, attend};
pub use embedding::Embedding;
pub use linear::Linear;
pub use norm::{RmsNorm, rms_norm};
pub use params::Params;
pub use rope::{Position, Rope};
pub use rows::{KvAttention, KvFormat, Rows};
pub use scalar::WeakScalar;
pub use switch::SwitchGlu;
