//! One sequence's generation as a resumable `generate_step` (`mlx_lm/generate.py`).
//!
//! Same model calls in the same order: the prompt in chunks, its last token alone, and one step
//! dispatched ahead of each token that is read, past the last one too.

use std::{collections::BTreeMap, sync::Arc};

use mlx_rs::{
    Array, memory, ops,
    transforms::{async_eval, eval},
};

use super::{Chunks, constrained::Constrained, processors::Processors, sampler::Sampler};
use crate::{
    Capture, Conversion, Detour, KvUse, Past, Result, Sampling,
    adapter::Selection,
    cache::{self, LayerCache},
    kv::KvQuantization,
    memory::{FREE_ROW_TOKENS, MAX_PADDING},
    mlx,
    models::{Model, Mutation, Probe},
    prompt_cache::{History, Rules, Start},
};

/// Tokens between two returns of MLX's buffer cache to the system.
const CLEAR_CACHE_EVERY: usize = 256;

/// Tokens by which loaded caches go another way before their copy goes on.
const STRAY_TOKENS: usize = 3;

/// What a decoder is to do.
#[derive(Debug)]
pub struct DecoderOptions<'a> {
    /// Prompt token ids, at least one.
    pub prompt: &'a [u32],
    /// Tokens to generate at most.
    pub max_tokens: usize,
    /// Where the prompt is cut into model calls.
    pub chunks: Chunks,
    /// State to go on from: of the first tokens of the prompt, its last one excepted.
    pub start: Option<Start>,
    /// What states depend on.
    pub rules: Rules,
    /// Sampler and processors.
    pub sampling: &'a Sampling,
    /// Start of the key sequence.
    pub seed: u64,
    /// Which keys and values are packed.
    pub kv: &'a Arc<KvQuantization>,
    /// Whose products are added.
    pub adapters: &'a Selection,
    /// Arrays to hand out beside the tokens.
    pub capture: Capture,
    /// Deliberate mistake for the harness's own tests.
    pub mutation: Mutation,
    /// What runs before on the same caches.
    pub past: Option<&'a Past>,
    /// Where the caches go through a file.
    pub detour: Option<&'a Detour>,
    /// Tokens that stand in for the chosen ones, from the first on.
    pub forced: &'a [u32],
    /// Measure what packing keys and values takes.
    pub measure_conversion: bool,
}

/// One chosen token with what it was chosen from.
#[derive(Debug)]
pub struct Step {
    /// Token id.
    pub token: u32,
    /// Log-probabilities `[V]` in the model's dtype, after processors, before the filters.
    pub logprobs: Array,
    /// Last-position logits `[V]` before the processors, when captured.
    pub logits: Option<Array>,
    /// The sequence's grammar allows nothing to follow but the end.
    pub completes: bool,
}

/// State of one sequence between two turns.
#[derive(Debug)]
pub struct Decoder {
    pub(super) caches: Vec<LayerCache>,
    pub(super) prompt: Vec<u32>,
    pub(super) prefilled: usize,
    chunks: Chunks,
    history: History,
    rules: Rules,
    pub(super) max_tokens: usize,
    pub(super) yielded: usize,
    pub(super) sampler: Sampler,
    pub(super) processors: Processors,
    pub(super) pending: Option<Pending>,
    pub(super) constrained: Option<Constrained>,
    pub(super) capture: Capture,
    kv: Arc<KvQuantization>,
    pub(super) adapters: Selection,
    probe: Probe,
    calls: usize,
    tensors: Vec<(String, Array)>,
    pub(super) argmax_over_logits: bool,
    mutation: Mutation,
    /// Until the first turn.
    past: Option<Past>,
    /// Until it is taken.
    detour: Option<Detour>,
    forced: Vec<u32>,
    measure_conversion: bool,
    conversion: Option<Conversion>,
}

/// A dispatched step that nobody has read yet.
#[derive(Debug)]
pub(super) struct Pending {
    /// `[1]`.
    pub(super) token: Array,
    /// `[1, V]`.
    pub(super) logprobs: Array,
    /// Logits before the processors: `[1, V]`.
    pub(super) raw: Array,
}

/// What one turn did.
#[derive(Debug)]
pub enum Progress {
    /// Prompt tokens processed so far.
    Prefill(usize),
    /// A token.
    Token(Step),
}

impl Decoder {
    /// A sequence that has not called the model yet.
    pub fn new(model: &dyn Model, options: DecoderOptions<'_>) -> Result<Self> {
        let (mut caches, history) = match options.start {
            Some(Start { caches, history }) => (caches, history),
            None => (model.new_caches(), History::default()),
        };
        if options.mutation == Mutation::KvPackedBeforeFirstCall {
            options.kv.apply(&mut caches, options.mutation)?;
        }
        let mut processors = Processors::new(options.sampling);
        let prefilled = history.at();
        if prefilled > 0 && !processors.is_empty() {
            let read = &options.prompt[..prefilled];
            processors.remember(&Array::from_slice(read, &[prefilled as i32]))?;
        }
        Ok(Self {
            caches,
            prompt: options.prompt.to_vec(),
            prefilled,
            chunks: options.chunks,
            history,
            rules: options.rules,
            max_tokens: options.max_tokens,
            yielded: 0,
            sampler: Sampler::new(options.sampling, options.seed)?,
            processors,
            pending: None,
            constrained: None,
            capture: options.capture,
            kv: Arc::clone(options.kv),
            adapters: options.adapters.clone(),
            probe: if options.capture.layers { Probe::recording() } else { Probe::default() },
            calls: 0,
            tensors: Vec::new(),
            argmax_over_logits: options.mutation == Mutation::ArgmaxOverLogits,
            mutation: options.mutation,
            past: options.past.cloned(),
            detour: options.detour.cloned(),
            forced: options.forced.to_vec(),
            measure_conversion: options.measure_conversion,
            conversion: None,
        })
    }

    /// One turn: a prefill chunk, or a token.
    pub fn advance(&mut self, model: &dyn Model) -> Result<Progress> {
        model.adapters().select(self.adapters.ids())?;
        if let Some(past) = self.past.take() {
            self.go_through(&past, model)?;
        }
        if let Some(detour) = self.detour.take_if(|detour| detour.calls <= self.calls) {
            self.take_detour(&detour, model)?;
        }
        if self.prefills() {
            self.prefill_chunk(model)?;
            return Ok(Progress::Prefill(self.prefilled));
        }
        self.next_token(model).map(Progress::Token)
    }

    /// Runs `past` and takes its caches over, without their end.
    fn go_through(&mut self, past: &Past, model: &dyn Model) -> Result<()> {
        let mut before = Self::new(
            model,
            DecoderOptions {
                prompt: &past.prompt,
                max_tokens: past.steps,
                chunks: Chunks::new(past.prompt.len(), self.chunks.step(), &[]),
                start: None,
                rules: self.rules,
                sampling: &Sampling::default(),
                seed: 0,
                kv: &self.kv,
                adapters: &self.adapters,
                capture: Capture::default(),
                mutation: self.mutation,
                past: None,
                detour: None,
                forced: &[],
                measure_conversion: false,
            },
        )?;
        let mut tokens = Vec::with_capacity(past.steps);
        while tokens.len() < past.steps {
            if let Progress::Token(step) = before.advance(model)? {
                tokens.push(step.token as i32);
            }
        }
        self.caches = before.caches;
        let missed = usize::from(self.mutation == Mutation::TrimOneShort);
        let trimmed = match cache::trim(&mut self.caches, past.trim.saturating_sub(missed)) {
            0 => 0,
            n => (n + missed) as i32,
        };
        let told = |name: &str, ids: &[i32]| {
            (name.to_owned(), Array::from_slice(ids, &[ids.len() as i32]))
        };
        self.tensors.extend([told("past.tokens", &tokens), told("past.trimmed", &[trimmed])]);
        Ok(())
    }

    /// Goes on with a copy of what a file holds of the caches. What happens to the loaded ones must
    /// not reach the copy.
    fn take_detour(&mut self, detour: &Detour, model: &dyn Model) -> Result<()> {
        cache::file::save(&detour.file, &self.caches, &BTreeMap::new())?;
        let (mut loaded, _) = cache::file::load(&detour.file)?;
        if self.mutation != Mutation::LoadedReadAsStock {
            self.kv.adopt(&mut loaded);
        }
        if self.mutation == Mutation::LoadedOneShort {
            cache::trim(&mut loaded, 1);
        }
        self.caches.clone_from(&loaded);
        let stray = Array::from_slice(&self.prompt[..1], &[1, 1]);
        for _ in 0..STRAY_TOKENS {
            let hidden = model.hidden(&stray, &mut loaded, &mut Probe::default())?;
            eval(loaded.iter().flat_map(LayerCache::state).chain([&hidden]))?;
        }
        Ok(())
    }

    /// Named arrays seen since the last call, evaluated.
    pub fn take_tensors(&mut self) -> Result<Vec<crate::NamedTensor>> {
        let tensors = std::mem::take(&mut self.tensors);
        tensors.into_iter().map(|(name, array)| mlx::to_named_tensor(name, &array)).collect()
    }

    fn prefill_chunk(&mut self, model: &dyn Model) -> Result<()> {
        let chunk = self.next_chunk();
        let n = chunk.len();
        let ids = Array::from_slice(chunk, &[n as i32]);
        let hidden = self.call(model, &ids)?;
        drop(hidden);
        eval(self.caches.iter().flat_map(LayerCache::state))?;
        self.note_chunk(n)?;
        memory::clear_cache()?;
        Ok(())
    }

    /// Prompt tokens that have not been read; the last one is read alone.
    pub fn prompt_left(&self) -> usize {
        self.prompt.len() - self.prefilled
    }

    /// Prompt tokens per call.
    pub fn prefill_step(&self) -> usize {
        self.chunks.step()
    }

    /// Whether the next turn reads a chunk of the prompt.
    pub fn prefills(&self) -> bool {
        self.prompt_left() > 1
    }

    /// The prompt tokens to read next, the last one excepted.
    pub(super) fn next_chunk(&self) -> &[u32] {
        let end = self.chunks.end(self.prefilled).max(self.prefilled);
        &self.prompt[self.prefilled..end]
    }

    /// Notes that the next `n` prompt tokens went through the model; returns how many have.
    pub(super) fn note_chunk(&mut self, n: usize) -> Result<usize> {
        if !self.processors.is_empty() {
            let chunk = &self.prompt[self.prefilled..self.prefilled + n];
            self.processors.remember(&Array::from_slice(chunk, &[n as i32]))?;
        }
        self.prefilled += n;
        if n > 0 {
            self.history.read(&self.rules, n);
        }
        Ok(self.prefilled)
    }

    /// Notes a call that read one token.
    pub(super) fn note_step(&mut self) {
        self.history.read(&self.rules, 1);
    }

    /// The calls that made its state.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// State of every layer; empty while a batch holds it.
    pub fn caches(&self) -> &[LayerCache] {
        &self.caches
    }

    /// The state, for others to go on from, and the calls that made it.
    pub fn into_state(self) -> (Vec<LayerCache>, History) {
        (self.caches, self.history)
    }

    /// Whether the batch can do what this sequence asks for, from here on. Layer outputs, a past,
    /// forced tokens and grammars come from single rows, and keys and values are packed before a row
    /// joins: when that is due depends on the row's own calls.
    pub fn fits_a_batch(&self) -> bool {
        let alone = self.capture.layers
            || self.past.is_some()
            || self.detour.is_some()
            || self.constrained.is_some()
            || !self.forced.is_empty();
        !alone && self.kv.is_settled(&self.caches)
    }

    /// Whether the two can be rows of one batch. They use the same adapters, or neither uses any that
    /// needs whole calls; and padding the shorter to the longer takes no more than
    /// [`Sharing::Calls`](crate::memory::Sharing::Calls) counts.
    pub fn goes_with(&self, other: &Self, model: &dyn Model) -> bool {
        let (own, others) = (self.adapters.ids(), other.adapters.ids());
        let mixes = |ids| model.adapters().mixes(ids);
        if own != others && !(mixes(own) && mixes(others)) {
            return false;
        }
        let (shorter, longer) =
            (self.extent().min(other.extent()), self.extent().max(other.extent()));
        longer <= shorter.saturating_mul(MAX_PADDING).max(FREE_ROW_TOKENS)
    }

    /// Tokens that the model has read, or at least the prompt's.
    fn extent(&self) -> u64 {
        self.prompt.len().max(self.history.at()) as u64
    }

    /// What keys and values take now.
    pub fn kv_use(&self) -> KvUse {
        let keeping = self.caches.iter().filter(|cache| cache.keeps_rows());
        let bytes = keeping.map(|cache| cache.nbytes() as u64).sum();
        KvUse { bytes, conversion: self.conversion }
    }

    /// The model's hidden states for `ids: [S]`: `[1, S, hidden]`.
    fn call(&mut self, model: &dyn Model, ids: &Array) -> Result<Array> {
        let batch = ids.reshape(&[1, -1])?;
        let hidden = model.hidden(&batch, &mut self.caches, &mut self.probe)?;
        self.pack()?;
        let call = self.calls;
        self.calls += 1;
        let seen = self.probe.drain();
        self.tensors.extend(seen.into_iter().map(|(name, a)| (format!("call{call}.{name}"), a)));
        Ok(hidden)
    }

    /// Packs the keys and values that are due.
    fn pack(&mut self) -> Result<()> {
        if !self.measure_conversion {
            return self.kv.apply(&mut self.caches, self.mutation);
        }
        let found = self.kv.apply_measured(&mut self.caches, self.mutation)?;
        self.conversion = self.conversion.into_iter().chain(found).max_by_key(|c| c.extra_peak);
        Ok(())
    }

    /// Logits `[1, V]` behind input token `[1]`, before the processors.
    pub(super) fn logits(&mut self, model: &dyn Model, input: &Array) -> Result<Array> {
        let hidden = self.call(model, input)?;
        self.note_step();
        let logits = model.logits(&hidden)?;
        let raw = logits.reshape(&[1, -1])?;
        self.processors.remember(input)?;
        Ok(raw)
    }

    /// Dispatches the step that follows input token `[1]`.
    fn step(&mut self, model: &dyn Model, input: &Array) -> Result<Pending> {
        let raw = self.logits(model, input)?;
        let logits = self.processors.apply(&raw)?;
        let logprobs = ops::subtract(&logits, ops::logsumexp(&logits, true)?)?;
        let chosen_from = if self.argmax_over_logits { &logits } else { &logprobs };
        let token = self.sampler.sample(chosen_from)?;
        let captured = self.capture.logits.then_some(&raw);
        async_eval([&token, &logprobs].into_iter().chain(captured))?;
        Ok(Pending { token, logprobs, raw })
    }

    /// The prompt's last token `[1]`, which now counts as read.
    pub(super) fn last_prompt_token(&mut self) -> Array {
        self.prefilled = self.prompt.len();
        Array::from_slice(&[self.prompt[self.prompt.len() - 1]], &[1])
    }

    fn next_token(&mut self, model: &dyn Model) -> Result<Step> {
        if let Some(mut constrained) = self.constrained.take() {
            let step = self.constrained_token(model, &mut constrained);
            self.constrained = Some(constrained);
            return step;
        }
        let mut current = if let Some(pending) = self.pending.take() {
            pending
        } else {
            let input = self.last_prompt_token();
            self.step(model, &input)?
        };
        if let Some(&id) = self.forced.get(self.yielded) {
            current.token = Array::from_slice(&[id], &[1]);
        }
        // mlx-lm dispatches a step past the last token too: its cache then holds every token.
        if self.yielded < self.max_tokens {
            self.pending = Some(self.step(model, &current.token)?);
        }
        let token = mlx::to_u32(&current.token)?[0];
        self.count_token()?;
        Ok(Step {
            token,
            logprobs: current.logprobs.reshape(&[-1])?,
            logits: self.capture.logits.then(|| current.raw.reshape(&[-1])).transpose()?,
            completes: false,
        })
    }

    /// Counts a token that was read.
    pub(super) fn count_token(&mut self) -> Result<()> {
        if self.yielded.is_multiple_of(CLEAR_CACHE_EVERY) {
            memory::clear_cache()?;
        }
        self.yielded += 1;
        Ok(())
    }
}
