//! Rows of a batch that are at the same stage, with their caches.

use mlx_rs::{Array, Dtype, ops, transforms::eval};

use super::{
    Decoder,
    batch::{PendingRows, Row, RowId},
};
use crate::{
    Error, Result,
    cache::{LayerCache, merge},
    mlx::ops::slice,
    models::{Model, Probe},
};

/// Rows and, layer by layer, the caches that hold their states.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) rows: Vec<Row>,
    pub(super) caches: Vec<LayerCache>,
}

impl Group {
    /// Single sequences as one group.
    pub(super) fn merge(mut rows: Vec<Row>) -> Result<Self> {
        let mut layers: Vec<Vec<LayerCache>> = Vec::new();
        for row in &mut rows {
            for (i, cache) in std::mem::take(&mut row.decoder.caches).into_iter().enumerate() {
                if layers.len() <= i {
                    layers.push(Vec::new());
                }
                layers[i].push(cache);
            }
        }
        let merged = layers.into_iter().map(|layer| merge(layer).and_then(settled));
        Ok(Self { rows, caches: merged.collect::<Result<_>>()? })
    }

    /// Appends another group's rows.
    pub(super) fn extend(&mut self, other: Self) -> Result<()> {
        if self.rows.is_empty() {
            *self = other;
            return Ok(());
        }
        for (own, others) in self.caches.iter_mut().zip(other.caches) {
            own.extend(others)?;
            settle(own)?;
        }
        self.rows.extend(other.rows);
        Ok(())
    }

    /// Where the row is.
    pub(super) fn find(&self, id: RowId) -> Option<usize> {
        self.rows.iter().position(|row| row.id == id)
    }

    /// The places that are not in `gone`.
    pub(super) fn others(&self, gone: &[usize]) -> Vec<usize> {
        (0..self.rows.len()).filter(|at| !gone.contains(at)).collect()
    }

    /// Keeps the rows at `keep`, ascending.
    pub(super) fn keep(&mut self, keep: &[usize]) -> Result<()> {
        let mut at = 0;
        self.rows.retain(|_| {
            at += 1;
            keep.contains(&(at - 1))
        });
        filter(&mut self.caches, keep)
    }

    /// Takes the rows at `chosen`, ascending, out as a group of their own.
    pub(super) fn split(&mut self, chosen: &[usize]) -> Result<Self> {
        let rest = self.others(chosen);
        let caches = self.part(&rest, |cache| {
            let mut part = cache.clone();
            part.filter(chosen)?;
            Ok(part)
        })?;
        let mut split = Self { rows: Vec::new(), caches };
        for (at, row) in std::mem::take(&mut self.rows).into_iter().enumerate() {
            let side = if chosen.contains(&at) { &mut split.rows } else { &mut self.rows };
            side.push(row);
        }
        Ok(split)
    }

    /// Takes the row at `at` out, as a single sequence.
    pub(super) fn take(&mut self, at: usize) -> Result<Decoder> {
        let rest = self.others(&[at]);
        let caches = self.part(&rest, |cache| cache.extract(at))?;
        let mut decoder = self.rows.remove(at).decoder;
        decoder.caches = caches;
        Ok(decoder)
    }

    /// What `taken` makes of each layer's cache, which then keeps the rows at `rest`. Layer by layer,
    /// so that no two copies of all of them exist.
    fn part(
        &mut self,
        rest: &[usize],
        taken: impl Fn(&LayerCache) -> Result<LayerCache>,
    ) -> Result<Vec<LayerCache>> {
        let mut parts = Vec::with_capacity(self.caches.len());
        for cache in &mut self.caches {
            parts.push(settled(taken(cache)?)?);
            if !rest.is_empty() {
                cache.filter(rest)?;
                settle(cache)?;
            }
        }
        if rest.is_empty() {
            self.caches.clear();
        }
        Ok(parts)
    }

    /// The step that follows input tokens `[B]`, not dispatched yet, and the rows that have none.
    pub(super) fn step(
        &mut self,
        model: &dyn Model,
        tokens: &Array,
    ) -> Result<(PendingRows, Vec<(usize, Error)>)> {
        let rows = self.rows.len() as i32;
        select_adapters(&self.rows, model)?;
        let input = tokens.reshape(&[rows, 1])?;
        let hidden = model.hidden(&input, &mut self.caches, &mut Probe::default())?;
        let raw = model.logits(&hidden)?.reshape(&[rows, -1])?;
        for row in &mut self.rows {
            row.decoder.note_step();
        }
        let mut failed = Vec::new();
        let logits = self.processed(&raw, tokens, &mut failed)?;
        let logprobs = ops::subtract(&logits, ops::logsumexp_axis(&logits, -1, true)?)?;
        let chosen = self.chosen(&logits, &logprobs, &mut failed)?;
        Ok((PendingRows { tokens: chosen, logprobs, logits: raw }, failed))
    }

    fn processed(
        &mut self,
        raw: &Array,
        tokens: &Array,
        failed: &mut Vec<(usize, Error)>,
    ) -> Result<Array> {
        if self.rows.iter().all(|row| row.decoder.processors.is_empty()) {
            return Ok(raw.clone());
        }
        let mut parts = Vec::with_capacity(self.rows.len());
        for (at, row) in self.rows.iter_mut().enumerate() {
            let logits = row_of(raw, at)?;
            let input = slice(tokens, &[at as i32], &[at as i32 + 1])?;
            let processors = &mut row.decoder.processors;
            let done = processors.remember(&input).and_then(|()| processors.apply(&logits));
            parts.push(done.unwrap_or_else(|error| {
                failed.push((at, error));
                logits
            }));
        }
        Ok(ops::concatenate(&parts, 0)?)
    }

    /// Every row's next token: `[B]`.
    fn chosen(
        &mut self,
        logits: &Array,
        logprobs: &Array,
        failed: &mut Vec<(usize, Error)>,
    ) -> Result<Array> {
        let mistaken = self.rows.iter().any(|row| row.decoder.argmax_over_logits);
        let from = if mistaken { logits } else { logprobs };
        if self.rows.iter().all(|row| row.decoder.sampler.is_greedy()) {
            return Ok(ops::indexing::argmax_axis(from, -1, false)?);
        }
        let mut parts = Vec::with_capacity(self.rows.len());
        for (at, row) in self.rows.iter_mut().enumerate() {
            let token = row_of(from, at).and_then(|row_from| {
                let token = row.decoder.sampler.sample(&row_from)?;
                Ok(token.as_dtype(Dtype::Uint32)?)
            });
            parts.push(token.unwrap_or_else(|error| {
                failed.push((at, error));
                Array::from_slice(&[0_u32], &[1])
            }));
        }
        Ok(ops::concatenate(&parts, 0)?)
    }
}

/// Makes the next call use each row's own adapters.
pub(super) fn select_adapters(rows: &[Row], model: &dyn Model) -> Result<()> {
    let ids: Vec<_> = rows.iter().map(|row| row.decoder.adapters.ids()).collect();
    model.adapters().select_rows(&ids)
}

/// `[1, V]`.
fn row_of(array: &Array, row: usize) -> Result<Array> {
    slice(array, &[row as i32, 0], &[row as i32 + 1, array.dim(1)])
}

/// Keeps rows of every layer; without any, there is nothing left to hold.
fn filter(caches: &mut Vec<LayerCache>, keep: &[usize]) -> Result<()> {
    if keep.is_empty() {
        caches.clear();
        return Ok(());
    }
    caches.iter_mut().try_for_each(|cache| {
        cache.filter(keep)?;
        settle(cache)
    })
}

/// Computes what has become of a layer's rows. Put off, the next call would do it, and until then
/// all layers would be there twice.
fn settle(cache: &LayerCache) -> Result<()> {
    Ok(eval(cache.state())?)
}

fn settled(cache: LayerCache) -> Result<LayerCache> {
    settle(&cache)?;
    Ok(cache)
}
