//! Masks on the demo model's vocabulary.

use std::{path::Path, sync::LazyLock};

mod formats;

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    Error,
    text::{Channel, Tokenizer},
};

const VOCAB: usize = 1_536;

static DEMO: LazyLock<(Tokenizer, Compiler)> = LazyLock::new(|| {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/model");
    let tokenizer = Tokenizer::load(&dir).unwrap();
    let compiler = Compiler::new(&tokenizer, VOCAB).unwrap();
    (tokenizer, compiler)
});

fn compile(grammar: &Grammar, start: Channel) -> Result<Matcher, Error> {
    DEMO.1.compile(grammar, start).map(|constraint| constraint.matcher())
}

fn json_schema(schema: Value) -> Grammar {
    Grammar { reasoning: false, answers: vec![Answer::JsonSchema { schema, strict: false }] }
}

fn tool(name: &str, parameters: Value) -> Value {
    json!({"type": "function", "function": {"name": name, "parameters": parameters}})
}

fn calls(tools: Vec<Value>, one: bool, after_text: bool) -> Grammar {
    Grammar { reasoning: true, answers: vec![Answer::Calls(Calls { tools, one, after_text })] }
}

/// How far a text gets, in bytes, and whether it may end there.
fn follow(matcher: &mut Matcher, text: &str) -> (usize, bool) {
    follow_by(&DEMO.0, matcher, text)
}

fn follow_by(tokenizer: &Tokenizer, matcher: &mut Matcher, text: &str) -> (usize, bool) {
    let mut read = 0;
    for id in tokenizer.encode(text, false).unwrap() {
        if matcher.is_complete() || !matcher.mask().unwrap().allows(id) {
            return (read, false);
        }
        matcher.accept(id).unwrap();
        read += tokenizer.token_bytes(id).len();
    }
    let ends = matcher.is_complete() || matcher.mask().unwrap().allows(1);
    (read, ends)
}

fn accepts(grammar: &Grammar, start: Channel, text: &str) -> bool {
    follow(&mut compile(grammar, start).unwrap(), text) == (text.len(), true)
}

#[rstest]
#[case(json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": false}),
    r#"{"a": 12}"#, r#"{"a": "x"}"#)]
#[case(json!({"enum": ["red", "green"]}), r#""red""#, r#""blue""#)]
#[case(json!({"type": "string", "pattern": "^[a-c]+$"}), r#""abc""#, r#""abd""#)]
#[case(json!({"anyOf": [{"type": "null"}, {"type": "boolean"}]}), "true", "1")]
#[case(json!({"type": "array", "items": {"type": "number"}, "minItems": 2}), "[1, 2.5]", "[1]")]
#[case(json!({"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "properties": {
    "next": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}}, "required": ["next"],
    "additionalProperties": false}}}),
    r#"{"next": {"next": null}}"#, r#"{"next": {"next": 1}}"#)]
#[case(json!({"enum": [1_234_567_890_123_456_789_u64, 7]}), "1234567890123456789", "1234567890123456768")]
#[case(json!({"oneOf": [{"const": 1}, {"const": 2}]}), "2", "3")]
#[case(json!({"items": {"type": "string", "format": "path"}}), r#"["x"]"#, "[x]")]
#[case(json!({}), r#"[{"a": "x"}]"#, "x")]
fn schemas_are_kept(#[case] schema: Value, #[case] good: &str, #[case] bad: &str) {
    let grammar = json_schema(schema);
    assert!(accepts(&grammar, Channel::Content, good), "{good}");
    assert!(!accepts(&grammar, Channel::Content, bad), "{bad}");
}

#[test]
fn an_answer_ends_where_nothing_may_follow() {
    let grammar = json_schema(json!({"const": 12}));
    let mut matcher = compile(&grammar, Channel::Content).unwrap();
    assert_eq!(follow(&mut matcher, "12"), (2, true));
    assert!(matcher.is_complete());
    let mut matcher = compile(&json_schema(json!({"type": "integer"})), Channel::Content).unwrap();
    assert_eq!(follow(&mut matcher, "12"), (2, true));
    assert!(!matcher.is_complete(), "more digits may follow");
    matcher.accept(1531).unwrap();
    assert!(matcher.is_complete());
}

#[test]
fn thinking_comes_first() {
    let grammar = Grammar { reasoning: true, ..json_schema(json!({"const": 1})) };
    let inside = |text| accepts(&grammar, Channel::Reasoning, text);
    assert!(inside("\nHm {\"x\"} …</think>\n\n1"));
    assert!(inside("</think>1"));
    assert!(!inside("1"));
    assert!(!inside("Hm</think>2"));
    assert!(!inside("Hm <function name=\"f\"></function></think>1"));
    let outside = |text| accepts(&grammar, Channel::Content, text);
    assert!(outside("1"));
    assert!(outside("<think>\nHm</think>\n\n1"));
    assert!(!outside("<think>1"));
    let without = json_schema(json!({"const": 1}));
    assert!(!accepts(&without, Channel::Content, "<think></think>1"));
    assert!(accepts(&without, Channel::Reasoning, "</think>1"), "thinking that began has to end");
}

#[test]
fn no_end_inside_thinking() {
    let grammar = Grammar { reasoning: true, answers: vec![Answer::JsonObject] };
    let mut matcher = compile(&grammar, Channel::Reasoning).unwrap();
    assert_eq!(follow(&mut matcher, "Hm"), (2, false));
    let mask = matcher.mask().unwrap();
    assert!(!mask.allows(1531) && !mask.allows(0) && mask.allows(1533));
}

#[rstest]
#[case(r#"<function name="w"><param name="city">Oslo</param></function>"#, true)]
#[case(
    r#"<function name="w"><param name="city">a < b</param><param name="days">3</param></function>"#,
    true
)]
#[case(r#"<function name="w"><param name="city"></param></function>"#, true)]
#[case(
    r#"<function name="w"><param name="city">Oslo</param><param name="days">x</param></function>"#,
    false
)]
#[case(r#"<function name="w"></function>"#, false)]
#[case(r#"<function name="n"></function>"#, true)]
#[case(r#"<function name="v"></function>"#, false)]
#[case("Hello", false)]
#[case(r#"Hm</think><function name="n"></function>"#, false)]
#[case(
    r#"<think>Hm</think>
<function name="n"></function>"#,
    true
)]
fn calls_are_forced(#[case] text: &str, #[case] good: bool) {
    let tools = vec![
        tool(
            "w",
            json!({"type": "object", "required": ["city"], "properties": {
            "city": {"type": "string"}, "days": {"type": "integer"}}}),
        ),
        tool("n", Value::Null),
    ];
    for one in [true, false] {
        assert_eq!(accepts(&calls(tools.clone(), one, false), Channel::Content, text), good);
    }
    let two = format!("{text}\n{text}");
    assert!(!accepts(&calls(tools.clone(), true, false), Channel::Content, &two));
    if !text.starts_with("<think>") {
        assert_eq!(accepts(&calls(tools.clone(), false, false), Channel::Content, &two), good);
    }
    let after = format!("Let me see: {text}");
    if good && !text.starts_with("<think>") {
        assert!(accepts(&calls(tools.clone(), true, true), Channel::Content, &after));
    }
    assert!(!accepts(&calls(tools, true, false), Channel::Content, &after));
}

#[test]
fn one_call_or_text() {
    let tools = vec![tool("n", Value::Null)];
    let mut grammar = calls(tools, true, true);
    grammar.answers.push(Answer::Text);
    let good = |text| accepts(&grammar, Channel::Content, text);
    assert!(good("Hello there."));
    assert!(good(r#"Hi. <function name="n"></function>"#));
    assert!(good(r#"<function name="n"></function>"#));
    assert!(!good(r#"<function name="n"></function>."#));
    assert!(!good(r#"<function name="m"></function>"#));
}

/// References that go through all definitions, one after the other.
fn chain(length: usize) -> Value {
    let link = |i: usize| {
        (
            format!("d{i}"),
            json!({"type": "array", "items": {"$ref": format!("#/$defs/d{}", i + 1)}}),
        )
    };
    let mut definitions: serde_json::Map<String, Value> = (0..length).map(link).collect();
    definitions.insert(format!("d{length}"), json!({"type": "null"}));
    json!({"$ref": "#/$defs/d0", "$defs": definitions})
}

fn many(count: usize) -> Vec<Value> {
    (0..count).map(|i| json!({"properties": {format!("p{i}"): {"type": "integer"}}})).collect()
}

fn properties(count: usize) -> Value {
    let property = |i| (format!("p{i}"), json!({"type": ["string", "null"]}));
    (0..count).map(property).collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn as_many_optional_properties_as_are_allowed() {
    let properties = properties(crate::limits::MAX_SCHEMA_OPTIONAL);
    for additional in [true, false] {
        let schema =
            json!({"type": "object", "properties": properties, "additionalProperties": additional});
        let grammar = json_schema(schema);
        assert!(accepts(&grammar, Channel::Content, r#"{"p0": "x", "p1": null, "p998": ""}"#));
        assert!(accepts(&grammar, Channel::Content, "{}"));
        assert!(!accepts(&grammar, Channel::Content, r#"{"p1": "x", "p0": "x"}"#));
    }
}

#[test]
fn a_strict_schema_may_not_have_unknown_formats() {
    let schema = json!({"type": "string", "format": "binary"});
    assert!(accepts(&json_schema(schema.clone()), Channel::Content, r#""x""#));
    let answers = vec![Answer::JsonSchema { schema, strict: true }];
    let error = compile(&Grammar { reasoning: false, answers }, Channel::Content).unwrap_err();
    assert!(
        error.to_string().contains("the answer's format: ") && error.to_string().contains("binary")
    );
}

#[test]
fn the_tool_at_fault_is_named() {
    let bad =
        json!({"type": "object", "properties": {"b": {"type": "array", "uniqueItems": true}}});
    let mut tools: Vec<Value> = ["x", "y", "z"].map(|name| tool(name, json!({}))).to_vec();
    tools.insert(2, json!({"function": {"name": "bad", "parameters": bad, "strict": true}}));
    let mut grammar = calls(tools, false, true);
    grammar.answers.insert(0, Answer::Text);
    let error = compile(&grammar, Channel::Content).unwrap_err();
    let Error::Grammar { part, reason } = error else { panic!("{error:?}") };
    assert_eq!(part, Part::Tool("bad".to_owned()));
    assert!(reason.contains("uniqueItems"), "{reason}");
}

/// What takes long or fails must do so within the limits.
#[rstest]
#[case::unsupported(json!({"not": {"type": "string"}}))]
#[case::conditional(json!({"if": {}, "then": {}}))]
#[case::unique(json!({"type": "array", "uniqueItems": true}))]
#[case::remote(json!({"$ref": "https://example.com/schema.json"}))]
#[case::lost(json!({"$ref": "#/$defs/none"}))]
#[case::itself(json!({"$ref": "#"}))]
#[case::unsatisfiable(json!({"type": "string", "enum": [1]}))]
#[case::no_schema(json!(1))]
#[case::overlapping(json!({"oneOf": [{"type": "integer"}, {"type": "number"}]}))]
#[case::bad_regex(json!({"type": "string", "pattern": "("}))]
#[case::lookahead(json!({"type": "string", "pattern": "(?=a)b"}))]
#[case::inexact(json!({"items": {"const": 1_234_567_890_123_456_789_u64}}))]
#[case::many_optional(json!({"properties": properties(1_001)}))]
#[case::products(json!({"allOf": vec![json!({"anyOf": many(30)}); 30]}))]
fn refused(#[case] schema: Value) {
    let error = compile(&json_schema(schema), Channel::Content).unwrap_err();
    let Error::Grammar { part: Part::Format, reason } = error else { panic!("{error:?}") };
    assert!(!reason.contains("backtrace") && !reason.contains("panic"), "{reason}");
    assert!(!reason.contains("coerce"), "advice for users of a library: {reason}");
}

/// What might take long: it is refused, or its first steps are taken, in any case soon.
#[rstest]
#[case::repeats(json!({"type": "string", "pattern": "^(((a{1000}){1000}){1000})$"}))]
#[case::counted(json!({"type": "string", "pattern": "^(.*a.{5000}b)$"}))]
#[case::backtracking(json!({"type": "string", "pattern": "^(a|a|aa)*(b|bb)*(a*)*c.{1,999}$"}))]
#[case::long_list(json!({"type": "array", "minItems": 60_000, "maxItems": 65_000}))]
#[case::long_text(json!({"type": "string", "minLength": 60_000}))]
#[case::chain(chain(5_000))]
#[case::enumeration(json!({"enum": (0..1_000).map(|i| format!("value {i}")).collect::<Vec<_>>()}))]
#[case::alternatives(json!({"anyOf": many(1_000)}))]
#[case::exclusive(json!({"oneOf": many(1_000)}))]
#[case::multiple(json!({"type": "number", "multipleOf": 1e-300}))]
#[case::huge(json!({"type": "integer", "minimum": 1e300}))]
#[case::patterns(json!({"patternProperties": (0..200).map(|i| (format!("^a{i}b*(c|d){{3}}"), json!({})))
    .collect::<serde_json::Map<_, _>>()}))]
fn bounded(#[case] schema: Value) {
    let Ok(mut matcher) = compile(&json_schema(schema), Channel::Content) else { return };
    for _ in 0..50 {
        let Ok(mask) = matcher.mask() else { break };
        let allowed = (0..VOCAB as u32).find(|&id| id != 1 && mask.allows(id));
        let Some(id) = allowed else { break };
        if matcher.accept(id).is_err() || matcher.is_complete() {
            break;
        }
    }
}
