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
            Self::Growing(heads) => heads.token_bytes(format, dtype).saturating_mul(rows.growing()),
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

/// What a call of the model takes beside caches: one phase after another, of which the most
/// demanding counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkFacts {
    /// What layers do.
    pub phases: Vec<Phase>,
    /// Values per token of the call, in the model's dtype, that are there from its start to its end.
    pub throughout: u64,
    /// Rows of the embedding table: logits of a step.
    pub vocab: u64,
}

/// A kind of layer at work, with what the layers around it still hold or hold already: MLX
/// dispatches ahead of what it computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Phase {
    /// Values per token of the call where the model's dtype is a half-precision one, in that dtype.
    /// Norms and rotations take detours through F32, which count twice.
    pub half: u64,
    /// Values per token of the call where the model's dtype is F32.
    pub single: u64,
    /// Values per token of the call that are F32 in either case.
    pub wide: u64,
    /// Query heads: attention has a score for each of them, each token of the call and each key.
    pub heads: u64,
    /// Keys that it attends to at most, beside the call's own; absent when it attends to all.
    pub window: Option<u64>,
}

/// A transformer layer with attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerFacts {
    /// Width of the residual stream.
    pub hidden: u64,
    /// Width of the MLP.
    pub inner: u64,
    /// Query heads, of the keys' width.
    pub heads: u64,
    /// Key heads.
    pub keys: Heads,
    /// Keys that it attends to at most.
    pub window: Option<u64>,
}

impl LayerFacts {
    /// What it takes, by measurement (`just fit-check`): the MLP with attention still or already
    /// there, and attention where queries and keys are wide.
    pub fn phases(self) -> Vec<Phase> {
        let Self { hidden, inner, heads, keys, window } = self;
        let (q, k) = (heads * keys.width, keys.count * keys.width);
        let phase = |half: u64, single: u64| Phase {
            half: half / 2,
            single: single / 2,
            wide: 0,
            heads,
            window,
        };
        vec![
            phase(32 * hidden + 6 * inner + 8 * q + 6 * k, 11 * hidden + 6 * inner + 11 * q + k),
            phase(17 * q + 25 * k, 15 * q + 10 * k),
        ]
    }
}
