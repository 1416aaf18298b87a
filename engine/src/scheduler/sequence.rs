//! One request on the MLX thread: its decoder, and what its reader gets of it.

use std::{cell::RefCell, sync::Arc, time::Instant};

use tokio::sync::mpsc;

use super::admission::Reservation;
use crate::{
    Event, FinishReason, Finished, GenerateRequest, KvUse, Result, Stats, TokenEvent, TokenLogprob,
    adapter::Selection,
    cache::LayerCache,
    constrain::Matcher,
    generate::{Chunks, Decoder, DecoderOptions, Progress, Step},
    kv::KvQuantization,
    limits,
    memory::Cost,
    mlx,
    models::{Model, Mutation},
    prompt_cache::{Key, Kind, PromptCache},
    text::TextPipeline,
};

/// Events that one turn may send besides a decoder's tensors.
const EVENTS_PER_TURN: usize = 4;

/// A request on its way to the MLX thread.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) request: GenerateRequest,
    /// What `request.adapters` names.
    pub(crate) adapters: Selection,
    pub(crate) pipeline: TextPipeline,
    pub(crate) matcher: Option<Matcher>,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) eos_token_ids: Vec<u32>,
    pub(crate) submitted: Instant,
    /// What it may take.
    pub(crate) cost: Cost,
}

/// What a turn led to.
pub(crate) enum Turn {
    /// More to do.
    Continues,
    /// The reader lags; nothing was done.
    Waits,
    /// The last event is sent, or nobody listens any more.
    Ended,
}

/// A running request that takes turns.
pub(crate) struct Sequence {
    pub(super) reader: Reader,
    pub(super) decoder: Decoder,
}

/// What becomes of a running request's tokens: text pipeline, counts and the channel to the reader.
pub(crate) struct Reader {
    request: GenerateRequest,
    pipeline: TextPipeline,
    events: mpsc::Sender<Event>,
    eos_token_ids: Vec<u32>,
    stats: Stats,
    taken_up: Instant,
    first_token: Option<Instant>,
    /// What the prompt cache keeps of it, if anything.
    keeping: Option<Keeping>,
    /// Its share of the memory budget, given back when it ends.
    _share: Reservation,
}

/// What the prompt cache needs to know of a sequence that it keeps.
struct Keeping {
    key: Key,
    /// Prompt and generated tokens.
    tokens: Vec<u32>,
    /// Positions that the request marked.
    marks: Vec<usize>,
    /// The last position at which the state was kept.
    kept: usize,
}

/// What every sequence of a worker shares.
pub(crate) struct Context<'a> {
    pub(crate) model: &'a dyn Model,
    pub(crate) prefill_step_size: usize,
    pub(crate) kv: Arc<KvQuantization>,
    pub(crate) mutation: Mutation,
    /// Whether prompts are cut at their marks.
    pub(crate) marks: bool,
    pub(crate) cache: RefCell<PromptCache>,
}

impl Sequence {
    /// Takes a job up; tells its reader when it cannot start.
    pub(crate) fn start(
        job: Job,
        context: &Context<'_>,
        fresh_seed: u64,
        share: Reservation,
    ) -> Option<Self> {
        let Job { request, adapters, pipeline, matcher, events, eos_token_ids, submitted, cost: _ } =
            job;
        let step = request.prefill_step_size.unwrap_or(context.prefill_step_size);
        let marks: &[usize] = if context.marks { &request.cache_marks } else { &[] };
        let chunks = Chunks::new(request.prompt.len(), step, marks);
        let mut cache = context.cache.borrow_mut();
        let key = (request.use_cache && cache.is_on()).then(|| cache.key(adapters.ids()));
        let may_take = |cache: &mut PromptCache, bytes| share.make_room(bytes, cache);
        let start =
            key.as_ref().and_then(|key| cache.start(key, &request.prompt, &chunks, &may_take));
        let cached_tokens = start.as_ref().map_or(0, |start| start.history.at());
        let keeping = key.map(|key| Keeping {
            key,
            tokens: request.prompt.clone(),
            marks: chunks.marks().to_vec(),
            kept: cached_tokens,
        });
        let options = DecoderOptions {
            prompt: &request.prompt,
            max_tokens: request.max_tokens,
            chunks,
            start,
            rules: cache.rules(),
            sampling: &request.sampling,
            seed: request.sampling.seed.unwrap_or(fresh_seed),
            kv: &context.kv,
            adapters: &adapters,
            capture: request.capture,
            mutation: context.mutation,
            past: request.past.as_ref(),
            detour: request.detour.as_ref(),
            forced: &request.forced,
            measure_conversion: request.measure_conversion,
        };
        let mut decoder = match Decoder::new(context.model, options) {
            Ok(decoder) => decoder,
            Err(e) => {
                // A full or closed channel means that nobody reads the reason.
                let _ = events.try_send(Event::Failed(e));
                return None;
            }
        };
        if let Some(matcher) = matcher {
            decoder.constrain(matcher);
        }
        let stats = Stats {
            prompt_tokens: request.prompt.len(),
            cached_tokens,
            queue_seconds: submitted.elapsed().as_secs_f64(),
            ..Stats::default()
        };
        let reader = Reader {
            request,
            pipeline,
            events,
            eos_token_ids,
            stats,
            taken_up: Instant::now(),
            first_token: None,
            keeping,
            _share: share,
        };
        reader.send(Event::Started {
            prompt_tokens: stats.prompt_tokens,
            cached_tokens: stats.cached_tokens,
        });
        Some(Self { reader, decoder })
    }

    /// One turn. An error ends the sequence, never the worker.
    pub(crate) fn turn(&mut self, context: &Context<'_>) -> Turn {
        if self.reader.has_left() {
            return Turn::Ended;
        }
        if self.reader.lags() {
            return Turn::Waits;
        }
        match self.advance(context) {
            Ok(turn) => {
                self.keep_prompt(context);
                turn
            }
            Err(e) => {
                // Its caches may hold a part of a call.
                self.reader.keeping = None;
                self.reader.fail(e);
                Turn::Ended
            }
        }
    }

    fn advance(&mut self, context: &Context<'_>) -> Result<Turn> {
        let progress = self.decoder.advance(context.model)?;
        for tensor in self.decoder.take_tensors()? {
            self.reader.send_captured(Event::Tensor(tensor));
        }
        self.reader.hear(progress, || Some(self.decoder.kv_use()))
    }
}

/// What the prompt cache keeps.
impl Sequence {
    /// Whether it can join a batch: not while states of its prompt are to be kept, or more than
    /// `shared_chunk` tokens of it are still to be read.
    pub(super) fn fits_a_batch(&self, shared_chunk: usize) -> bool {
        let left = self.decoder.prompt_left();
        let reads_on = self.decoder.history().at() < self.reader.request.prompt.len();
        self.decoder.fits_a_batch()
            && left.saturating_sub(1) <= shared_chunk
            && !(reads_on && self.keeps_prompt())
    }

    fn keeps_prompt(&self) -> bool {
        let grows_only = |cache| matches!(cache, &LayerCache::Kv(_));
        self.reader.keeping.is_some() && !self.decoder.caches().iter().all(grows_only)
    }

    /// Keeps the state behind a chunk of the prompt. The cache can cut back what only grows: there
    /// the sequence's end is enough.
    fn keep_prompt(&mut self, context: &Context<'_>) {
        if !self.keeps_prompt() {
            return;
        }
        let (history, caches) = (self.decoder.history(), self.decoder.caches());
        let at = history.at();
        let Some(keeping) = &mut self.reader.keeping else { return };
        let mark = keeping.marks.iter().position(|&mark| mark == at);
        let far = at >= keeping.kept + limits::CACHE_MARK_SPACING;
        if at >= self.reader.request.prompt.len() || at <= keeping.kept || !(mark.is_some() || far)
        {
            return;
        }
        let kind = match mark {
            Some(mark) if mark + 1 < keeping.marks.len() => Kind::Head,
            Some(_) => Kind::Conversation,
            None => Kind::Tail,
        };
        keeping.kept = at;
        let mut cache = context.cache.borrow_mut();
        cache.keep_prompt(&keeping.key, &keeping.tokens[..at], caches, history, kind);
    }

    /// Leaves the state to the prompt cache.
    pub(super) fn retire(self, context: &Context<'_>) {
        self.reader.retire(self.decoder, context);
    }
}

impl Reader {
    /// Leaves the state of a sequence that is over to the prompt cache.
    pub(super) fn retire(self, decoder: Decoder, context: &Context<'_>) {
        let Some(Keeping { key, mut tokens, .. }) = self.keeping else { return };
        let (caches, history) = decoder.into_state();
        let at = history.at();
        if at > tokens.len() || caches.is_empty() {
            return;
        }
        tokens.truncate(at);
        let prompt = self.request.prompt.len();
        context.cache.borrow_mut().keep_end(&key, tokens, caches, &history, prompt);
    }

    /// Whether its state is to be kept at its end.
    pub(super) fn keeps(&self) -> bool {
        self.keeping.is_some()
    }

    /// Whether nobody listens any more.
    pub(crate) fn has_left(&self) -> bool {
        self.events.is_closed()
    }

    /// Whether the channel has no room for what a turn may send.
    pub(crate) fn lags(&self) -> bool {
        self.events.capacity() < EVENTS_PER_TURN.min(self.events.max_capacity())
    }

    /// Whether half the channel is free: who lagged joins a batch again only then.
    pub(crate) fn has_caught_up(&self) -> bool {
        self.events.capacity() >= self.events.max_capacity().div_ceil(2)
    }

    /// Tells the reader that the sequence cannot go on.
    pub(crate) fn fail(&self, error: crate::Error) {
        self.send(Event::Failed(error));
    }

    /// Passes on what a turn did; at the end `kv` tells what the sequence's own caches hold.
    pub(crate) fn hear(
        &mut self,
        progress: Progress,
        kv: impl FnOnce() -> Option<KvUse>,
    ) -> Result<Turn> {
        match progress {
            Progress::Prefill(done) => {
                self.send(Event::Prefill { done, total: self.request.prompt.len() });
                Ok(Turn::Continues)
            }
            Progress::Token(step) => self.on_token(step, kv),
        }
    }

    fn on_token(&mut self, step: Step, kv: impl FnOnce() -> Option<KvUse>) -> Result<Turn> {
        self.note_times();
        self.stats.generated_tokens += 1;
        if let Some(keeping) = &mut self.keeping {
            keeping.tokens.push(step.token);
        }
        let ends = !self.request.ignore_eos && self.eos_token_ids.contains(&step.token);
        let (pieces, stopped) = if ends {
            (Vec::new(), None)
        } else {
            let output = self.pipeline.push(step.token);
            (output.pieces, output.stopped)
        };
        let completes = step.completes;
        let logprob = self.request.top_logprobs.map(|k| top_logprobs(&step, k)).transpose()?;
        let logits = step.logits.map(|l| mlx::to_named_tensor("logits", &l)).transpose()?;
        self.send_captured(Event::Token(TokenEvent { id: step.token, pieces, logprob, logits }));
        let reason = if ends {
            FinishReason::EndOfSequence
        } else if let Some(stop) = stopped {
            FinishReason::StopString(stop)
        } else if completes {
            FinishReason::EndOfSequence
        } else if self.stats.generated_tokens >= self.request.max_tokens {
            FinishReason::Length
        } else {
            return Ok(Turn::Continues);
        };
        self.stats.kv = kv();
        let rest = self.pipeline.finish();
        // Text held back until now may complete a stop string.
        let reason = rest.stopped.map_or(reason, FinishReason::StopString);
        self.send(Event::Finished(Finished { reason, pieces: rest.pieces, stats: self.stats }));
        Ok(Turn::Ended)
    }

    fn note_times(&mut self) {
        let first = *self.first_token.get_or_insert_with(Instant::now);
        self.stats.prefill_seconds = (first - self.taken_up).as_secs_f64();
        self.stats.decode_seconds = first.elapsed().as_secs_f64();
    }

    /// Sends where room was seen at the turn's start; a reader that left is noticed next turn.
    fn send(&self, event: Event) {
        let _ = self.events.try_send(event);
    }

    /// Captured tensors may outnumber the channel's room; a parity trace waits for its reader.
    fn send_captured(&self, event: Event) {
        if let Err(mpsc::error::TrySendError::Full(event)) = self.events.try_send(event) {
            let _ = self.events.blocking_send(event);
        }
    }
}

/// The chosen token's log-probability and the `k` best, ties by lower id.
fn top_logprobs(step: &Step, k: usize) -> Result<TokenLogprob> {
    let values = mlx::to_f32(&step.logprobs)?;
    let logprob = values[step.token as usize];
    let k = k.min(values.len());
    let mut ids: Vec<u32> = (0..values.len() as u32).collect();
    let by_value =
        |a: &u32, b: &u32| values[*b as usize].total_cmp(&values[*a as usize]).then(a.cmp(b));
    if k > 0 && k < ids.len() {
        ids.select_nth_unstable_by(k - 1, by_value);
    }
    ids.truncate(k);
    ids.sort_unstable_by(by_value);
    let top = ids.into_iter().map(|id| (id, values[id as usize])).collect();
    Ok(TokenLogprob { logprob, top })
}
