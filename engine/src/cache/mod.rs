//! Per-layer state of a sequence (`mlx_lm/models/cache.py`).

#![cfg_attr(
    not(test),
    allow(dead_code, unused_imports, reason = "reuse of caches between requests comes later")
)]

mod arrays;
mod file;
mod kv;
mod rotating;

use mlx_rs::Array;

pub use arrays::ArraysCache;
pub use kv::KvCache;
pub use rotating::RotatingKvCache;

use crate::{Error, Result, nn::Mask};

/// One layer's state. A sequence owns one per caching layer, in layer order.
///
/// A clone shares no later change with its original.
#[derive(Debug, Clone)]
pub enum LayerCache {
    /// Growing key-value buffers.
    Kv(KvCache),
    /// The last tokens' keys and values, in a ring.
    Rotating(RotatingKvCache),
    /// A recurrent layer's arrays.
    Arrays(ArraysCache),
}

impl LayerCache {
    /// Tokens seen; recurrent state does not count them.
    pub fn offset(&self) -> usize {
        match self {
            Self::Kv(c) => c.offset(),
            Self::Rotating(c) => c.offset(),
            Self::Arrays(_) => 0,
        }
    }

    /// The mask for `new` further tokens, which see the last `window` tokens each, or all.
    pub fn mask(&self, new: usize, window: Option<usize>) -> Result<Mask> {
        match self {
            Self::Kv(c) => c.mask(new, window),
            Self::Rotating(c) => c.mask(new, window),
            Self::Arrays(_) => Ok(Mask::None),
        }
    }

    /// Appends `k, v: [B, KV, S, D]`; returns all keys and values to attend to.
    pub fn update_and_fetch(&mut self, k: &Array, v: &Array) -> Result<(Array, Array)> {
        match self {
            Self::Kv(c) => c.update_and_fetch(k, v),
            Self::Rotating(c) => c.update_and_fetch(k, v),
            Self::Arrays(_) => Err(Error::Mlx("a recurrent layer has no keys and values".into())),
        }
    }

    /// The arrays that hold the state, to be evaluated after a prefill chunk.
    pub fn state(&self) -> Vec<&Array> {
        match self {
            Self::Kv(c) => c.state(),
            Self::Rotating(c) => c.state(),
            Self::Arrays(c) => c.state(),
        }
    }

    /// Whether the last tokens can be forgotten again.
    pub fn is_trimmable(&self) -> bool {
        match self {
            Self::Kv(_) => true,
            Self::Rotating(c) => c.is_trimmable(),
            Self::Arrays(_) => false,
        }
    }

    /// Bytes of state, room that is not filled yet included.
    pub fn nbytes(&self) -> usize {
        self.state().into_iter().map(Array::nbytes).sum()
    }
}

/// Forgets the last `n` tokens of a sequence, or all, where every layer can (`trim_prompt_cache`);
/// returns how many were forgotten.
pub fn trim(caches: &mut [LayerCache], n: usize) -> usize {
    if !caches.iter().all(LayerCache::is_trimmable) {
        return 0;
    }
    let trimmed = caches.iter_mut().map(|cache| match cache {
        LayerCache::Kv(c) => c.trim(n),
        LayerCache::Rotating(c) => c.trim(n),
        LayerCache::Arrays(_) => 0,
    });
    // Every layer is trimmed, and all by the same number.
    trimmed.fold(0, usize::max)
}
