//! Several sequences decoded together (`BatchGenerator`, `PromptProcessingBatch` and
//! `GenerationBatch` of `mlx_lm/generate.py`).
//!
//! One turn: a token for every generating row; then room is filled from those that wait, rows with
//! one prompt token left begin to generate, and all others read one chunk of their prompts, shorter
//! chunks padded on the right. Same model calls in the same order as mlx-lm makes.

use std::collections::VecDeque;

use mlx_rs::{
    Array, memory, ops,
    transforms::{async_eval, eval},
};

use super::{
    Decoder, Progress, Step,
    decoder::Pending,
    group::{Group, select_adapters},
};
use crate::{Error, Result, cache::LayerCache, mlx, models::Model};

/// Steps between two returns of MLX's buffer cache to the system.
const CLEAR_CACHE_EVERY: usize = 512;

/// Names a row for as long as it is in the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId(pub u64);

/// A sequence in a batch. Its decoder's caches are empty while the batch holds its state.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) id: RowId,
    pub(super) decoder: Decoder,
}

/// Hears what a turn did to a row, an error being its last news; false takes the row out.
pub type Sink<'a> = dyn FnMut(RowId, Result<Progress>) -> bool + 'a;

/// Sequences that share the model's calls.
#[derive(Debug)]
pub struct BatchDecoder {
    max_rows: usize,
    waiting: VecDeque<Row>,
    prompts: Group,
    generating: Group,
    /// The step that the generating rows have dispatched.
    pending: Option<PendingRows>,
    steps: usize,
}

/// A dispatched step of all rows that nobody has read yet.
#[derive(Debug)]
pub(super) struct PendingRows {
    /// `[B]`.
    pub(super) tokens: Array,
    /// `[B, V]`.
    pub(super) logprobs: Array,
    /// `[B, V]`, before the processors.
    pub(super) logits: Array,
}

impl PendingRows {
    fn arrays(&self) -> [&Array; 3] {
        [&self.tokens, &self.logprobs, &self.logits]
    }

    fn map(&self, change: impl Fn(&Array) -> Result<Array>) -> Result<Self> {
        Ok(Self {
            tokens: change(&self.tokens)?,
            logprobs: change(&self.logprobs)?,
            logits: change(&self.logits)?,
        })
    }

    fn filter(&self, keep: &[usize]) -> Result<Self> {
        let rows: Vec<i32> = keep.iter().map(|&row| row as i32).collect();
        let rows = Array::from_slice(&rows, &[rows.len() as i32]);
        self.map(|array| Ok(array.take_axis(&rows, 0)?))
    }

    fn extend(&self, other: &Self) -> Result<Self> {
        let join = |a: &Array, b: &Array| ops::concatenate(&[a, b], 0);
        Ok(Self {
            tokens: join(&self.tokens, &other.tokens)?,
            logprobs: join(&self.logprobs, &other.logprobs)?,
            logits: join(&self.logits, &other.logits)?,
        })
    }

    /// Logits or log-probabilities `[V]` of one row.
    fn row(array: &Array, row: usize) -> Result<Array> {
        let (row, vocab) = (row as i32, array.dim(1));
        Ok(mlx::ops::slice(array, &[row, 0], &[row + 1, vocab])?.reshape(&[-1])?)
    }
}

impl BatchDecoder {
    /// An empty batch of at most `max_rows` rows.
    pub fn new(max_rows: usize) -> Self {
        Self {
            max_rows: max_rows.max(1),
            waiting: VecDeque::new(),
            prompts: Group::default(),
            generating: Group::default(),
            pending: None,
            steps: 0,
        }
    }

    /// Whether the sequence [goes with](Decoder::goes_with) all rows that are here.
    pub fn accepts(&self, decoder: &Decoder, model: &dyn Model) -> bool {
        let groups = [&self.prompts, &self.generating];
        let mut rows = self.waiting.iter().chain(groups.into_iter().flat_map(|g| &g.rows));
        rows.all(|row| decoder.goes_with(&row.decoder, model))
    }

    /// Adds a sequence, wherever it has got to.
    ///
    /// # Errors
    /// [`Error::Mlx`] unless the sequence [fits](Decoder::fits_a_batch).
    pub fn insert(&mut self, id: RowId, mut decoder: Decoder) -> Result<()> {
        if !decoder.fits_a_batch() {
            return Err(Error::Mlx("the sequence does not fit a batch yet".into()));
        }
        let Some(pending) = decoder.pending.take() else {
            self.waiting.push_back(Row { id, decoder });
            return Ok(());
        };
        let pending = PendingRows {
            tokens: pending.token.reshape(&[1])?,
            logprobs: pending.logprobs.reshape(&[1, -1])?,
            logits: pending.raw.reshape(&[1, -1])?,
        };
        self.join(Group::merge(vec![Row { id, decoder }])?, pending)
    }

    /// Takes a sequence out, to go on alone.
    pub fn take(&mut self, id: RowId) -> Result<Option<Decoder>> {
        if let Some(at) = self.waiting.iter().position(|row| row.id == id) {
            return Ok(self.waiting.remove(at).map(|row| row.decoder));
        }
        if let Some(at) = self.prompts.find(id) {
            return self.prompts.take(at).map(Some);
        }
        let Some(at) = self.generating.find(id) else { return Ok(None) };
        let pending = self.pending.as_ref().map(|p| p.filter(&[at])).transpose()?;
        let keep = self.generating.others(&[at]);
        self.pending = self.pending.take().map(|p| p.filter(&keep)).transpose()?;
        let mut decoder = self.generating.take(at)?;
        decoder.pending =
            pending.map(|p| Pending { token: p.tokens, logprobs: p.logprobs, raw: p.logits });
        self.forget_when_empty();
        Ok(Some(decoder))
    }

    /// One turn of all rows.
    ///
    /// # Errors
    /// When a call for all rows failed: none of them can go on.
    pub fn advance(&mut self, model: &dyn Model, sink: &mut Sink<'_>) -> Result<()> {
        self.generate(model, sink)?;
        if self.generating.rows.len() >= self.max_rows {
            return Ok(());
        }
        self.admit()?;
        self.begin(model, sink)?;
        self.read_prompts(model, sink)
    }

    /// A token for every generating row.
    fn generate(&mut self, model: &dyn Model, sink: &mut Sink<'_>) -> Result<()> {
        let Some(current) = self.pending.take() else { return Ok(()) };
        let (next, failed) = self.generating.step(model, &current.tokens)?;
        async_eval(next.arrays())?;
        let tokens = mlx::to_u32(&current.tokens)?;
        let mut gone = Vec::new();
        for (at, row) in self.generating.rows.iter_mut().enumerate() {
            row.decoder.yielded += 1;
            let captured = row.decoder.capture.logits;
            let step = Step {
                token: tokens[at],
                logprobs: PendingRows::row(&current.logprobs, at)?,
                logits: captured.then(|| PendingRows::row(&current.logits, at)).transpose()?,
                completes: false,
            };
            if !sink(row.id, Ok(Progress::Token(step))) {
                gone.push(at);
            }
        }
        self.pending = Some(next);
        self.report(failed, &mut gone, sink);
        self.drop_generating(&gone)?;
        self.steps += 1;
        if self.steps.is_multiple_of(CLEAR_CACHE_EVERY) {
            memory::clear_cache()?;
        }
        Ok(())
    }

    /// Tells rows of `self.generating` that they failed, unless they are gone anyway.
    fn report(&self, failed: Vec<(usize, Error)>, gone: &mut Vec<usize>, sink: &mut Sink<'_>) {
        for (at, error) in failed {
            if !gone.contains(&at) {
                sink(self.generating.rows[at].id, Err(error));
                gone.push(at);
            }
        }
    }

    fn drop_generating(&mut self, gone: &[usize]) -> Result<()> {
        if gone.is_empty() {
            return Ok(());
        }
        let keep = self.generating.others(gone);
        self.pending = self.pending.take().map(|p| p.filter(&keep)).transpose()?;
        self.generating.keep(&keep)?;
        self.forget_when_empty();
        Ok(())
    }

    fn forget_when_empty(&mut self) {
        if self.generating.rows.is_empty() {
            self.pending = None;
        }
    }

    /// Lets waiting sequences begin to read their prompts.
    fn admit(&mut self) -> Result<()> {
        let room = (self.max_rows - self.prompts.rows.len().min(self.max_rows))
            .min(self.max_rows - self.generating.rows.len());
        let new: Vec<Row> = self.waiting.drain(..room.min(self.waiting.len())).collect();
        if new.is_empty() {
            return Ok(());
        }
        self.prompts.extend(Group::merge(new)?)
    }

    /// Moves rows with one prompt token left over to those that generate.
    fn begin(&mut self, model: &dyn Model, sink: &mut Sink<'_>) -> Result<()> {
        let ready: Vec<usize> = (0..self.prompts.rows.len())
            .filter(|&at| self.prompts.rows[at].decoder.prompt_left() == 1)
            .collect();
        if ready.is_empty() {
            return Ok(());
        }
        let mut group = self.prompts.split(&ready)?;
        let last: Vec<u32> = group
            .rows
            .iter_mut()
            .filter_map(|row| {
                row.decoder.prefilled = row.decoder.prompt.len();
                row.decoder.prompt.last().copied()
            })
            .collect();
        let tokens = Array::from_slice(&last, &[last.len() as i32]);
        let before = self.generating.rows.len();
        let (pending, failed) = group.step(model, &tokens)?;
        async_eval(pending.arrays())?;
        self.join(group, pending)?;
        let failed = failed.into_iter().map(|(at, error)| (before + at, error)).collect();
        let mut gone = Vec::new();
        self.report(failed, &mut gone, sink);
        self.drop_generating(&gone)
    }

    fn join(&mut self, group: Group, pending: PendingRows) -> Result<()> {
        self.generating.extend(group)?;
        self.pending = Some(match self.pending.take() {
            Some(present) => present.extend(&pending)?,
            None => pending,
        });
        Ok(())
    }

    /// One chunk of every prompt.
    fn read_prompts(&mut self, model: &dyn Model, sink: &mut Sink<'_>) -> Result<()> {
        let Group { rows, caches } = &mut self.prompts;
        if rows.is_empty() {
            return Ok(());
        }
        let chunks: Vec<&[u32]> = rows.iter().map(|row| row.decoder.next_chunk()).collect();
        let lengths: Vec<i32> = chunks.iter().map(|chunk| chunk.len() as i32).collect();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let padding: Vec<i32> = lengths.iter().map(|length| longest - length).collect();
        let ragged = padding.iter().any(|&n| n > 0);
        let ids: Vec<u32> = chunks
            .iter()
            .zip(&padding)
            .flat_map(|(chunk, &n)| chunk.iter().copied().chain((0..n).map(|_| 0)))
            .collect();
        let ids = Array::from_slice(&ids, &[lengths.len() as i32, longest]);
        if ragged {
            for cache in caches.iter_mut() {
                cache.prepare(&lengths, &padding);
            }
        }
        select_adapters(rows, model)?;
        drop(model.hidden(&ids, caches, &mut crate::models::Probe::default())?);
        eval(caches.iter().flat_map(LayerCache::state))?;
        memory::clear_cache()?;
        if ragged {
            caches.iter_mut().try_for_each(LayerCache::finalize)?;
            eval(caches.iter().flat_map(LayerCache::state))?;
            memory::clear_cache()?;
        }
        let mut gone = Vec::new();
        for (at, row) in rows.iter_mut().enumerate() {
            let progress = row.decoder.note_chunk(lengths[at] as usize);
            let failed = progress.is_err();
            if !sink(row.id, progress.map(Progress::Prefill)) || failed {
                gone.push(at);
            }
        }
        if !gone.is_empty() {
            let keep = self.prompts.others(&gone);
            self.prompts.keep(&keep)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
