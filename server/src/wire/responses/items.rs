//! Items of a conversation, as clients send them and as the store keeps them.

use serde_json::{Value, json};

use super::{content, fresh_id};
use crate::{
    error::{ApiError, ApiResult},
    wire::fields::{Fields, quoted},
};

/// Marks a reasoning item's `encrypted_content` as ours. What follows is the plain text: a client
/// that keeps no `content` carries the reasoning from turn to turn in it.
pub const OPAQUE_PREFIX: &str = "mlx-verbatim:";

/// Members of items that say nothing to the model: they label an item or repeat what it says.
const SILENT: &[&str] = &[
    "async",
    "caller",
    "created_by",
    "internal_chat_message_metadata_passthrough",
    "parsed_arguments",
    "phase",
];

/// One item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Unique among the items of the server.
    pub id: String,
    /// What it is.
    pub body: Body,
}

/// What an item is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Something said.
    Message {
        /// Who said it.
        role: Role,
        /// Its parts.
        texts: Vec<String>,
    },
    /// What the model thought; empty where only its author can read it.
    Reasoning(String),
    /// A call that the model made.
    Call(Call),
    /// What a call gave.
    Output {
        /// The call.
        call_id: String,
        /// Parts of the result.
        texts: Vec<String>,
        /// It is the result of a custom tool.
        custom: bool,
    },
}

/// A call that the model made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Unique name of the call.
    pub call_id: String,
    /// The tool.
    pub name: String,
    /// The tool's namespace.
    pub namespace: Option<String>,
    /// JSON text; the input of a custom tool as it is.
    pub arguments: String,
    /// The tool is a custom one.
    pub custom: bool,
    /// The call was given up before it was whole.
    pub void: bool,
}

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `user`.
    User,
    /// `assistant`.
    Assistant,
    /// `system`.
    System,
    /// `developer`.
    Developer,
}

impl Role {
    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::System => "system",
            Self::Developer => "developer",
        }
    }

    fn read(at: &str, word: &str) -> ApiResult<Self> {
        [Self::User, Self::Assistant, Self::System, Self::Developer]
            .into_iter()
            .find(|role| role.word() == word)
            .ok_or_else(|| {
                let word = quoted(word);
                let message =
                    format!("{at} must be user, assistant, system or developer, not {word}");
                ApiError::field(at, message)
            })
    }
}

impl Item {
    /// A message of the user.
    pub fn user(text: String) -> Self {
        let body = Body::Message { role: Role::User, texts: vec![text] };
        Self { id: fresh_id("msg"), body }
    }

    /// Reads the item at `at`; `resolve` finds items by their id.
    ///
    /// # Errors
    /// 400 that names what is not understood.
    pub fn read(at: &str, item: Value, resolve: &dyn Fn(&str) -> Option<Value>) -> ApiResult<Self> {
        let mut item = Fields::within(at, item)?;
        let kind = match item.string("type")? {
            Some(kind) => kind,
            None if item.has("role") => "message".to_owned(),
            None => "item_reference".to_owned(),
        };
        if kind == "item_reference" {
            return referred(item, resolve);
        }
        let id = item.string("id")?.filter(|id| !id.is_empty());
        let void = item.string("status")?.as_deref() == Some("incomplete");
        let (prefix, body) = match kind.as_str() {
            "message" => ("msg", message(&mut item)?),
            "reasoning" => ("rs", reasoning(&mut item)?),
            "function_call" => ("fc", call(&mut item, "arguments", void)?),
            "custom_tool_call" => ("ctc", call(&mut item, "input", void)?),
            "function_call_output" => ("fco", output(&mut item, false)?),
            "custom_tool_call_output" => ("ctco", output(&mut item, true)?),
            _ => {
                let at = item.label("type");
                let message =
                    format!("{at}: this server has no items of the type {}", quoted(&kind));
                return Err(ApiError::unsupported(at, message));
            }
        };
        item.ignore(SILENT);
        item.finish()?;
        Ok(Self { id: id.unwrap_or_else(|| fresh_id(prefix)), body })
    }

    /// The item as the API shows it.
    pub fn json(&self) -> Value {
        let id = &self.id;
        match &self.body {
            Body::Message { role, texts } => {
                let part = |text: &String| match role {
                    Role::Assistant => content::output_text(text, &[]),
                    _ => content::input_text(text),
                };
                let content: Vec<Value> = texts.iter().map(part).collect();
                json!({"id": id, "type": "message", "status": "completed",
                       "role": role.word(), "content": content})
            }
            Body::Reasoning(text) => {
                let content: Vec<Value> =
                    (!text.is_empty()).then(|| content::reasoning_text(text)).into_iter().collect();
                json!({"id": id, "type": "reasoning", "summary": [], "content": content})
            }
            Body::Call(call) => call.json(id),
            Body::Output { call_id, texts, custom } => {
                let kind = if *custom { "custom_tool_call_output" } else { "function_call_output" };
                let output = match texts.as_slice() {
                    [text] => Value::from(text.as_str()),
                    _ => texts.iter().map(|text| content::input_text(text)).collect(),
                };
                json!({"id": id, "type": kind, "status": "completed",
                       "call_id": call_id, "output": output})
            }
        }
    }
}

impl Call {
    /// The call as an item.
    pub fn json(&self, id: &str) -> Value {
        let (kind, field) = if self.custom {
            ("custom_tool_call", "input")
        } else {
            ("function_call", "arguments")
        };
        let status = if self.void { "incomplete" } else { "completed" };
        let mut json = json!({"id": id, "type": kind, "status": status,
                              "call_id": self.call_id, "name": self.name});
        json[field] = self.arguments.as_str().into();
        if let Some(namespace) = &self.namespace {
            json["namespace"] = namespace.as_str().into();
        }
        json
    }
}

fn referred(mut item: Fields, resolve: &dyn Fn(&str) -> Option<Value>) -> ApiResult<Item> {
    let at = item.label("id");
    let id = item.required_string("id")?;
    item.finish()?;
    let found = resolve(&id).ok_or_else(|| {
        let message = format!(
            "{at}: no stored item has the id {}; send the item itself, or see store",
            quoted(&id)
        );
        ApiError::field(at.clone(), message).with_code("item_not_found")
    })?;
    // A stored item is never a reference.
    Item::read(&at, found, &|_| None)
}

fn message(item: &mut Fields) -> ApiResult<Body> {
    let role = Role::read(&item.label("role"), &item.required_string("role")?)?;
    let at = item.label("content");
    let texts = content::texts(&at, item.take("content").unwrap_or_else(|| "".into()))?;
    Ok(Body::Message { role, texts })
}

/// `content` is what was thought; `summary` is not, and what another server encrypted is lost.
fn reasoning(item: &mut Fields) -> ApiResult<Body> {
    item.take("summary");
    let opaque = item.string("encrypted_content")?;
    let at = item.label("content");
    let mut text = String::new();
    for (i, part) in
        item.array("content", crate::limits::MAX_CONTENT_PARTS)?.into_iter().flatten().enumerate()
    {
        let mut part = Fields::within(format!("{at}[{i}]"), part)?;
        part.take("type");
        text.push_str(&part.required_string("text")?);
        part.finish()?;
    }
    if text.is_empty()
        && let Some(own) = opaque.as_deref().and_then(|opaque| opaque.strip_prefix(OPAQUE_PREFIX))
    {
        own.clone_into(&mut text);
    }
    Ok(Body::Reasoning(text))
}

fn call(item: &mut Fields, field: &str, void: bool) -> ApiResult<Body> {
    Ok(Body::Call(Call {
        call_id: item.required_string("call_id")?,
        name: item.required_string("name")?,
        namespace: item.string("namespace")?,
        arguments: item.string(field)?.unwrap_or_default(),
        custom: field == "input",
        void,
    }))
}

fn output(item: &mut Fields, custom: bool) -> ApiResult<Body> {
    let call_id = item.required_string("call_id")?;
    for label in ["name", "namespace"] {
        item.string(label)?;
    }
    let at = item.label("output");
    let texts = content::texts(&at, item.take("output").unwrap_or_else(|| "".into()))?;
    Ok(Body::Output { call_id, texts, custom })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn read(item: Value) -> ApiResult<Item> {
        Item::read("input[2]", item, &|_| None)
    }

    fn call(custom: bool, namespace: Option<&str>) -> Body {
        Body::Call(Call {
            call_id: "c".into(),
            name: "f".into(),
            namespace: namespace.map(str::to_owned),
            arguments: "{}".into(),
            custom,
            void: false,
        })
    }

    #[rstest]
    #[case(json!({"role": "user", "content": "a"}), Body::Message { role: Role::User, texts: vec!["a".into()] })]
    #[case(
        json!({"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "a"}], "status": null, "phase": null}),
        Body::Message { role: Role::Developer, texts: vec!["a".into()] }
    )]
    #[case(json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"}), call(false, None))]
    #[case(json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "namespace": "n"}), call(false, Some("n")))]
    #[case(json!({"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "{}"}), call(true, None))]
    #[case(
        json!({"type": "function_call_output", "call_id": "c", "output": "r"}),
        Body::Output { call_id: "c".into(), texts: vec!["r".into()], custom: false }
    )]
    #[case(
        json!({"type": "custom_tool_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "r"}]}),
        Body::Output { call_id: "c".into(), texts: vec!["r".into()], custom: true }
    )]
    #[case(
        json!({"type": "reasoning", "summary": [{"type": "summary_text", "text": "s"}], "content": [{"type": "reasoning_text", "text": "t"}], "encrypted_content": "x"}),
        Body::Reasoning("t".into())
    )]
    #[case(json!({"type": "reasoning", "summary": [], "encrypted_content": "mlx-verbatim:t"}), Body::Reasoning("t".into()))]
    #[case(json!({"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"}), Body::Reasoning(String::new()))]
    fn items_are_read_and_come_back(#[case] item: Value, #[case] want: Body) {
        let got = read(item).unwrap();
        assert_eq!(got.body, want);
        assert_eq!(read(got.json()).unwrap(), got);
    }

    #[test]
    fn a_reference_is_what_it_refers_to() {
        let kept = Item::user("hi".into());
        let resolve = |id: &str| (id == kept.id).then(|| kept.json());
        for item in [json!({"id": kept.id}), json!({"type": "item_reference", "id": kept.id})] {
            assert_eq!(Item::read("input[0]", item, &resolve).unwrap(), kept);
        }
        let e = Item::read("input[0]", json!({"id": "msg_1"}), &resolve).unwrap_err();
        assert_eq!((e.code, e.param.as_deref()), (Some("item_not_found"), Some("input[0].id")));
    }

    #[rstest]
    #[case(json!(1), "input[2] must be of type dict")]
    #[case(json!({"role": "tool"}), "input[2].role must be user, assistant, system or developer, not tool")]
    #[case(json!({"type": "web_search_call"}), "input[2].type: this server has no items of the type web_search_call")]
    #[case(json!({"type": "function_call", "name": "f"}), "input[2].call_id is missing")]
    #[case(json!({"type": "function_call_output", "call_id": "c", "output": 1}), "input[2].output must be a string or a list of parts")]
    #[case(json!({"role": "user", "content": "a", "mood": "good"}), "input[2].mood is not a field that this server honours; remove it")]
    fn others_are_refused(#[case] item: Value, #[case] message: &str) {
        let e = read(item).unwrap_err();
        assert_eq!((e.status.as_u16(), e.message.as_str()), (400, message));
    }
}
