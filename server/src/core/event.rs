//! What a running generation tells, whichever protocol listens.

use verbatim_engine::{Stats, TokenLogprob};

/// One event. `Finished` or `Failed` is the last.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// `done` of `total` prompt tokens are processed.
    Prefill {
        /// Prompt tokens processed.
        done: usize,
        /// Prompt tokens in all.
        total: usize,
    },
    /// One more token.
    Step(Step),
    /// The generation ended as it should.
    Finished(Outcome),
    /// The generation could not go on.
    Failed(verbatim_engine::Error),
}

/// A token and what it released.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The token's id.
    pub token: u32,
    /// Log-probabilities, when asked for.
    pub logprob: Option<TokenLogprob>,
    /// Output that became certain; empty while text is held back.
    pub deltas: Vec<Delta>,
}

/// A piece of output.
#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    /// Of the answer.
    Content(String),
    /// Of the thinking before it.
    Reasoning(String),
    /// A complete tool call.
    ToolCall(ToolCall),
}

/// A call of a tool that the client offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// Unique name of this call.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Arguments as JSON text.
    pub arguments: String,
}

/// How a generation ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Why it ended.
    pub reason: StopReason,
    /// Output that was held back until the end.
    pub deltas: Vec<Delta>,
    /// Counts and times.
    pub stats: Stats,
}

/// Why a generation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// An end token.
    EndOfTurn,
    /// A stop string of the request.
    StopString(String),
    /// The model called tools and waits for their results.
    ToolCalls,
    /// `max_tokens` were generated.
    Length,
}

impl StopReason {
    /// OpenAI's word for it, which the command line and logs use too.
    pub fn word(&self) -> &'static str {
        match self {
            Self::EndOfTurn | Self::StopString(_) => "stop",
            Self::ToolCalls => "tool_calls",
            Self::Length => "length",
        }
    }
}
