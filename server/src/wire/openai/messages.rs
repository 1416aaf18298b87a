//! Messages and tools as chat templates want them
//! (`mlx_lm/server.py`, `process_message_content`).

use serde_json::{Map, Value};

use crate::{
    error::{ApiError, ApiResult},
    limits,
    wire::fields::{quoted, wrong_type},
};

pub(super) const ROLES: &[&str] = &["system", "developer", "user", "assistant", "tool"];

/// Checks messages and rewrites them for the template: text parts are joined, a missing content
/// becomes the empty string, arguments of earlier tool calls are parsed. What an assistant refused
/// with is its text, and its `reasoning` is also what most templates call it, `reasoning_content`.
pub fn prepare(messages: Value) -> ApiResult<Vec<Value>> {
    let Value::Array(messages) = messages else {
        return Err(wrong_type("messages", "list"));
    };
    if messages.is_empty() {
        return Err(ApiError::field("messages", "messages must not be empty"));
    }
    if messages.len() > limits::MAX_MESSAGES {
        let message = format!("messages must have at most {} items", limits::MAX_MESSAGES);
        return Err(ApiError::field("messages", message));
    }
    messages.into_iter().enumerate().map(|(i, m)| prepare_one(i, m)).collect()
}

fn prepare_one(index: usize, message: Value) -> ApiResult<Value> {
    let at = format!("messages[{index}]");
    let Value::Object(mut message) = message else {
        return Err(wrong_type(&at, "dict"));
    };
    check_role(&at, &mut message)?;
    let by_assistant = message.get("role").is_some_and(|role| role == "assistant");
    let content = match message.get_mut("content").map(Value::take) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => join_text(&at, parts, by_assistant)?,
        Some(_) => {
            let param = format!("{at}.content");
            let message = format!("{param} must be a string or a list of text parts");
            return Err(ApiError::field(param, message));
        }
    };
    message.insert("content".to_owned(), Value::String(content));
    if by_assistant {
        name_reasoning(&mut message);
    }
    if let Some(calls) = message.get_mut("tool_calls").filter(|c| !c.is_null()) {
        parse_arguments(&at, calls)?;
    }
    Ok(Value::Object(message))
}

/// OpenAI's `developer` is what templates call `system`.
fn check_role(at: &str, message: &mut Map<String, Value>) -> ApiResult<()> {
    let param = format!("{at}.role");
    let role = match message.get("role") {
        Some(Value::String(role)) => role,
        None => return Err(ApiError::field(param.clone(), format!("{param} is missing"))),
        Some(_) => return Err(wrong_type(&param, "str")),
    };
    if !ROLES.contains(&role.as_str()) {
        let message = format!("{param} must be one of {}, not {}", ROLES.join(", "), quoted(role));
        return Err(ApiError::field(param, message));
    }
    if role == "developer" {
        message.insert("role".to_owned(), "system".into());
    }
    Ok(())
}

/// Answers have their reasoning in `reasoning`, as mlx-lm's; clients that echo it there mean the same.
fn name_reasoning(message: &mut Map<String, Value>) {
    const NAME: &str = "reasoning_content";
    if message.get(NAME).is_none_or(Value::is_null)
        && let Some(reasoning) = message.get("reasoning").filter(|r| r.is_string()).cloned()
    {
        message.insert(NAME.to_owned(), reasoning);
    }
}

fn join_text(at: &str, parts: Vec<Value>, by_assistant: bool) -> ApiResult<String> {
    let param = format!("{at}.content");
    if parts.len() > limits::MAX_CONTENT_PARTS {
        let message = format!("{param} must have at most {} parts", limits::MAX_CONTENT_PARTS);
        return Err(ApiError::field(param, message));
    }
    let mut text = String::new();
    for part in parts {
        let kind = match part.get("type").and_then(Value::as_str) {
            Some("text") => "text",
            Some("refusal") if by_assistant => "refusal",
            _ => {
                return Err(ApiError::unsupported(param, "Only 'text' content type is supported."));
            }
        };
        let Some(said) = part.get(kind).and_then(Value::as_str) else {
            let message = format!("A part of type '{kind}' must have a '{kind}'.");
            return Err(ApiError::field(param, message));
        };
        text.push_str(said);
    }
    Ok(text)
}

fn parse_arguments(at: &str, calls: &mut Value) -> ApiResult<()> {
    let param = format!("{at}.tool_calls");
    let calls = calls.as_array_mut().ok_or_else(|| wrong_type(&param, "list"))?;
    if calls.len() > limits::MAX_TOOLS {
        let message = format!("{param} must have at most {} items", limits::MAX_TOOLS);
        return Err(ApiError::field(param, message));
    }
    for (j, call) in calls.iter_mut().enumerate() {
        let at = format!("{param}[{j}]");
        let call = call.as_object_mut().ok_or_else(|| wrong_type(&at, "dict"))?;
        let Some(arguments) = call.get_mut("function").and_then(|f| f.get_mut("arguments")) else {
            continue;
        };
        let Some(text) = arguments.as_str().filter(|s| !s.is_empty()) else {
            continue;
        };
        *arguments = serde_json::from_str(text).map_err(|e| {
            let param = format!("{at}.function.arguments");
            let message = format!("{param} must be JSON: {e}");
            ApiError::field(param, message)
        })?;
    }
    Ok(())
}

/// Checks that every tool is a named function.
pub fn check_tools(tools: &[Value]) -> ApiResult<()> {
    for (i, tool) in tools.iter().enumerate() {
        let at = format!("tools[{i}]");
        let kind = tool.get("type");
        if kind.is_some_and(|t| t.as_str() != Some("function")) {
            let message = format!("{at}.type must be \"function\"");
            return Err(ApiError::unsupported(at, message));
        }
        let name = tool.get("function").and_then(|f| f.get("name")).and_then(Value::as_str);
        match name {
            Some(n) if !n.is_empty() && n.len() <= limits::MAX_TOOL_NAME_BYTES => {}
            _ => {
                let message = format!(
                    "{at}.function.name must be a string of 1 to {} bytes",
                    limits::MAX_TOOL_NAME_BYTES
                );
                return Err(ApiError::field(at, message));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(json!({"role": "user"}), json!({"role": "user", "content": ""}))]
    #[case(json!({"role": "user", "content": null}), json!({"role": "user", "content": ""}))]
    #[case(
        json!({"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}),
        json!({"role": "system", "content": "ab"})
    )]
    #[case(
        json!({"role": "assistant", "content": null, "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"x\": [1]}"}},
            {"function": {"name": "g", "arguments": ""}},
            {"function": {"name": "h", "arguments": {"y": 2}}}]}),
        json!({"role": "assistant", "content": "", "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"x": [1]}}},
            {"function": {"name": "g", "arguments": ""}},
            {"function": {"name": "h", "arguments": {"y": 2}}}]})
    )]
    #[case(
        json!({"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}]}),
        json!({"role": "assistant", "content": "ab"})
    )]
    #[case(
        json!({"role": "assistant", "content": "a", "reasoning": "r"}),
        json!({"role": "assistant", "content": "a", "reasoning": "r", "reasoning_content": "r"})
    )]
    #[case(
        json!({"role": "assistant", "content": "a", "reasoning": "r", "reasoning_content": null}),
        json!({"role": "assistant", "content": "a", "reasoning": "r", "reasoning_content": "r"})
    )]
    #[case(
        json!({"role": "assistant", "content": "a", "reasoning": "r", "reasoning_content": "own"}),
        json!({"role": "assistant", "content": "a", "reasoning": "r", "reasoning_content": "own"})
    )]
    #[case(
        json!({"role": "user", "content": "a", "reasoning": "r"}),
        json!({"role": "user", "content": "a", "reasoning": "r"})
    )]
    fn messages_are_prepared(#[case] message: Value, #[case] want: Value) {
        assert_eq!(prepare(json!([message])).unwrap(), vec![want]);
    }

    #[rstest]
    #[case(json!("x"), "messages must be of type list")]
    #[case(json!([]), "messages must not be empty")]
    #[case(json!([1]), "messages[0] must be of type dict")]
    #[case(json!([{}]), "messages[0].role is missing")]
    #[case(json!([{"role": 1}]), "messages[0].role must be of type str")]
    #[case(json!([{"role": "x\n"}]), "messages[0].role must be one of system, developer, user, assistant, tool, not x\u{fffd}")]
    #[case(json!([{"role": "user", "content": 1}]), "messages[0].content must be a string or a list of text parts")]
    #[case(json!([{"role": "user", "content": [{"type": "image_url"}]}]), "Only 'text' content type is supported.")]
    #[case(json!([{"role": "user", "content": ["x"]}]), "Only 'text' content type is supported.")]
    #[case(json!([{"role": "user", "content": [{"type": "text"}]}]), "A part of type 'text' must have a 'text'.")]
    #[case(json!([{"role": "user", "content": [{"type": "refusal", "refusal": "x"}]}]), "Only 'text' content type is supported.")]
    #[case(json!([{"role": "assistant", "content": [{"type": "refusal"}]}]), "A part of type 'refusal' must have a 'refusal'.")]
    #[case(json!([{"role": "user", "tool_calls": 1}]), "messages[0].tool_calls must be of type list")]
    #[case(json!([{"role": "user", "tool_calls": [1]}]), "messages[0].tool_calls[0] must be of type dict")]
    fn bad_messages_are_refused(#[case] messages: Value, #[case] message: &str) {
        let e = prepare(messages).unwrap_err();
        assert_eq!((e.status.as_u16(), e.message.as_str()), (400, message));
    }

    #[test]
    fn arguments_must_be_json() {
        let bad = json!([{"role": "assistant", "tool_calls": [
            {"function": {"name": "f", "arguments": "{"}}]}]);
        let e = prepare(bad).unwrap_err();
        assert_eq!(e.param.as_deref(), Some("messages[0].tool_calls[0].function.arguments"));
    }

    #[rstest]
    #[case(json!([1]), false)]
    #[case(json!([{"type": "retrieval", "function": {"name": "f"}}]), false)]
    #[case(json!([{"type": "function", "function": {"name": ""}}]), false)]
    #[case(json!([{"type": "function", "function": {"name": "f"}}]), true)]
    #[case(json!([{"function": {"name": "f"}}]), true)]
    fn tools_are_checked(#[case] tools: Value, #[case] ok: bool) {
        assert_eq!(check_tools(tools.as_array().unwrap()).is_ok(), ok);
    }
}
