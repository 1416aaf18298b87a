//! What an answer may look like, as the engine takes it.

use serde_json::Value;
use verbatim_engine::{
    constrain::{Answer, Calls, Grammar},
    text::ToolFormat,
};

use super::{Chat, Format, ToolChoice};

/// The grammar of a chat's answer; `None` where anything goes.
///
/// A forced call wins over the format. Where the model may choose, it calls tools or answers in the
/// format; a free choice between text and calls needs no grammar unless calls are limited to one or a
/// tool is strict.
pub(super) fn of_chat(
    chat: &Chat,
    format: &Format,
    tool_format: Option<ToolFormat>,
) -> Option<Grammar> {
    let calls = |tools: Vec<Value>, after_text| {
        Answer::Calls(Calls { tools, one: chat.one_call, after_text })
    };
    let may_call = tool_format.is_some() && !chat.tools.is_empty();
    let answers = match (&chat.tool_choice, of_format(format)) {
        (ToolChoice::Required, _) => vec![calls(chat.tools.clone(), false)],
        (ToolChoice::Named(name), _) => vec![calls(named(&chat.tools, name), false)],
        (ToolChoice::Auto, None) if may_call && (chat.one_call || any_strict(&chat.tools)) => {
            vec![Answer::Text, calls(chat.tools.clone(), true)]
        }
        (ToolChoice::Auto, Some(answer)) if may_call => {
            vec![answer, calls(chat.tools.clone(), false)]
        }
        (_, Some(answer)) => vec![answer],
        (_, None) => return None,
    };
    Some(Grammar { reasoning: chat.thinking != Some(false), answers })
}

/// The grammar of a plain completion.
pub(super) fn of_text(format: &Format) -> Option<Grammar> {
    of_format(format).map(|answer| Grammar { reasoning: false, answers: vec![answer] })
}

/// Whether all answers are either calls or content, never both.
pub(super) fn is_exclusive(grammar: &Grammar) -> bool {
    !grammar.answers.iter().any(|answer| match answer {
        Answer::Text => true,
        Answer::Calls(calls) => calls.after_text,
        Answer::JsonObject | Answer::JsonSchema { .. } => false,
    })
}

fn of_format(format: &Format) -> Option<Answer> {
    match format {
        Format::Text => None,
        Format::JsonObject => Some(Answer::JsonObject),
        Format::JsonSchema { schema, strict } => {
            Some(Answer::JsonSchema { schema: schema.clone(), strict: *strict })
        }
    }
}

fn any_strict(tools: &[Value]) -> bool {
    tools.iter().any(|tool| function(tool).get("strict") == Some(&Value::Bool(true)))
}

fn named(tools: &[Value], name: &str) -> Vec<Value> {
    let is_it = |tool: &&Value| function(tool).get("name").and_then(Value::as_str) == Some(name);
    tools.iter().filter(is_it).cloned().collect()
}

/// What a tool says of its function, which some clients send bare.
fn function(tool: &Value) -> &Value {
    tool.get("function").unwrap_or(tool)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn chat(choice: ToolChoice, one_call: bool) -> Chat {
        let tool = |name| json!({"type": "function", "function": {"name": name}});
        let tools = vec![tool("f"), tool("g")];
        Chat { tools, tool_choice: choice, one_call, ..Chat::default() }
    }

    fn told(grammar: Option<Grammar>) -> String {
        let told = |answer: &Answer| match answer {
            Answer::Text => "text".to_owned(),
            Answer::JsonObject => "object".to_owned(),
            Answer::JsonSchema { .. } => "schema".to_owned(),
            Answer::Calls(calls) => format!(
                "{}{} of {}",
                if calls.after_text { "text? " } else { "" },
                if calls.one { "one" } else { "many" },
                calls.tools.len()
            ),
        };
        let answers = grammar.map(|grammar| grammar.answers).unwrap_or_default();
        answers.iter().map(told).collect::<Vec<_>>().join(" | ")
    }

    #[rstest]
    #[case(ToolChoice::Auto, false, Format::Text, "")]
    #[case(ToolChoice::None, true, Format::Text, "")]
    #[case(ToolChoice::Auto, true, Format::Text, "text | text? one of 2")]
    #[case(ToolChoice::Required, false, Format::Text, "many of 2")]
    #[case(ToolChoice::Required, true, Format::JsonObject, "one of 2")]
    #[case(ToolChoice::Named("g".into()), true, Format::Text, "one of 1")]
    #[case(ToolChoice::Auto, false, Format::JsonObject, "object | many of 2")]
    #[case(ToolChoice::None, false, Format::JsonSchema { schema: json!({}), strict: true }, "schema")]
    fn grammars(
        #[case] choice: ToolChoice,
        #[case] one_call: bool,
        #[case] format: Format,
        #[case] want: &str,
    ) {
        assert_eq!(told(of_chat(&chat(choice, one_call), &format, Some(ToolFormat::Json))), want);
    }

    #[rstest]
    #[case(true, false, "text | text? many of 2")]
    #[case(true, true, "text | text? one of 2")]
    #[case(false, false, "")]
    fn a_strict_tool_is_held_to_its_schema(
        #[case] strict: bool,
        #[case] one_call: bool,
        #[case] want: &str,
    ) {
        let mut chat = chat(ToolChoice::Auto, one_call);
        chat.tools[1]["function"]["strict"] = strict.into();
        assert_eq!(told(of_chat(&chat, &Format::Text, Some(ToolFormat::Json))), want);
        chat.tool_choice = ToolChoice::None;
        assert_eq!(told(of_chat(&chat, &Format::Text, Some(ToolFormat::Json))), "");
    }

    #[test]
    fn a_model_without_calls_still_answers() {
        let chat = chat(ToolChoice::Auto, true);
        assert_eq!(of_chat(&chat, &Format::Text, None), None);
        let grammar = of_chat(&chat, &Format::JsonObject, None).unwrap();
        assert_eq!(grammar.answers, [Answer::JsonObject]);
        assert!(is_exclusive(&grammar));
    }
}
