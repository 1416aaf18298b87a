//! From events to response JSON, whole or in chunks.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Map, Value, json};
use uuid::Uuid;
use verbatim_engine::Stats;

use super::logprobs::{Entries, Vocabulary};
use crate::core::{Delta, Outcome, Step, ToolCall};

/// Which endpoint answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Text,
}

/// What all JSON of one response shares.
#[derive(Debug, Clone)]
pub struct Reply {
    kind: Kind,
    id: String,
    created: u64,
    model: String,
    fingerprint: Arc<str>,
    vocabulary: Arc<dyn Vocabulary>,
}

impl Reply {
    /// A response to a request that named `model`.
    pub fn new(
        kind: Kind,
        model: String,
        fingerprint: Arc<str>,
        vocabulary: Arc<dyn Vocabulary>,
    ) -> Self {
        let prefix = match kind {
            Kind::Chat => "chatcmpl",
            Kind::Text => "cmpl",
        };
        let id = format!("{prefix}-{}", Uuid::new_v4());
        Self { kind, id, created: unix_seconds(), model, fingerprint, vocabulary }
    }

    fn envelope(&self, object: &str, choices: &Value) -> Map<String, Value> {
        let Value::Object(map) = json!({
            "id": self.id,
            "system_fingerprint": &*self.fingerprint,
            "object": object,
            "model": self.model,
            "created": self.created,
            "choices": choices,
        }) else {
            return Map::new();
        };
        map
    }

    fn stream_object(&self) -> &'static str {
        match self.kind {
            Kind::Chat => "chat.completion.chunk",
            Kind::Text => "text_completion",
        }
    }
}

/// Seconds since 1970.
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// Writes a stream's chunks.
#[derive(Debug)]
pub struct Chunks {
    reply: Reply,
    role_sent: bool,
    tool_calls: usize,
    logprobs: Entries,
}

impl Chunks {
    /// The chunks of one response.
    pub fn new(reply: Reply) -> Self {
        Self { reply, role_sent: false, tool_calls: 0, logprobs: Entries::default() }
    }

    /// The chunks of a token; none while its text is held back.
    pub fn step(&mut self, step: Step) -> Vec<Value> {
        if let Some(logprob) = &step.logprob {
            self.logprobs.push(&*self.reply.vocabulary, step.token, logprob);
        }
        self.deltas(step.deltas)
    }

    /// The chunks of an end; `usage` appends a usage chunk.
    pub fn finish(&mut self, outcome: Outcome, usage: bool) -> Vec<Value> {
        let mut chunks = self.deltas(outcome.deltas);
        let choice = match self.reply.kind {
            Kind::Chat => json!({"delta": self.delta(Map::new())}),
            Kind::Text => json!({"text": ""}),
        };
        chunks.push(self.chunk(choice, Some(outcome.reason.word())));
        if usage {
            let mut last = self.reply.envelope(self.reply.stream_object(), &json!([]));
            last.insert("usage".to_owned(), usage_json(&outcome.stats));
            chunks.push(last.into());
        }
        chunks
    }

    fn deltas(&mut self, deltas: Vec<Delta>) -> Vec<Value> {
        deltas.into_iter().filter_map(|delta| self.one(delta)).collect()
    }

    fn one(&mut self, delta: Delta) -> Option<Value> {
        let choice = match (self.reply.kind, delta) {
            (Kind::Text, Delta::Content(text)) => json!({"text": text}),
            // A plain completion is asked for without markers, so it has content only.
            (Kind::Text, _) => return None,
            (Kind::Chat, delta) => {
                let (key, value) = match delta {
                    Delta::Content(text) => ("content", text.into()),
                    Delta::Reasoning(text) => ("reasoning", text.into()),
                    Delta::ToolCall(call) => {
                        let index = self.tool_calls;
                        self.tool_calls += 1;
                        ("tool_calls", json!([tool_call(&call, Some(index))]))
                    }
                };
                json!({"delta": self.delta(Map::from_iter([(key.to_owned(), value)]))})
            }
        };
        Some(self.chunk(choice, None))
    }

    /// The role goes with the first delta only: clients that concatenate would repeat it.
    fn delta(&mut self, rest: Map<String, Value>) -> Value {
        let mut delta = Map::new();
        if !std::mem::replace(&mut self.role_sent, true) {
            delta.insert("role".to_owned(), "assistant".into());
        }
        delta.extend(rest);
        delta.into()
    }

    fn chunk(&mut self, fields: Value, finish_reason: Option<&str>) -> Value {
        let mut choice = choice(finish_reason, self.logprobs.take(self.reply.kind));
        if let Value::Object(fields) = fields {
            choice.extend(fields);
        }
        self.reply.envelope(self.reply.stream_object(), &json!([choice])).into()
    }
}

/// Collects a whole response.
#[derive(Debug)]
pub struct Whole {
    reply: Reply,
    content: String,
    reasoning: String,
    tool_calls: Vec<Value>,
    logprobs: Entries,
}

impl Whole {
    /// An empty response.
    pub fn new(reply: Reply) -> Self {
        Self {
            reply,
            content: String::new(),
            reasoning: String::new(),
            tool_calls: Vec::new(),
            logprobs: Entries::default(),
        }
    }

    /// Adds a token.
    pub fn step(&mut self, step: Step) {
        if let Some(logprob) = &step.logprob {
            self.logprobs.push(&*self.reply.vocabulary, step.token, logprob);
        }
        self.deltas(step.deltas);
    }

    /// The response of a generation that ended with `outcome`.
    pub fn finish(mut self, outcome: Outcome) -> Value {
        self.deltas(outcome.deltas);
        let kind = self.reply.kind;
        let mut choice = choice(Some(outcome.reason.word()), self.logprobs.take(kind));
        let object = match kind {
            Kind::Text => {
                choice.insert("text".to_owned(), self.content.into());
                "text_completion"
            }
            Kind::Chat => {
                choice.insert(
                    "message".to_owned(),
                    message(self.content, self.reasoning, self.tool_calls),
                );
                "chat.completion"
            }
        };
        let mut response = self.reply.envelope(object, &json!([choice]));
        response.insert("usage".to_owned(), usage_json(&outcome.stats));
        response.into()
    }

    fn deltas(&mut self, deltas: Vec<Delta>) {
        for delta in deltas {
            match delta {
                Delta::Content(text) => self.content.push_str(&text),
                Delta::Reasoning(text) => self.reasoning.push_str(&text),
                Delta::ToolCall(call) => self.tool_calls.push(tool_call(&call, None)),
            }
        }
    }
}

fn message(content: String, reasoning: String, tool_calls: Vec<Value>) -> Value {
    let mut message = Map::new();
    message.insert("role".to_owned(), "assistant".into());
    let content = if content.is_empty() { Value::Null } else { content.into() };
    message.insert("content".to_owned(), content);
    if !reasoning.is_empty() {
        message.insert("reasoning".to_owned(), reasoning.into());
    }
    if !tool_calls.is_empty() {
        message.insert("tool_calls".to_owned(), tool_calls.into());
    }
    message.into()
}

fn choice(finish_reason: Option<&str>, logprobs: Option<Value>) -> Map<String, Value> {
    let mut choice = Map::new();
    choice.insert("index".to_owned(), 0.into());
    choice.insert("finish_reason".to_owned(), finish_reason.into());
    if let Some(logprobs) = logprobs {
        choice.insert("logprobs".to_owned(), logprobs);
    }
    choice
}

fn tool_call(call: &ToolCall, index: Option<usize>) -> Value {
    let mut json = json!({
        "function": {"name": call.name, "arguments": call.arguments},
        "type": "function",
        "id": call.id,
    });
    if let Some(index) = index {
        json["index"] = index.into();
    }
    json
}

fn usage_json(stats: &Stats) -> Value {
    json!({
        "prompt_tokens": stats.prompt_tokens,
        "completion_tokens": stats.generated_tokens,
        "total_tokens": stats.prompt_tokens + stats.generated_tokens,
        "prompt_tokens_details": {"cached_tokens": stats.cached_tokens},
    })
}
