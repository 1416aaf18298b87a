//! `<tool_call><function=f><parameter=p>v</parameter></function></tool_call>`
//! (`tool_parsers/qwen3_coder.py`).
//!
//! ```text
//! body:       "\n" "<function=" name ">" "\n" parameter* "</function>" "\n"
//! parameter:  "<parameter=" name ">" "\n" text "\n" "</parameter>" "\n"
//! name:       /[^\s<>]+/
//! ```
//!
//! Every line break may be missing; one on either side of the text does not belong to it. The text
//! does not contain `</parameter>`; which type it is read as is up to the parameter's description. A
//! stream shows what has to be a string as it comes, and other values whole. A key that comes twice
//! takes its first place with its last value, so a stream takes the call back there; so it does at a
//! parameter that never ends.

mod preview;

use serde_json::Value;

pub(super) use preview::Preview;

use super::{ToolCall, ToolError, ToolParser, is_true, schema, value::Kind};
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
            let schema = schema_of(properties, parameter);
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

/// What a parameter's description says of its type.
fn schema_of<'a>(properties: Option<&'a Value>, parameter: &str) -> Option<&'a Value> {
    properties?.get(parameter).filter(|schema| is_true(schema))
}

/// A name up to `>`, space or `<`, and what follows.
fn head(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches(is_space);
    let end = text.find(|c: char| is_space(c) || c == '<' || c == '>').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    (end > 0).then(|| (name, rest.strip_prefix('>').unwrap_or(rest)))
}

/// What [`convert`] makes a string of.
fn kind_of(schema: Option<&Value>) -> Kind {
    match schema.map(type_of) {
        None => Kind::Text(&[NULL]),
        Some(None) => Kind::Bare(&[NULL]),
        Some(Some(kind)) if is_string(&kind) => Kind::Text(&[NULL]),
        Some(Some(_)) => Kind::Any,
    }
}

/// No value, whatever the type.
const NULL: &str = "null";

/// The type that a schema names. Lists of types are no type that the reference knows.
fn type_of(schema: &Value) -> Option<String> {
    let kind = schema.get("type")?.as_str().unwrap_or("[");
    Some(kind.trim_matches(is_space).to_lowercase())
}

fn is_string(kind: &str) -> bool {
    matches!(kind, "string" | "str" | "text" | "varchar" | "char" | "enum")
}

fn convert(text: &str, schema: Option<&Value>) -> Result<PyValue, ToolError> {
    let string = || PyValue::Str(text.to_owned());
    if text.to_lowercase() == NULL {
        return Ok(PyValue::None);
    }
    let Some(schema) = schema else { return Ok(string()) };
    let Some(kind) = type_of(schema) else {
        return Ok(match json_loads(text, true) {
            Some(value @ (PyValue::List(_) | PyValue::Dict(_))) => value,
            _ => string(),
        });
    };
    let begins = |prefixes: &[&str]| prefixes.iter().any(|p| kind.starts_with(p));
    match kind.as_str() {
        kind if is_string(kind) => Ok(string()),
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
