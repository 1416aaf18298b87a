//! Chat Completions and Completions.

use std::sync::Arc;

use serde_json::{Value, json};
use verbatim_server::wire::openai::{
    logprobs::Vocabulary,
    reply::{Answering, Envelope, Kind},
};

use super::Script;

/// Names of tokens, some of which are no text.
#[derive(Debug)]
pub struct Names;

impl Vocabulary for Names {
    fn bytes(&self, id: u32) -> Vec<u8> {
        vec![id as u8, 0xc3]
    }
}

pub fn check_chat(script: &Script) {
    check(script, Kind::Chat);
}

pub fn check_text(script: &Script) {
    check(script, Kind::Text);
}

fn check(script: &Script, kind: Kind) {
    let reply = || {
        let envelope = Envelope::new(kind, script.model.clone(), "f".into(), Arc::new(Names));
        Box::new(Answering::new(envelope, 1, true))
    };
    let events = script.stream(reply());
    assert!(events.iter().all(|event| event.kind.is_empty()));
    let data: Vec<Option<Value>> = events.into_iter().map(|event| event.data).collect();
    let read = Read::of(&data, script.fails);
    assert_eq!(read.content, script.content());
    if kind == Kind::Chat {
        assert_eq!(read.reasoning, script.reasoning());
    }
    if script.fails {
        return;
    }
    let whole = script.whole(reply());
    let choice = &whole["choices"][0];
    assert_eq!(read.reason, choice["finish_reason"]);
    assert_eq!(read.usage, whole["usage"]);
    if kind == Kind::Text {
        assert_eq!(choice["text"], read.content);
    } else {
        let message = &choice["message"];
        assert_eq!(message["content"].as_str().unwrap_or_default(), read.content);
        assert_eq!(message["reasoning"].as_str().unwrap_or_default(), read.reasoning);
        let calls = message.get("tool_calls").cloned().unwrap_or_else(|| json!([]));
        assert!(script.has_void || calls == Value::from(read.calls));
    }
}

/// What a client has gathered at a stream's end.
#[derive(Debug, Default)]
struct Read {
    content: String,
    reasoning: String,
    calls: Vec<Value>,
    reason: Value,
    usage: Value,
}

impl Read {
    fn of(data: &[Option<Value>], fails: bool) -> Self {
        let mut read = Self::default();
        let (last, chunks) = data.split_last().expect("an end");
        if fails {
            assert!(last.as_ref().is_some_and(|last| last["error"]["message"].is_string()));
        } else {
            assert_eq!(last, &None, "the mark of the end");
        }
        for chunk in chunks {
            read.chunk(chunk.as_ref().expect("one end"));
        }
        read
    }

    fn chunk(&mut self, chunk: &Value) {
        if let Some(usage) = chunk.get("usage") {
            self.usage = usage.clone();
        }
        for choice in chunk["choices"].as_array().expect("choices") {
            assert_eq!(self.reason, Value::Null, "nothing follows the end");
            self.reason = choice["finish_reason"].clone();
            self.content += choice["text"].as_str().unwrap_or_default();
            let delta = &choice["delta"];
            self.content += delta["content"].as_str().unwrap_or_default();
            self.reasoning += delta["reasoning"].as_str().unwrap_or_default();
            for call in delta["tool_calls"].as_array().into_iter().flatten() {
                self.call(call);
            }
        }
    }

    fn call(&mut self, delta: &Value) {
        let index = delta["index"].as_u64().expect("an index") as usize;
        if index == self.calls.len() {
            let mut call = delta.clone();
            call.as_object_mut().expect("a call").remove("index");
            return self.calls.push(call);
        }
        assert_eq!(index + 1, self.calls.len(), "one call after another");
        let arguments = &mut self.calls[index]["function"]["arguments"];
        let more = delta["function"]["arguments"].as_str().expect("arguments");
        *arguments = format!("{}{more}", arguments.as_str().expect("arguments")).into();
    }
}
