//! Tool parsers against mlx-lm's (`oracle/python/text/tools.py` writes the expectations).

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    sync::{Arc, LazyLock},
};

use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};
use verbatim_engine::text::{CallDelta, NoCall, ToolCall, ToolError, ToolFormat, ToolStream};

static DATA: LazyLock<Value> = LazyLock::new(|| {
    let path = std::env::var("VERBATIM_TOOL_CASES").unwrap_or_else(|_| {
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tools.json").to_owned()
    });
    serde_json::from_str(&fs::read_to_string(path).expect("readable data")).expect("JSON")
});

const FORMATS: [(&str, ToolFormat); 4] = [
    ("gemma4", ToolFormat::Gemma4),
    ("json_tools", ToolFormat::Json),
    ("minicpm5", ToolFormat::MiniCpm5),
    ("qwen3_coder", ToolFormat::Qwen3Coder),
];

fn parse(format: ToolFormat, body: &str) -> Result<Vec<ToolCall>, ToolError> {
    format.parser().parse(body, DATA["tools"].as_array().expect("tools"))
}

/// What a stream told of a body: deltas per chunk with those of the end last, and how it ended.
type Told = (Vec<Vec<CallDelta>>, Result<(), NoCall>);

fn stream<'a>(format: ToolFormat, chunks: impl IntoIterator<Item = &'a str>) -> Told {
    static TOOLS: LazyLock<Arc<[Value]>> =
        LazyLock::new(|| DATA["tools"].as_array().expect("tools").as_slice().into());
    let mut stream = ToolStream::new(format, Arc::clone(&TOOLS));
    let mut told: Vec<Vec<CallDelta>> = chunks
        .into_iter()
        .map(|chunk| {
            let mut deltas = Vec::new();
            stream.push(chunk, &mut deltas);
            deltas
        })
        .collect();
    let mut last = Vec::new();
    let end = stream.end(&mut last);
    told.push(last);
    (told, end)
}

/// Every character a chunk.
fn characters(body: &str) -> impl Iterator<Item = &str> {
    body.char_indices().map(|(at, c)| &body[at..at + c.len_utf8()])
}

/// Deltas in a row, with pieces of arguments joined.
fn joined(told: Vec<Vec<CallDelta>>) -> Vec<CallDelta> {
    let mut joined: Vec<CallDelta> = Vec::new();
    for delta in told.into_iter().flatten() {
        match (joined.last_mut(), delta) {
            (Some(CallDelta::Arguments(all)), CallDelta::Arguments(more)) => all.push_str(&more),
            (_, delta) => joined.push(delta),
        }
    }
    joined
}

/// The complete calls.
fn calls(deltas: &[CallDelta]) -> Vec<ToolCall> {
    let (mut calls, mut open) = (Vec::new(), None::<ToolCall>);
    for delta in deltas {
        match delta {
            CallDelta::Start { name, id } => {
                assert_eq!(open, None, "one call at a time");
                let (name, id) = (name.clone(), id.clone());
                open = Some(ToolCall { name, arguments: String::new(), id });
            }
            CallDelta::Arguments(text) => {
                assert!(!text.is_empty(), "no empty pieces");
                open.as_mut().expect("a call").arguments.push_str(text);
            }
            CallDelta::End { complete } => {
                calls.extend(Some(open.take().expect("a call")).filter(|_| *complete));
            }
        }
    }
    assert_eq!(open, None, "every call ends");
    calls
}

fn is_void(delta: &CallDelta) -> bool {
    *delta == CallDelta::End { complete: false }
}

/// The arguments, where they are JSON.
fn meaning(call: &ToolCall) -> Option<Value> {
    serde_json::from_str(&call.arguments).ok()
}

/// Reads a body in chunks and holds the result to the whole body's parser.
fn check(format: ToolFormat, body: &str, chunks: Vec<&str>) -> Vec<CallDelta> {
    let (told, end) = stream(format, chunks);
    let deltas = joined(told);
    let mut calls = calls(&deltas);
    // What was shown cannot be taken back: such a body is no call, whatever it means.
    let void = deltas.iter().any(is_void);
    match parse(format, body) {
        Ok(whole) if !whole.is_empty() && !void => {
            assert_eq!(end, Ok(()), "{body:?}");
            for (call, whole) in calls.iter_mut().zip(&whole) {
                // An id that stands behind the arguments comes too late.
                if call.id.is_none() && format == ToolFormat::Json {
                    call.id.clone_from(&whole.id);
                }
                // One that repeats a key means what its last value says.
                if meaning(call).is_some() && meaning(call) == meaning(whole) {
                    call.arguments.clone_from(&whole.arguments);
                }
            }
            assert_eq!(calls, whole, "{body:?}");
        }
        _ => {
            assert_eq!(end.expect_err("no call").text, body);
            assert_eq!(calls, []);
        }
    }
    deltas
}

/// Reads a body whole, in characters, and divided in two at every place: always the same.
fn check_divisions(format: ToolFormat, body: &str) -> Vec<CallDelta> {
    let deltas = check(format, body, vec![body]);
    assert_eq!(joined(stream(format, characters(body)).0), deltas, "{body:?}");
    for (at, _) in body.char_indices() {
        let (a, b) = body.split_at(at);
        assert_eq!(joined(stream(format, [a, b]).0), deltas, "{a:?} {b:?}");
    }
    deltas
}

fn expected(calls: &Value) -> Option<Vec<ToolCall>> {
    let calls = calls.as_array()?.iter().map(|call| ToolCall {
        name: call[0].as_str().expect("a name").to_owned(),
        arguments: call[1].as_str().expect("arguments").to_owned(),
        id: call[2].as_str().map(str::to_owned),
    });
    Some(calls.collect())
}

#[test]
fn calls_read_as_in_the_reference() {
    let mut report = String::new();
    for (name, format) in FORMATS {
        for case in DATA[name].as_array().expect("cases") {
            let body = case[0].as_str().expect("a body");
            let (actual, expected) = (parse(format, body), expected(&case[1]));
            if actual.clone().ok() != expected {
                let _ = writeln!(
                    report,
                    "{name} {body:?}\n  expected {expected:?}\n  actual   {actual:?}"
                );
            }
        }
    }
    assert!(report.is_empty(), "{report}");
}

#[test]
fn recorded_bodies_stream_to_the_same_calls() {
    let (mut bodies, mut lost) = (0, 0);
    for (name, format) in FORMATS {
        for case in DATA[name].as_array().expect("cases") {
            let deltas = check_divisions(format, case[0].as_str().expect("a body"));
            bodies += 1;
            lost += usize::from(deltas.iter().any(is_void) && expected(&case[1]).is_some());
        }
    }
    // Some of them do not close what they open.
    assert!(lost * 20 < bodies, "{lost} of {bodies} calls stay text");
}

/// Begins a call named `f`.
fn start() -> CallDelta {
    CallDelta::Start { name: "f".to_owned(), id: None }
}

fn more(text: &str) -> CallDelta {
    CallDelta::Arguments(text.to_owned())
}

const DONE: CallDelta = CallDelta::End { complete: true };
const VOID: CallDelta = CallDelta::End { complete: false };

#[rstest]
#[case::gemma4(
    ToolFormat::Gemma4,
    &[
        ("call:f", vec![]),
        ("{s:", vec![start(), more("{\"s\": ")]),
        ("<|\"|>a\"\n", vec![more("\"a\\\"\\n")]),
        ("é<|", vec![more("é")]),
        ("b<|\"|>,n:1", vec![more("<|b\", \"n\": ")]),
        ("2,l:[tr", vec![more("12, \"l\": [")]),
        ("ue]}", vec![more("true]}")]),
        ("call:g{}", vec![]),
        ("", vec![DONE, CallDelta::Start { name: "g".to_owned(), id: None }, more("{}"), DONE]),
    ]
)]
#[case::json(
    ToolFormat::Json,
    &[
        ("\n{\"name\": \"f\", \"arg", vec![]),
        ("uments\": ", vec![start()]),
        ("{\"s\":\"a\\", vec![more("{\"s\": \"a")]),
        ("u00e9\\ud83d", vec![more("é")]),
        ("\\ude00", vec![more("😀")]),
        ("\", \"n\": 1e2", vec![more("\", \"n\": ")]),
        ("}}", vec![more("100.0}")]),
        ("", vec![DONE]),
    ]
)]
#[case::json_with_its_name_last(
    ToolFormat::Json,
    &[
        ("{\"id\": \"i\", \"arguments\": {}, \"name\": \"f", vec![]),
        ("\"", vec![CallDelta::Start { name: "f".to_owned(), id: Some("i".to_owned()) }, more("{}")]),
        ("}", vec![]),
        ("", vec![DONE]),
    ]
)]
#[case::minicpm5(
    ToolFormat::MiniCpm5,
    &[
        ("\"f\"", vec![]),
        ("><param name=\"s\"> ", vec![start(), more("{")]),
        ("nul", vec![]),
        ("ls", vec![more("\"s\": \"nulls")]),
        (" </par", vec![]),
        ("am>", vec![more("\"")]),
        ("<param name=\"i\">1", vec![]),
        ("2</param>", vec![more(", \"i\": 12")]),
        ("", vec![more("}"), DONE]),
    ]
)]
#[case::minicpm5_with_a_block(
    ToolFormat::MiniCpm5,
    &[
        ("f><param name=s><![CDATA[", vec![start(), more("{")]),
        (" a]]", vec![more("\"s\": \" a")]),
        ("]", vec![more("]")]),
        ("> ", vec![]),
        ("b ]]></param>", vec![more("]]> b \"")]),
        ("", vec![more("}"), DONE]),
    ]
)]
#[case::qwen3_coder(
    ToolFormat::Qwen3Coder,
    &[
        ("\n<function=f", vec![]),
        (">\n<parameter=s>\n", vec![start(), more("{")]),
        ("NUL", vec![]),
        ("\n\n", vec![more("\"s\": \"NUL\\n")]),
        ("x\n</parameter", vec![more("\\nx")]),
        (">\n<parameter=i>1", vec![more("\"")]),
        ("2</parameter><parameter=y>[1", vec![more(", \"i\": 12, \"y\": \"[1")]),
        ("]</parameter><parameter=z>[1</parameter><parameter=unknown>x", vec![more(
            "]\", \"z\": \"[1\", \"unknown\": \"x"
        )]),
        ("</parameter></function>\n", vec![more("\"")]),
        ("", vec![more("}"), DONE]),
    ]
)]
#[case::a_repeated_key(
    ToolFormat::Gemma4,
    &[
        ("call:f{a:1,", vec![start(), more("{\"a\": 1, ")]),
        ("a:2}", vec![more("\"a\": 2}")]),
        ("", vec![DONE]),
    ]
)]
#[case::a_repeated_parameter(
    ToolFormat::MiniCpm5,
    &[
        ("f><param name=s>a</param>", vec![start(), more("{\"s\": \"a\"")]),
        ("<param name=s>b</param>", vec![more(", \"s\": \"b\"")]),
        ("", vec![more("}"), DONE]),
    ]
)]
#[case::a_parameter_that_never_ends(
    ToolFormat::MiniCpm5,
    &[("f><param name=s>Paris,>", vec![start(), more("{\"s\": \"Paris,>")]), ("", vec![VOID])]
)]
#[case::another_name(
    ToolFormat::Json,
    &[
        ("{\"name\": \"f\", \"arguments\": {}, ", vec![start(), more("{}")]),
        ("\"name\": \"g\"}", vec![]),
        ("", vec![VOID]),
    ]
)]
#[case::a_call_that_breaks_off(
    ToolFormat::Gemma4,
    &[("call:f{a:1,", vec![start(), more("{\"a\": 1, ")]), ("", vec![VOID])]
)]
fn arguments_are_shown_as_they_arrive(
    #[case] format: ToolFormat,
    #[case] expected: &[(&str, Vec<CallDelta>)],
) {
    let chunks: Vec<&str> = expected.iter().map(|(chunk, _)| *chunk).collect();
    // What the end tells stands beside an empty chunk.
    let mut told = stream(format, chunks[..chunks.len() - 1].iter().copied()).0;
    for (chunk, deltas) in expected {
        assert_eq!(told.remove(0), *deltas, "{chunk:?}");
    }
}

#[test]
fn a_body_that_is_cut_off_is_text() {
    let mut stream = ToolStream::new(ToolFormat::Gemma4, Arc::from([]));
    let mut deltas = Vec::new();
    stream.push("call:f{a:1}", &mut deltas);
    assert_eq!(stream.cut(&mut deltas), "call:f{a:1}");
    assert_eq!(deltas, [start(), more("{\"a\": 1}"), VOID]);
}

/// The parser alone would make a call without arguments of it.
#[test]
fn a_body_that_is_not_what_was_shown_is_text() {
    let body = "\"f\"><param name=\"s\">Paris,>";
    assert_eq!(parse(ToolFormat::MiniCpm5, body).map(|calls| calls.len()), Ok(1));
    let (told, end) = stream(ToolFormat::MiniCpm5, [body]);
    assert_eq!(end.expect_err("no call").text, body);
    assert_eq!(joined(told), [start(), more("{\"s\": \"Paris,>"), VOID]);
}

#[test]
fn a_list_without_calls_is_text() {
    let end = stream(ToolFormat::Json, ["[]"]).1;
    assert_eq!(end.expect_err("no call").text, "[]");
}

/// Text that some format has a use for.
fn text() -> impl Strategy<Value = String> {
    r#"([a-z\\"\n \]>{}\[:,é😀\x01<'0-9]|null|<\||\]\]>){0,12}|null|NONE|true|-?[0-9]{1,3}(\.5)?"#
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (-4096i16..4096).prop_map(|n| Value::from(f64::from(n) / 64.0)),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |value| {
        prop_oneof![
            prop::collection::vec(value.clone(), 0..3).prop_map(Value::from),
            object(value).prop_map(Value::from_iter),
        ]
    })
}

fn object<V: Strategy>(value: V) -> impl Strategy<Value = BTreeMap<String, V::Value>> {
    prop::collection::btree_map("[sinboayz]|unknown|v_1", value, 0..4)
}

/// A value as Gemma-4's template writes it.
fn gemma4(value: &Value) -> String {
    match value {
        Value::String(text) => format!("<|\"|>{text}<|\"|>"),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(gemma4).collect::<Vec<_>>().join(","))
        }
        Value::Object(fields) => {
            let fields: Vec<_> = fields.iter().map(|(k, v)| format!("{k}:{}", gemma4(v))).collect();
            format!("{{{}}}", fields.join(","))
        }
        value => value.to_string(),
    }
}

fn body() -> impl Strategy<Value = (ToolFormat, String)> {
    let name = "f|g|h";
    let typed = || prop_oneof![text(), value().prop_map(|v| v.to_string())];
    prop_oneof![
        (name, object(value())).prop_map(|(name, arguments)| {
            let arguments = gemma4(&Value::from_iter(arguments));
            (ToolFormat::Gemma4, format!("call:{name}{arguments}"))
        }),
        (name, value(), any::<bool>()).prop_map(|(name, arguments, pretty)| {
            let call = json!({"name": name, "arguments": arguments});
            let text = if pretty { format!("{call:#}") } else { call.to_string() };
            (ToolFormat::Json, format!("\n{text}\n"))
        }),
        (name, object((typed(), any::<bool>()))).prop_map(|(name, arguments)| {
            let arguments: String = arguments
                .iter()
                .map(|(key, (text, block))| {
                    let (open, close) = if *block { ("<![CDATA[", "]]>") } else { ("", "") };
                    format!("<param name=\"{key}\">{open}{text}{close}</param>")
                })
                .collect();
            (ToolFormat::MiniCpm5, format!("\"{name}\">{arguments}"))
        }),
        (name, object(typed())).prop_map(|(name, arguments)| {
            let arguments: String = arguments
                .iter()
                .map(|(key, text)| format!("<parameter={key}>\n{text}\n</parameter>\n"))
                .collect();
            (ToolFormat::Qwen3Coder, format!("\n<function={name}>\n{arguments}</function>\n"))
        }),
    ]
}

/// Any bytes as a body: what a fuzzer may call. The first picks the format, the second the length of
/// chunks, in characters.
fn read_bytes(data: &[u8]) {
    let [format, length, body @ ..] = data else { return };
    let (_, format) = FORMATS[usize::from(*format) % FORMATS.len()];
    let body = String::from_utf8_lossy(body);
    let cuts: Vec<usize> =
        body.char_indices().map(|(at, _)| at).step_by(usize::from(*length) + 1).collect();
    let ends = cuts.iter().skip(1).copied().chain([body.len()]);
    let chunks = cuts.iter().zip(ends).map(|(from, to)| &body[*from..to]).collect();
    check(format, &body, chunks);
}

fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..5)
}

fn cut<'a>(body: &'a str, cuts: &[prop::sample::Index]) -> Vec<&'a str> {
    let places: Vec<usize> = body.char_indices().map(|(at, _)| at).chain([body.len()]).collect();
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| *cut.get(&places)).collect();
    cuts.extend([0, body.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn calls_in_a_models_form_are_never_taken_back((format, body) in body(), cuts in cuts()) {
        let deltas = check(format, &body, cut(&body, &cuts));
        prop_assert_eq!(&joined(stream(format, characters(&body)).0), &deltas);
        prop_assert_eq!(deltas.iter().any(is_void), calls(&deltas).is_empty(), "{:?}", body);
    }

    #[test]
    fn any_text_streams_to_the_same_calls(
        body in r#"(call:f\{|"f">|\{"name":"f","arguments":|<function=f>)?([<>"'{}\[\]=:, \n]|<\|"\|>|call:|name|=|<function|<param name=s>|</param>|<parameter=s>|</parameter>|</function>|<!\[CDATA\[|\]\]>|f|1|é|null|\\u?|d83d|de00){0,30}"#,
        cuts in cuts()
    ) {
        for (_, format) in FORMATS {
            let deltas = check(format, &body, cut(&body, &cuts));
            prop_assert_eq!(joined(stream(format, characters(&body)).0), deltas);
        }
    }

    #[test]
    fn any_bytes_stream_to_the_same_calls(data in prop::collection::vec(any::<u8>(), 0..64)) {
        read_bytes(&data);
    }

    #[test]
    fn any_text_is_read_or_refused(
        body in r#"([<>"'{}\[\]=:, \n]|<\|"\|>|call:|name=|<function|<param|</param>|<parameter=|</function>|f|1|é|null){0,30}"#
    ) {
        for (_, format) in FORMATS {
            if let Ok(calls) = parse(format, &body) {
                prop_assert!(!calls.is_empty() || format == ToolFormat::Json);
                for call in calls {
                    // NaN and infinities are Python's, not JSON's.
                    if !call.arguments.contains("NaN") && !call.arguments.contains("Infinity") {
                        prop_assert!(serde_json::from_str::<Value>(&call.arguments).is_ok());
                    }
                }
            }
        }
    }
}

#[test]
fn long_bodies_take_linear_time() {
    // Quadratic scanning of these would take minutes.
    for piece in [
        "a",
        "\"",
        "'",
        "a ",
        "<function ",
        "name=",
        "<param name=",
        "call:f{",
        "<|\"|>",
        "{",
        "[",
        "<parameter=a",
        "\u{1f}",
    ] {
        let body = piece.repeat(300_000);
        for (_, format) in FORMATS {
            let _ = parse(format, &body);
        }
    }
}

#[rstest]
#[case(ToolFormat::Gemma4, "call:f{a:<|\"|>", "x", "<|\"|>}")]
#[case(ToolFormat::Gemma4, "call:f{", "a:[{", "")]
#[case(ToolFormat::Gemma4, "call:f{a:", "1", "}")]
#[case(ToolFormat::Gemma4, "call:f{a:<|\"|>", "<|\"", "<|\"|>}")]
#[case(ToolFormat::Json, "{\"name\": \"f\", \"arguments\": {\"s\": \"", "\\n", "\"}}")]
#[case(ToolFormat::Json, "{\"arguments\": ", "[", "")]
#[case(ToolFormat::Json, "{\"id\": \"", "i", "\", \"name\": \"f\", \"arguments\": 1}")]
#[case(ToolFormat::MiniCpm5, "\"f\"><param name=\"s\">", " ", "x</param>")]
#[case(ToolFormat::MiniCpm5, "\"f\"><param name=\"s\">x", " </param", "</param>")]
#[case(ToolFormat::MiniCpm5, "\"f\"><param name=\"s\"><![CDATA[", "]]> ", "]]></param>")]
#[case(ToolFormat::MiniCpm5, "\"f\"", " ", ">")]
#[case(ToolFormat::MiniCpm5, "\"f\"><param name=\"", "k", "\">v</param>")]
#[case(ToolFormat::Qwen3Coder, "<function=f><parameter=s>", "\n", "x</parameter></function>")]
#[case(ToolFormat::Qwen3Coder, "<function=f><parameter=z>", " ", "x</parameter></function>")]
#[case(
    ToolFormat::Qwen3Coder,
    "<function=f><parameter=o>{\"k\": \"",
    "x",
    "\"}</parameter></function>"
)]
#[case(ToolFormat::Qwen3Coder, "<function=f>", "<parameter=s>x</parameter>", "</function>")]
#[case(ToolFormat::Qwen3Coder, "<function=f>", "<parameter=", "</function>")]
fn long_bodies_stream_in_linear_time(
    #[case] format: ToolFormat,
    #[case] begin: &str,
    #[case] piece: &str,
    #[case] end: &str,
) {
    // Anything that reads again what was read, token by token, would take minutes.
    let body = begin.to_owned() + &piece.repeat(300_000 / piece.len()) + end;
    check(format, &body, characters(&body).collect());
}
