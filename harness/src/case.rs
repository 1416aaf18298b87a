//! A case: one run of the reference, written down as data.

mod adapter;
mod kv;
mod model;
mod sampling;
mod suite;
mod validate;

use serde::{Deserialize, Serialize};

pub use adapter::{Adapter, AdapterFormat, AdapterKind};
pub use kv::{KvLayer, KvMode, KvUniform};
pub use model::{
    Affine, DirectoryModel, Dtype, Layout, MadeModel, ModelSource, ModelSpec, Quantization,
};
pub use sampling::Sampling;
pub use suite::{Matrix, MatrixColumn, MatrixFamily, Suite, load_matrix, load_suites, parse_suite};

use crate::{digest, maker::rng};

/// Steps of one case at most.
pub const MAX_STEPS: usize = 4_096;
/// Sequences beside the first in one batch at most.
pub const MAX_COMPANY: usize = 7;
/// Prompt tokens of one case at most.
pub const MAX_PROMPT: usize = 65_536;
/// Cases of one suite at most, after expansion.
pub const MAX_CASES: usize = 10_000;

/// One run: a model, a prompt, how to generate, what to keep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// A readable path, unique over all suites: `minicpm5/bf16/p700-c7`.
    pub id: String,
    /// The suite that it comes from; the name of its file.
    #[serde(default)]
    pub suite: String,
    /// Row of the matrix.
    pub family: String,
    /// Column of the matrix: weights format and mode.
    pub column: String,
    /// Which path through the engine it takes: a row inside the family's (`single prefill`, …).
    pub path: String,
    /// The model.
    pub model: ModelSpec,
    /// The prompt.
    pub prompt: Prompt,
    /// Tokens to generate; end tokens do not end it.
    pub steps: usize,
    /// Prompt tokens per prefill call.
    pub prefill_step_size: usize,
    /// What ran before on the same caches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub past: Option<Past>,
    /// Sequences that are decoded together with it, by mlx-lm's `BatchGenerator`. Neither that nor
    /// mlx-optiq's batches pack keys and values as they are told to: where they are packed, the
    /// reference runs each sequence by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub company: Vec<Companion>,
    /// How tokens are chosen.
    #[serde(default, skip_serializing_if = "digest::is_default")]
    pub sampling: Sampling,
    /// Key-value cache mode.
    #[serde(default, skip_serializing_if = "digest::is_default")]
    pub kv: KvMode,
    /// Adapter applied to the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<Adapter>,
    /// Where it runs.
    #[serde(default)]
    pub backend: Backend,
    /// What the golden keeps beside the tokens.
    #[serde(default)]
    pub capture: Capture,
    /// Whether it also runs with its caches saved, loaded and copied midway.
    #[serde(default, skip_serializing_if = "digest::is_default")]
    pub resumed: bool,
    /// Whether it also runs with the prompt cache.
    #[serde(default, skip_serializing_if = "digest::is_default")]
    pub cached: bool,
    /// Whether its cell must be green.
    #[serde(default = "yes")]
    pub required: bool,
    /// Why it is not run, naming the limit that keeps it from running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip: Option<String>,
}

fn yes() -> bool {
    true
}

/// Prompt token ids, given or drawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Prompt {
    /// These ids.
    Ids(Vec<u32>),
    /// `len` ids in `0..vocab_size`, from `seed`.
    Random {
        /// Seed of the draw.
        seed: u64,
        /// Ids to draw.
        len: usize,
    },
}

/// A greedy generation whose caches the case goes on with, once their end is forgotten.
///
/// Caches that mlx-lm cannot trim go on as they are: that they stay so is part of the trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Past {
    /// The prompt.
    pub prompt: Prompt,
    /// Tokens to generate.
    pub steps: usize,
    /// Tokens to forget again, with mlx-lm's `trim_prompt_cache`.
    pub trim: usize,
}

/// One more sequence of a batch, generated greedily.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Companion {
    /// The prompt.
    pub prompt: Prompt,
    /// Tokens to generate; then it leaves.
    pub steps: usize,
    /// Turns of the batch before it joins.
    pub join: usize,
}

/// Where a case runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// MLX's CPU backend.
    #[default]
    Cpu,
}

impl Backend {
    /// Its name in machine keys and goldens.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
        }
    }
}

/// What a golden keeps beside the tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capture {
    /// Last-position logits of every step.
    #[default]
    Logits,
    /// Every layer's output of every call.
    Layers,
    /// Both.
    Both,
}

impl Capture {
    /// Whether logits are kept.
    pub fn logits(self) -> bool {
        self != Self::Layers
    }

    /// Whether layer outputs are kept.
    pub fn layers(self) -> bool {
        self != Self::Logits
    }
}

/// The parts of a case that decide its golden.
#[derive(Serialize)]
struct Essence<'a> {
    model: &'a ModelSpec,
    prompt: &'a Prompt,
    steps: usize,
    prefill_step_size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    past: Option<&'a Past>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    company: &'a [Companion],
    #[serde(skip_serializing_if = "digest::is_default")]
    sampling: Sampling,
    #[serde(skip_serializing_if = "is_unquantized")]
    kv: &'a KvMode,
    #[serde(skip_serializing_if = "Option::is_none")]
    adapter: Option<&'a Adapter>,
    backend: Backend,
    capture: Capture,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde hands references
fn is_unquantized(kv: &&KvMode) -> bool {
    **kv == KvMode::Bf16
}

impl Case {
    /// Whether it has an adapter that a running engine can mount: weights that replace the model's come
    /// with the model only.
    pub fn is_mountable(&self) -> bool {
        self.adapter.as_ref().is_some_and(|adapter| adapter.kind != AdapterKind::Full)
    }

    /// Digest of everything that decides the golden; names and labels are not part of it.
    pub fn digest(&self) -> String {
        digest::short(&Essence {
            model: &self.model,
            prompt: &self.prompt,
            steps: self.steps,
            prefill_step_size: self.prefill_step_size,
            past: self.past.as_ref(),
            company: &self.company,
            sampling: self.sampling.clone(),
            kv: &self.kv,
            adapter: self.adapter.as_ref(),
            backend: self.backend,
            capture: self.capture,
        })
    }

    /// The prompt's token ids for a model with `vocab_size` rows.
    pub fn prompt_ids(&self, vocab_size: usize) -> Vec<u32> {
        self.prompt.ids(vocab_size)
    }

    /// The case of companion `index` on its own.
    #[must_use]
    pub fn companion(&self, index: usize) -> Self {
        let Companion { prompt, steps, .. } = self.company[index].clone();
        Self { prompt, steps, company: Vec::new(), sampling: Sampling::default(), ..self.clone() }
    }
}

impl Prompt {
    /// The ids for a model with `vocab_size` rows.
    pub fn ids(&self, vocab_size: usize) -> Vec<u32> {
        match self {
            Self::Ids(ids) => ids.clone(),
            Self::Random { seed, len } => {
                rng::Stream::new(*seed, "prompt").below(vocab_size as u64, *len)
            }
        }
    }

    /// Number of ids.
    pub fn len(&self) -> usize {
        match self {
            Self::Ids(ids) => ids.len(),
            Self::Random { len, .. } => *len,
        }
    }

    /// Whether there is no id.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
