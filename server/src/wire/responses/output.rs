//! The output items of a response, built token by token, and the events that tell of them.
//!
//! A call whose arguments turn out not to be whole is closed as `incomplete` when a stream has told
//! of it, since no event takes an item back; its text follows as a message. A response that is not
//! streamed has the message only. A custom tool's call is told when it is whole: until then its
//! input is JSON.
//!
//! Blanks that templates put between reasoning, calls and messages are no message by themselves.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use verbatim_engine::TokenLogprob;

use super::{
    content, fresh_id,
    items::{Call, OPAQUE_PREFIX},
    tools::Toolbox,
};
use crate::{
    core::{Delta, ReasoningTokens, Step},
    sse,
    wire::openai::logprobs::{Vocabulary, entry},
};

/// Numbered events, framed. A whole response has none.
#[derive(Debug, Default)]
pub struct Events {
    on: bool,
    next: u64,
    ready: Vec<Bytes>,
}

impl Events {
    /// Events of a stream, or none at all.
    pub fn new(on: bool) -> Self {
        Self { on, ..Self::default() }
    }

    /// Adds the event `kind` with `fields`.
    pub fn push(&mut self, kind: &str, fields: Value) {
        if !self.on {
            return;
        }
        let mut event = Map::new();
        event.insert("type".to_owned(), kind.into());
        event.insert("sequence_number".to_owned(), self.next.into());
        if let Value::Object(fields) = fields {
            event.extend(fields);
        }
        self.next += 1;
        self.ready.push(sse::event(kind, &event.into()));
    }

    /// The events that were not taken yet.
    pub fn take(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.ready)
    }
}

/// What a client wants to see of the output.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Names tokens, where log-probabilities are wanted.
    pub logprobs: Option<Arc<dyn Vocabulary>>,
    /// Reasoning also goes where clients keep it without reading it.
    pub opaque_reasoning: bool,
}

/// The output so far.
#[derive(Debug)]
pub struct Output {
    /// Events that tell of it.
    pub events: Events,
    tools: Toolbox,
    shown: Shown,
    done: Vec<Value>,
    open: Option<Open>,
    /// Blanks that a message may begin with.
    blanks: String,
    logprobs: Vec<Value>,
    reasoning: ReasoningTokens,
}

/// The item that is being written.
#[derive(Debug)]
struct Open {
    id: String,
    body: Writing,
}

#[derive(Debug)]
enum Writing {
    Reasoning(String),
    Message { text: String, logprobs: Vec<Value> },
    Call(Call),
}

impl Output {
    /// No output yet.
    pub fn new(events: Events, tools: Toolbox, shown: Shown) -> Self {
        Self {
            events,
            tools,
            shown,
            done: Vec::new(),
            open: None,
            blanks: String::new(),
            logprobs: Vec::new(),
            reasoning: ReasoningTokens::default(),
        }
    }

    /// Adds a token.
    pub fn step(&mut self, step: &Step) {
        self.reasoning.step(&step.deltas);
        if let Some(logprob) = &step.logprob {
            self.logprobs.extend(self.logprob(step.token, logprob));
        }
        self.write(&step.deltas);
    }

    /// Adds output of tokens that were added before.
    pub fn deltas(&mut self, deltas: &[Delta]) {
        self.reasoning.release(deltas);
        self.write(deltas);
    }

    /// Log-probabilities are of tokens whose text, once it is certain, begins with content.
    fn write(&mut self, deltas: &[Delta]) {
        let Some(first) = deltas.first() else { return };
        if !matches!(first, Delta::Content(_)) {
            self.logprobs.clear();
        }
        for delta in deltas {
            match delta {
                Delta::Content(text) => self.content(text),
                Delta::Reasoning(text) => self.reasoning(text),
                Delta::CallStart { id, name } => self.call(id, name),
                Delta::CallArguments(text) => self.arguments(text),
                Delta::CallEnd { complete: true } => self.close("completed"),
                Delta::CallEnd { complete: false } => self.void(),
            }
        }
    }

    /// Ends the output, and its last item with `status`. Blanks are all there is where a model wrote
    /// nothing else.
    pub fn end(&mut self, status: &str) {
        if self.done.is_empty() && self.open.is_none() && !self.blanks.is_empty() {
            self.write_message("");
        }
        self.close(status);
    }

    fn close(&mut self, status: &str) {
        self.blanks.clear();
        let Some(Open { id, body }) = self.open.take() else { return };
        match body {
            Writing::Reasoning(text) => self.close_reasoning(&id, &text, status),
            Writing::Message { text, logprobs } => {
                self.close_message(&id, &text, &logprobs, status);
            }
            Writing::Call(call) => self.close_call(&id, &call),
        }
    }

    /// The items that are done.
    pub fn items(&self) -> &[Value] {
        &self.done
    }

    /// Tokens that went into reasoning.
    pub fn reasoning_tokens(&self) -> usize {
        self.reasoning.count()
    }

    fn at(&self, id: &str) -> Map<String, Value> {
        Map::from_iter([
            ("item_id".to_owned(), id.into()),
            ("output_index".to_owned(), self.done.len().into()),
        ])
    }

    /// An event about a part, or about the arguments, of the item `id`.
    fn tell(&mut self, kind: &str, id: &str, fields: Value) {
        let mut event = self.at(id);
        if let Value::Object(fields) = fields {
            event.extend(fields);
        }
        self.events.push(kind, event.into());
    }

    fn added(&mut self, item: &Value) {
        let index = self.done.len();
        let event = json!({"output_index": index, "item": item});
        self.events.push("response.output_item.added", event);
    }

    fn item_done(&mut self, item: Value) {
        let event = json!({"output_index": self.done.len(), "item": item});
        self.events.push("response.output_item.done", event);
        self.done.push(item);
    }

    fn content(&mut self, delta: &str) {
        if self.in_message() || !delta.trim().is_empty() {
            return self.write_message(delta);
        }
        let blanks = std::mem::take(&mut self.blanks) + delta;
        self.close("completed");
        self.blanks = blanks;
    }

    fn in_message(&self) -> bool {
        matches!(&self.open, Some(Open { body: Writing::Message { .. }, .. }))
    }

    fn write_message(&mut self, delta: &str) {
        let delta = std::mem::take(&mut self.blanks) + delta;
        if !self.in_message() {
            self.open_message();
        }
        let fresh = std::mem::take(&mut self.logprobs);
        let Some(Open { id, body: Writing::Message { text, logprobs } }) = &mut self.open else {
            return;
        };
        let id = id.clone();
        text.push_str(&delta);
        logprobs.extend_from_slice(&fresh);
        let fields = json!({"content_index": 0, "delta": delta, "logprobs": fresh});
        self.tell("response.output_text.delta", &id, fields);
    }

    fn open_message(&mut self) {
        self.close("completed");
        let id = fresh_id("msg");
        self.added(&message(&id, "in_progress", &[]));
        let part = content::output_text("", &[]);
        self.tell("response.content_part.added", &id, json!({"content_index": 0, "part": part}));
        let body = Writing::Message { text: String::new(), logprobs: Vec::new() };
        self.open = Some(Open { id, body });
    }

    fn close_message(&mut self, id: &str, text: &str, logprobs: &[Value], status: &str) {
        let fields = json!({"content_index": 0, "text": text, "logprobs": logprobs});
        self.tell("response.output_text.done", id, fields);
        let part = content::output_text(text, logprobs);
        self.tell("response.content_part.done", id, json!({"content_index": 0, "part": part}));
        self.item_done(message(id, status, &[part]));
    }

    fn reasoning(&mut self, delta: &str) {
        if !matches!(&self.open, Some(Open { body: Writing::Reasoning(_), .. })) {
            self.open_reasoning();
        }
        let Some(Open { id, body: Writing::Reasoning(text) }) = &mut self.open else { return };
        let id = id.clone();
        text.push_str(delta);
        let fields = json!({"content_index": 0, "delta": delta});
        self.tell("response.reasoning_text.delta", &id, fields);
    }

    fn open_reasoning(&mut self) {
        self.close("completed");
        let id = fresh_id("rs");
        self.added(&json!({"id": id, "type": "reasoning", "status": "in_progress",
                           "summary": [], "content": []}));
        let part = content::reasoning_text("");
        self.tell("response.content_part.added", &id, json!({"content_index": 0, "part": part}));
        self.open = Some(Open { id, body: Writing::Reasoning(String::new()) });
    }

    fn close_reasoning(&mut self, id: &str, text: &str, status: &str) {
        let fields = json!({"content_index": 0, "text": text});
        self.tell("response.reasoning_text.done", id, fields);
        let part = content::reasoning_text(text);
        self.tell("response.content_part.done", id, json!({"content_index": 0, "part": part}));
        let mut item = json!({"id": id, "type": "reasoning", "status": status,
                              "summary": [], "content": [part]});
        if self.shown.opaque_reasoning {
            item["encrypted_content"] = format!("{OPAQUE_PREFIX}{text}").into();
        }
        self.item_done(item);
    }

    fn call(&mut self, call_id: &str, name: &str) {
        self.close("completed");
        let tool = self.tools.called(name);
        let call = Call {
            call_id: call_id.to_owned(),
            name: tool.name,
            namespace: tool.namespace,
            arguments: String::new(),
            custom: tool.custom,
            void: false,
        };
        let id = fresh_id(if call.custom { "ctc" } else { "fc" });
        if !call.custom {
            self.call_added(&id, &call);
        }
        self.open = Some(Open { id, body: Writing::Call(call) });
    }

    fn call_added(&mut self, id: &str, call: &Call) {
        let mut item = call.json(id);
        item["status"] = "in_progress".into();
        self.added(&item);
    }

    fn arguments(&mut self, delta: &str) {
        let Some(Open { id, body: Writing::Call(call) }) = &mut self.open else { return };
        let id = id.clone();
        call.arguments.push_str(delta);
        if !call.custom {
            let kind = "response.function_call_arguments.delta";
            self.tell(kind, &id, json!({"delta": delta}));
        }
    }

    fn void(&mut self) {
        match &mut self.open {
            Some(Open { body: Writing::Call(call), .. }) if self.events.on && !call.custom => {
                call.void = true;
            }
            Some(Open { body: Writing::Call(_), .. }) => self.open = None,
            _ => return,
        }
        self.close("incomplete");
    }

    fn close_call(&mut self, id: &str, call: &Call) {
        if call.custom {
            return self.close_custom_call(id, call);
        }
        let fields = json!({"name": call.name, "arguments": call.arguments});
        self.tell("response.function_call_arguments.done", id, fields);
        self.item_done(call.json(id));
    }

    fn close_custom_call(&mut self, id: &str, call: &Call) {
        self.call_added(id, &Call { arguments: String::new(), ..call.clone() });
        let call = Call { arguments: custom_input(&call.arguments), ..call.clone() };
        let input = &call.arguments;
        self.tell("response.custom_tool_call_input.delta", id, json!({"delta": input}));
        self.tell("response.custom_tool_call_input.done", id, json!({"input": input}));
        self.item_done(call.json(id));
    }

    fn logprob(&self, token: u32, logprob: &TokenLogprob) -> Option<Value> {
        let vocabulary = self.shown.logprobs.as_deref()?;
        let top = logprob.top.iter().map(|(id, value)| entry(vocabulary, *id, *value));
        let top: Vec<Value> = top.collect();
        let mut chosen = entry(vocabulary, token, logprob.logprob);
        chosen["top_logprobs"] = top.into();
        Some(chosen)
    }
}

fn message(id: &str, status: &str, content: &[Value]) -> Value {
    json!({"id": id, "type": "message", "status": status,
           "role": "assistant", "content": content})
}

/// The string that the function of a custom tool takes; all of it where there is no such string.
fn custom_input(arguments: &str) -> String {
    let parsed: Value = serde_json::from_str(arguments).unwrap_or_default();
    parsed["input"].as_str().unwrap_or(arguments).to_owned()
}
