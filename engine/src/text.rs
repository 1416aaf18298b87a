//! Text in and out: tokenizer, streaming detokenizers, channels, tool calls, chat templates.
//!
//! Nothing here touches MLX. A [`Tokenizer`] and a [`ChatTemplate`] are loaded once and shared by
//! all threads; a [`TextPipeline`] belongs to one running sequence.

mod automaton;
mod bytes;
mod detokenizer;
mod files;
mod lark;
mod markers;
mod pipeline;
mod python;
mod router;
mod special;
mod template;
mod tokenizer;
mod tools;

pub use detokenizer::Detokenizer;
pub(crate) use lark::{Keeping, Lark, Place, Text};
pub use markers::{Thinking, ToolFormat};
pub use pipeline::{Output, TextPipeline};
pub(crate) use python::float_repr;
pub(crate) use router::route;
pub use template::{ChatInput, ChatTemplate};
pub use tokenizer::Tokenizer;
pub(crate) use tools::grammar::Tool;
pub use tools::{CallDelta, NoCall, ToolCall, ToolError, ToolParser, ToolStream};

/// Where a run of generated text belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Channel {
    /// The answer.
    #[default]
    Content,
    /// Thinking.
    Reasoning,
    /// The raw body of a tool call, between its markers; the piece with
    /// [`ends_call`](crate::Piece::ends_call) completes it.
    ToolCall,
}
