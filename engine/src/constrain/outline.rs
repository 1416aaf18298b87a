//! From a grammar as data to one that llguidance reads: thinking first, then the answer.

use serde_json::{Value, json};

use super::{Answer, Calls, Grammar, schema};
use crate::{
    Error, Result, limits,
    text::{Channel, Keeping, Lark, Text, Tokenizer, Tool},
};

/// The Lark grammar of a generation that starts in the channel `start`.
///
/// # Errors
/// [`Error::Request`] for schemas beyond the limits and for calls that the model has no format for.
pub(super) fn lark(grammar: &Grammar, tokenizer: &Tokenizer, start: Channel) -> Result<String> {
    schema::check(grammar)?;
    let mut lark = Lark::new(tokenizer);
    let answers = grammar
        .answers
        .iter()
        .map(|answer| self::answer(&mut lark, answer))
        .collect::<Result<Vec<_>>>()?;
    let answers = lark.rule(&answers.join(" | "));
    let thinking = thinking(&mut lark, grammar.reasoning, start);
    lark.finish(&format!("{thinking} {answers}"))
}

/// What comes before the answer.
fn thinking(lark: &mut Lark<'_>, allowed: bool, start: Channel) -> String {
    let tokenizer = lark.tokenizer();
    let Some(thinking) = tokenizer.thinking() else { return String::new() };
    if start != Channel::Reasoning && !allowed {
        return String::new();
    }
    // A call that begins inside thinking would end it.
    let calls: Vec<&str> = tokenizer.tool_format().iter().map(|format| format.start()).collect();
    let text = Text { without: &calls, ..Text::default() };
    let rest = lark.until(&text, "", thinking.end);
    let gap = gap(lark);
    if start == Channel::Reasoning {
        format!("{rest} {gap}")
    } else {
        let open = lark.marker(thinking.start);
        format!("({open} {rest} {gap})?")
    }
}

/// Blanks, or none.
fn gap(lark: &mut Lark<'_>) -> String {
    let most = limits::MAX_GAP;
    let blanks = lark.terminal(&format!(r"/[\x20\n]{{1,{most}}}/"));
    format!("{blanks}?")
}

fn answer(lark: &mut Lark<'_>, answer: &Answer) -> Result<String> {
    Ok(match answer {
        Answer::Text => free_text(lark),
        Answer::JsonObject => lark.json(&json!({"type": "object"}), Keeping::Plain),
        Answer::JsonSchema { schema, strict } => {
            lark.json(schema, if *strict { Keeping::Strict } else { Keeping::Plain })
        }
        Answer::Calls(calls) => self::calls(lark, calls)?,
    })
}

/// Text without the marker of a call.
fn free_text(lark: &mut Lark<'_>) -> String {
    let starts: Vec<&str> =
        lark.tokenizer().tool_format().iter().map(|format| format.start()).collect();
    lark.text(&Text { without: &starts, ..Text::default() })
}

fn calls(lark: &mut Lark<'_>, calls: &Calls) -> Result<String> {
    let format = lark.tokenizer().tool_format().ok_or_else(|| {
        Error::Request(
            "this model's chat template has no tool-call format that is supported".into(),
        )
    })?;
    let tools = calls.tools.iter().map(Tool::read).collect::<Result<Vec<_>>>()?;
    if tools.is_empty() {
        return Err(Error::Request("no tools are given that could be called".into()));
    }
    let body = format.call_rule(lark, &tools)?;
    let call = lark.rule(&format!("{} {body}", lark.marker(format.start())));
    let first = if calls.after_text {
        let text = lark.until(&Text::default(), "", format.start());
        lark.rule(&format!("{text} {body}"))
    } else {
        call.clone()
    };
    if calls.one {
        return Ok(first);
    }
    let gap = gap(lark);
    Ok(lark.rule(&format!("{first} ({gap} {call})*")))
}

/// All schemas of a grammar.
pub(super) fn schemas(grammar: &Grammar) -> impl Iterator<Item = &Value> {
    grammar.answers.iter().flat_map(|answer| -> Vec<&Value> {
        match answer {
            Answer::JsonSchema { schema, .. } => vec![schema],
            Answer::Calls(calls) => calls
                .tools
                .iter()
                .filter_map(|tool| tool.get("function").unwrap_or(tool).get("parameters"))
                .filter(|parameters| !parameters.is_null())
                .collect(),
            Answer::Text | Answer::JsonObject => Vec::new(),
        }
    })
}
