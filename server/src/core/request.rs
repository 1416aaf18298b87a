//! What is asked, whichever protocol asked it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use verbatim_engine::Sampling;

/// One generation, validated but not yet rendered or tokenized.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What the model continues.
    pub prompt: Prompt,
    /// Tokens to generate at most.
    pub max_tokens: usize,
    /// Sampler and logits processors.
    pub sampling: Sampling,
    /// Stop strings.
    pub stop: Vec<String>,
    /// Report log-probabilities with this many alternatives.
    pub top_logprobs: Option<usize>,
}

/// What the model continues.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// A conversation, rendered by the model's template. Reasoning and tool calls are told apart.
    Chat(Chat),
    /// Plain text. What is generated is content, whatever it looks like.
    Text(String),
    /// Token ids, continued like [`Prompt::Text`].
    Tokens(Vec<u32>),
}

/// A conversation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Chat {
    /// Messages as the template sees them.
    pub messages: Vec<Value>,
    /// Tools as the template sees them; empty offers none.
    pub tools: Vec<Value>,
    /// Variables for the template beside the server's own.
    pub template_kwargs: Map<String, Value>,
    /// Prefixes per role, for models without a template.
    pub role_mapping: Option<BTreeMap<String, String>>,
}
