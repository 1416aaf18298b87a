//! What a running generation tells, whichever protocol listens.

use verbatim_engine::{Stats, TokenLogprob};

/// One event. `Finished` or `Failed` is the last.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The engine took the request up.
    Started(Start),
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

/// What is known when a request is taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Those whose state was still there from earlier requests.
    pub cached_tokens: usize,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delta {
    /// Of the answer.
    Content(String),
    /// Of the thinking before it.
    Reasoning(String),
    /// A tool call begins. Until its end there are only its arguments.
    CallStart {
        /// Unique name of this call.
        id: String,
        /// The tool.
        name: String,
    },
    /// More of the arguments of the call that began last, as JSON text.
    CallArguments(String),
    /// The call that began last ends.
    CallEnd {
        /// Its arguments are whole. Where they are not, the call was malformed, cut off or
        /// contradicted itself after it had begun: it is void, and its text follows as content.
        complete: bool,
    },
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
