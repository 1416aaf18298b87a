//! From a conversation of content blocks to messages as chat templates want them.

use serde_json::{Map, Value, json};

use super::blocks::{self, Block, Role, SEPARATOR, ToolResult, ToolUse};
use crate::{
    error::{ApiError, ApiResult},
    limits,
    wire::fields::{Fields, missing, quoted},
};

/// A conversation, ready for a template.
#[derive(Debug, Default, PartialEq)]
pub struct Conversation {
    /// Messages as the template sees them.
    pub messages: Vec<Value>,
    /// The beginning of the answer; empty when the model is to begin it.
    pub prefill: String,
}

/// How a conversation is read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading {
    /// The model thinks before it answers.
    pub thinks: bool,
    /// Of how many of the last answers the thinking stays; `None` for all.
    pub kept_thinking: Option<usize>,
    /// It is only counted: it may also end with an answer that none could go on from.
    pub counts: bool,
}

/// Takes `messages` and puts `system` before them.
pub fn take(
    body: &mut Fields,
    system: Option<String>,
    reading: Reading,
) -> ApiResult<Conversation> {
    let messages = body
        .array("messages", limits::MAX_MESSAGES)?
        .filter(|messages| !messages.is_empty())
        .ok_or_else(|| missing("messages"))?;
    let mut turns = turns(messages)?;
    if let Some(kept) = reading.kept_thinking {
        clear_thinking(&mut turns, kept);
    }
    let finished = reading.counts && turns.last().is_some_and(|last| last.is_finished(reading));
    let prefill = if finished { String::new() } else { take_prefill(&mut turns)? };
    let mut assembly =
        Assembly { messages: leading_system(system, &mut turns), ..Assembly::default() };
    for turn in turns {
        assembly.add(turn)?;
    }
    if !finished {
        assembly.nothing_awaited()?;
    }
    if assembly.messages.is_empty() {
        return Err(ApiError::field("messages", "messages must have a message of role user"));
    }
    Ok(Conversation { messages: assembly.messages, prefill })
}

/// Neighbouring messages of one role.
struct Turn {
    role: Role,
    /// Where its first message lies.
    at: String,
    blocks: Vec<Block>,
}

fn turns(messages: Vec<Value>) -> ApiResult<Vec<Turn>> {
    let mut turns: Vec<Turn> = Vec::new();
    for (i, message) in messages.into_iter().enumerate() {
        let turn = turn(format!("messages.{i}"), message)?;
        match turns.last_mut() {
            Some(last) if last.role == turn.role => last.blocks.extend(turn.blocks),
            _ => turns.push(turn),
        }
    }
    Ok(turns)
}

fn turn(at: String, message: Value) -> ApiResult<Turn> {
    let mut message = Fields::within(&at, message)?;
    let role = match message.required_string("role")?.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        other => {
            let text =
                format!("{at}.role must be user, assistant or system, not {}", quoted(other));
            return Err(ApiError::field(format!("{at}.role"), text));
        }
    };
    let content = message.label("content");
    let value = message.take("content").ok_or_else(|| missing(&content))?;
    message.finish()?;
    let mut blocks = blocks::read(&content, role, value)?;
    blocks.retain(|block| !matches!(block, Block::Text(text) if text.is_empty()));
    if blocks.is_empty() && role == Role::User {
        return Err(ApiError::field(&content, format!("{content} must not be empty")));
    }
    if role == Role::Assistant {
        blocks = joined(blocks);
    }
    Ok(Turn { role, at, blocks })
}

/// Neighbouring text blocks of an answer are pieces of one text.
fn joined(blocks: Vec<Block>) -> Vec<Block> {
    let mut out: Vec<Block> = Vec::with_capacity(blocks.len());
    for block in blocks {
        match (out.last_mut(), block) {
            (Some(Block::Text(last)), Block::Text(text)) => last.push_str(&text),
            (_, block) => out.push(block),
        }
    }
    out
}

/// Leaves the thinking of the last `kept` answers that have some.
fn clear_thinking(turns: &mut [Turn], kept: usize) {
    let thinks = |turn: &&mut Turn| turn.blocks.iter().any(|b| matches!(b, Block::Thinking(_)));
    for turn in turns.iter_mut().rev().filter(thinks).skip(kept) {
        turn.blocks.retain(|block| !matches!(block, Block::Thinking(_)));
    }
}

/// Takes off a last message of the model, whose text the answer goes on from.
fn take_prefill(turns: &mut Vec<Turn>) -> ApiResult<String> {
    let Some(Turn { at, blocks, .. }) = turns.pop_if(|last| last.role == Role::Assistant) else {
        return Ok(String::new());
    };
    let mut texts = Vec::new();
    for block in blocks {
        match block {
            Block::Text(text) => texts.push(text),
            Block::ToolUse(call) => return Err(unanswered(&at, [call.id.as_str()])),
            // Of an earlier attempt; an answer that has begun is not thought over again.
            Block::Thinking(_) | Block::ToolResult(_) => {}
        }
    }
    let prefill = texts.join(SEPARATOR);
    if prefill.ends_with(char::is_whitespace) {
        let message =
            format!("{at}: the last message of role assistant must not end in whitespace");
        return Err(ApiError::field(at, message));
    }
    Ok(prefill)
}

/// The system prompt with the system messages that open the conversation.
fn leading_system(system: Option<String>, turns: &mut Vec<Turn>) -> Vec<Value> {
    let mut texts: Vec<String> = system.into_iter().collect();
    if turns.first().is_some_and(|turn| turn.role == Role::System) {
        texts.extend(turns.remove(0).texts());
    }
    if texts.is_empty() { Vec::new() } else { vec![message(Role::System, &texts)] }
}

impl Turn {
    /// Whether it is an answer that none could go on from.
    fn is_finished(&self, reading: Reading) -> bool {
        let ends = match self.blocks.last() {
            Some(Block::Text(text)) => text.ends_with(char::is_whitespace),
            Some(Block::ToolUse(_)) => true,
            _ => false,
        };
        self.role == Role::Assistant && (reading.thinks || ends)
    }

    fn texts(self) -> Vec<String> {
        let text = |block| match block {
            Block::Text(text) => Some(text),
            _ => None,
        };
        self.blocks.into_iter().filter_map(text).collect()
    }
}

fn message(role: Role, texts: &[String]) -> Value {
    json!({"role": role.word(), "content": texts.join(SEPARATOR)})
}

/// Messages so far, and the calls that the next one has to answer.
#[derive(Default)]
struct Assembly {
    messages: Vec<Value>,
    calls: Vec<(String, String)>,
    called_at: String,
}

impl Assembly {
    fn add(&mut self, turn: Turn) -> ApiResult<()> {
        match turn.role {
            Role::User => return self.user(turn),
            Role::Assistant => {
                self.nothing_awaited()?;
                self.assistant(turn)?;
            }
            Role::System => {
                self.nothing_awaited()?;
                let texts = turn.texts();
                self.messages.push(message(Role::System, &texts));
            }
        }
        Ok(())
    }

    fn user(&mut self, turn: Turn) -> ApiResult<()> {
        let Turn { at, blocks, .. } = turn;
        let (mut results, mut texts) = (Vec::new(), Vec::new());
        for block in blocks {
            match block {
                Block::ToolResult(_) if !texts.is_empty() => {
                    let message = format!("{at}: tool_result blocks must come before text");
                    return Err(ApiError::field(at, message));
                }
                Block::ToolResult(result) => results.push(result),
                Block::Text(text) => texts.push(text),
                Block::Thinking(_) | Block::ToolUse(_) => {}
            }
        }
        self.results(&at, results)?;
        if !texts.is_empty() {
            self.messages.push(message(Role::User, &texts));
        }
        Ok(())
    }

    /// Results in the order of the calls: most templates do not write which call one belongs to.
    fn results(&mut self, at: &str, mut results: Vec<ToolResult>) -> ApiResult<()> {
        let mut missing = Vec::new();
        for (id, name) in std::mem::take(&mut self.calls) {
            match results.iter().position(|result| result.id == id) {
                Some(i) => self.messages.push(json!({
                    "role": "tool",
                    "tool_call_id": id,
                    "name": name,
                    "content": results.remove(i).text,
                })),
                None => missing.push(id),
            }
        }
        if !missing.is_empty() {
            return Err(unanswered(&self.called_at, missing.iter().map(String::as_str)));
        }
        match results.first() {
            None => Ok(()),
            Some(result) => {
                let id = quoted(&result.id);
                let message = format!("{at}: no tool_use of the message before has the id {id}");
                Err(ApiError::field(at, message))
            }
        }
    }

    fn assistant(&mut self, turn: Turn) -> ApiResult<()> {
        let Turn { at, blocks, .. } = turn;
        let (mut texts, mut thoughts, mut calls) = (Vec::new(), Vec::new(), Vec::new());
        for block in blocks {
            match block {
                Block::Text(text) => texts.push(text),
                Block::Thinking(text) => thoughts.push(text),
                Block::ToolUse(call) => calls.push(self.call(&at, call)?),
                Block::ToolResult(_) => {}
            }
        }
        let mut message = Map::new();
        message.insert("role".to_owned(), Role::Assistant.word().into());
        message.insert("content".to_owned(), texts.join(SEPARATOR).into());
        if !thoughts.is_empty() {
            message.insert("reasoning_content".to_owned(), thoughts.join(SEPARATOR).into());
        }
        if !calls.is_empty() {
            message.insert("tool_calls".to_owned(), calls.into());
        }
        self.called_at = at;
        self.messages.push(message.into());
        Ok(())
    }

    fn call(&mut self, at: &str, call: ToolUse) -> ApiResult<Value> {
        let ToolUse { id, name, input } = call;
        if self.calls.iter().any(|(other, _)| *other == id) {
            let message = format!("{at}: two tool_use blocks have the id {}", quoted(&id));
            return Err(ApiError::field(at, message));
        }
        self.calls.push((id.clone(), name.clone()));
        let function = json!({"name": name, "arguments": input});
        Ok(json!({"id": id, "type": "function", "function": function}))
    }

    fn nothing_awaited(&self) -> ApiResult<()> {
        if self.calls.is_empty() {
            return Ok(());
        }
        Err(unanswered(&self.called_at, self.calls.iter().map(|(id, _)| id.as_str())))
    }
}

/// 400 for calls without results.
fn unanswered<'a>(at: &str, ids: impl IntoIterator<Item = &'a str>) -> ApiError {
    let ids: Vec<String> = ids.into_iter().take(limits::MAX_QUOTED_IDS).map(quoted).collect();
    let message = format!(
        "{at}: each tool_use needs a tool_result in the next message; these have none: {}",
        ids.join(", ")
    );
    ApiError::field(at, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn read(messages: &Value) -> ApiResult<Conversation> {
        let body = json!({ "messages": messages }).to_string();
        take(&mut Fields::parse(body.as_bytes()).unwrap(), None, Reading::default())
    }

    fn user(content: Value) -> Value {
        json!({"role": "user", "content": content})
    }

    fn assistant(content: Value) -> Value {
        json!({"role": "assistant", "content": content})
    }

    fn call(id: &str) -> Value {
        json!({"type": "tool_use", "id": id, "name": format!("f{id}"), "input": {"x": 1}})
    }

    fn result(id: &str) -> Value {
        json!({"type": "tool_result", "tool_use_id": id, "content": format!("r{id}")})
    }

    fn text(text: &str) -> Value {
        json!({"type": "text", "text": text})
    }

    fn called(id: &str) -> Value {
        json!({"id": id, "type": "function", "function": {"name": format!("f{id}"), "arguments": {"x": 1}}})
    }

    fn answered(id: &str) -> Value {
        json!({"role": "tool", "tool_call_id": id, "name": format!("f{id}"), "content": format!("r{id}")})
    }

    #[rstest]
    #[case::plain(json!([user(json!("a"))]), json!([user(json!("a"))]))]
    #[case::merged(
        json!([user(json!("a")), user(json!([text("b"), text(""), text("c")])),
               assistant(json!([text("d"), text("e")])), assistant(json!("f")), user(json!("g"))]),
        json!([user(json!("a\n\nb\n\nc")), assistant(json!("de\n\nf")), user(json!("g"))])
    )]
    #[case::tools(
        json!([user(json!("a")), assistant(json!([text("b"), call("1"), call("2")])),
               user(json!([result("2"), result("1"), text("c")]))]),
        json!([user(json!("a")),
               {"role": "assistant", "content": "b", "tool_calls": [called("1"), called("2")]},
               answered("1"), answered("2"), user(json!("c"))])
    )]
    #[case::results_in_two_messages(
        json!([user(json!("a")), assistant(json!([call("1"), call("2")])),
               user(json!([result("1")])), user(json!([result("2")]))]),
        json!([user(json!("a")),
               {"role": "assistant", "content": "", "tool_calls": [called("1"), called("2")]},
               answered("1"), answered("2")])
    )]
    #[case::thinking(
        json!([user(json!("a")), assistant(json!([
            {"type": "thinking", "thinking": "b", "signature": "s"}, {"type": "redacted_thinking", "data": "x"},
            text("c")])), user(json!("d"))]),
        json!([user(json!("a")), {"role": "assistant", "content": "c", "reasoning_content": "b"}, user(json!("d"))])
    )]
    #[case::system(
        json!([{"role": "system", "content": "s"}, user(json!("a")), {"role": "system", "content": [text("t")]},
               user(json!("b"))]),
        json!([{"role": "system", "content": "s"}, user(json!("a")), {"role": "system", "content": "t"},
               user(json!("b"))])
    )]
    #[case::an_empty_answer(
        json!([user(json!("a")), assistant(json!([])), user(json!("b"))]),
        json!([user(json!("a")), assistant(json!("")), user(json!("b"))])
    )]
    fn conversations(#[case] messages: Value, #[case] want: Value) {
        let got = read(&messages).unwrap();
        assert_eq!((json!(got.messages), got.prefill.as_str()), (want, ""));
    }

    #[test]
    fn the_system_prompt_comes_first() {
        let body = json!({"messages": [{"role": "system", "content": "t"}, user(json!("a"))]});
        let mut body = Fields::parse(body.to_string().as_bytes()).unwrap();
        let got = take(&mut body, Some("s".into()), Reading::default()).unwrap();
        assert_eq!(got.messages[0], json!({"role": "system", "content": "s\n\nt"}));
        assert_eq!(got.messages.len(), 2);
    }

    #[rstest]
    #[case(json!("The sum is"), "The sum is")]
    #[case(json!([{"type": "thinking", "thinking": "b", "signature": "s"}, text("{")]), "{")]
    #[case(json!(""), "")]
    #[case(json!([]), "")]
    fn a_last_answer_is_a_prefill(#[case] content: Value, #[case] want: &str) {
        let got = read(&json!([user(json!("a")), assistant(content)])).unwrap();
        assert_eq!((got.messages, got.prefill.as_str()), (vec![user(json!("a"))], want));
    }

    #[rstest]
    #[case(json!(null), "messages is missing")]
    #[case(json!([]), "messages is missing")]
    #[case(json!({}), "messages must be of type list")]
    #[case(json!(["a"]), "messages.0 must be of type dict")]
    #[case(json!([{"content": "a"}]), "messages.0.role is missing")]
    #[case(json!([{"role": "tool", "content": "a"}]),
        "messages.0.role must be user, assistant or system, not tool")]
    #[case(json!([{"role": "user"}]), "messages.0.content is missing")]
    #[case(json!([user(json!(""))]), "messages.0.content must not be empty")]
    #[case(json!([user(json!([]))]), "messages.0.content must not be empty")]
    #[case(json!([{"role": "user", "content": "a", "name": "n"}]),
        "messages.0.name is not a field that this server honours; remove it")]
    #[case(json!([assistant(json!("a"))]), "messages must have a message of role user")]
    #[case(json!([user(json!("a")), assistant(json!("b "))]),
        "messages.1: the last message of role assistant must not end in whitespace")]
    #[case(json!([user(json!("a")), assistant(json!([call("1")]))]),
        "messages.1: each tool_use needs a tool_result in the next message; these have none: 1")]
    #[case(json!([user(json!("a")), assistant(json!([call("1"), call("2")])), user(json!([result("2")]))]),
        "messages.1: each tool_use needs a tool_result in the next message; these have none: 1")]
    #[case(json!([user(json!("a")), assistant(json!([call("1")])), {"role": "system", "content": "s"}, user(json!([result("1")]))]),
        "messages.1: each tool_use needs a tool_result in the next message; these have none: 1")]
    #[case(json!([user(json!([result("1")]))]),
        "messages.0: no tool_use of the message before has the id 1")]
    #[case(json!([user(json!("a")), assistant(json!([call("1")])), user(json!([result("1"), result("1")]))]),
        "messages.2: no tool_use of the message before has the id 1")]
    #[case(json!([user(json!("a")), assistant(json!([call("1"), call("1")])), user(json!([result("1")]))]),
        "messages.1: two tool_use blocks have the id 1")]
    #[case(json!([user(json!("a")), assistant(json!([call("1")])), user(json!([text("b"), result("1")]))]),
        "messages.2: tool_result blocks must come before text")]
    fn others_are_refused(#[case] messages: Value, #[case] message: &str) {
        let e = read(&messages).unwrap_err();
        assert_eq!((e.status.as_u16(), e.message.as_str()), (400, message));
    }
}
