//! `<tool_call><function=f><parameter=p>v</parameter></function></tool_call>`
//! (`tool_parsers/qwen3_coder.py`).

use serde_json::Value;

use super::{ToolCall, ToolError, ToolParser, is_true, schema};
use crate::text::python::{Dict, PyValue, is_space, json_loads, parse_float};

#[derive(Debug)]
pub(super) struct Qwen3Coder;

impl ToolParser for Qwen3Coder {
    fn start(&self) -> &'static str {
        "<tool_call>"
    }

    fn end(&self) -> &'static str {
        "</tool_call>"
    }

    fn parse(&self, body: &str, tools: &[Value]) -> Result<Vec<ToolCall>, ToolError> {
        let body = body.strip_suffix('\n').unwrap_or(body);
        let inner = body.strip_suffix("</function>").and_then(|b| b.split_once("<function="));
        let (_, inner) = inner.ok_or_else(|| ToolError::new("no function"))?;
        let (name, mut rest) = head(inner).ok_or_else(|| ToolError::new("no function name"))?;
        let properties = properties(tools, name);
        let mut arguments = Dict::default();
        while let Some((_, after)) = rest.split_once("<parameter=") {
            let Some((parameter, next)) = after.split_once("</parameter>") else { break };
            rest = next;
            let Some((parameter, value)) = head(parameter) else { continue };
            let value = value.strip_prefix('\n').unwrap_or(value);
            let value = value.strip_suffix('\n').unwrap_or(value);
            let schema = properties.and_then(|p| p.get(parameter)).filter(|s| is_true(s));
            arguments.insert(parameter.to_owned(), convert(value, schema)?);
        }
        Ok(vec![super::call(name, &PyValue::Dict(arguments))?])
    }
}

/// Parameters of the first tool of this name.
fn properties<'a>(tools: &'a [Value], name: &str) -> Option<&'a Value> {
    let mut functions = tools.iter().filter_map(|tool| tool.get("function"));
    let function = functions.find(|f| f.get("name").and_then(Value::as_str) == Some(name))?;
    function.get("parameters").filter(|p| is_true(p))?.get("properties")
}

/// A name up to `>`, space or `<`, and what follows.
fn head(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches(is_space);
    let end = text.find(|c: char| is_space(c) || c == '<' || c == '>').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    (end > 0).then(|| (name, rest.strip_prefix('>').unwrap_or(rest)))
}

fn convert(text: &str, schema: Option<&Value>) -> Result<PyValue, ToolError> {
    let string = || PyValue::Str(text.to_owned());
    if text.to_lowercase() == "null" {
        return Ok(PyValue::None);
    }
    let Some(schema) = schema else { return Ok(string()) };
    let Some(kind) = schema.get("type") else {
        return Ok(match json_loads(text, true) {
            Some(value @ (PyValue::List(_) | PyValue::Dict(_))) => value,
            _ => string(),
        });
    };
    // Lists of types are no type that the reference knows.
    let kind = kind.as_str().unwrap_or("[").trim_matches(is_space).to_lowercase();
    let begins = |prefixes: &[&str]| prefixes.iter().any(|p| kind.starts_with(p));
    match kind.as_str() {
        "string" | "str" | "text" | "varchar" | "char" | "enum" => Ok(string()),
        _ if begins(&["int", "uint", "long", "short", "unsigned"]) => number(text, true),
        _ if begins(&["num", "float"]) => number(text, false),
        "boolean" | "bool" | "binary" => Ok(PyValue::Bool(text.to_lowercase() == "true")),
        "object" | "array" | "arr" => Ok(schema::structure(text).unwrap_or_else(string)),
        _ if begins(&["dict", "list"]) => Ok(schema::structure(text).unwrap_or_else(string)),
        _ => Ok(schema::literal(text).unwrap_or_else(string)),
    }
}

/// A number; through a float even where it is an integer, as in the reference.
fn number(text: &str, integer: bool) -> Result<PyValue, ToolError> {
    let bad = || ToolError::new(format!("`{text}` is not a number of the type asked for"));
    let value = parse_float(text).filter(|v| v.is_finite()).ok_or_else(bad)?;
    match (value == value.trunc(), integer) {
        (true, _) => PyValue::truncated(value).ok_or_else(bad),
        (false, false) => Ok(PyValue::Float(value)),
        (false, true) => Err(bad()),
    }
}
