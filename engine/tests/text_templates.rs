//! Chat templates against what transformers and mlx-lm render
//! (`oracle/python/text/templates.py` writes the expectations).

#![allow(clippy::print_stderr)] // Says what was skipped.

use std::{fmt::Write as _, fs, path::Path};

use serde_json::Value;
use verbatim_engine::{
    Error,
    text::{ChatInput, ChatTemplate, Tokenizer},
};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/templates.json");
const WHOLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/templates");

fn data() -> Value {
    serde_json::from_str(&fs::read_to_string(DATA).expect("readable data")).expect("JSON")
}

/// The tokenizer of a model directory made of the given files.
fn tokenizer(files: &Value) -> Tokenizer {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, content) in files.as_object().expect("files") {
        fs::write(dir.path().join(name), content.to_string()).expect("writable");
    }
    Tokenizer::load(dir.path()).expect("a tokenizer")
}

/// What the reference did: the text, or the message that the template raised, or neither.
fn expected(case: &Value, pieces: &Value) -> Result<String, Option<String>> {
    match case["text"].as_array() {
        Some(list) => Ok(list
            .iter()
            .map(|i| pieces[i.as_u64().unwrap() as usize].as_str().unwrap())
            .collect()),
        None => Err(case["raised"].as_str().map(str::to_owned)),
    }
}

/// A line per difference.
fn compare(
    name: &str,
    actual: &Result<String, Error>,
    expected: &Result<String, Option<String>>,
    report: &mut String,
) {
    let same = match (actual, expected) {
        (Ok(actual), Ok(expected)) | (Err(Error::Template(actual)), Err(Some(expected))) => {
            actual == expected
        }
        (Err(_), Err(None)) => true,
        _ => false,
    };
    if !same {
        let _ = writeln!(report, "{name}\n  expected {expected:?}\n  actual   {actual:?}");
    }
}

fn render(template: &ChatTemplate, case: &Value) -> Result<String, Error> {
    template.render(&ChatInput {
        messages: case["messages"].as_array().expect("messages"),
        tools: case["tools"].as_array().map(Vec::as_slice),
        add_generation_prompt: case["add_generation_prompt"].as_bool().expect("a flag"),
        kwargs: case["kwargs"].as_object().expect("kwargs").clone(),
    })
}

#[test]
fn small_templates_render_as_in_the_reference() {
    let data = data();
    let tokenizer = tokenizer(&data["model"]);
    let mut report = String::new();
    for case in data["small"].as_array().expect("cases") {
        let source = case["template"].as_str().expect("a template");
        let actual = ChatTemplate::from_text(source, &tokenizer).and_then(|template| {
            template.render(&ChatInput {
                messages: data["messages"].as_array().expect("messages"),
                kwargs: data["variables"].as_object().expect("variables").clone(),
                ..ChatInput::default()
            })
        });
        compare(source, &actual, &expected(case, &data["pieces"]), &mut report);
    }
    assert!(report.is_empty(), "{report}");
}

#[test]
fn whole_templates_render_as_in_the_reference() {
    let data = data();
    let (mut report, mut compared) = (String::new(), 0);
    for (file, whole) in data["whole"].as_object().expect("templates") {
        let Ok(source) = fs::read_to_string(Path::new(WHOLE).join(file)) else {
            eprintln!("skipped: ../shared/templates/{file} is not there");
            continue;
        };
        let tokenizer = tokenizer(&whole["model"]);
        let template = ChatTemplate::from_text(&source, &tokenizer).expect("a template");
        for (name, case) in whole["cases"].as_object().expect("cases") {
            let actual = render(&template, &data["conversations"][name]);
            let name = format!("{file}: {name}");
            compare(&name, &actual, &expected(case, &data["pieces"]), &mut report);
            compared += 1;
        }
    }
    eprintln!("{compared} renderings compared");
    assert!(report.is_empty(), "{report}");
}
