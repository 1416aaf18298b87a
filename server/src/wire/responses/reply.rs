//! The response object, whole or at the ends of a stream.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{
    output::Output,
    store::{Kept, Shared},
};
use crate::{
    core::{Answer, Outcome, Start, Step, StopReason},
    error::ApiError,
    wire::{openai::reply::unix_seconds, protocol::Reply},
};

/// What a response is before there is any output.
#[derive(Debug)]
pub struct Head {
    /// Its id.
    pub id: String,
    /// When it was asked for, in seconds since 1970.
    pub created: u64,
    /// The request's settings, as the response repeats them.
    pub settings: Map<String, Value>,
}

/// Where the response goes in the end.
#[derive(Debug)]
pub struct Keep {
    /// The store.
    pub store: Arc<Shared>,
    /// The items that the response answers, in JSON.
    pub input: Vec<Arc<str>>,
}

/// Writes one response.
#[derive(Debug)]
pub struct Responding {
    head: Head,
    output: Output,
    keep: Option<Keep>,
    started: bool,
}

/// How far a response is.
#[derive(Debug, Default)]
struct State<'a> {
    status: &'a str,
    error: Value,
    incomplete: Value,
    completed_at: Value,
    usage: Value,
}

impl Responding {
    /// A response that `keep` stores in the end.
    pub fn new(head: Head, output: Output, keep: Option<Keep>) -> Self {
        Self { head, output, keep, started: false }
    }

    fn response(&self, state: State<'_>) -> Value {
        let mut response = Map::new();
        let mut set = |name: &str, value: Value| response.insert(name.to_owned(), value);
        set("id", self.head.id.as_str().into());
        set("object", "response".into());
        set("created_at", self.head.created.into());
        set("status", state.status.into());
        set("completed_at", state.completed_at);
        set("error", state.error);
        set("incomplete_details", state.incomplete);
        set("output", self.output.items().into());
        set("usage", state.usage);
        response.extend(self.head.settings.clone());
        response.into()
    }

    fn open(&mut self) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        for kind in ["response.created", "response.in_progress"] {
            let response = self.response(State { status: "in_progress", ..State::default() });
            self.output.events.push(kind, json!({"response": response}));
        }
    }

    /// Ends the output and stores the response, so that a client that saw its end can refer to it.
    fn end_with(&mut self, outcome: &Outcome) -> Value {
        let cut = outcome.reason == StopReason::Length;
        let status = if cut { "incomplete" } else { "completed" };
        self.output.end(status);
        let state = State {
            status,
            incomplete: if cut { json!({"reason": "max_output_tokens"}) } else { Value::Null },
            completed_at: if cut { Value::Null } else { unix_seconds().into() },
            usage: usage(outcome, self.output.reasoning_tokens()),
            ..State::default()
        };
        let response = self.response(state);
        self.store(&response);
        self.output.events.push(&format!("response.{status}"), json!({"response": response}));
        response
    }

    fn store(&mut self, response: &Value) {
        let Some(Keep { store, input }) = self.keep.take() else { return };
        let kept = Kept { response: response.to_string().into(), input };
        if !store.put(&self.head.id, kept) {
            tracing::warn!("a response is too large to be stored; see --responses-bytes");
        }
    }
}

impl Reply for Responding {
    fn start(&mut self, _: Start) -> Vec<Bytes> {
        self.open();
        self.output.events.take()
    }

    fn step(&mut self, _: usize, step: Step) -> Vec<Bytes> {
        self.output.step(&step);
        self.output.events.take()
    }

    fn finish(&mut self, _: usize, outcome: Outcome) -> Vec<Bytes> {
        self.open();
        self.output.deltas(&outcome.deltas);
        self.end_with(&outcome);
        self.output.events.take()
    }

    fn end(&mut self) -> Vec<Bytes> {
        Vec::new()
    }

    fn fail(&mut self, error: &ApiError) -> Vec<Bytes> {
        self.open();
        self.output.end("incomplete");
        let code = match error.code {
            Some(code) if error.overlong.is_some() => code,
            _ if error.status.is_server_error() => "server_error",
            _ => "invalid_prompt",
        };
        let error = json!({"code": code, "message": error.message});
        let response = self.response(State { status: "failed", error, ..State::default() });
        self.store(&response);
        self.output.events.push("response.failed", json!({"response": response}));
        self.output.events.take()
    }

    /// A stream tells of an overlong prompt as OpenAI's does: agents look for it there.
    fn refused(&mut self, error: &ApiError) -> Option<Vec<Bytes>> {
        error.overlong.map(|_| self.fail(error))
    }

    fn observe(&mut self, _: usize, step: &Step) {
        self.output.step(step);
    }

    fn whole(mut self: Box<Self>, answers: Vec<Answer>) -> Value {
        match answers.into_iter().next().and_then(|answer| answer.outcome) {
            Some(outcome) => {
                self.output.deltas(&outcome.deltas);
                self.end_with(&outcome)
            }
            None => self.response(State { status: "failed", ..State::default() }),
        }
    }
}

fn usage(outcome: &Outcome, reasoning: usize) -> Value {
    let stats = &outcome.stats;
    json!({
        "input_tokens": stats.prompt_tokens,
        "input_tokens_details": {"cached_tokens": stats.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": stats.generated_tokens,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": stats.prompt_tokens + stats.generated_tokens,
    })
}

#[cfg(test)]
mod tests;
