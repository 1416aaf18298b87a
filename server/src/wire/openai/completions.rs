//! `POST /v1/completions`: from JSON to a request.

use serde_json::{Value, json};

use super::{
    options::{Defaults, Options, refuse_unless},
    reply::Kind,
};
use crate::{
    core::{Prompt, Request},
    error::{ApiError, ApiResult},
    limits,
    state::AppState,
    wire::{
        fields::Fields,
        protocol::{Ask, Protocol},
    },
};

/// `/v1/completions`.
#[derive(Debug)]
pub struct Completions;

impl Protocol for Completions {
    fn parse(&self, state: &AppState, body: &[u8]) -> ApiResult<Ask> {
        let (options, request) = parse(body, &state.config.defaults)?;
        options.ask(Kind::Text, state, request)
    }
}

/// Parses a body. The prompt is text, or the token ids of one prompt.
pub fn parse(body: &[u8], defaults: &Defaults) -> ApiResult<(Options, Request)> {
    let mut body = Fields::parse(body)?;
    let alternatives = take_alternatives(&mut body)?;
    let mut options = Options::take(&mut body, defaults)?;
    if let Some(most) = alternatives {
        if options.top_logprobs.is_some_and(|top| top != most) {
            let message = "top_logprobs says otherwise than logprobs; leave one of them out";
            return Err(ApiError::field("top_logprobs", message));
        }
        options.top_logprobs = alternatives;
    }
    let prompt = body
        .take("prompt")
        .ok_or_else(|| ApiError::field("prompt", "Request did not contain a prompt"))?;
    let prompt = take_prompt(prompt)?;
    refuse_unless(&mut body, "echo", "echo must be false: the prompt is not repeated", |v| {
        v.as_bool() == Some(false)
    })?;
    refuse_unless(&mut body, "suffix", "suffix is not supported", |v| v.as_str() == Some(""))?;
    refuse_unless(
        &mut body,
        "response_format",
        "response_format is a field of chat completions",
        |v| *v == json!({"type": "text"}),
    )?;
    body.finish()?;
    let request = options.request(prompt);
    Ok((options, request))
}

/// `logprobs` as OpenAI has it, the number of alternatives; mlx-lm's is a boolean.
fn take_alternatives(body: &mut Fields) -> ApiResult<Option<usize>> {
    if !body.is_number("logprobs") {
        return Ok(None);
    }
    let alternatives = body.count("logprobs", 0, 0)?;
    let most = limits::MAX_TOP_LOGPROBS as usize;
    if alternatives > most {
        return Err(ApiError::field("logprobs", format!("logprobs must be at most {most}")));
    }
    Ok(Some(alternatives))
}

fn take_prompt(prompt: Value) -> ApiResult<Prompt> {
    let refused = || ApiError::field("prompt", "prompt must be a string or a list of token ids");
    match prompt {
        Value::String(text) => Ok(Prompt::Text(text)),
        Value::Array(mut items) if items.len() == 1 && items[0].is_string() => {
            items.pop().map_or_else(|| Err(refused()), take_prompt)
        }
        Value::Array(items) => items
            .iter()
            .map(|v| v.as_u64().and_then(|id| u32::try_from(id).ok()))
            .collect::<Option<Vec<u32>>>()
            .filter(|ids| !ids.is_empty())
            .map(Prompt::Tokens)
            .ok_or_else(refused),
        _ => Err(refused()),
    }
}
