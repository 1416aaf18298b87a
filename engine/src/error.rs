//! The engine's one error type. Messages say what is wrong and what to do.

use std::path::PathBuf;

use crate::{constrain::Part, memory::Shortage};

/// Result with the engine's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in the engine.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// A file of the model directory cannot be read.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system or the parser said.
        reason: String,
    },
    /// `config.json` asks for something that is malformed, out of range or not supported.
    #[error("config.json: {0}")]
    Config(String),
    /// The weights do not fit the configuration.
    #[error("weights: {0}")]
    Weights(String),
    /// An adapter is malformed, not supported or made for another model.
    #[error("adapter: {0}")]
    Adapter(String),
    /// Another adapter has the name.
    #[error("an adapter named {0} is registered already; remove it first, or replace it")]
    AdapterExists(String),
    /// No adapter has the name.
    #[error("no adapter named {0} is registered")]
    UnknownAdapter(String),
    /// The setting of quantized keys and values does not fit the model.
    #[error("key-value quantization: {0}")]
    Kv(String),
    /// The tokenizer or its configuration is malformed or not supported.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// The chat template is malformed, or rejects these messages.
    #[error("chat template: {0}")]
    Template(String),
    /// A request's field is out of range.
    #[error("{0}")]
    Request(String),
    /// What a request demands of its answer cannot be enforced.
    #[error("{part}: {reason}")]
    Grammar {
        /// What is at fault.
        part: Part,
        /// Why.
        reason: String,
    },
    /// The prompt is longer than any model's may be.
    #[error("the prompt has {prompt} tokens, the limit is {most}")]
    PromptTooLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// [`limits::MAX_PROMPT_TOKENS`](crate::limits::MAX_PROMPT_TOKENS).
        most: usize,
    },
    /// More memory than the budget has: for a request, or for the weights alone.
    #[error("{0}")]
    Memory(Box<Shortage>),
    /// The queue is full; try again later.
    #[error("the request queue is full ({limit} waiting); try again later")]
    QueueFull {
        /// Requests that may wait.
        limit: usize,
    },
    /// The engine is draining or has stopped.
    #[error("the engine is shutting down")]
    ShuttingDown,
    /// The MLX thread is gone.
    #[error("the MLX thread has died: {0}")]
    WorkerDied(String),
    /// MLX refused an operation.
    #[error("MLX: {0}")]
    Mlx(String),
}

impl Error {
    /// A [`Error::File`] from anything printable.
    pub fn file(path: impl Into<PathBuf>, reason: impl std::fmt::Display) -> Self {
        Self::File { path: path.into(), reason: reason.to_string() }
    }
}

impl From<Shortage> for Error {
    fn from(shortage: Shortage) -> Self {
        Self::Memory(Box::new(shortage))
    }
}

impl From<mlx_rs::error::Exception> for Error {
    fn from(e: mlx_rs::error::Exception) -> Self {
        Self::Mlx(e.what().to_owned())
    }
}
