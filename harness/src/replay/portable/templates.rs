//! Rendered chat templates.

use std::{fs, path::PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};
use verbatim_engine::text::{ChatInput, ChatTemplate, Tokenizer};

use super::{DEMO, Places, Stop, Tally, differs};
use crate::sha256;

/// The table that holds what the others render.
pub(super) const CONVERSATIONS: &str = "conversations";
/// Tokenizer whose special tokens small templates see.
const PLAIN: &str = "byte-level";

/// What a row gave.
#[derive(Deserialize)]
struct Given {
    text: Option<String>,
    sha256: Option<String>,
    raised: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Conversations {
    rows: Vec<Conversation>,
}

#[derive(Deserialize)]
struct Conversation {
    name: String,
    messages: Vec<Value>,
    tools: Option<Vec<Value>>,
    add_generation_prompt: bool,
    variables: Map<String, Value>,
}

#[derive(Deserialize)]
struct Table {
    tokenizer: String,
    template: Option<String>,
    template_sha256: String,
    shared_file: Option<String>,
    rows: Vec<NamedRow>,
}

#[derive(Deserialize)]
struct NamedRow {
    name: String,
    #[serde(flatten)]
    given: Given,
}

#[derive(Deserialize)]
struct Expressions {
    variables: Map<String, Value>,
    rows: Vec<ExpressionRow>,
}

#[derive(Deserialize)]
struct ExpressionRow {
    template: String,
    #[serde(flatten)]
    given: Given,
}

#[derive(Deserialize)]
struct Wire {
    rows: Vec<WireRow>,
}

#[derive(Deserialize)]
struct WireRow {
    name: String,
    sent: Vec<Value>,
    messages: Option<Vec<Value>>,
    error: Option<String>,
}

pub(super) fn table(places: &Places<'_>, name: &str, tally: &mut Tally) -> Result<(), Stop> {
    match name {
        "expressions" => expressions(places, tally),
        "wire" => wire(places, tally),
        _ => conversations(places, name, tally),
    }
}

fn conversations(places: &Places<'_>, name: &str, tally: &mut Tally) -> Result<(), Stop> {
    let table: Table = places.table(&format!("templates/{name}.json"))?;
    let inputs: Conversations = places.table(&format!("templates/{CONVERSATIONS}.json"))?;
    let template = ChatTemplate::from_text(
        &template_text(places, &table)?,
        &places.tokenizer(&table.tokenizer)?,
    )?;
    if inputs.rows.len() != table.rows.len() {
        return Err(Stop::Fail(format!("it has not the rows of {CONVERSATIONS}")));
    }
    for (input, row) in inputs.rows.iter().zip(&table.rows) {
        if input.name != row.name {
            return Err(Stop::Fail(format!("{} stands where {} should", row.name, input.name)));
        }
        let rendered = template.render_as_given(&ChatInput {
            messages: &input.messages,
            tools: input.tools.as_deref(),
            add_generation_prompt: input.add_generation_prompt,
            kwargs: input.variables.clone(),
        });
        tally.row(check(&row.name, rendered.map_err(|e| e.to_string()), &row.given));
    }
    Ok(())
}

/// The template as the oracle had it; those outside the checkout may be absent.
fn template_text(places: &Places<'_>, table: &Table) -> Result<String, Stop> {
    let file = |path: PathBuf, what: &str| {
        fs::read_to_string(path).map_err(|_| Stop::Skip(format!("the template {what} is not here")))
    };
    let text = match (&table.template, &table.shared_file) {
        (Some(text), _) => text.clone(),
        (None, Some(name)) => file(places.root.join("../shared/templates").join(name), name)?,
        (None, None) if table.tokenizer == DEMO => {
            file(places.root.join("demo/model/chat_template.jinja"), "of the demo model")?
        }
        (None, None) => return Err(Stop::Fail("it names no template".into())),
    };
    if sha256(text.as_bytes()) != table.template_sha256 {
        return Err(Stop::Fail("the template is not the one that was rendered".into()));
    }
    Ok(text)
}

fn expressions(places: &Places<'_>, tally: &mut Tally) -> Result<(), Stop> {
    let table: Expressions = places.table("templates/expressions.json")?;
    let tokenizer = places.tokenizer(PLAIN)?;
    let messages = [serde_json::json!({ "role": "user", "content": "x" })];
    for row in &table.rows {
        let rendered = ChatTemplate::from_text(&row.template, &tokenizer).and_then(|template| {
            template.render_as_given(&ChatInput {
                messages: &messages,
                kwargs: table.variables.clone(),
                ..ChatInput::default()
            })
        });
        tally.row(check(&row.template, rendered.map_err(|e| e.to_string()), &row.given));
    }
    Ok(())
}

/// What the server's preprocessing makes of a client's messages, seen through a template.
fn wire(places: &Places<'_>, tally: &mut Tally) -> Result<(), Stop> {
    let table: Wire = places.table("templates/wire.json")?;
    let tokenizer: Tokenizer = places.tokenizer(PLAIN)?;
    let template = ChatTemplate::from_text("{{ messages | tojson }}", &tokenizer)?;
    for row in &table.rows {
        let rendered = template.render(&ChatInput { messages: &row.sent, ..ChatInput::default() });
        let wrong = match (rendered, &row.messages, &row.error) {
            (Ok(text), Some(expected), _) => {
                let found: Vec<Value> = serde_json::from_str(&text)?;
                differs(&row.name, &found, expected)
            }
            (Err(e), Some(_), _) => Some(format!("{}: refused: {e}", row.name)),
            (Ok(text), None, error) => Some(format!(
                "{}: {text} instead of {}",
                row.name,
                error.as_deref().unwrap_or("an error")
            )),
            (Err(_), None, _) => None,
        };
        tally.row(wrong);
    }
    Ok(())
}

fn check(name: &str, rendered: Result<String, String>, given: &Given) -> Option<String> {
    match (rendered, given) {
        (Ok(text), Given { text: Some(expected), .. }) => differs(name, &text, expected),
        (Ok(text), Given { sha256: Some(expected), .. }) => (sha256(text.as_bytes()) != *expected)
            .then(|| format!("{name}: another text, {text:?}")),
        (Err(message), Given { raised: Some(expected), .. }) => (!message.contains(expected))
            .then(|| format!("{name}: {message:?} instead of {expected:?}")),
        (Err(_), Given { error: Some(_), .. }) => None,
        (Ok(text), Given { raised, error, .. }) => {
            let expected = raised.as_ref().or(error.as_ref());
            Some(format!("{name}: {text:?} instead of {}", expected.map_or("an error", |e| e)))
        }
        (Err(message), _) => Some(format!("{name}: {message}")),
    }
}
