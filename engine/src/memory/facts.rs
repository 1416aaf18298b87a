//! What a family says about its memory: which state each layer keeps, and what a call takes.

use super::rows::Rows;
use crate::{nn::KvFormat, weights::Dtype};

/// What the arithmetic of memory needs to know of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryFacts {
    /// The state that each caching layer keeps; layers that borrow another's keys have none.
    pub caches: Vec<CacheFacts>,
    /// What a call takes beside it.
    pub work: WorkFacts,
}

/// The state of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheFacts {
    /// Keys and values of every token.
    Growing(Heads),
    /// Keys and values of the last tokens.
    Window(Heads, u64),
    /// Recurrent state, the same for every length.
    Recurrent {
        /// Values in the model's dtype.
        narrow: u64,
        /// Values in F32.
        wide: u64,
    },
}

/// Keys, and values of the same shape, of one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Key heads.
    pub count: u64,
    /// Width of one.
    pub width: u64,
}

impl Heads {
    /// Bytes of one token's keys and values, plain or packed with scales and biases.
    pub fn token_bytes(self, format: Option<KvFormat>, dtype: Dtype) -> u64 {
        let per_head = match format {
            None => self.width * dtype.bytes(),
            Some(format) => {
                let groups = self.width / format.group_size() as u64;
                self.width * u64::from(format.bits()) / 8 + groups * 2 * dtype.bytes()
            }
        };
        2 * self.count * per_head
    }
}

impl CacheFacts {
    /// Bytes after calls that left buffers of `rows`.
    pub fn bytes(self, rows: Rows, format: Option<KvFormat>, dtype: Dtype) -> u64 {
        match self {
            Self::Growing(heads) => {
                heads.token_bytes(format, dtype).saturating_mul(rows.growing())
            }
            Self::Window(heads, window) => {
                heads.token_bytes(format, dtype).saturating_mul(rows.window(window))
            }
            Self::Recurrent { narrow, wide } => narrow * dtype.bytes() + wide * Dtype::F32.bytes(),
        }
    }

    /// Whether it has keys and values, which can be packed.
    pub fn keeps_rows(self) -> bool {
        !matches!(self, Self::Recurrent { .. })
    }
}

/// What a call of the model takes beside caches, in values of the model's dtype unless it says F32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WorkFacts {
    /// Per token of the call: intermediate results of the layers at work.
    pub row: u64,
    /// Per token of the call, in F32.
    pub wide_row: u64,
    /// Query heads: attention has a score for each of them, each token of the call and each key.
    pub heads: u64,
    /// Keys that the widest layer attends to at most; absent when it attends to all.
    pub window: Option<u64>,
    /// Rows of the embedding table: logits of a step.
    pub vocab: u64,
}
