//! From events to response JSON, whole or in chunks.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use serde_json::{Map, Value, json};
use uuid::Uuid;
use verbatim_engine::Stats;

use super::logprobs::{Entries, Vocabulary};
use crate::{
    core::{Answer, Delta, Outcome, ReasoningTokens, Start, Step, ToolCall},
    error::ApiError,
    sse,
    wire::protocol::Reply,
};

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
pub struct Envelope {
    kind: Kind,
    id: String,
    created: u64,
    model: String,
    fingerprint: Arc<str>,
    vocabulary: Arc<dyn Vocabulary>,
}

impl Envelope {
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

/// What a stream has written of one choice.
#[derive(Debug, Default)]
struct Progress {
    role_sent: bool,
    calls: usize,
    logprobs: Entries,
    reasoning: ReasoningTokens,
}

/// Answers Chat Completions and Completions.
#[derive(Debug)]
pub struct Answering {
    reply: Envelope,
    include_usage: bool,
    choices: Vec<Progress>,
    usage: Option<Usage>,
}

impl Answering {
    /// An answer with `choices` choices; `include_usage` ends a stream with a usage chunk.
    pub fn new(reply: Envelope, choices: usize, include_usage: bool) -> Self {
        let choices = (0..choices).map(|_| Progress::default()).collect();
        Self { reply, include_usage, choices, usage: None }
    }

    fn deltas(&mut self, at: usize, deltas: Vec<Delta>) -> Vec<Bytes> {
        deltas.into_iter().filter_map(|delta| self.one(at, delta)).collect()
    }

    fn one(&mut self, at: usize, delta: Delta) -> Option<Bytes> {
        let choice = match (self.reply.kind, delta) {
            (Kind::Text, Delta::Content(text)) => json!({"text": text}),
            // A plain completion is asked for without markers, so it has content only.
            (Kind::Text, _) => return None,
            (Kind::Chat, delta) => {
                let (key, value) = self.choices[at].read(delta)?;
                json!({"delta": self.choices[at].delta(Map::from_iter([(key.to_owned(), value)]))})
            }
        };
        Some(self.chunk(at, choice, None))
    }

    fn chunk(&mut self, at: usize, fields: Value, finish_reason: Option<&str>) -> Bytes {
        let logprobs = self.choices[at].logprobs.take(self.reply.kind);
        let mut choice = choice(at, finish_reason, logprobs);
        if let Value::Object(fields) = fields {
            choice.extend(fields);
        }
        let chunk = self.reply.envelope(self.reply.stream_object(), &json!([choice]));
        sse::data(&chunk.into())
    }

    fn choice(&self, at: usize, answer: &Answer) -> Value {
        let kind = self.reply.kind;
        let mut logprobs = Entries::default();
        for (token, logprob) in &answer.logprobs {
            logprobs.push(&*self.reply.vocabulary, *token, logprob);
        }
        let reason = answer.outcome.as_ref().map(|outcome| outcome.reason.word());
        let mut choice = choice(at, reason, logprobs.take(kind));
        match kind {
            Kind::Text => choice.insert("text".to_owned(), answer.content().into()),
            Kind::Chat => choice.insert("message".to_owned(), message(answer)),
        };
        choice.into()
    }
}

impl Progress {
    /// The delta's field and value.
    fn read(&mut self, delta: Delta) -> Option<(&'static str, Value)> {
        Some(match delta {
            Delta::Content(text) => ("content", text.into()),
            Delta::Reasoning(text) => ("reasoning", text.into()),
            Delta::CallStart { id, name } => {
                self.calls += 1;
                let call = ToolCall { id, name, arguments: String::new() };
                ("tool_calls", json!([tool_call(&call, Some(self.calls - 1))]))
            }
            Delta::CallArguments(text) => {
                let index = self.calls.saturating_sub(1);
                ("tool_calls", json!([{"index": index, "function": {"arguments": text}}]))
            }
            Delta::CallEnd { .. } => return None,
        })
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
}

impl Reply for Answering {
    fn start(&mut self, _: Start) -> Vec<Bytes> {
        Vec::new()
    }

    fn step(&mut self, choice: usize, step: Step) -> Vec<Bytes> {
        if let Some(logprob) = &step.logprob {
            self.choices[choice].logprobs.push(&*self.reply.vocabulary, step.token, logprob);
        }
        self.choices[choice].reasoning.step(&step.deltas);
        self.deltas(choice, step.deltas)
    }

    fn finish(&mut self, choice: usize, outcome: Outcome) -> Vec<Bytes> {
        let reasoning = &mut self.choices[choice].reasoning;
        reasoning.release(&outcome.deltas);
        let reasoning = reasoning.count();
        self.usage.get_or_insert_default().add(&outcome.stats, reasoning);
        let mut chunks = self.deltas(choice, outcome.deltas);
        let last = match self.reply.kind {
            Kind::Chat => json!({"delta": self.choices[choice].delta(Map::new())}),
            Kind::Text => json!({"text": ""}),
        };
        chunks.push(self.chunk(choice, last, Some(outcome.reason.word())));
        chunks
    }

    fn end(&mut self) -> Vec<Bytes> {
        let mut last = Vec::new();
        if let Some(usage) = self.usage.take().filter(|_| self.include_usage) {
            let mut chunk = self.reply.envelope(self.reply.stream_object(), &json!([]));
            chunk.insert("usage".to_owned(), usage.json(self.reply.kind));
            last.push(sse::data(&chunk.into()));
        }
        last.push(Bytes::from_static(sse::DONE));
        last
    }

    fn fail(&mut self, error: &ApiError) -> Vec<Bytes> {
        vec![sse::data(&error.to_json())]
    }

    fn whole(self: Box<Self>, answers: Vec<Answer>) -> Value {
        let mut usage = Usage::default();
        for answer in &answers {
            if let Some(outcome) = &answer.outcome {
                usage.add(&outcome.stats, answer.reasoning_tokens());
            }
        }
        let choices: Vec<Value> =
            answers.iter().enumerate().map(|(at, answer)| self.choice(at, answer)).collect();
        let object = match self.reply.kind {
            Kind::Text => "text_completion",
            Kind::Chat => "chat.completion",
        };
        let mut response = self.reply.envelope(object, &choices.into());
        response.insert("usage".to_owned(), usage.json(self.reply.kind));
        response.into()
    }
}

fn message(answer: &Answer) -> Value {
    let (content, reasoning) = (answer.content(), answer.reasoning());
    let tool_calls: Vec<Value> = answer.calls().map(|call| tool_call(call, None)).collect();
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

fn choice(at: usize, finish_reason: Option<&str>, logprobs: Option<Value>) -> Map<String, Value> {
    let mut choice = Map::new();
    choice.insert("index".to_owned(), at.into());
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

/// Tokens of all choices; their prompt is one.
#[derive(Debug, Default)]
struct Usage {
    prompt: usize,
    /// What was there before the request: later choices may find what earlier ones left.
    cached: Option<usize>,
    completion: usize,
    reasoning: usize,
}

impl Usage {
    fn add(&mut self, stats: &Stats, reasoning: usize) {
        self.prompt = stats.prompt_tokens;
        let cached = stats.cached_tokens;
        self.cached = Some(self.cached.map_or(cached, |least| least.min(cached)));
        self.completion += stats.generated_tokens;
        self.reasoning += reasoning;
    }

    fn json(&self, kind: Kind) -> Value {
        let mut usage = json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached.unwrap_or(0)},
        });
        if kind == Kind::Chat {
            usage["completion_tokens_details"] = json!({"reasoning_tokens": self.reasoning});
        }
        usage
    }
}
