//! Responses.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use verbatim_server::wire::responses::{
    output::{Events, Output, Shown},
    reply::{Head, Responding},
    tools::Toolbox,
};

use super::{Script, openai::Names};

pub fn check(script: &Script) {
    let reply = |stream| {
        let settings = Map::from_iter([("model".to_owned(), script.model.as_str().into())]);
        let head = Head { id: "resp_1".to_owned(), created: 0, settings };
        let shown =
            Shown { logprobs: Some(Arc::new(Names)), opaque_reasoning: script.shows_thinking };
        let output = Output::new(Events::new(stream), Toolbox::default(), shown);
        Box::new(Responding::new(head, output, None))
    };
    let mut read = Read::default();
    let events = script.stream(reply(true));
    for (at, event) in events.iter().enumerate() {
        let data = event.data.as_ref().expect("JSON");
        assert_eq!((&data["type"], &data["sequence_number"]), (&json!(event.kind), &json!(at)));
        read.event(&event.kind, data);
    }
    let last = events.last().and_then(|event| event.data.as_ref()).expect("an end");
    let response = &last["response"];
    assert_eq!(last["type"], format!("response.{}", response["status"].as_str().expect("text")));
    assert_eq!(response["output"], Value::from(read.done.clone()));
    // Blanks between items are no message.
    assert_eq!(without_blanks(&read.told("output_text")), without_blanks(&script.content()));
    assert_eq!(read.told("reasoning_text"), script.reasoning());
    if !script.fails && !script.has_void {
        let whole = script.whole(reply(false));
        assert_eq!(without_ids(&whole["output"]), without_ids(&response["output"]));
        assert_eq!(whole["usage"], response["usage"]);
    }
}

/// What a client has gathered.
#[derive(Debug, Default)]
struct Read {
    done: Vec<Value>,
    open: Option<Value>,
    /// Text and arguments of the item that is being written.
    text: String,
}

impl Read {
    fn event(&mut self, kind: &str, event: &Value) {
        let index = || assert_eq!(event["output_index"], self.done.len());
        match kind {
            "response.output_item.added" => {
                index();
                assert_eq!(self.open, None, "one item after another");
                self.open = Some(event["item"].clone());
                self.text.clear();
            }
            "response.output_item.done" => {
                index();
                let open = self.open.take().expect("an open item");
                assert_eq!(open["id"], event["item"]["id"]);
                self.done.push(event["item"].clone());
            }
            "response.output_text.delta"
            | "response.reasoning_text.delta"
            | "response.function_call_arguments.delta" => {
                index();
                self.text += event["delta"].as_str().expect("text");
            }
            "response.output_text.done" | "response.reasoning_text.done" => {
                index();
                assert_eq!(event["text"], self.text);
            }
            "response.function_call_arguments.done" => {
                index();
                assert_eq!(event["arguments"], self.text);
            }
            "response.content_part.added" | "response.content_part.done" => index(),
            "response.created"
            | "response.in_progress"
            | "response.completed"
            | "response.incomplete"
            | "response.failed" => assert_eq!(self.open, None),
            other => panic!("an event that no client knows: {other}"),
        }
    }

    /// The text of all parts of one kind.
    fn told(&self, kind: &str) -> String {
        let parts = self.done.iter().filter_map(|item| item["content"].as_array()).flatten();
        parts.filter(|part| part["type"] == kind).filter_map(|part| part["text"].as_str()).collect()
    }
}

fn without_blanks(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

/// Items without what is drawn for each of them.
fn without_ids(items: &Value) -> Value {
    let mut items = items.clone();
    for item in items.as_array_mut().expect("items") {
        item["id"] = Value::Null;
    }
    items
}
