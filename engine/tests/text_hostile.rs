//! Templates and messages made to break the renderer: errors, never a panic nor an endless run.

mod random;

use std::fs;

use proptest::prelude::*;
use random::Random;
use rstest::rstest;
use serde_json::{Map, Value, json};
use verbatim_engine::{
    Error,
    text::{ChatInput, ChatTemplate, Tokenizer},
};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/templates.json");

fn data() -> Value {
    serde_json::from_str(&fs::read_to_string(DATA).expect("readable data")).expect("JSON")
}

fn tokenizer(files: &Value) -> Tokenizer {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, content) in files.as_object().expect("files") {
        fs::write(dir.path().join(name), content.to_string()).expect("writable");
    }
    Tokenizer::load(dir.path()).expect("a tokenizer")
}

fn render(
    tokenizer: &Tokenizer,
    template: &str,
    messages: &Value,
    variables: &Map<String, Value>,
) -> Result<String, Error> {
    ChatTemplate::from_text(template, tokenizer)?.render(&ChatInput {
        messages: messages.as_array().expect("messages"),
        kwargs: variables.clone(),
        ..ChatInput::default()
    })
}

fn plain(template: &str) -> Result<String, Error> {
    render(&tokenizer(&data()["model"]), template, &json!([]), &Map::new())
}

#[rstest]
#[case::endless("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}")]
#[case::long_output("{% for i in range(100000) %}{{ 'x' * 1000 }}{% endfor %}")]
#[case::huge_string(
    "{% set x = 'x' * 100000000 %}{{ x ~ x ~ x ~ x ~ x ~ x ~ x ~ x ~ x ~ x ~ x ~ x ~ x }}"
)]
#[case::doubling(
    "{% set ns = namespace(s='x') %}{% for i in range(64) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}"
)]
#[case::wide("{{ 'x'.center(99999999999) }}")]
#[case::zeros("{{ '1'.zfill(99999999999) }}")]
#[case::indent("{{ [[]] | tojson(indent=99999999999) }}")]
#[case::replace("{{ ('x' * 100000).replace('', 'y' * 100000) }}")]
#[case::join("{{ ('x' * 100000).join('y' * 100000) }}")]
#[case::precision("{{ '%.99999999f' % 1.5 }}")]
#[case::format_width("{{ '{:>999999999}'.format('x') }}")]
#[case::recursion("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}")]
#[case::call_recursion("{% macro m() %}{% call m() %}{% endcall %}{% endmacro %}{{ m() }}")]
#[case::range("{{ range(10000000000) | list }}")]
#[case::include("{% include 'default' %}")]
#[case::extends("{% extends 'default' %}")]
#[case::import("{% import 'default' as x %}")]
fn costly_templates_fail(#[case] template: &str) {
    assert!(matches!(plain(template), Err(Error::Template(_))));
}

#[rstest]
#[case::lists("[", "]")]
#[case::maps("{'a': ", "}")]
fn deep_values_do_not_overflow_the_stack(#[case] open: &str, #[case] close: &str) {
    for print in [
        "{{ ns.x }}",
        "{{ ns.x | tojson }}",
        "{{ ns.x | string }}",
        "{{ ns.x == ns.x }}",
        "{{ ns.x ~ 'x' }}",
        "",
    ] {
        let template = format!(
            "{{% set ns = namespace(x=0) %}}{{% for i in range(100000) %}}{{% for j in range(10) %}}{{% set ns.x = {open}ns.x{close} %}}{{% endfor %}}{{% endfor %}}{print}"
        );
        // Whether it fails is up to the limits; it must come back.
        let _ = plain(&template);
    }
}

#[test]
fn deep_syntax_is_an_error() {
    for (open, close) in
        [("(", ")"), ("[", "]"), ("{1:", "}"), ("not ", ""), ("-", ""), ("x[", "]")]
    {
        let n = 100_000;
        let template = format!("{{{{ {}x{} }}}}", open.repeat(n), close.repeat(n));
        let _ = plain(&template);
    }
    let _ = plain(&"{% if x %}".repeat(50_000));
    let _ = plain(&format!("{}{}", "{% for i in [1] %}".repeat(500), "{% endfor %}".repeat(500)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn broken_messages_never_panic(content in "\\PC{0,20}", role in "[a-z]{0,6}") {
        let data = data();
        let tokenizer = tokenizer(&data["model"]);
        let template = "{% for m in messages %}{{ m.role ~ m.content | trim }}{{ m.tool_calls | tojson }}{% endfor %}";
        for messages in [
            json!([{"role": role, "content": content}]),
            json!([{"role": role, "content": [{"type": "text", "text": content}], "tool_calls": [{"function": {"arguments": content}}]}]),
            json!([{"content": {"x": content}, "tool_calls": role}]),
            json!([content]),
            json!([null, 1, []]),
        ] {
            let _ = render(&tokenizer, template, &messages, &Map::new());
        }
    }
}

/// Cuts, doubles, swaps or inserts a piece of the template.
fn mutate(source: &str, others: &[&str], random: &mut Random) -> String {
    const PIECES: [&str; 24] = [
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "#}",
        "-",
        "'",
        "\"",
        "(",
        "]",
        "|",
        "~",
        "%",
        "**",
        "[::-1]",
        " if ",
        " in ",
        " not ",
        ".items()",
        "|tojson",
        "\u{0}",
        "999999999999",
        "{% raw %}",
    ];
    let mut chars: Vec<char> = source.chars().collect();
    for _ in 0..=random.below(4) {
        let (a, b) = (random.below(chars.len() + 1), random.below(chars.len() + 1));
        let (from, to) = (a.min(b), a.max(b).min(a.min(b) + 12));
        match random.below(4) {
            0 => drop(chars.drain(from..to)),
            1 => {
                let piece: Vec<char> = chars[from..to].to_vec();
                chars.splice(from..from, piece);
            }
            2 => drop(chars.splice(from..from, PIECES[random.below(PIECES.len())].chars())),
            _ => {
                let other: Vec<char> = others[random.below(others.len())].chars().collect();
                let at = random.below(other.len() + 1);
                drop(chars.splice(from..from, other[at..].iter().take(20).copied()));
            }
        }
    }
    chars.into_iter().collect()
}

#[test]
fn mutated_templates_never_panic() {
    let data = data();
    let tokenizer = tokenizer(&data["model"]);
    let variables = data["variables"].as_object().expect("variables");
    let small = data["small"].as_array().expect("cases");
    let sources: Vec<&str> = small.iter().map(|c| c["template"].as_str().expect("text")).collect();
    let mut failed = 0;
    for number in 0..2_500 {
        let mut random = Random(number);
        let source = sources[random.below(sources.len())];
        let mutant = mutate(source, &sources, &mut random);
        failed += usize::from(render(&tokenizer, &mutant, &data["messages"], variables).is_err());
    }
    // Most mutants are broken; that some are not shows that rendering was reached, too.
    assert!((500..2_400).contains(&failed), "{failed} of 2500 failed");
}
