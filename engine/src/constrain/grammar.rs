//! What a generation may write, as data.

use std::fmt;

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
    JsonSchema {
        /// The schema.
        schema: Value,
        /// Refuse formats of strings that are unknown, which JSON Schema takes for remarks.
        strict: bool,
    },
    /// Calls of tools, in the model's own format.
    Calls(Calls),
}

/// A part of a grammar, as a request gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The form of the answer.
    Format,
    /// The tool of this name.
    Tool(String),
    /// The tools together.
    Tools,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format => f.write_str("the answer's format"),
            Self::Tool(name) => write!(f, "the tool {name:?}"),
            Self::Tools => f.write_str("the tools"),
        }
    }
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
