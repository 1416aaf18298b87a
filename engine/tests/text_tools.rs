//! Tool parsers against mlx-lm's (`oracle/python/text/tools.py` writes the expectations).

use std::{fmt::Write as _, fs, sync::LazyLock};

use proptest::prelude::*;
use serde_json::Value;
use verbatim_engine::text::{ToolCall, ToolError, ToolFormat};

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

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1_000, ..ProptestConfig::default() })]

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
