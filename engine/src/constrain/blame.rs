//! Which part of a grammar it is that cannot be enforced.

use serde_json::Value;

use super::{Answer, Calls, Grammar, Part};
use crate::Error;

/// The error of a grammar that failed with `reason`; `fails` tells how another one does.
///
/// Halves of the tools are tried until one tool is left, so all takes as long as a few grammars.
pub(super) fn error(
    grammar: &Grammar,
    reason: String,
    fails: impl Fn(&Grammar) -> Option<String>,
) -> Error {
    let fails = |answer: &Answer| {
        fails(&Grammar { reasoning: grammar.reasoning, answers: vec![answer.clone()] })
    };
    let mut parts = grammar.answers.iter().filter(|answer| **answer != Answer::Text);
    let culprit = match (parts.next(), parts.next()) {
        (Some(only), None) => Some((only, reason.clone())),
        _ => grammar.answers.iter().find_map(|answer| Some((answer, fails(answer)?))),
    };
    match culprit {
        Some((Answer::Calls(calls), reason)) => in_calls(calls, reason, fails),
        Some((_, reason)) => Error::Grammar { part: Part::Format, reason },
        None => Error::Request(reason),
    }
}

fn in_calls(calls: &Calls, mut reason: String, fails: impl Fn(&Answer) -> Option<String>) -> Error {
    let mut tools = calls.tools.as_slice();
    while tools.len() > 1 {
        let (first, second) = tools.split_at(tools.len() / 2);
        let half = [first, second].into_iter().find_map(|half| {
            let calls = Calls { tools: half.to_vec(), ..calls.clone() };
            Some((half, fails(&Answer::Calls(calls))?))
        });
        let Some(half) = half else {
            return Error::Grammar { part: Part::Tools, reason };
        };
        (tools, reason) = half;
    }
    let part = match tools.first().and_then(name) {
        Some(name) => Part::Tool(name.to_owned()),
        None => Part::Tools,
    };
    Error::Grammar { part, reason }
}

fn name(tool: &Value) -> Option<&str> {
    tool.get("function").unwrap_or(tool).get("name")?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn tools(names: &[&str]) -> Answer {
        let tools = names.iter().map(|name| json!({"function": {"name": name}})).collect();
        Answer::Calls(Calls { tools, one: false, after_text: false })
    }

    fn format() -> Answer {
        Answer::JsonSchema { schema: json!({}), strict: false }
    }

    #[rstest]
    #[case(vec![format()], "", Some(Part::Format))]
    #[case(vec![Answer::Text, tools(&["a"])], "", Some(Part::Tool("a".into())))]
    #[case(vec![format(), tools(&["a", "b", "c", "d", "e"])], "d", Some(Part::Tool("d".into())))]
    #[case(vec![tools(&["a", "b", "c"])], "a", Some(Part::Tool("a".into())))]
    #[case(vec![tools(&["a", "b"])], "z", Some(Part::Tools))]
    #[case(vec![format(), tools(&["a", "b"])], "z", None)]
    fn culprits(#[case] answers: Vec<Answer>, #[case] bad: &str, #[case] part: Option<Part>) {
        let fails = |grammar: &Grammar| {
            let Answer::Calls(calls) = &grammar.answers[0] else { return None };
            calls.tools.iter().any(|tool| name(tool) == Some(bad)).then(|| "why".to_owned())
        };
        let grammar = Grammar { reasoning: false, answers };
        let want = match part {
            Some(part) => Error::Grammar { part, reason: "why".into() },
            None => Error::Request("why".into()),
        };
        assert_eq!(error(&grammar, "why".into(), fails), want);
    }
}
