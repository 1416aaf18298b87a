//! `<tool_call>{"name": "f", "arguments": {…}}</tool_call>` (`tool_parsers/json_tools.py`).
//!
//! ```text
//! body:  space (call | "[" call ("," call)* "]") space
//! call:  a JSON object with the string "name" and any "arguments"; "id" may name the call
//! ```
//!
//! A stream begins the call where its name is known and the arguments begin, and shows all of them,
//! save numbers, words and half escapes. An `id` behind the arguments comes too late for it.

mod preview;

use serde_json::Value;

pub(super) use preview::Preview;

use super::{ToolCall, ToolError, ToolParser};
use crate::text::python::{PyValue, is_space, json_loads};

#[derive(Debug)]
pub(super) struct Json;

impl ToolParser for Json {
    fn start(&self) -> &'static str {
        "<tool_call>"
    }

    fn end(&self) -> &'static str {
        "</tool_call>"
    }

    fn parse(&self, body: &str, _: &[Value]) -> Result<Vec<ToolCall>, ToolError> {
        let value = json_loads(body.trim_matches(is_space), true);
        match value.ok_or_else(|| ToolError::new("not JSON"))? {
            PyValue::List(calls) => calls.iter().map(read).collect(),
            one => read(&one).map(|call| vec![call]),
        }
    }
}

fn read(value: &PyValue) -> Result<ToolCall, ToolError> {
    let PyValue::Dict(fields) = value else {
        return Err(ToolError::new("not an object"));
    };
    let Some(PyValue::Str(name)) = fields.get("name") else {
        return Err(ToolError::new("no name"));
    };
    let arguments = fields.get("arguments").ok_or_else(|| ToolError::new("no arguments"))?;
    let id = match fields.get("id") {
        Some(PyValue::Str(id)) if !id.is_empty() => Some(id.clone()),
        _ => None,
    };
    Ok(ToolCall { id, ..super::call(name, arguments)? })
}
