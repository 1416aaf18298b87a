//! Bare text as a value of the type that a tool's description asks for
//! (`tool_parsers/minimax_m2.py`, `_convert_param_value_with_types`).

use serde_json::Value;

use super::{ToolError, value::Kind};
use crate::text::python::{
    LiteralError, PyValue, is_space, json_loads, literal_eval, parse_float, parse_int,
};

/// The types that a parameter may have; a string where nothing is said.
pub(super) fn types(properties: Option<&Value>, parameter: &str) -> Vec<String> {
    let mut types = Vec::new();
    if let Some(schema) = properties.and_then(|p| p.get(parameter)) {
        collect(schema, 0, &mut types);
    }
    if types.is_empty() {
        types.push("string".to_owned());
    }
    types
}

/// Nesting of alternatives.
const MAX_DEPTH: usize = 64;

fn collect(schema: &Value, depth: usize, types: &mut Vec<String>) {
    let Some(schema) = schema.as_object().filter(|_| depth < MAX_DEPTH) else {
        return types.push("string".to_owned());
    };
    let before = types.len();
    match schema.get("type") {
        Some(Value::String(name)) => types.push(name.clone()),
        Some(Value::Array(names)) => {
            types.extend(names.iter().filter_map(|n| n.as_str().map(str::to_owned)));
        }
        _ => {}
    }
    if let Some(Value::Array(values)) = schema.get("enum") {
        types.extend(values.iter().map(|v| type_of(v).to_owned()));
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(Value::Array(choices)) = schema.get(key) {
            for choice in choices {
                collect(choice, depth + 1, types);
            }
        }
    }
    if types.len() == before {
        types.push("string".to_owned());
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// From the most specific type to the least.
const PRIORITY: [&str; 11] = [
    "integer", "int", "number", "float", "boolean", "bool", "object", "array", "string", "str",
    "text",
];

/// What [`convert`] makes a string of.
pub(super) fn kind(types: &[String]) -> Kind {
    let types: Vec<String> = types.iter().map(|t| t.to_lowercase()).collect();
    let has = |kind: &str| types.iter().any(|t| t == kind);
    match PRIORITY.into_iter().find(|kind| has(kind)) {
        Some("string" | "str" | "text") if has("null") => Kind::Text(&["null", "none", "nil"]),
        Some("string" | "str" | "text") => Kind::Text(&["null"]),
        _ => Kind::Any,
    }
}

/// The first of the types that the text fits, else whatever JSON makes of it, else the text.
pub(super) fn convert(text: &str, types: &[String]) -> Result<PyValue, ToolError> {
    let lower = text.to_lowercase();
    let types: Vec<String> = types.iter().map(|t| t.to_lowercase()).collect();
    let nullable = types.iter().any(|t| t == "null");
    if lower == "null" || (nullable && matches!(lower.as_str(), "none" | "nil")) {
        return Ok(PyValue::None);
    }
    for kind in PRIORITY.into_iter().filter(|kind| types.iter().any(|t| t == kind)) {
        let value = match kind {
            "string" | "str" | "text" => Some(PyValue::Str(text.to_owned())),
            "integer" | "int" => parse_int(text),
            "number" | "float" => number(text)?,
            "boolean" | "bool" => boolean(lower.trim_matches(is_space)),
            _ => structure(text),
        };
        if let Some(value) = value {
            return Ok(value);
        }
    }
    Ok(json_loads(text, true).unwrap_or_else(|| PyValue::Str(text.to_owned())))
}

/// A float, or an integer where it is whole.
fn number(text: &str) -> Result<Option<PyValue>, ToolError> {
    match parse_float(text) {
        Some(value) if value.is_infinite() => Err(ToolError::new("an infinite number")),
        Some(value) if value.is_nan() => Ok(None),
        Some(value) if value == value.trunc() => Ok(PyValue::truncated(value)),
        value => Ok(value.map(PyValue::Float)),
    }
}

fn boolean(lower: &str) -> Option<PyValue> {
    match lower {
        "true" | "1" | "yes" | "on" => Some(PyValue::Bool(true)),
        "false" | "0" | "no" | "off" => Some(PyValue::Bool(false)),
        _ => None,
    }
}

/// JSON, else a Python literal.
pub(super) fn structure(text: &str) -> Option<PyValue> {
    json_loads(text, false).or_else(|| literal(text))
}

/// A Python literal.
pub(super) fn literal(text: &str) -> Option<PyValue> {
    match literal_eval(text) {
        Ok(value) => Some(value),
        Err(LiteralError::NotALiteral) => None,
        // The call fails only if the value is written in the end.
        Err(LiteralError::NotJson) => Some(PyValue::Opaque),
    }
}
