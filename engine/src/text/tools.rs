//! Tool calls in the families' own markup, read as mlx-lm reads them (`mlx_lm/tool_parsers`).
//!
//! A [`ToolParser`] reads the body of one call, complete: what lies between the format's markers. It
//! defines what a body means. A [`ToolStream`] reads a body as it arrives, comes to the same result
//! and shows a call's arguments while they grow. Each format's module says what a body looks like.

mod gemma4;
pub(crate) mod grammar;
mod json;
mod minicpm5;
mod qwen3_coder;
mod schema;
mod seek;
mod stream;
mod value;

use serde_json::Value;

pub use stream::{CallDelta, NoCall, ToolStream};

use super::{ToolFormat, python::PyValue};

/// One call that a model made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// Name of the function.
    pub name: String,
    /// Arguments as JSON text, spelled as Python's `json.dumps(…, ensure_ascii=False)` does.
    pub arguments: String,
    /// The model's own id for the call, in formats that have one.
    pub id: Option<String>,
}

/// Why a body is no call. The caller shows the text as the model wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed tool call: {0}")]
pub struct ToolError(String);

impl ToolError {
    fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// Reads one format.
pub trait ToolParser: Send + Sync {
    /// Text that opens a call; not part of the body.
    fn start(&self) -> &'static str;

    /// Text that closes a call; not part of the body.
    fn end(&self) -> &'static str;

    /// Reads the body of one call; some formats hold several calls in one body. `tools` are the
    /// request's tool descriptions in OpenAI's form: formats that write bare text take the types
    /// of arguments from them.
    ///
    /// # Errors
    /// [`ToolError`] for a body that is cut off or malformed, and for arguments that are not of
    /// the type that their description asks for where the reference refuses them.
    fn parse(&self, body: &str, tools: &[Value]) -> Result<Vec<ToolCall>, ToolError>;
}

impl ToolFormat {
    /// The format's parser.
    pub fn parser(self) -> &'static dyn ToolParser {
        match self {
            Self::Gemma4 => &gemma4::Gemma4,
            Self::Json => &json::Json,
            Self::MiniCpm5 => &minicpm5::MiniCpm5,
            Self::Qwen3Coder => &qwen3_coder::Qwen3Coder,
        }
    }
}

fn call(name: &str, arguments: &PyValue) -> Result<ToolCall, ToolError> {
    let arguments = arguments.dumps();
    let arguments = arguments.ok_or_else(|| ToolError::new("a value that JSON has no form for"))?;
    Ok(ToolCall { name: name.to_owned(), arguments, id: None })
}

/// `properties` of the last tool of this name that has parameters.
fn properties<'a>(tools: &'a [Value], name: &str) -> Option<&'a Value> {
    let functions = tools.iter().filter_map(|tool| tool.get("function"));
    let named = functions.filter(|f| f.get("name").and_then(Value::as_str) == Some(name));
    named.filter_map(|f| f.get("parameters")).rfind(|p| is_true(p))?.get("properties")
}

/// What Python calls true.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(value) => value.as_f64() != Some(0.0),
        Value::String(value) => !value.is_empty(),
        Value::Array(value) => !value.is_empty(),
        Value::Object(value) => !value.is_empty(),
    }
}
