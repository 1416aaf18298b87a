//! `<function name="f"><param name="p">v</param></function>` (`tool_parsers/minicpm5.py`).
//!
//! A body begins behind `<function name=`:
//!
//! ```text
//! body:   name ">" param*             (what stands between parameters does not count)
//! name:   "\"" /[^"]*/ "\"" | "'" /[^']*/ "'" | /[^\s"'<>]+/
//! param:  "<param name=" name ">" value "</param>"
//! value:  space text space | space "<![CDATA[" text "]]>" space
//! ```
//!
//! The text has neither `</param>` nor, since the router looks for it, `</function>`. Which type it
//! is read as is up to the parameter's description (`schema.rs`). A stream shows what has to be a
//! string as it comes, and other values whole. A key that comes twice takes its first place with its
//! last value, so a stream takes the call back there; so it does at a parameter that never ends, and
//! at text behind a CDATA block.

mod preview;

use serde_json::Value;

pub(super) use preview::Preview;

use super::{ToolCall, ToolError, ToolParser, properties, schema};
use crate::text::python::{Dict, PyValue, is_space};

/// Surround text that may look like markup.
const CDATA: &str = "<![CDATA[";
const CDATA_END: &str = "]]>";

#[derive(Debug)]
pub(super) struct MiniCpm5;

impl ToolParser for MiniCpm5 {
    fn start(&self) -> &'static str {
        "<function name="
    }

    fn end(&self) -> &'static str {
        "</function>"
    }

    fn parse(&self, body: &str, tools: &[Value]) -> Result<Vec<ToolCall>, ToolError> {
        let mut calls = Vec::new();
        let mut rest = body;
        while let Some((name, after)) = find_function(rest) {
            let end = after.find(self.end());
            let inner = &after[..end.unwrap_or(after.len())];
            calls.push(read(name, inner, tools)?);
            rest = end.map_or("", |end| &after[end + self.end().len()..]);
        }
        if calls.is_empty() { Err(ToolError::new("no function")) } else { Ok(calls) }
    }
}

fn read(name: &str, body: &str, tools: &[Value]) -> Result<ToolCall, ToolError> {
    let properties = properties(tools, name);
    let mut arguments = Dict::default();
    let mut rest = body;
    while let Some(at) = rest.find("<param") {
        let after = &rest[at + "<param".len()..];
        let Some((parameter, value)) = parameter_head(after) else {
            rest = after;
            continue;
        };
        let Some(end) = value.find("</param>") else { break };
        let types = schema::types(properties, parameter);
        arguments.insert(parameter.to_owned(), schema::convert(text_of(&value[..end]), &types)?);
        rest = &value[end + "</param>".len()..];
    }
    super::call(name, &PyValue::Dict(arguments))
}

/// The first function's name and what follows its opening tag, of which the marker may be missing.
fn find_function(text: &str) -> Option<(&str, &str)> {
    let mut names = Names::new(text);
    for (at, _) in text.char_indices() {
        let rest = &text[at..];
        let tagged = rest.strip_prefix("<function").and_then(skip_some_space);
        for start in tagged.into_iter().chain([rest]) {
            let named = attribute_name(start).into_iter().chain([start]);
            for start in named {
                if let Some(found) = names.at(text.len() - start.len()) {
                    return Some(found);
                }
            }
        }
    }
    None
}

/// Looks for names at many places of a text. Those without quotes that begin in one word all end
/// at the same place, which is looked for once.
struct Names<'a> {
    text: &'a str,
    /// The word looked at last.
    word: std::ops::Range<usize>,
    /// Where its tag ends, if it is closed.
    after: Option<usize>,
}

impl<'a> Names<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, word: 0..0, after: None }
    }

    /// A name in quotes or without any, and what follows the end of its tag.
    fn at(&mut self, from: usize) -> Option<(&'a str, &'a str)> {
        let rest = &self.text[from..];
        let quote = rest.chars().next()?;
        if matches!(quote, '"' | '\'') {
            let (name, rest) = rest[1..].split_once(quote)?;
            return Some((name, rest.trim_start_matches(is_space).strip_prefix('>')?));
        }
        if !self.word.contains(&from) {
            self.look_at(from);
        }
        let after = self.after.filter(|_| self.word.end > from)?;
        Some((&self.text[from..self.word.end], &self.text[after..]))
    }

    fn look_at(&mut self, from: usize) {
        let stop = |c: char| is_space(c) || matches!(c, '"' | '\'' | '<' | '>');
        let end = self.text[from..].find(stop).map_or(self.text.len(), |i| from + i);
        let close = if end > from {
            self.text[end..].trim_start_matches(is_space).strip_prefix('>')
        } else {
            None
        };
        self.word = from..end;
        self.after = close.map(|rest| self.text.len() - rest.len());
    }
}

/// `\s+name\s*=\s*NAME\s*>`: the name, and what follows.
fn parameter_head(text: &str) -> Option<(&str, &str)> {
    let name = attribute_name(skip_some_space(text)?)?;
    Names::new(name).at(0)
}

fn skip_some_space(text: &str) -> Option<&str> {
    let rest = text.trim_start_matches(is_space);
    (rest.len() < text.len()).then_some(rest)
}

/// What follows `name\s*=\s*`.
fn attribute_name(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("name")?.trim_start_matches(is_space);
    Some(rest.strip_prefix('=')?.trim_start_matches(is_space))
}

/// The text of a CDATA block, else the text without the space around it.
fn text_of(raw: &str) -> &str {
    let trimmed = raw.trim_matches(is_space);
    let block = trimmed.strip_prefix(CDATA).and_then(|t| t.strip_suffix(CDATA_END));
    block.unwrap_or(trimmed)
}
