//! The requests that share the model's calls.

use std::collections::BTreeMap;

use super::{
    contained,
    sequence::{Context, Reader, Sequence, Turn},
};
use crate::{
    Error, Result,
    generate::{BatchDecoder, Progress, RowId},
    limits,
};

/// Rows of one batch and their readers.
pub(super) struct Batch {
    decoder: BatchDecoder,
    readers: BTreeMap<RowId, Reader>,
    max_rows: usize,
    ids: u64,
}

impl Batch {
    /// An empty batch of at most `max_rows` requests.
    pub(super) fn new(max_rows: usize) -> Self {
        Self { decoder: BatchDecoder::new(max_rows), readers: BTreeMap::new(), max_rows, ids: 0 }
    }

    /// Requests in it.
    pub(super) fn len(&self) -> usize {
        self.readers.len()
    }

    /// Requests that it has room for.
    pub(super) fn room(&self) -> usize {
        self.max_rows.saturating_sub(self.len())
    }

    /// Prompt tokens that a request may still have to read when it joins: a chunk of so many for every
    /// row is no longer than one of a single prompt.
    fn shared_chunk(&self, sequence: &Sequence) -> usize {
        limits::MAX_SHARED_CHUNK.min(sequence.decoder.prefill_step() / self.max_rows.max(1))
    }

    /// Whether a request could be a row now, whoever the others are.
    pub(super) fn suits(&self, sequence: &Sequence) -> bool {
        sequence.fits_a_batch(self.shared_chunk(sequence)) && sequence.reader.has_caught_up()
    }

    /// Whether there is room for a request, and it goes with the others.
    pub(super) fn accepts(&self, sequence: &Sequence, context: &Context<'_>) -> bool {
        self.room() > 0 && self.decoder.accepts(&sequence.decoder, context.model)
    }

    /// Adds a request, wherever it has got to.
    pub(super) fn join(&mut self, sequence: Sequence) {
        let Sequence { reader, decoder } = sequence;
        self.ids += 1;
        let id = RowId(self.ids);
        match self.decoder.insert(id, decoder) {
            Ok(()) => drop(self.readers.insert(id, reader)),
            Err(e) => reader.fail(e),
        }
    }

    /// Takes out those whose readers left, and hands back those whose readers lag: they go on
    /// alone, so that nobody waits for them.
    pub(super) fn leavers(&mut self, context: &Context<'_>) -> Vec<Sequence> {
        self.take_out(context, |reader| reader.has_left() || reader.lags())
    }

    /// Takes everybody out, to go on alone.
    pub(super) fn disband(&mut self, context: &Context<'_>) -> Vec<Sequence> {
        self.take_out(context, |_| true)
    }

    fn take_out(
        &mut self,
        context: &Context<'_>,
        leaves: impl Fn(&Reader) -> bool,
    ) -> Vec<Sequence> {
        let leaving: Vec<RowId> =
            self.readers.iter().filter(|(_, reader)| leaves(reader)).map(|(&id, _)| id).collect();
        let mut out = Vec::new();
        for id in leaving {
            let Some(reader) = self.readers.remove(&id) else { continue };
            match self.decoder.take(id) {
                Ok(Some(decoder)) if !reader.has_left() => {
                    out.push(Sequence { reader, decoder });
                }
                Ok(Some(decoder)) => reader.retire(decoder, context),
                Ok(None) => {}
                Err(e) => reader.fail(e),
            }
        }
        out
    }

    /// One turn of every row. An error of one row ends that row; one of a call for all rows ends
    /// them all.
    pub(super) fn turn(&mut self, context: &Context<'_>) {
        let Self { decoder, readers, .. } = self;
        let mut ended = Vec::new();
        let mut sink = |id: RowId, news: Result<Progress>| hear(readers, &mut ended, id, news);
        if let Err(e) = contained("a batch", || decoder.advance(context.model, &mut sink)) {
            self.fail(&e);
            return;
        }
        for id in ended {
            self.retire(id, context);
        }
    }

    /// Takes a row that is over out, and leaves its state to the prompt cache.
    fn retire(&mut self, id: RowId, context: &Context<'_>) {
        let Some(reader) = self.readers.remove(&id) else { return };
        match self.decoder.take(id) {
            Ok(Some(decoder)) => reader.retire(decoder, context),
            Ok(None) => {}
            // The row has sent all that it had; what remains of it cannot be told to anyone.
            Err(e) => self.fail(&e),
        }
    }

    /// Tells every reader that its request cannot go on.
    pub(super) fn fail(&mut self, error: &Error) {
        for reader in std::mem::take(&mut self.readers).into_values() {
            reader.fail(error.clone());
        }
        self.decoder = BatchDecoder::new(self.max_rows);
    }
}

/// Passes news on to the row's reader; whether the row stays. A row that is over and whose state is
/// to be kept stays to be taken out with it.
fn hear(
    readers: &mut BTreeMap<RowId, Reader>,
    ended: &mut Vec<RowId>,
    id: RowId,
    news: Result<Progress>,
) -> bool {
    let Some(reader) = readers.get_mut(&id) else { return false };
    let told = contained("a row", || news.and_then(|progress| reader.hear(progress, || None)));
    let goes_on = match told {
        Ok(Turn::Ended) if reader.keeps() => {
            ended.push(id);
            return true;
        }
        Ok(turn) => matches!(turn, Turn::Continues),
        Err(e) => {
            reader.fail(e);
            false
        }
    };
    if !goes_on {
        readers.remove(&id);
    }
    goes_on
}
