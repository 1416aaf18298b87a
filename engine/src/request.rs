//! What a caller asks of the engine and what comes back: plain data, no MLX types.

use std::{collections::BTreeMap, path::PathBuf};

use crate::{constrain::Constraint, text::Channel};

/// One generation. Build it with [`GenerateRequest::new`] and set what differs from the defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateRequest {
    /// Prompt token ids, at least one.
    pub prompt: Vec<u32>,
    /// Tokens to generate at most, at least one.
    pub max_tokens: usize,
    /// Nobody asked for so many: where the memory budget has no room for them, generate fewer.
    pub may_shorten: bool,
    /// How the next token is chosen.
    pub sampling: Sampling,
    /// Text that ends the generation; matched on decoded text, never part of the output.
    pub stop: Vec<String>,
    /// Go on past end-of-sequence tokens (parity traces do).
    pub ignore_eos: bool,
    /// Report the chosen token's log-probability and this many alternatives.
    pub top_logprobs: Option<usize>,
    /// What may be written, compiled by [`Engine::constrain`](crate::Engine::constrain). The
    /// generation ends where it allows nothing more. Such sequences take turns, also with batching.
    pub grammar: Option<Constraint>,
    /// Which markers split the text into channels, and the channel it starts in.
    pub routing: Routing,
    /// Prompt tokens per prefill call; the engine's default when `None`.
    pub prefill_step_size: Option<usize>,
    /// Names of the adapters whose products are added, in this order; `None` leaves it to the
    /// engine's defaults, an empty list is the bare model.
    pub adapters: Option<Vec<String>>,
    /// Go on from state that earlier requests left in the prompt cache, and leave some there. Changes
    /// no bit.
    pub use_cache: bool,
    /// Positions in the prompt, at most [`limits::MAX_CACHE_MARKS`](crate::limits::MAX_CACHE_MARKS),
    /// that other prompts may have in common with this one, such as a message's end: a model call
    /// ends there, whatever is cached, and the state behind it is kept. The last is where a
    /// conversation would go on, the others are heads that conversations share.
    pub cache_marks: Vec<usize>,
    /// Raw tensors to send along, for parity traces.
    pub capture: Capture,
    /// What runs before on the same caches, for parity traces.
    #[doc(hidden)]
    pub past: Option<Past>,
    /// Where the caches go through a file midway, for parity traces.
    #[doc(hidden)]
    pub detour: Option<Detour>,
    /// Tokens that are generated whatever is chosen, from the first on: two runs with the same ones
    /// compute logits at the same positions of the same text.
    #[doc(hidden)]
    pub forced: Vec<u32>,
    /// Measure the memory that packing keys and values takes; what was computed before is evaluated
    /// first.
    #[doc(hidden)]
    pub measure_conversion: bool,
}

impl GenerateRequest {
    /// Greedy decoding of at most `max_tokens` tokens after `prompt`.
    pub fn new(prompt: Vec<u32>, max_tokens: usize) -> Self {
        Self {
            prompt,
            max_tokens,
            may_shorten: false,
            sampling: Sampling::default(),
            stop: Vec::new(),
            ignore_eos: false,
            top_logprobs: None,
            grammar: None,
            routing: Routing::default(),
            prefill_step_size: None,
            adapters: None,
            use_cache: false,
            cache_marks: Vec::new(),
            capture: Capture::default(),
            past: None,
            detour: None,
            forced: Vec::new(),
            measure_conversion: false,
        }
    }
}

/// A greedy generation whose caches a request goes on with, once their end is forgotten.
///
/// Its tokens, and how many the caches forgot, come as tensors `past.tokens` and `past.trimmed`.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// Prompt token ids, at least one.
    pub prompt: Vec<u32>,
    /// Tokens to generate, at least one.
    pub steps: usize,
    /// Tokens to forget again (`trim_prompt_cache`), where the caches can.
    pub trim: usize,
}

/// A point at which the caches are saved, loaded and copied: the request goes on with the copy, after
/// the loaded ones have gone another way.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detour {
    /// Model calls before it, those of [`Past`] not counted.
    pub calls: usize,
    /// The file, which is read until the request ends and then the caller's to remove.
    pub file: PathBuf,
}

/// How decoded text is split into channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Routing {
    /// Recognize the model's reasoning and tool-call markers. Off: everything is content.
    pub markers: bool,
    /// The channel of the first generated token (reasoning when the prompt ends inside it).
    pub start: Channel,
    /// Content and calls exclude one another, as under a grammar for either: once there is content
    /// other than blanks, what looks like a marker is content too.
    pub exclusive: bool,
    /// The prompt ends within the text that is generated: a leading space belongs to it. Off, it is
    /// dropped, as mlx-lm does.
    pub continues: bool,
}

/// Raw tensors wanted beside the tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capture {
    /// Last-position logits of every step, before any logits processor.
    pub logits: bool,
    /// Every layer's output, call by call.
    pub layers: bool,
}

/// Sampler and logits processors with mlx-lm's meanings and defaults
/// (`mlx_lm/sample_utils.py`, `make_sampler` and `make_logits_processors`).
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 picks the most probable token.
    pub temperature: f64,
    /// Nucleus mass; active strictly between 0 and 1.
    pub top_p: f64,
    /// Keep the k most probable tokens; 0 is off.
    pub top_k: usize,
    /// Drop tokens below this fraction of the best probability; 0 is off.
    pub min_p: f64,
    /// Tokens that `min_p` never drops.
    pub min_tokens_to_keep: usize,
    /// Chance of applying XTC at a step; 0 is off.
    pub xtc_probability: f64,
    /// Probability above which XTC drops all but the least likely token.
    pub xtc_threshold: f64,
    /// Token ids that XTC never drops.
    pub xtc_special_tokens: Vec<u32>,
    /// Added to the logits of single tokens.
    pub logit_bias: BTreeMap<u32, f64>,
    /// Sign-aware factor on tokens seen recently; 0 is off.
    pub repetition_penalty: f64,
    /// Recent tokens that `repetition_penalty` looks at; 0 means all.
    pub repetition_context_size: usize,
    /// Subtracted once from each token seen recently; 0 is off.
    pub presence_penalty: f64,
    /// Recent tokens that `presence_penalty` looks at; 0 means all.
    pub presence_context_size: usize,
    /// Subtracted per occurrence of a recent token; 0 is off.
    pub frequency_penalty: f64,
    /// Recent tokens that `frequency_penalty` looks at; 0 means all.
    pub frequency_context_size: usize,
    /// Seeds this request's own key sequence (`mx.random.seed`); `None` draws a fresh seed.
    pub seed: Option<u64>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_p: 0.0,
            top_k: 0,
            min_p: 0.0,
            min_tokens_to_keep: 1,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            xtc_special_tokens: Vec::new(),
            logit_bias: BTreeMap::new(),
            repetition_penalty: 0.0,
            repetition_context_size: 20,
            presence_penalty: 0.0,
            presence_context_size: 20,
            frequency_penalty: 0.0,
            frequency_context_size: 20,
            seed: None,
        }
    }
}

/// What a running generation reports, in order. `Finished` or `Failed` is the last.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The MLX thread took the request up.
    Started {
        /// Tokens in the prompt.
        prompt_tokens: usize,
        /// Those whose state came from a cache.
        cached_tokens: usize,
    },
    /// `done` of `total` prompt tokens are processed.
    Prefill {
        /// Prompt tokens processed.
        done: usize,
        /// Prompt tokens in all.
        total: usize,
    },
    /// One more token.
    Token(TokenEvent),
    /// A tensor that [`Capture::layers`] asked for.
    Tensor(NamedTensor),
    /// The generation ended as it should.
    Finished(Finished),
    /// The generation could not go on.
    Failed(crate::Error),
}

/// A generated token and the text that it released.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenEvent {
    /// The token's id.
    pub id: u32,
    /// Text that became certain with this token; empty while bytes or a marker are incomplete.
    pub pieces: Vec<Piece>,
    /// Present when [`GenerateRequest::top_logprobs`] is set.
    pub logprob: Option<TokenLogprob>,
    /// The logits from which this token was chosen, when [`Capture::logits`] is set: `[vocab]`.
    pub logits: Option<NamedTensor>,
}

/// A run of text within one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where the text belongs.
    pub channel: Channel,
    /// The text; markers are not part of it.
    pub text: String,
    /// The end marker of this tool call followed: the call's body is complete with this piece,
    /// whose text may be empty. A body that the generation's end cut off never has it. Always
    /// false in the other channels.
    pub ends_call: bool,
}

/// Log-probabilities after the logits processors and before the sampler's filters.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    /// Of the chosen token.
    pub logprob: f32,
    /// The most probable tokens, best first.
    pub top: Vec<(u32, f32)>,
}

/// Raw values in the model's dtype.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTensor {
    /// E.g. `call0.model.layers.3`.
    pub name: String,
    /// Safetensors dtype name: `BF16`, `F16`, `F32`, ….
    pub dtype: String,
    /// Row-major shape.
    pub shape: Vec<usize>,
    /// Little-endian bytes.
    pub data: Vec<u8>,
}

/// How a generation ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// Why it ended.
    pub reason: FinishReason,
    /// Text that was held back until the end.
    pub pieces: Vec<Piece>,
    /// Counts and times.
    pub stats: Stats,
}

/// Why a generation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishReason {
    /// An end-of-sequence token.
    EndOfSequence,
    /// The stop string that matched.
    StopString(String),
    /// `max_tokens` were generated.
    Length,
    /// The caller cancelled.
    Cancelled,
}

/// Counts and times of one generation.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Stats {
    /// Tokens in the prompt.
    pub prompt_tokens: usize,
    /// Prompt tokens whose state came from a cache.
    pub cached_tokens: usize,
    /// Tokens generated, the end token included.
    pub generated_tokens: usize,
    /// Seconds from submission until the scheduler took the request up.
    pub queue_seconds: f64,
    /// Seconds from then until the first token.
    pub prefill_seconds: f64,
    /// Seconds from the first token to the last.
    pub decode_seconds: f64,
    /// Its keys and values; `None` when it ended in a batch.
    pub kv: Option<KvUse>,
}

/// Memory of one sequence's keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KvUse {
    /// Bytes, room that is not filled yet included.
    pub bytes: u64,
    /// The costliest conversion, where [`GenerateRequest::measure_conversion`] asked for it.
    pub conversion: Option<Conversion>,
}

/// What packing plain keys and values, layer by layer, took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversion {
    /// Bytes of the plain layer that was largest.
    pub largest_layer: u64,
    /// Bytes of all plain layers that were packed.
    pub plain: u64,
    /// Greatest number of bytes that MLX held beyond those before it began.
    pub extra_peak: u64,
}
