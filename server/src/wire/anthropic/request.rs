//! From a body to a request.

use super::{
    messages::{self, Reading},
    options, system, tools,
};
use crate::{
    core::{Chat, Format, Prompt, Request, ToolChoice},
    error::{ApiError, ApiResult},
    wire::{
        adapters::take_adapters,
        fields::{Fields, missing},
        openai::Defaults,
    },
};

/// What a body is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// An answer.
    Answer,
    /// The prompt's tokens, which do not depend on `max_tokens`.
    Count,
}

/// A body, validated.
#[derive(Debug, PartialEq)]
pub struct Parsed {
    /// The model as the client names it.
    pub model: String,
    /// Answer as a stream of events.
    pub stream: bool,
    /// The answer shows what the model thought.
    pub shows_thinking: bool,
    /// What to run.
    pub request: Request,
}

/// Parses a body. What it leaves open is as `defaults` say.
pub fn parse(body: &[u8], defaults: &Defaults, purpose: Purpose) -> ApiResult<Parsed> {
    let mut body = Fields::parse(body)?;
    let model = body.required_string("model")?;
    let stream = body.bool("stream", false)?;
    let max_tokens = match (options::take_max_tokens(&mut body)?, purpose) {
        (Some(count), _) => count,
        (None, Purpose::Count) => 1,
        (None, Purpose::Answer) => return Err(missing("max_tokens")),
    };
    let sampling = options::take_sampling(&mut body, defaults)?;
    let stop = options::take_stop(&mut body)?;
    let thinking = options::take_thinking(&mut body)?;
    let output = options::take_output(&mut body)?;
    let adapters = take_adapters(&mut body)?;
    let offer = tools::take(&mut body)?;
    let system = system::take(&mut body)?;
    let reading = Reading {
        thinks: thinking.on,
        kept_thinking: options::take_kept_thinking(&mut body)?,
        counts: purpose == Purpose::Count,
    };
    let conversation = messages::take(&mut body, system, reading)?;
    options::take_rest(&mut body)?;
    body.finish()?;
    let chat = Chat {
        messages: conversation.messages,
        prefill: conversation.prefill,
        tools: offer.tools,
        tool_choice: offer.choice,
        one_call: offer.one_call,
        thinking: Some(thinking.on),
        template_kwargs: options::template_kwargs(thinking, output.effort),
        ..Chat::default()
    };
    if purpose == Purpose::Answer {
        check_prefill(&chat, &output.format)?;
    }
    let request = Request {
        sampling,
        stop,
        format: output.format,
        adapters,
        // The field is mandatory: clients name the most that they would take.
        may_shorten: true,
        ..Request::new(Prompt::Chat(chat), max_tokens)
    };
    Ok(Parsed { model, stream, shows_thinking: thinking.shown, request })
}

/// An answer that has begun cannot begin with something else.
fn check_prefill(chat: &Chat, format: &Format) -> ApiResult<()> {
    let forced = matches!(chat.tool_choice, ToolChoice::Required | ToolChoice::Named(_));
    let why = match format {
        _ if chat.prefill.is_empty() => return Ok(()),
        _ if chat.thinking == Some(true) => "thinking is on",
        _ if forced => "tool_choice asks for a tool",
        Format::Text => return Ok(()),
        Format::JsonObject | Format::JsonSchema { .. } => "an output format is set",
    };
    let message = format!("messages: the last one must not be of role assistant while {why}");
    Err(ApiError::field("messages", message))
}

#[cfg(test)]
mod tests;
