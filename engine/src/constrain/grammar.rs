//! What a generation may write, as data.

use serde_json::Value;

/// The texts that a generation may write.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Grammar {
    /// Thinking may come before the answer, where the model has markers for it. A generation that
    /// starts inside thinking ends it first in any case.
    pub reasoning: bool,
    /// The answer is one of these.
    pub answers: Vec<Answer>,
}

/// One form of answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Any text without calls.
    Text,
    /// A JSON object.
    JsonObject,
    /// JSON that this schema allows.
    JsonSchema(Value),
    /// Calls of tools, in the model's own format.
    Calls(Calls),
}

/// Calls that a model may make.
#[derive(Debug, Clone, PartialEq)]
pub struct Calls {
    /// The tools that may be called, as OpenAI describes them.
    pub tools: Vec<Value>,
    /// One call and no more.
    pub one: bool,
    /// Text may come before the first call.
    pub after_text: bool,
}
