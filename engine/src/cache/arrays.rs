//! State of a recurrent layer (`ArraysCache` of `mlx_lm/models/cache.py`).

use mlx_rs::Array;

/// A layer's recurrent arrays, replaced as a whole at every call.
#[derive(Debug, Clone, Default)]
pub struct ArraysCache {
    /// The last inputs of the convolution: `[B, kernel - 1, channels]` in the model's dtype.
    pub conv: Option<Array>,
    /// The delta rule's memory: `[B, value heads, value dim, key dim]` f32.
    pub delta: Option<Array>,
}

impl ArraysCache {
    /// The arrays that exist.
    pub fn state(&self) -> Vec<&Array> {
        self.conv.iter().chain(&self.delta).collect()
    }
}
