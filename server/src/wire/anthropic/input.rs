//! A call's arguments as the input of a `tool_use` block, which is a JSON object for every client.
//!
//! Models write other things too, and mlx-lm's parsers let them pass: lists, strings and numbers, and
//! Python's `NaN` and `Infinity`. What is no object becomes the only field of one, [`WRAPPER`], and
//! what is no JSON number becomes a string: nothing is lost, and a tool that is called in the wrong
//! way can say so.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// The field that holds arguments which are no object.
const WRAPPER: &str = "arguments";
/// What Python writes for numbers that JSON does not have.
const NO_NUMBERS: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// Turns arguments into the text of an object while they arrive.
#[derive(Debug, Default)]
pub struct Input {
    /// Whether they are wrapped, once their first character is known.
    wrapped: Option<bool>,
    /// Within a string, and there behind a backslash.
    string: bool,
    escaped: bool,
    /// A number or name that may go on.
    word: String,
}

impl Input {
    /// What is certain of the object once `arguments` have arrived, beyond what was told before.
    pub fn push(&mut self, arguments: &str) -> String {
        let mut out = String::new();
        for c in arguments.chars() {
            if self.wrapped.is_none() && !c.is_whitespace() {
                self.wrapped = Some(c != '{');
                if c != '{' {
                    let _ = write!(out, "{{\"{WRAPPER}\": ");
                }
            }
            self.read(c, &mut out);
        }
        out
    }

    /// The rest of the object.
    pub fn end(&mut self) -> String {
        let mut out = String::new();
        self.end_word(&mut out);
        if self.wrapped == Some(true) {
            out.push('}');
        }
        out
    }

    fn read(&mut self, c: char, out: &mut String) {
        if self.string {
            self.string = self.escaped || c != '"';
            self.escaped = !self.escaped && c == '\\';
            return out.push(c);
        }
        if c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.') {
            return self.word.push(c);
        }
        self.end_word(out);
        self.string = c == '"';
        out.push(c);
    }

    fn end_word(&mut self, out: &mut String) {
        let word = std::mem::take(&mut self.word);
        if NO_NUMBERS.contains(&word.as_str()) {
            let _ = write!(out, "\"{word}\"");
        } else {
            out.push_str(&word);
        }
    }
}

/// Whole arguments as an object. What no parser reads, such as nesting without end, is a string in it.
pub fn object(arguments: &str) -> Map<String, Value> {
    if arguments.trim().is_empty() {
        return Map::new();
    }
    let mut input = Input::default();
    let text = input.push(arguments) + &input.end();
    serde_json::from_str(&text)
        .unwrap_or_else(|_| Map::from_iter([(WRAPPER.to_owned(), arguments.into())]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::object(r#"{"a": [1, "NaN"], "b\"": "\\"}"#, json!({"a": [1, "NaN"], "b\"": "\\"}))]
    #[case::empty("{}", json!({}))]
    #[case::list("[1, {}]", json!({"arguments": [1, {}]}))]
    #[case::text(r#""Infinity""#, json!({"arguments": "Infinity"}))]
    #[case::number("-12.5e3", json!({"arguments": -12.5e3}))]
    #[case::null("null", json!({"arguments": null}))]
    #[case::no_number("NaN", json!({"arguments": "NaN"}))]
    #[case::no_numbers_inside(
        r#"{"a": NaN, "b": [-Infinity, Infinity, true], "NaN": "NaN"}"#,
        json!({"a": "NaN", "b": ["-Infinity", "Infinity", true], "NaN": "NaN"})
    )]
    #[case::nothing("", json!({}))]
    fn arguments_become_an_object(#[case] arguments: &str, #[case] expected: Value) {
        assert_eq!(Value::from(object(arguments)), expected);
    }

    #[test]
    fn what_nests_without_end_is_kept_as_text() {
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(500), "]".repeat(500));
        assert_eq!(Value::from(object(&deep)), json!({"arguments": deep}));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            "[a-zN\"\\\\{}, é]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::vec(("[a-z\"]{0,3}", inner), 0..3)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_stream_comes_to_the_same(value in any_json(), length in 1..5_usize) {
            let text = value.to_string();
            let mut input = Input::default();
            let chars: Vec<char> = text.chars().collect();
            let mut told: String =
                chars.chunks(length).map(|piece| input.push(&piece.iter().collect::<String>())).collect();
            told += &input.end();
            let told: Value = serde_json::from_str(&told).unwrap();
            prop_assert_eq!(&told, &Value::from(object(&text)));
            prop_assert_eq!(told, if value.is_object() { value } else { json!({"arguments": value}) });
        }
    }
}
