//! From items to the messages that chat templates take.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{
    items::{Body, Call, Item, Role},
    tools::Toolbox,
};
use crate::error::{ApiError, ApiResult};

/// The messages of a conversation.
///
/// Instructions and the system and developer messages before anything else become one system
/// message. What the model did between two of others' messages becomes one assistant message, as
/// far as order allows.
///
/// # Errors
/// 400 for a result whose call is missing.
pub fn render(
    instructions: Option<&str>,
    items: &[Item],
    tools: &Toolbox,
) -> ApiResult<Vec<Value>> {
    let leading = items.iter().take_while(|item| system_text(item).is_some()).count();
    let (first, rest) = items.split_at(leading);
    let texts = first.iter().filter_map(system_text);
    let system: Vec<String> = instructions.map(str::to_owned).into_iter().chain(texts).collect();
    let mut dialogue = Dialogue::default();
    if !system.is_empty() {
        dialogue.say("system", &system.join("\n\n"));
    }
    for item in rest {
        dialogue.add(item, tools)?;
    }
    dialogue.end_turn();
    Ok(dialogue.messages)
}

fn system_text(item: &Item) -> Option<String> {
    match &item.body {
        Body::Message { role: Role::System | Role::Developer, texts } => Some(texts.concat()),
        _ => None,
    }
}

#[derive(Debug, Default)]
struct Dialogue {
    messages: Vec<Value>,
    turn: Option<Turn>,
    /// Names of the tools called so far, by call.
    called: HashMap<String, String>,
}

/// What the model said since someone else did.
#[derive(Debug, Default)]
struct Turn {
    reasoning: String,
    content: Option<String>,
    calls: Vec<Value>,
}

impl Dialogue {
    fn say(&mut self, role: &str, text: &str) {
        self.end_turn();
        self.messages.push(json!({"role": role, "content": text}));
    }

    fn add(&mut self, item: &Item, tools: &Toolbox) -> ApiResult<()> {
        match &item.body {
            Body::Message { role: Role::Assistant, texts } => self.answer(&texts.concat()),
            Body::Message { role: Role::User, texts } => self.say("user", &texts.concat()),
            Body::Message { texts, .. } => self.say("system", &texts.concat()),
            Body::Reasoning(text) => self.reason(text),
            Body::Call(call) => self.call(call, tools),
            Body::Output { call_id, texts, .. } => self.result(call_id, &texts.concat())?,
        }
        Ok(())
    }

    fn reason(&mut self, text: &str) {
        let said = |turn: &Turn| turn.content.is_some() || !turn.calls.is_empty();
        if self.turn.as_ref().is_some_and(said) {
            self.end_turn();
        }
        self.turn.get_or_insert_default().reasoning.push_str(text);
    }

    /// Templates write content before calls.
    fn answer(&mut self, text: &str) {
        if self.turn.as_ref().is_some_and(|turn| !turn.calls.is_empty()) {
            self.end_turn();
        }
        let turn = self.turn.get_or_insert_default();
        turn.content.get_or_insert_default().push_str(text);
    }

    /// A call without whole arguments is left out: its text is in the message that follows it.
    fn call(&mut self, call: &Call, tools: &Toolbox) {
        let name = tools.presented(call.namespace.as_deref(), &call.name);
        self.called.insert(call.call_id.clone(), name.clone());
        let Some(arguments) = arguments(call) else { return };
        self.turn.get_or_insert_default().calls.push(json!({
            "id": call.call_id,
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }));
    }

    fn result(&mut self, call_id: &str, text: &str) -> ApiResult<()> {
        let Some(name) = self.called.get(call_id) else {
            let id = crate::wire::fields::quoted(call_id);
            let message = format!("input has a result but no call with the call_id {id}");
            return Err(ApiError::field("input", message));
        };
        let message =
            json!({"role": "tool", "tool_call_id": call_id, "name": name, "content": text});
        self.end_turn();
        self.messages.push(message);
        Ok(())
    }

    fn end_turn(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        let mut message = Map::new();
        message.insert("role".to_owned(), "assistant".into());
        message.insert("content".to_owned(), turn.content.unwrap_or_default().into());
        if !turn.reasoning.is_empty() {
            message.insert("reasoning_content".to_owned(), turn.reasoning.into());
        }
        if !turn.calls.is_empty() {
            message.insert("tool_calls".to_owned(), turn.calls.into());
        }
        if message.len() > 2 || message["content"].as_str() != Some("") {
            self.messages.push(message.into());
        }
    }
}

fn arguments(call: &Call) -> Option<Value> {
    if call.void {
        return None;
    }
    if call.custom {
        return Some(json!({"input": call.arguments}));
    }
    if call.arguments.trim().is_empty() {
        return Some(json!({}));
    }
    serde_json::from_str(&call.arguments).ok().filter(Value::is_object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn items(items: Value) -> Vec<Item> {
        let Value::Array(items) = items else { panic!("a list") };
        items.into_iter().map(|item| Item::read("x", item, &|_| None).unwrap()).collect()
    }

    fn messages(instructions: Option<&str>, input: Value) -> ApiResult<Vec<Value>> {
        render(instructions, &items(input), &Toolbox::default())
    }

    fn f_call(arguments: &str) -> Value {
        json!({"type": "function_call", "call_id": "1", "name": "f", "arguments": arguments})
    }

    fn f_output() -> Value {
        json!({"type": "function_call_output", "call_id": "1", "output": "r"})
    }

    fn tool_message() -> Value {
        json!({"role": "tool", "tool_call_id": "1", "name": "f", "content": "r"})
    }

    #[rstest]
    #[case::one_system_message(
        Some("I"),
        json!([{"role": "developer", "content": "D"}, {"role": "system", "content": "S"}, {"role": "user", "content": "U"}]),
        json!([{"role": "system", "content": "I\n\nD\n\nS"}, {"role": "user", "content": "U"}])
    )]
    #[case::later_ones_stay(
        None,
        json!([{"role": "user", "content": "U"}, {"role": "developer", "content": "D"}]),
        json!([{"role": "user", "content": "U"}, {"role": "system", "content": "D"}])
    )]
    #[case::one_turn_is_one_message(
        None,
        json!([{"role": "user", "content": "U"},
               {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "R"}]},
               {"role": "assistant", "content": "A"}, f_call("{\"x\": 1}"), f_output()]),
        json!([{"role": "user", "content": "U"},
               {"role": "assistant", "content": "A", "reasoning_content": "R", "tool_calls": [
                   {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]},
               tool_message()])
    )]
    #[case::text_after_a_call_keeps_its_place(
        None,
        json!([f_call(""), {"role": "assistant", "content": "A"}]),
        json!([{"role": "assistant", "content": "", "tool_calls": [
                   {"id": "1", "type": "function", "function": {"name": "f", "arguments": {}}}]},
               {"role": "assistant", "content": "A"}])
    )]
    #[case::a_broken_call_is_its_text(
        None,
        json!([f_call("{\"x\": "), {"role": "assistant", "content": "<f"}, f_output()]),
        json!([{"role": "assistant", "content": "<f"}, tool_message()])
    )]
    #[case::a_custom_call(
        None,
        json!([{"type": "custom_tool_call", "call_id": "1", "name": "f", "input": "code"}]),
        json!([{"role": "assistant", "content": "", "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"input": "code"}}}]}])
    )]
    #[case::reasoning_that_none_can_read(
        None,
        json!([{"type": "reasoning", "summary": [], "encrypted_content": "gAAA"}]),
        json!([])
    )]
    fn conversations(
        #[case] instructions: Option<&str>,
        #[case] input: Value,
        #[case] want: Value,
    ) {
        assert_eq!(Value::from(messages(instructions, input).unwrap()), want);
    }

    #[test]
    fn a_result_needs_its_call() {
        let e = messages(None, json!([f_output()])).unwrap_err();
        assert_eq!(e.message, "input has a result but no call with the call_id 1");
    }
}
