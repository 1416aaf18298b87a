//! From events to a message, whole or as a stream.

use bytes::Bytes;
use serde_json::{Map, Value, json};
use uuid::Uuid;
use verbatim_engine::Stats;

use super::{errors, stream::Blocks};
use crate::{
    core::{Answer, Outcome, Part, Start, Step, StopReason, ToolCall},
    error::ApiError,
    sse,
    wire::protocol::Reply,
};

/// Stands for the seal of a thinking block. Nothing is sealed and nothing is checked when it comes
/// back, but clients take a block without one for broken.
pub const SIGNATURE: &str = "dmVyYmF0aW0=";

/// Answers one request for a message.
#[derive(Debug)]
pub struct Answering {
    id: String,
    model: String,
    shows_thinking: bool,
    blocks: Blocks,
}

impl Answering {
    /// An answer to a request that named `model`.
    pub fn new(model: String, shows_thinking: bool) -> Self {
        let id = format!("msg_{}", Uuid::new_v4().simple());
        Self { id, model, shows_thinking, blocks: Blocks::new(shows_thinking) }
    }

    fn message(&self, content: Vec<Value>, reason: Option<&StopReason>, usage: &Value) -> Value {
        let mut message = Map::new();
        let mut put = |key: &str, value: Value| message.insert(key.to_owned(), value);
        put("id", self.id.as_str().into());
        put("type", "message".into());
        put("role", "assistant".into());
        put("model", self.model.as_str().into());
        put("content", content.into());
        let (reason, sequence) = reason.map(stop_reason).unzip();
        put("stop_reason", reason.into());
        put("stop_sequence", sequence.flatten().into());
        put("usage", usage.clone());
        message.into()
    }

    fn content(&self, parts: Vec<Part>) -> Vec<Value> {
        let mut content: Vec<Value> = Vec::new();
        for part in parts {
            match part {
                Part::Content(text) => append(&mut content, "text", &text, true),
                Part::Reasoning(text) => {
                    append(&mut content, "thinking", &text, self.shows_thinking);
                }
                Part::Call(call) => content.push(tool_use(&call)),
            }
        }
        content
    }
}

/// Adds text to the last block, if that is of `kind`, or in a block of its own. Whitespace alone
/// makes no block.
fn append(content: &mut Vec<Value>, kind: &str, text: &str, is_shown: bool) {
    let shown = if is_shown { text } else { "" };
    if let Some(last) = content.last_mut().filter(|last| last["type"] == kind)
        && let Some(Value::String(before)) = last.get_mut(kind)
    {
        before.push_str(shown);
        return;
    }
    if text.trim().is_empty() {
        return;
    }
    content.push(match kind {
        "thinking" => json!({"type": kind, "thinking": shown, "signature": SIGNATURE}),
        _ => json!({"type": kind, "text": shown}),
    });
}

fn tool_use(call: &ToolCall) -> Value {
    // A complete call's arguments are a JSON object.
    let input = serde_json::from_str::<Map<String, Value>>(&call.arguments).unwrap_or_default();
    json!({"type": "tool_use", "id": tool_use_id(&call.id), "name": call.name, "input": input})
}

/// A call's id as Anthropic's look.
pub fn tool_use_id(id: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let id: String = id.strip_prefix("call_").unwrap_or(id).chars().map(plain).collect();
    format!("toolu_{id}")
}

/// Why a message ended, and the stop sequence that ended it.
fn stop_reason(reason: &StopReason) -> (&'static str, Option<&str>) {
    match reason {
        StopReason::EndOfTurn => ("end_turn", None),
        StopReason::StopString(text) => ("stop_sequence", Some(text)),
        StopReason::ToolCalls => ("tool_use", None),
        StopReason::Length => ("max_tokens", None),
    }
}

/// Tokens. Those read from the cache are not counted as input again; what a request leaves in the
/// cache costs nothing extra.
fn usage(prompt: usize, cached: usize, output: usize) -> Value {
    json!({
        "input_tokens": prompt.saturating_sub(cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": output,
    })
}

fn usage_of(stats: &Stats) -> Value {
    usage(stats.prompt_tokens, stats.cached_tokens, stats.generated_tokens)
}

fn ping() -> Bytes {
    sse::event("ping", &json!({"type": "ping"}))
}

impl Reply for Answering {
    fn start(&mut self, start: Start) -> Vec<Bytes> {
        let usage = usage(start.prompt_tokens, start.cached_tokens, 0);
        let message = self.message(Vec::new(), None, &usage);
        let start = json!({"type": "message_start", "message": message});
        vec![sse::event("message_start", &start), ping()]
    }

    fn progress(&mut self, _done: usize, _total: usize) -> Vec<Bytes> {
        vec![ping()]
    }

    fn keepalive(&mut self) -> Bytes {
        ping()
    }

    fn step(&mut self, _choice: usize, step: Step) -> Vec<Bytes> {
        self.blocks.write(step.deltas)
    }

    fn finish(&mut self, _choice: usize, outcome: Outcome) -> Vec<Bytes> {
        let mut events = self.blocks.write(outcome.deltas);
        events.extend(self.blocks.end());
        let (reason, sequence) = stop_reason(&outcome.reason);
        let delta = json!({
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": sequence},
            "usage": usage_of(&outcome.stats),
        });
        events.push(sse::event("message_delta", &delta));
        events
    }

    fn end(&mut self) -> Vec<Bytes> {
        vec![sse::event("message_stop", &json!({"type": "message_stop"}))]
    }

    fn fail(&mut self, error: &ApiError) -> Vec<Bytes> {
        vec![sse::event("error", &errors::json_of(error, None))]
    }

    fn whole(self: Box<Self>, answers: Vec<Answer>) -> Value {
        let Answer { parts, outcome, .. } = answers.into_iter().next().unwrap_or_default();
        let usage = outcome.as_ref().map_or_else(|| usage(0, 0, 0), |o| usage_of(&o.stats));
        let content = self.content(parts);
        self.message(content, outcome.as_ref().map(|o| &o.reason), &usage)
    }
}

#[cfg(test)]
mod tests;
