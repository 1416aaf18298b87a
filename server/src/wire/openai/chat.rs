//! `POST /v1/chat/completions`: from JSON to a request.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    format, messages,
    options::{Defaults, Options, whitelisted},
    reply::Kind,
    tools::{self, Offer},
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

/// Values of `reasoning_effort`.
pub(super) const EFFORTS: &[&str] = &["none", "minimal", "low", "medium", "high", "xhigh"];

/// `/v1/chat/completions`.
#[derive(Debug)]
pub struct ChatCompletions;

impl Protocol for ChatCompletions {
    fn parse(&self, state: &AppState, body: &[u8]) -> ApiResult<Ask> {
        let (options, request) = parse(body, &state.config.defaults)?;
        options.ask(Kind::Chat, state, request)
    }
}

/// Parses a body.
pub fn parse(body: &[u8], defaults: &Defaults) -> ApiResult<(Options, Request)> {
    let mut body = Fields::parse(body)?;
    let options = Options::take(&mut body, defaults)?;
    let mut template_kwargs = take_template_kwargs(&mut body)?;
    let messages = body
        .take("messages")
        .ok_or_else(|| ApiError::field("messages", "Request did not contain messages"))?;
    let messages = messages::prepare(messages)?;
    let Offer { tools, choice: tool_choice, one_call } = tools::take(&mut body)?;
    let format = format::take(&mut body)?;
    let effort = take_reasoning_effort(&mut body)?;
    let role_mapping = take_role_mapping(&mut body)?;
    body.finish()?;
    let thinking = effort.as_ref().map(|(thinking, _)| *thinking);
    if let Some((_, word)) = effort {
        template_kwargs.entry("reasoning_effort").or_insert(word.into());
    }
    let chat = Chat {
        messages,
        tools,
        tool_choice,
        one_call,
        thinking,
        template_kwargs,
        role_mapping,
        prefill: String::new(),
    };
    let request = Request { format, ..options.request(Prompt::Chat(chat)) };
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

/// The effort to reason with: whether at all, and the word for templates that know it.
fn take_reasoning_effort(body: &mut Fields) -> ApiResult<Option<(bool, String)>> {
    const NAME: &str = "reasoning_effort";
    let Some(effort) = body.string(NAME)? else { return Ok(None) };
    match effort.as_str() {
        known if EFFORTS.contains(&known) => Ok(Some((known != "none", effort))),
        _ => Err(ApiError::unsupported(
            NAME,
            "reasoning_effort must be none, minimal, low, medium, high or xhigh",
        )),
    }
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
