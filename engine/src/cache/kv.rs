//! Growing key-value cache (`KVCache` and `QuantizedKVCache` of `mlx_lm/models/cache.py`).

use mlx_rs::Array;

use super::file::{Item, Parts, buffer_items};
use crate::{
    Result,
    nn::{KvAttention, KvFormat, Mask, Rows},
};

/// Rows by which the buffers grow.
const STEP: i32 = 256;

/// Keys and values in buffers that grow by [`STEP`] rows; rows from `offset` on are unused.
#[derive(Debug, Clone, Default)]
pub struct KvCache {
    buffers: Option<(Rows, Rows)>,
    offset: i32,
    /// How rows are packed before they are stored.
    format: Option<KvFormat>,
}

impl KvCache {
    /// Tokens stored.
    pub fn offset(&self) -> usize {
        self.offset as usize
    }

    /// One new token sees everything; several see what lies before them, within `window`.
    pub fn mask(&self, new: usize, window: Option<usize>) -> Result<Mask> {
        match window {
            Some(window) => Mask::causal_array(new as i32, self.offset, Some(window as i32)),
            None if new == 1 => Ok(Mask::None),
            None => Ok(Mask::Causal),
        }
    }

    /// Writes `k, v: [B, KV, S, D]` behind the stored rows and returns the filled part.
    pub fn update_and_fetch(&mut self, k: &Array, v: &Array) -> Result<(Rows, Rows)> {
        let (k, v) = (Rows::Plain(k.clone()), Rows::Plain(v.clone()));
        let new = (k.packed(self.format)?, v.packed(self.format)?);
        append(&mut self.buffers, &mut self.offset, &new)
    }

    /// Packs what is stored, unused rows included, and every row to come (`to_quantized`).
    pub fn quantize(&mut self, format: KvFormat) -> Result<()> {
        self.format = self.format.or(Some(format));
        pack(&mut self.buffers, self.format)
    }

    /// How rows are packed.
    pub fn format(&self) -> Option<KvFormat> {
        self.format
    }

    /// Has attention read what is packed in this way.
    pub fn read_by(&mut self, attention: KvAttention) {
        read_by(&mut self.buffers, &mut self.format, attention);
    }

    /// Cuts off whole steps of room.
    pub(super) fn cut_room(&mut self) -> Result<()> {
        let needed = (self.offset + STEP - 1) / STEP * STEP;
        match &mut self.buffers {
            Some((keys, values)) if keys.len() > needed => {
                *keys = keys.slice(0, needed)?;
                *values = values.slice(0, needed)?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Moves buffers that are parts of larger ones.
    pub(super) fn compact(&mut self) -> Result<()> {
        compact(&mut self.buffers)
    }

    /// The filled part of both buffers, or nothing before the first token.
    pub(super) fn filled(&self) -> Result<Option<(Rows, Rows)>> {
        let Some((keys, values)) = self.buffers.as_ref().filter(|_| self.offset > 0) else {
            return Ok(None);
        };
        Ok(Some((keys.slice(0, self.offset)?, values.slice(0, self.offset)?)))
    }

    /// Both buffers, or nothing before the first token.
    pub fn state(&self) -> Vec<&Array> {
        self.buffers.iter().flat_map(|(k, v)| k.arrays().iter().chain(v.arrays())).collect()
    }

    /// The state as mlx-lm names it.
    pub(super) fn parts(&self) -> Parts<'_> {
        let mut items = buffer_items(self.buffers.as_ref());
        items.push(("2", Item::Number(self.offset)));
        let Some(format) = self.format else { return Parts { class: "KVCache", items } };
        items.push(("3", Item::Number(format.group_size() as i32)));
        items.push(("4", Item::Number(format.bits() as i32)));
        Parts { class: "QuantizedKVCache", items }
    }

    /// A cache of checked parts.
    pub(super) fn from_parts(
        buffers: Option<(Rows, Rows)>,
        offset: i32,
        format: Option<KvFormat>,
    ) -> Self {
        Self { buffers, offset, format }
    }

    /// Forgets the last `n` tokens, or all; returns how many.
    pub fn trim(&mut self, n: usize) -> usize {
        let n = (n as i32).min(self.offset);
        self.offset -= n;
        n as usize
    }
}

/// Packs both buffers, where there are any and they are not packed yet.
pub(super) fn pack(buffers: &mut Option<(Rows, Rows)>, format: Option<KvFormat>) -> Result<()> {
    if let Some((keys, values)) = buffers.take() {
        *buffers = Some((keys.packed(format)?, values.packed(format)?));
    }
    Ok(())
}

/// Moves both buffers where they are parts of larger ones.
pub(super) fn compact(buffers: &mut Option<(Rows, Rows)>) -> Result<()> {
    if let Some((keys, values)) = buffers {
        *keys = keys.map(|array| Ok(array.contiguous()?))?;
        *values = values.map(|array| Ok(array.contiguous()?))?;
    }
    Ok(())
}

/// Has attention read both buffers, and rows to come, in this way.
pub(super) fn read_by(
    buffers: &mut Option<(Rows, Rows)>,
    format: &mut Option<KvFormat>,
    attention: KvAttention,
) {
    *format = format.map(|format| format.read_by(attention));
    *buffers =
        buffers.take().map(|(keys, values)| (keys.read_by(attention), values.read_by(attention)));
}

/// Writes the rows of `new` at `end`, which moves behind them, into buffers that grow when they are
/// full. Returns the part before `end`.
pub(super) fn append(
    buffers: &mut Option<(Rows, Rows)>,
    end: &mut i32,
    new: &(Rows, Rows),
) -> Result<(Rows, Rows)> {
    let start = *end;
    let stop = start + new.0.len();
    let (keys, values) = match buffers.take() {
        Some((keys, values)) if stop <= keys.len() => (keys, values),
        Some((keys, values)) => (grown(keys, &new.0, start)?, grown(values, &new.1, start)?),
        None => (fresh_rows(&new.0)?, fresh_rows(&new.1)?),
    };
    let keys = keys.written(&new.0, start)?;
    let values = values.written(&new.1, start)?;
    *end = stop;
    let filled = if stop < keys.len() {
        (keys.slice(0, stop)?, values.slice(0, stop)?)
    } else {
        (keys.clone(), values.clone())
    };
    *buffers = Some((keys, values));
    Ok(filled)
}

/// Zeroed rows for at least the rows of `like`, in whole steps.
fn fresh_rows(like: &Rows) -> Result<Rows> {
    like.zeros((STEP + like.len() - 1) / STEP * STEP)
}

/// `buffer` with room for the rows of `new` behind its first `used` rows.
fn grown(buffer: Rows, new: &Rows, used: i32) -> Result<Rows> {
    let kept = if used % STEP == 0 { buffer } else { buffer.slice(0, used)? };
    Rows::concatenate(&[kept, fresh_rows(new)?])
}
