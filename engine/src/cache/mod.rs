//! Per-layer state of a sequence (`mlx_lm/models/cache.py`).

mod kv;

use mlx_rs::Array;

pub use kv::KvCache;

use crate::{Result, nn::Mask};

/// One layer's state. A sequence owns one per caching layer, in layer order.
#[derive(Debug)]
pub enum LayerCache {
    /// Growing key-value buffers.
    Kv(KvCache),
}

impl LayerCache {
    /// Tokens seen.
    pub fn offset(&self) -> usize {
        match self {
            Self::Kv(c) => c.offset(),
        }
    }

    /// The mask for `new` further tokens.
    pub fn mask(&self, new: usize) -> Mask {
        match self {
            Self::Kv(_) => KvCache::mask(new),
        }
    }

    /// Appends `k, v: [B, KV, S, D]`; returns all keys and values to attend to.
    pub fn update_and_fetch(&mut self, k: &Array, v: &Array) -> Result<(Array, Array)> {
        match self {
            Self::Kv(c) => c.update_and_fetch(k, v),
        }
    }

    /// The arrays that hold the state, to be evaluated after a prefill chunk.
    pub fn state(&self) -> Vec<&Array> {
        match self {
            Self::Kv(c) => c.state(),
        }
    }
}
