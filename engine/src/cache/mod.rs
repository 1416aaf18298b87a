//! Per-layer state of a sequence (`mlx_lm/models/cache.py`).

mod arrays;
mod batch;
pub mod file;
mod kv;
mod rotating;

use mlx_rs::Array;

pub use arrays::ArraysCache;
pub use batch::{BatchKvCache, BatchRotatingKvCache, merge};
pub use kv::KvCache;
pub use rotating::RotatingKvCache;

use crate::{
    Error, Result,
    nn::{KvAttention, KvFormat, Mask, Position, Rows},
};

/// One layer's state. A sequence, or a batch of sequences, owns one per caching layer, in layer
/// order.
///
/// A clone shares no later change with its original.
#[derive(Debug, Clone)]
pub enum LayerCache {
    /// Growing key-value buffers.
    Kv(KvCache),
    /// The last tokens' keys and values, in a ring.
    Rotating(RotatingKvCache),
    /// A recurrent layer's arrays, of a sequence or a batch.
    Arrays(ArraysCache),
    /// Growing key-value buffers of a batch.
    BatchKv(BatchKvCache),
    /// The last tokens' keys and values of a batch, in a ring.
    BatchRotating(BatchRotatingKvCache),
}

impl LayerCache {
    /// Tokens seen, of a batch by its longest row; recurrent state does not count them.
    pub fn offset(&self) -> usize {
        let longest = |offsets: Vec<i32>| offsets.into_iter().max().unwrap_or(0) as usize;
        match self {
            Self::Kv(c) => c.offset(),
            Self::Rotating(c) => c.offset(),
            Self::Arrays(_) => 0,
            Self::BatchKv(c) => longest(c.offsets()),
            Self::BatchRotating(c) => longest(c.offsets()),
        }
    }

    /// Where the next token stands, moved by `shift`; recurrent state does not count tokens.
    pub fn position(&self, shift: i32) -> Position {
        let rows = |offsets: Vec<i32>| {
            let offsets: Vec<i32> = offsets.iter().map(|offset| offset + shift).collect();
            Position::Rows(Array::from_slice(&offsets, &[offsets.len() as i32]))
        };
        match self {
            Self::Kv(c) => Position::Same(c.offset() as i32 + shift),
            Self::Rotating(c) => Position::Same(c.offset() as i32 + shift),
            Self::Arrays(_) => Position::Same(shift),
            Self::BatchKv(c) => rows(c.offsets()),
            Self::BatchRotating(c) => rows(c.offsets()),
        }
    }

    /// The mask for `new` further tokens, which see the last `window` tokens each, or all. Of a
    /// recurrent layer: which of them are no padding, where any may be: `[B, new]`.
    pub fn mask(&self, new: usize, window: Option<usize>) -> Result<Mask> {
        match self {
            Self::Kv(c) => c.mask(new, window),
            Self::Rotating(c) => c.mask(new, window),
            Self::Arrays(c) => Ok(c.mask(new)),
            Self::BatchKv(c) => c.mask(new, window),
            Self::BatchRotating(c) => c.mask(new, window),
        }
    }

    /// Appends `k, v: [B, KV, S, D]`; returns all keys and values to attend to.
    pub fn update_and_fetch(&mut self, k: &Array, v: &Array) -> Result<(Rows, Rows)> {
        match self {
            Self::Kv(c) => c.update_and_fetch(k, v),
            Self::Rotating(c) => c.update_and_fetch(k, v),
            Self::Arrays(_) => Err(Error::Mlx("a recurrent layer has no keys and values".into())),
            Self::BatchKv(c) => c.update_and_fetch(k, v),
            Self::BatchRotating(c) => c.update_and_fetch(k, v),
        }
    }

    /// Packs keys and values, those stored and those to come; recurrent state has none. What is
    /// packed already keeps its format.
    ///
    /// # Errors
    /// [`Error::Mlx`] for a batch: its rows are packed before they join.
    pub fn quantize(&mut self, format: KvFormat) -> Result<()> {
        match self {
            Self::Kv(c) => c.quantize(format),
            Self::Rotating(c) => c.quantize(format),
            Self::Arrays(_) => Ok(()),
            Self::BatchKv(_) | Self::BatchRotating(_) => {
                Err(Error::Mlx("a batch's keys and values cannot be packed".into()))
            }
        }
    }

    /// Whether it is a single sequence's keys and values, which can be packed.
    pub fn keeps_rows(&self) -> bool {
        matches!(self, Self::Kv(_) | Self::Rotating(_))
    }

    /// How keys and values are packed.
    pub fn format(&self) -> Option<KvFormat> {
        match self {
            Self::Kv(c) => c.format(),
            Self::Rotating(c) => c.format(),
            Self::BatchKv(c) => c.format(),
            Self::BatchRotating(c) => c.format(),
            Self::Arrays(_) => None,
        }
    }

    /// Has attention read what is packed in this way.
    pub fn read_by(&mut self, attention: KvAttention) {
        match self {
            Self::Kv(c) => c.read_by(attention),
            Self::Rotating(c) => c.read_by(attention),
            Self::Arrays(_) | Self::BatchKv(_) | Self::BatchRotating(_) => {}
        }
    }

    /// The arrays that hold the state, to be evaluated after a prefill chunk.
    pub fn state(&self) -> Vec<&Array> {
        match self {
            Self::Kv(c) => c.state(),
            Self::Rotating(c) => c.state(),
            Self::Arrays(c) => c.state(),
            Self::BatchKv(c) => c.state(),
            Self::BatchRotating(c) => c.state(),
        }
    }

    /// Tokens that a single sequence's ring looks back on.
    pub fn window(&self) -> Option<usize> {
        if let Self::Rotating(c) = self { Some(c.max_size() as usize) } else { None }
    }

    /// Whether both are a single sequence's state of one kind, of the same window if it has one.
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Kv(_), Self::Kv(_)) | (Self::Arrays(_), Self::Arrays(_)) => true,
            (Self::Rotating(a), Self::Rotating(b)) => a.is_like(b),
            _ => false,
        }
    }

    /// Cuts off whole steps of room behind a single sequence's tokens. The arrays may be parts of
    /// larger ones then.
    pub fn cut_room(&mut self) -> Result<()> {
        if let Self::Kv(c) = self { c.cut_room() } else { Ok(()) }
    }

    /// Cuts off room, and gives every array of a single sequence memory of its own where it is part
    /// of a larger one.
    pub fn compact(&mut self) -> Result<()> {
        self.cut_room()?;
        match self {
            Self::Kv(c) => c.compact(),
            Self::Rotating(c) => c.compact(),
            Self::Arrays(c) => c.compact(),
            Self::BatchKv(_) | Self::BatchRotating(_) => Ok(()),
        }
    }

    /// Whether the last tokens can be forgotten again.
    pub fn is_trimmable(&self) -> bool {
        match self {
            Self::Kv(_) | Self::BatchKv(_) => true,
            Self::Rotating(c) => c.is_trimmable(),
            Self::BatchRotating(c) => c.is_trimmable(),
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
        LayerCache::BatchKv(c) => c.trim(n),
        LayerCache::BatchRotating(c) => c.trim(n),
        LayerCache::Arrays(_) => 0,
    });
    // Every layer is trimmed, and all by the same number.
    trimmed.fold(0, usize::max)
}
