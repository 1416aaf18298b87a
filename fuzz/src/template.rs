//! Chat templates and the conversations that they render: within limits, without a panic.

use std::{fs, sync::LazyLock};

use serde_json::{Map, Value, json};
use verbatim_engine::{
    Error, limits,
    text::{ChatInput, ChatTemplate, Tokenizer},
};

use crate::scratch::{self, first, joined, repository};

/// What an engine says whose renderer panicked.
const PANICKED: &str = "the renderer has failed on this template";

struct Recorded {
    tokenizer: Tokenizer,
    messages: Vec<Value>,
    tools: Vec<Value>,
    variables: Map<String, Value>,
}

static RECORDED: LazyLock<Recorded> = LazyLock::new(|| {
    let data = scratch::json("engine/tests/data/templates.json");
    let tools = scratch::json("engine/tests/data/tools.json");
    Recorded {
        tokenizer: Tokenizer::load(&repository("demo/model")).expect("the demo model's"),
        messages: data["messages"].as_array().expect("messages").clone(),
        tools: tools["tools"].as_array().expect("tools").clone(),
        variables: data["variables"].as_object().expect("variables").clone(),
    }
});

/// An input is a template and, behind a separator, the messages; recorded ones where there are none.
pub fn body(input: &[u8]) -> bool {
    let (template, messages) = first(input);
    let Ok(template) = std::str::from_utf8(template) else { return false };
    let given: Option<Vec<Value>> = messages.and_then(|json| serde_json::from_slice(json).ok());
    let template = match ChatTemplate::from_text(template, &RECORDED.tokenizer) {
        Ok(template) => template,
        Err(error) => return refused(&error),
    };
    let rendered = template.render(&ChatInput {
        messages: given.as_ref().unwrap_or(&RECORDED.messages),
        tools: messages.is_some().then_some(&RECORDED.tools),
        add_generation_prompt: true,
        kwargs: RECORDED.variables.clone(),
    });
    match rendered {
        Ok(text) => {
            assert!(text.len() <= limits::MAX_RENDERED_BYTES);
            true
        }
        Err(error) => refused(&error),
    }
}

fn refused(error: &Error) -> bool {
    assert!(!error.to_string().contains(PANICKED), "the renderer panicked");
    false
}

pub fn seeds() -> Vec<Vec<u8>> {
    let data = scratch::json("engine/tests/data/templates.json");
    let small = data["small"].as_array().expect("templates").iter();
    let mut seeds: Vec<Vec<u8>> =
        small.map(|one| one["template"].as_str().expect("text").as_bytes().to_vec()).collect();
    let own = fs::read(repository("demo/model/chat_template.jinja")).expect("a template");
    let messages = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "reasoning_content": "Hm.", "content": null, "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"s\": \"x\"}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "42"},
    ]);
    seeds.push(joined(&[&own, messages.to_string().as_bytes()]));
    seeds.push(own);
    seeds
}
