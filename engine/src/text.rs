//! Text in and out: tokenizer, streaming detokenizers, channels, chat templates.

use crate::Result;

/// Where a run of generated text belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Channel {
    /// The answer.
    #[default]
    Content,
    /// Thinking.
    Reasoning,
    /// The raw body of one tool call, between its markers; a `ToolCallEnd` follows each.
    ToolCall,
}

/// Tokenizer of a model directory.
#[derive(Debug)]
pub struct Tokenizer;

impl Tokenizer {
    /// Token ids of `text`; `add_special_tokens` applies the tokenizer's own post-processing.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>> {
        let _ = (text, add_special_tokens);
        Ok(Vec::new())
    }
}

/// Chat template of a model directory.
#[derive(Debug)]
pub struct ChatTemplate;
