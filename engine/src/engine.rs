//! The handle that callers hold: loads a model, submits requests, reports health.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::sync::mpsc;

use crate::{
    Error, Event, GenerateRequest, Result, limits,
    text::{ChatTemplate, Tokenizer},
};

/// How to load a model and how much to let in.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Directory with `config.json`, safetensors weights and tokenizer files.
    pub model_dir: PathBuf,
    /// Prompt tokens per prefill call.
    pub prefill_step_size: usize,
    /// Requests that may wait for a turn.
    pub queue_limit: usize,
    /// Sequences that take turns.
    pub max_active: usize,
}

impl EngineOptions {
    /// Defaults for the model in `model_dir`.
    pub fn new(model_dir: impl Into<PathBuf>) -> Self {
        Self {
            model_dir: model_dir.into(),
            prefill_step_size: limits::DEFAULT_PREFILL_STEP_SIZE,
            queue_limit: limits::DEFAULT_QUEUE_LIMIT,
            max_active: limits::DEFAULT_MAX_ACTIVE,
        }
    }
}

/// Facts about the loaded model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    /// `model_type` of `config.json`.
    pub model_type: String,
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Positions the model was trained for, where the configuration says.
    pub max_position_embeddings: Option<usize>,
    /// Safetensors name of the activation dtype.
    pub dtype: String,
    /// Bytes of weights.
    pub weight_bytes: u64,
    /// Token ids that end a generation.
    pub eos_token_ids: Vec<u32>,
}

/// A loaded model and its MLX thread. Cheap to clone; the thread ends with the last clone.
#[derive(Debug, Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    info: ModelInfo,
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
}

impl Engine {
    /// Loads the model and waits until it can take requests.
    pub fn load(options: EngineOptions) -> Result<Self> {
        let _ = options;
        Err(Error::ShuttingDown)
    }

    /// Facts about the model.
    pub fn model(&self) -> &ModelInfo {
        &self.shared.info
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.shared.tokenizer
    }

    /// The model's chat template, if it has one.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.shared.template.as_ref()
    }

    /// Queues a request. Dropping the returned [`Generation`] cancels it within one token.
    ///
    /// # Errors
    /// [`Error::Request`] for a field out of range, [`Error::QueueFull`], [`Error::ShuttingDown`],
    /// [`Error::WorkerDied`].
    pub fn submit(&self, request: GenerateRequest) -> Result<Generation> {
        let _ = request;
        Err(Error::ShuttingDown)
    }

    /// The MLX thread's condition, read without asking it.
    pub fn health(&self) -> Health {
        Health { state: WorkerState::Dead, since_progress: Duration::ZERO, queued: 0, active: 0 }
    }

    /// Refuses new requests and lets the running ones finish.
    pub fn drain(&self) {}
}

/// A running generation: a stream of [`Event`]s that ends after `Finished` or `Failed`.
#[derive(Debug)]
pub struct Generation {
    events: mpsc::Receiver<Event>,
}

impl Generation {
    /// The next event, awaited.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// The next event, waited for on this thread (not inside an async task).
    pub fn next_blocking(&mut self) -> Option<Event> {
        self.events.blocking_recv()
    }
}

/// What the MLX thread is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerState {
    /// Waiting for requests.
    Idle,
    /// Working; `since_progress` says since when without a completed step.
    Busy,
    /// The thread has ended.
    Dead,
}

/// The MLX thread's condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// What the thread is doing.
    pub state: WorkerState,
    /// Time since the last completed step (zero while idle).
    pub since_progress: Duration,
    /// Requests waiting.
    pub queued: usize,
    /// Sequences taking turns.
    pub active: usize,
}

/// Where the model lies; kept for messages.
#[allow(dead_code)]
fn model_name(dir: &Path) -> String {
    dir.file_name().map_or_else(|| dir.display().to_string(), |n| n.to_string_lossy().into_owned())
}
