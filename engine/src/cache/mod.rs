//! Per-layer state of a sequence (`mlx_lm/models/cache.py`).

mod kv;
mod rotating;

use mlx_rs::Array;

pub use kv::KvCache;
pub use rotating::RotatingKvCache;

use crate::{Result, nn::Mask};

/// One layer's state. A sequence owns one per caching layer, in layer order.
///
/// A clone shares no later change with its original.
#[derive(Debug, Clone)]
pub enum LayerCache {
    /// Growing key-value buffers.
    Kv(KvCache),
    /// The last tokens' keys and values, in a ring.
    Rotating(RotatingKvCache),
}

impl LayerCache {
    /// Tokens seen.
    pub fn offset(&self) -> usize {
        match self {
            Self::Kv(c) => c.offset(),
            Self::Rotating(c) => c.offset(),
        }
    }

    /// The mask for `new` further tokens, which see the last `window` tokens each, or all.
    pub fn mask(&self, new: usize, window: Option<usize>) -> Result<Mask> {
        match self {
            Self::Kv(c) => c.mask(new, window),
            Self::Rotating(c) => c.mask(new, window),
        }
    }

    /// Appends `k, v: [B, KV, S, D]`; returns all keys and values to attend to.
    pub fn update_and_fetch(&mut self, k: &Array, v: &Array) -> Result<(Array, Array)> {
        match self {
            Self::Kv(c) => c.update_and_fetch(k, v),
            Self::Rotating(c) => c.update_and_fetch(k, v),
        }
    }

    /// The arrays that hold the state, to be evaluated after a prefill chunk.
    pub fn state(&self) -> Vec<&Array> {
        match self {
            Self::Kv(c) => c.state(),
            Self::Rotating(c) => c.state(),
        }
    }
}
