//! Content blocks of messages.

use serde_json::{Map, Value};

use super::take_cache_control;
use crate::{
    error::{ApiError, ApiResult},
    limits,
    wire::fields::{Fields, is_empty, missing, quoted},
};

/// What stands between the texts of separate blocks, which templates take as one text.
pub const SEPARATOR: &str = "\n\n";

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The application.
    User,
    /// The model.
    Assistant,
    /// The operator, in the midst of a conversation.
    System,
}

impl Role {
    /// The API's word for it, which is the templates' as well.
    pub fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::System => "system",
        }
    }
}

/// A content block.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// Text.
    Text(String),
    /// What the model thought before it spoke.
    Thinking(String),
    /// A call of a tool.
    ToolUse(ToolUse),
    /// What came out of a call.
    ToolResult(ToolResult),
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolUse {
    /// Name of this call.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Its arguments.
    pub input: Map<String, Value>,
}

/// What came out of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolResult {
    /// Name of the call.
    pub id: String,
    /// What the tool said.
    pub text: String,
}

/// Reads the content, at `at`, of a message of `role`.
pub fn read(at: &str, role: Role, content: Value) -> ApiResult<Vec<Block>> {
    match content {
        Value::String(text) => Ok(vec![Block::Text(text)]),
        content => items(at, content)?
            .into_iter()
            .enumerate()
            .filter_map(|(i, item)| block(&format!("{at}.{i}"), role, item).transpose())
            .collect(),
    }
}

/// Reads a list of blocks that can only be text.
pub fn texts(at: &str, blocks: Value) -> ApiResult<Vec<String>> {
    let text = |(i, item)| {
        let at = format!("{at}.{i}");
        let mut block = Fields::within(&at, item)?;
        let kind = block.required_string("type")?;
        if kind != "text" {
            return Err(refused(&at, &kind));
        }
        let text = take_text(&mut block)?;
        take_cache_control(&mut block)?;
        block.finish()?;
        Ok(text)
    };
    items(at, blocks)?.into_iter().enumerate().map(text).collect()
}

fn items(at: &str, content: Value) -> ApiResult<Vec<Value>> {
    let most = limits::MAX_CONTENT_PARTS;
    let message = match content {
        Value::Array(items) if items.len() <= most => return Ok(items),
        Value::Array(_) => format!("{at} must have at most {most} blocks"),
        _ => format!("{at} must be a string or a list of content blocks"),
    };
    Err(ApiError::field(at, message))
}

/// One block; `None` for one that no model here can read.
fn block(at: &str, role: Role, item: Value) -> ApiResult<Option<Block>> {
    let mut block = Fields::within(at, item)?;
    let kind = block.required_string("type")?;
    take_cache_control(&mut block)?;
    let read = match (role, kind.as_str()) {
        (_, "text") => Some(Block::Text(take_text(&mut block)?)),
        (Role::Assistant, "thinking") => {
            block.ignore(&["signature"]);
            Some(Block::Thinking(block.required_string("thinking")?))
        }
        (Role::Assistant, "redacted_thinking") => {
            block.ignore(&["data"]);
            None
        }
        (Role::Assistant, "tool_use") => Some(Block::ToolUse(take_tool_use(&mut block)?)),
        (Role::User, "tool_result") => Some(Block::ToolResult(take_tool_result(at, &mut block)?)),
        (_, "thinking" | "redacted_thinking" | "tool_use" | "tool_result") => {
            let message =
                format!("{at}: {kind} blocks cannot stand in a message of role {}", role.word());
            return Err(ApiError::field(at, message));
        }
        _ => return Err(refused(at, &kind)),
    };
    block.finish()?;
    Ok(read)
}

/// 400 for a block that no model here can read.
fn refused(at: &str, kind: &str) -> ApiError {
    let message = match kind {
        "image" => format!("{at}: images are not supported: the model reads text only"),
        "document" => format!("{at}: documents are not supported: send their text"),
        kind => format!("{at}: blocks of type {} are not supported", quoted(kind)),
    };
    ApiError::unsupported(at, message)
}

fn take_text(block: &mut Fields) -> ApiResult<String> {
    block.refuse_unless("citations", "are not supported: remove them", is_empty)?;
    block.required_string("text")
}

fn take_tool_use(block: &mut Fields) -> ApiResult<ToolUse> {
    block.refuse_unless("caller", "must be of type direct: tools run at the client", |v| {
        v.get("type").and_then(Value::as_str) == Some("direct")
    })?;
    Ok(ToolUse {
        id: block.required_string("id")?,
        name: block.required_string("name")?,
        input: block.object("input")?.ok_or_else(|| missing(&block.label("input")))?,
    })
}

fn take_tool_result(at: &str, block: &mut Fields) -> ApiResult<ToolResult> {
    let id = block.required_string("tool_use_id")?;
    let text = match block.take("content") {
        None => String::new(),
        Some(Value::String(text)) => text,
        Some(blocks) => texts(&format!("{at}.content"), blocks)?.join(SEPARATOR),
    };
    let failed = block.bool("is_error", false)?;
    Ok(ToolResult { id, text: if failed { as_failure(text) } else { text } })
}

/// Templates have no place for a failure but the text. Most tools say it there themselves.
fn as_failure(text: String) -> String {
    let start: String = text.chars().take(limits::MAX_QUOTED_CHARS).collect();
    if start.to_lowercase().contains("error") { text } else { format!("Error: {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Role::{Assistant, System, User};
    use rstest::rstest;
    use serde_json::json;

    const AT: &str = "messages.0.content";

    fn result(id: &str, text: &str) -> Block {
        Block::ToolResult(ToolResult { id: id.into(), text: text.into() })
    }

    fn text(text: &str) -> Block {
        Block::Text(text.into())
    }

    #[rstest]
    #[case(User, json!("a"), vec![text("a")])]
    #[case(System, json!([{"type": "text", "text": "a"}]), vec![text("a")])]
    #[case(
        User,
        json!([{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}, "citations": null},
               {"type": "text", "text": "b", "citations": []}]),
        vec![text("a"), text("b")]
    )]
    #[case(
        Assistant,
        json!([{"type": "thinking", "thinking": "hm", "signature": "x"},
               {"type": "redacted_thinking", "data": "x"},
               {"type": "tool_use", "id": "t", "name": "f", "input": {"x": 1}, "caller": {"type": "direct"}}]),
        vec![
            Block::Thinking("hm".into()),
            Block::ToolUse(ToolUse {
                id: "t".into(),
                name: "f".into(),
                input: Map::from_iter([("x".to_owned(), json!(1))]),
            }),
        ]
    )]
    #[case(User, json!([{"type": "tool_result", "tool_use_id": "t"}]), vec![result("t", "")])]
    #[case(User, json!([{"type": "tool_result", "tool_use_id": "t", "content": "r"}]), vec![result("t", "r")])]
    #[case(
        User,
        json!([{"type": "tool_result", "tool_use_id": "t", "is_error": false, "cache_control": {"type": "ephemeral"},
                "content": [{"type": "text", "text": "r"}, {"type": "text", "text": "s"}]}]),
        vec![result("t", "r\n\ns")]
    )]
    #[case(
        User,
        json!([{"type": "tool_result", "tool_use_id": "t", "is_error": true, "content": "no file"}]),
        vec![result("t", "Error: no file")]
    )]
    #[case(
        User,
        json!([{"type": "tool_result", "tool_use_id": "t", "is_error": true, "content": "<tool_use_error>no"}]),
        vec![result("t", "<tool_use_error>no")]
    )]
    fn blocks_are_read(#[case] role: Role, #[case] content: Value, #[case] want: Vec<Block>) {
        assert_eq!(read(AT, role, content).unwrap(), want);
    }

    #[rstest]
    #[case(User, json!(1), "messages.0.content must be a string or a list of content blocks")]
    #[case(User, json!([1]), "messages.0.content.0 must be of type dict")]
    #[case(User, json!([{}]), "messages.0.content.0.type is missing")]
    #[case(User, json!([{"type": "text"}]), "messages.0.content.0.text is missing")]
    #[case(User, json!([{"type": "text", "text": "a", "x": 1}]),
        "messages.0.content.0.x is not a field that this server honours; remove it")]
    #[case(User, json!([{"type": "text", "text": "a", "cache_control": 1}]),
        "messages.0.content.0.cache_control must be of type dict")]
    #[case(User, json!([{"type": "text", "text": "a", "citations": [{}]}]),
        "messages.0.content.0.citations are not supported: remove them")]
    #[case(User, json!([{"type": "image", "source": {}}]),
        "messages.0.content.0: images are not supported: the model reads text only")]
    #[case(User, json!([{"type": "document", "source": {}}]),
        "messages.0.content.0: documents are not supported: send their text")]
    #[case(User, json!([{"type": "search_result"}]),
        "messages.0.content.0: blocks of type search_result are not supported")]
    #[case(Assistant, json!([{"type": "server_tool_use"}]),
        "messages.0.content.0: blocks of type server_tool_use are not supported")]
    #[case(User, json!([{"type": "thinking", "thinking": "x"}]),
        "messages.0.content.0: thinking blocks cannot stand in a message of role user")]
    #[case(Assistant, json!([{"type": "tool_result", "tool_use_id": "t"}]),
        "messages.0.content.0: tool_result blocks cannot stand in a message of role assistant")]
    #[case(Assistant, json!([{"type": "tool_use", "id": "t", "name": "f"}]),
        "messages.0.content.0.input is missing")]
    #[case(Assistant, json!([{"type": "tool_use", "id": "t", "name": "f", "input": "{}"}]),
        "messages.0.content.0.input must be of type dict")]
    #[case(Assistant, json!([{"type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": {"type": "x"}}]),
        "messages.0.content.0.caller must be of type direct: tools run at the client")]
    #[case(User, json!([{"type": "tool_result"}]), "messages.0.content.0.tool_use_id is missing")]
    #[case(User, json!([{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image"}]}]),
        "messages.0.content.0.content.0: images are not supported: the model reads text only")]
    #[case(User, json!(vec![1; 1025]), "messages.0.content must have at most 1024 blocks")]
    fn others_are_refused(#[case] role: Role, #[case] content: Value, #[case] message: &str) {
        let e = read(AT, role, content).unwrap_err();
        assert_eq!((e.status.as_u16(), e.message.as_str()), (400, message));
    }
}
