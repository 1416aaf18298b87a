//! What a call looks like in each format, as grammar: the counterpart of the parsers.
//!
//! A format's grammar is the markup that the models' templates write, with arguments in the order of
//! the tool's description. Values are typed by their schemas as far as the format has types.

mod gemma4;
mod json;
mod minicpm5;
mod qwen3_coder;
mod unkept;
mod values;

use serde_json::Value;

use super::super::{
    ToolFormat,
    lark::{Keeping, Lark},
};
use crate::{Error, Result, limits};

/// A tool that may be called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool<'a> {
    /// Name of the function.
    pub name: &'a str,
    /// The JSON schema of its arguments; `None` takes none.
    pub parameters: Option<&'a Value>,
    /// Refuse keywords of the schema that cannot be honoured.
    pub strict: bool,
}

impl<'a> Tool<'a> {
    /// Reads a tool's description in OpenAI's form.
    ///
    /// # Errors
    /// [`Error::Request`] for one that has no fit name.
    pub fn read(tool: &'a Value) -> Result<Self> {
        let function = tool.get("function").unwrap_or(tool);
        let name = function.get("name").and_then(Value::as_str).unwrap_or_default();
        if name.is_empty() || name.len() > limits::MAX_GRAMMAR_NAME_BYTES {
            let most = limits::MAX_GRAMMAR_NAME_BYTES;
            return Err(Error::Request(format!("a tool's name must have 1 to {most} bytes")));
        }
        let parameters = function.get("parameters").filter(|p| !p.is_null());
        let strict = function.get("strict").and_then(Value::as_bool) == Some(true);
        Ok(Self { name, parameters, strict })
    }

    /// What is done about keywords that cannot be kept.
    fn keeping(&self) -> Keeping {
        if self.strict { Keeping::Strict } else { Keeping::Lenient }
    }

    /// The tool's name where the format can write it.
    fn written(&self, fits: impl Fn(char) -> bool) -> Result<&'a str> {
        if self.name.chars().all(fits) {
            Ok(self.name)
        } else {
            Err(Error::Request(format!(
                "the tool name {:?} cannot be written in this model's tool-call format; use letters, \
                 digits, _ and -",
                self.name
            )))
        }
    }
}

impl ToolFormat {
    /// The texts of the format that may be tokens of their own.
    pub(in crate::text) fn markers(self) -> Vec<&'static str> {
        let mut markers = vec![self.start(), self.end()];
        if self == Self::Gemma4 {
            markers.push(gemma4::QUOTE);
        }
        markers
    }

    /// Adds the rules of one call of one of `tools`, from behind the marker that opens it to the one
    /// that closes it; returns the rule's name.
    ///
    /// # Errors
    /// [`Error::Request`] for names that the format cannot write.
    pub(crate) fn call_rule(self, lark: &mut Lark<'_>, tools: &[Tool<'_>]) -> Result<String> {
        let call = |tool| match self {
            Self::Gemma4 => gemma4::call(lark, tool),
            Self::Json => Ok(json::call(lark, tool)),
            Self::MiniCpm5 => minicpm5::call(lark, tool),
            Self::Qwen3Coder => qwen3_coder::call(lark, tool),
        };
        let calls = tools.iter().map(call).collect::<Result<Vec<_>>>()?;
        Ok(lark.rule(&calls.join(" | ")))
    }
}
