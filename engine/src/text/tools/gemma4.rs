//! `<|tool_call>call:f{key:<|"|>text<|"|>,n:3}<tool_call|>` (`tool_parsers/gemma4.py`).
//!
//! A body, as the model's template writes it, without spaces anywhere:
//!
//! ```text
//! body:    "call:" name object        (several in a row are read, too)
//! name:    /[\w-]+/
//! object:  "{" [key ":" value ("," key ":" value)*] "}"
//! key:     /\w+/, right behind "{" or ",", or a string
//! value:   string | object | "[" [value ("," value)*] "]" | number, true, false or null of JSON
//! string:  <|"|> any text without <|"|> <|"|>
//! ```
//!
//! A stream shows everything up to the last character, save numbers, words and a begun `<|"|>`.

mod preview;

use serde_json::Value;

pub(super) use preview::Preview;

use super::{ToolCall, ToolError, ToolParser};
use crate::text::python::{json_loads, write_json_string};

/// How often a body may be read.
const MAX_SCANS: usize = 32;
/// Surrounds strings.
const QUOTE: &str = "<|\"|>";

#[derive(Debug)]
pub(super) struct Gemma4;

impl ToolParser for Gemma4 {
    fn start(&self) -> &'static str {
        "<|tool_call>"
    }

    fn end(&self) -> &'static str {
        "<tool_call|>"
    }

    fn parse(&self, body: &str, _: &[Value]) -> Result<Vec<ToolCall>, ToolError> {
        let mut calls = Vec::new();
        let mut rest = body;
        let mut budget = body.len().saturating_mul(MAX_SCANS);
        while let Some(at) = rest.find("call:") {
            let after = &rest[at + "call:".len()..];
            let end = after.find(|c: char| !(is_word(c) || c == '-')).unwrap_or(after.len());
            let (name, arguments) = after.split_at(end);
            // A call that never closes is read to the end, again for every call that begins in it.
            budget = budget
                .checked_sub(arguments.len())
                .ok_or_else(|| ToolError::new("too many calls that do not close"))?;
            match balanced(arguments).filter(|_| end > 0) {
                Some(length) => {
                    budget += arguments.len() - length;
                    calls.push(read(name, &arguments[..length])?);
                    rest = &arguments[length..];
                }
                None => rest = after,
            }
        }
        if calls.is_empty() { Err(ToolError::new("no function")) } else { Ok(calls) }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Length of the braces that the text begins with, up to the one that closes them; braces in
/// strings do not count.
fn balanced(text: &str) -> Option<usize> {
    if !text.starts_with('{') {
        return None;
    }
    let (mut at, mut depth) = (0, 0usize);
    while let Some(c) = text[at..].chars().next() {
        if let Some(inner) = text[at..].strip_prefix(QUOTE) {
            at += QUOTE.len() + inner.find(QUOTE)? + QUOTE.len();
            continue;
        }
        at += c.len_utf8();
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

fn read(name: &str, arguments: &str) -> Result<ToolCall, ToolError> {
    let value = json_loads(&to_json(arguments), true);
    super::call(name, &value.ok_or_else(|| ToolError::new("malformed arguments"))?)
}

/// The arguments with their strings and bare keys in JSON's quotes.
fn to_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let string = rest.strip_prefix(QUOTE).and_then(|inner| inner.split_once(QUOTE));
        if let Some((string, after)) = string {
            write_json_string(string, true, &mut out);
            rest = after;
            continue;
        }
        let key = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        if key > 0 && out.ends_with(['{', ',']) && rest[key..].starts_with(':') {
            out.extend(["\"", &rest[..key], "\""]);
            rest = &rest[key..];
            continue;
        }
        // A word that is no key is copied whole, so that the rest of it is not taken for one.
        let length = if key > 0 { key } else { c.len_utf8() };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out
}
