//! `POST /v1/chat/completions`: from JSON to a request.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    messages,
    options::{Defaults, Options, refuse_unless, whitelisted},
    reply::Kind,
};
use crate::{
    core::{Chat, Prompt, Request},
    error::{ApiError, ApiResult},
    limits,
    state::AppState,
    wire::{
        fields::{Fields, wrong_type},
        protocol::{Ask, Protocol},
    },
};

/// Template variables that a request may set. Anything else could redirect the rendering itself.
pub(super) const TEMPLATE_KWARGS: &[&str] =
    &["enable_thinking", "preserve_thinking", "reasoning_effort", "thinking", "thinking_budget"];

/// `/v1/chat/completions`.
#[derive(Debug)]
pub struct ChatCompletions;

impl Protocol for ChatCompletions {
    fn parse(&self, state: &AppState, body: &[u8]) -> ApiResult<Ask> {
        let (options, request) = parse(body, &state.config.defaults)?;
        Ok(options.ask(Kind::Chat, state, request))
    }
}

/// Parses a body.
pub fn parse(body: &[u8], defaults: &Defaults) -> ApiResult<(Options, Request)> {
    let mut body = Fields::parse(body)?;
    let options = Options::take(&mut body, defaults)?;
    let template_kwargs = take_template_kwargs(&mut body)?;
    let messages = body
        .take("messages")
        .ok_or_else(|| ApiError::field("messages", "Request did not contain messages"))?;
    let messages = messages::prepare(messages)?;
    let tools = take_tools(&mut body)?;
    let role_mapping = take_role_mapping(&mut body)?;
    body.finish()?;
    let chat = Chat { messages, tools, template_kwargs, role_mapping, ..Chat::default() };
    let request = options.request(Prompt::Chat(chat));
    Ok((options, request))
}

fn take_template_kwargs(body: &mut Fields) -> ApiResult<Map<String, Value>> {
    const NAME: &str = "chat_template_kwargs";
    let kwargs = whitelisted(NAME, body.object(NAME)?.unwrap_or_default(), TEMPLATE_KWARGS)?;
    // A template would take the string "false" for true.
    for key in ["enable_thinking", "preserve_thinking", "thinking"] {
        if kwargs.get(key).is_some_and(|v| !v.is_boolean()) {
            return Err(wrong_type(&format!("{NAME}.{key}"), "bool"));
        }
    }
    Ok(kwargs)
}

/// The tools offered; none when `tool_choice` is `"none"`.
fn take_tools(body: &mut Fields) -> ApiResult<Vec<Value>> {
    let tools = body.array("tools", limits::MAX_TOOLS)?.unwrap_or_default();
    messages::check_tools(&tools)?;
    let choice = body.take("tool_choice");
    match choice.as_ref().map_or(Some("auto"), Value::as_str) {
        Some("auto" | "none") => {}
        _ => {
            return Err(ApiError::unsupported(
                "tool_choice",
                "tool_choice must be \"auto\" or \"none\": calls cannot be forced",
            ));
        }
    }
    refuse_unless(
        body,
        "parallel_tool_calls",
        "parallel_tool_calls must be true when tools are given",
        |v| v.as_bool() == Some(true) || (v.is_boolean() && tools.is_empty()),
    )?;
    let none = choice.as_ref().and_then(Value::as_str) == Some("none");
    Ok(if none { Vec::new() } else { tools })
}

fn take_role_mapping(body: &mut Fields) -> ApiResult<Option<BTreeMap<String, String>>> {
    let Some(map) = body.object("role_mapping")? else {
        return Ok(None);
    };
    if map.len() > limits::MAX_KWARGS {
        let message = format!("role_mapping must have at most {} keys", limits::MAX_KWARGS);
        return Err(ApiError::field("role_mapping", message));
    }
    map.into_iter()
        .map(|(role, prefix)| match prefix {
            Value::String(prefix) => Ok((role, prefix)),
            _ => Err(ApiError::field("role_mapping", "role_mapping must be a dict of str to str")),
        })
        .collect::<ApiResult<_>>()
        .map(Some)
}
