//! What the reference's server does to messages before it renders them
//! (`mlx_lm/server.py`, `process_message_content`).

use serde_json::{Map, Value};

use crate::{Error, Result};

/// Lists of text parts become one text, a missing content becomes "", the arguments of tool calls
/// become objects.
pub(super) fn prepare(messages: &[Value]) -> Result<Vec<Value>> {
    messages.iter().map(prepare_one).collect()
}

fn bad(text: impl Into<String>) -> Error {
    Error::Template(text.into())
}

fn prepare_one(message: &Value) -> Result<Value> {
    let mut message = message.clone();
    let object = message.as_object_mut().ok_or_else(|| bad("each message must be an object"))?;
    match object.get("content") {
        Some(Value::Array(parts)) => {
            let text: String = parts.iter().map(part_text).collect::<Result<Vec<_>>>()?.concat();
            object.insert("content".into(), text.into());
        }
        None | Some(Value::Null) => {
            object.insert("content".into(), "".into());
        }
        Some(_) => {}
    }
    if let Some(Value::Array(calls)) = object.get_mut("tool_calls") {
        calls.iter_mut().try_for_each(parse_arguments)?;
    }
    Ok(message)
}

fn part_text(part: &Value) -> Result<&str> {
    let kind = part.get("type").and_then(Value::as_str);
    if kind != Some("text") {
        return Err(bad("Only 'text' content type is supported."));
    }
    part.get("text").and_then(Value::as_str).ok_or_else(|| bad("a text part has no text"))
}

fn parse_arguments(call: &mut Value) -> Result<()> {
    let Some(arguments) = call.pointer_mut("/function/arguments") else { return Ok(()) };
    if let Some(text) = arguments.as_str().filter(|text| !text.is_empty()) {
        let parsed = serde_json::from_str(text);
        *arguments = parsed.map_err(|e| bad(format!("tool call arguments: {e}")))?;
    }
    Ok(())
}

/// Variables that only the engine sets: parameters of the reference's `apply_chat_template`.
const RESERVED: [&str; 14] = [
    "add_generation_prompt",
    "chat_template",
    "continue_final_message",
    "conversation",
    "max_length",
    "messages",
    "padding",
    "return_assistant_tokens_mask",
    "return_dict",
    "return_tensors",
    "tokenize",
    "tokenizer_kwargs",
    "tools",
    "truncation",
];

/// Refuses variables that would change more than what the template says.
pub(super) fn check_kwargs(kwargs: &Map<String, Value>) -> Result<()> {
    match RESERVED.iter().find(|name| kwargs.contains_key(**name)) {
        Some(name) => Err(bad(format!("chat_template_kwargs: `{name}` cannot be set here"))),
        None => Ok(()),
    }
}
