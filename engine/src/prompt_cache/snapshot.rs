//! The state of every layer as an entry holds it.

use mlx_rs::transforms::eval;

use super::store::State;
use crate::{
    Result,
    cache::{self, LayerCache},
};

/// Caches that are computed, and whose arrays hold on to no memory but their own.
#[derive(Debug)]
pub struct Snapshot(Vec<LayerCache>);

impl Snapshot {
    /// Takes caches over: room that is not needed is cut off, and what is part of a larger buffer
    /// gets one of its own. Arrays that other caches hold too are shared, never written to.
    pub fn take(mut caches: Vec<LayerCache>) -> Result<Self> {
        for cache in &mut caches {
            cache.compact()?;
            eval(cache.state())?;
        }
        Ok(Self(caches))
    }

    /// The caches, one per layer.
    pub fn layers(&self) -> &[LayerCache] {
        &self.0
    }

    /// Caches to go on with, cut back to `tokens` tokens, which share arrays with the snapshot until
    /// they are written to. `None` where they cannot be cut back that far.
    pub fn caches(&self, tokens: usize, stored: usize) -> Result<Option<Vec<LayerCache>>> {
        let mut caches = self.0.clone();
        let surplus = stored - tokens;
        if surplus > 0 {
            if cache::trim(&mut caches, surplus) != surplus {
                return Ok(None);
            }
            // The first write copies buffers: not more of them than is needed.
            caches.iter_mut().try_for_each(LayerCache::cut_room)?;
        }
        Ok(Some(caches))
    }
}

impl State for Snapshot {
    fn nbytes(&self) -> usize {
        self.0.iter().map(LayerCache::nbytes).sum()
    }

    fn is_trimmable(&self) -> bool {
        self.0.iter().all(LayerCache::is_trimmable)
    }
}
