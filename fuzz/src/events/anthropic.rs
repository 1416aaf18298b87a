//! Messages.

use serde_json::{Value, json};
use verbatim_server::wire::anthropic::reply::Answering;

use super::{Script, sse::Event};

pub fn check(script: &Script) {
    let reply = || Box::new(Answering::new(script.model.clone(), script.shows_thinking));
    let message = message(script.stream(reply()), script.fails);
    if script.fails {
        return;
    }
    let mut whole = script.whole(reply());
    whole["id"] = message["id"].clone();
    if script.has_void {
        whole["content"] = message["content"].clone();
    }
    assert_eq!(message, whole);
}

/// The message as the official packages put it together.
fn message(events: Vec<Event>, fails: bool) -> Value {
    let events: Vec<Value> = events
        .into_iter()
        .map(|event| {
            let data = event.data.expect("JSON");
            assert_eq!(data["type"], event.kind);
            data
        })
        .filter(|data| data["type"] != "ping")
        .collect();
    let end = if fails { "error" } else { "message_stop" };
    let (last, events) = events.split_last().expect("an end");
    assert_eq!(last["type"], end);
    let (start, events) = events.split_first().expect("a start");
    assert_eq!(start["type"], "message_start");
    let mut message = start["message"].clone();
    let mut open: Option<String> = None;
    for event in events {
        block(&mut message, &mut open, event);
    }
    assert!(fails || open.is_none(), "every block ends");
    message
}

/// Takes in one event. `open` is the JSON of the input of the block that is being written.
fn block(message: &mut Value, open: &mut Option<String>, event: &Value) {
    let blocks = message["content"].as_array_mut().expect("blocks");
    match event["type"].as_str().expect("a type") {
        "content_block_start" => {
            assert!(open.is_none(), "one block after another");
            assert_eq!(event["index"], blocks.len());
            blocks.push(event["content_block"].clone());
            *open = Some(String::new());
        }
        "content_block_delta" => {
            let input = open.as_mut().expect("an open block");
            assert_eq!(event["index"], blocks.len() - 1);
            delta(blocks.last_mut().expect("a block"), input, &event["delta"]);
        }
        "content_block_stop" => {
            let input = open.take().expect("an open block");
            if let Ok(input) = serde_json::from_str::<Value>(&input) {
                blocks.last_mut().expect("a block")["input"] = input;
            }
        }
        "message_delta" => {
            assert!(open.is_none(), "every block ends");
            message["stop_reason"] = event["delta"]["stop_reason"].clone();
            message["stop_sequence"] = event["delta"]["stop_sequence"].clone();
            message["usage"] = event["usage"].clone();
        }
        other => panic!("{other} in the middle"),
    }
}

fn delta(block: &mut Value, input: &mut String, delta: &Value) {
    let (kind, key) = match delta["type"].as_str().expect("a type") {
        "text_delta" => ("text", "text"),
        "thinking_delta" => ("thinking", "thinking"),
        "signature_delta" => ("thinking", "signature"),
        "input_json_delta" => {
            assert_eq!(block["type"], "tool_use");
            return input.push_str(delta["partial_json"].as_str().expect("text"));
        }
        other => panic!("a delta that no client knows: {other}"),
    };
    assert_eq!(block["type"], kind);
    let text = [&block[key], &delta[key]].map(|text| text.as_str().expect("text")).concat();
    block[key] = json!(text);
}
