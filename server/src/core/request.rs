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
    /// Nobody asked for so many: where the memory budget has no room for them, fewer will do.
    pub may_shorten: bool,
    /// Sampler and logits processors.
    pub sampling: Sampling,
    /// Stop strings.
    pub stop: Vec<String>,
    /// Report log-probabilities with this many alternatives.
    pub top_logprobs: Option<usize>,
    /// Answers to the same prompt.
    pub choices: usize,
    /// What the answer has to look like.
    pub format: Format,
    /// Names of adapters whose products are added, in this order; `None` leaves the choice to the
    /// server, an empty list is the base model.
    pub adapters: Option<Vec<String>>,
}

impl Request {
    /// A greedy request for one answer of at most `max_tokens` tokens.
    pub fn new(prompt: Prompt, max_tokens: usize) -> Self {
        Self {
            prompt,
            max_tokens,
            may_shorten: false,
            sampling: Sampling::default(),
            stop: Vec::new(),
            top_logprobs: None,
            choices: 1,
            format: Format::default(),
            adapters: None,
        }
    }
}

/// What an answer has to look like.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Format {
    /// Anything.
    #[default]
    Text,
    /// A JSON object.
    JsonObject,
    /// JSON that this schema allows.
    JsonSchema {
        /// The schema.
        schema: Value,
        /// Refuse formats of strings that are unknown, which JSON Schema takes for remarks.
        strict: bool,
    },
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
    /// The beginning of the answer, which the model goes on from.
    pub prefill: String,
    /// Tools as the template sees them; empty offers none.
    pub tools: Vec<Value>,
    /// Which of them may or must be called.
    pub tool_choice: ToolChoice,
    /// At most one call per answer.
    pub one_call: bool,
    /// Whether the model is to think before it answers; `None` leaves it to the template.
    pub thinking: Option<bool>,
    /// Variables for the template beside the server's own.
    pub template_kwargs: Map<String, Value>,
    /// Prefixes per role, for models without a template.
    pub role_mapping: Option<BTreeMap<String, String>>,
}

/// Which tools may or must be called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// None, although they are offered.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(String),
}
