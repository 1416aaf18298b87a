use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::Router;
use crate::{
    Piece,
    text::{Channel, Thinking, ToolFormat},
};

/// Written by `oracle/python/text/router.py`.
static CASES: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/router.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("readable data")).expect("JSON")
});

fn router(family: &str, stops: &[String], start: Channel) -> Router {
    let thinking = match family {
        "plain" | "tools" => None,
        "gemma4" => Some(("<|channel>thought", "<channel|>")),
        _ => Some(("<think>", "</think>")),
    };
    let thinking = thinking.map(|(start, end)| Thinking {
        start,
        end,
        start_ids: Vec::new(),
        end_ids: Vec::new(),
    });
    let tools = match family {
        "minicpm5" => Some(ToolFormat::MiniCpm5),
        "gemma4" => Some(ToolFormat::Gemma4),
        "qwen" | "tools" => Some(ToolFormat::Json),
        _ => None,
    };
    Router::new(thinking.as_ref(), tools, stops, start)
}

fn name(channel: Channel) -> &'static str {
    match channel {
        Channel::Content => "normal",
        Channel::Reasoning => "reasoning",
        Channel::ToolCall => "tool",
    }
}

/// Joins pieces that continue one another, as if they had come at once.
fn merged(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut out: Vec<Piece> = Vec::new();
    for piece in pieces {
        match out.last_mut() {
            Some(last) if last.channel == piece.channel && !last.ends_call => {
                last.text.push_str(&piece.text);
                last.ends_call = piece.ends_call;
            }
            _ => out.push(piece),
        }
    }
    out
}

/// What a case's text becomes when it comes in the given chunks.
fn run(case: &Value, chunks: &[&str]) -> Value {
    let stops: Vec<String> = serde_json::from_value(case[1].clone()).expect("stops");
    let start = match case[2].as_str() {
        Some("reasoning") => Channel::Reasoning,
        _ => Channel::Content,
    };
    let mut router = router(case[0].as_str().expect("a family"), &stops, start);
    let mut pieces = Vec::new();
    for chunk in chunks {
        router.push(chunk, &mut pieces);
    }
    let stopped = router.stopped().is_some();
    router.flush(&mut pieces);
    let mut pieces = merged(pieces);
    // The reference does not tell of a call that was only opened.
    pieces.retain(|p| !p.text.is_empty() || p.ends_call);
    let pieces: Vec<Value> =
        pieces.into_iter().map(|p| json!([name(p.channel), p.text, p.ends_call])).collect();
    json!([pieces, stopped])
}

#[test]
fn texts_split_as_in_the_reference() {
    for case in CASES.iter() {
        let text = case[3].as_str().expect("a text");
        assert_eq!(run(case, &[text]), json!([case[4], case[5]]), "{case}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn chunks_do_not_matter(case in 0..CASES.len(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
        let case = &CASES[case];
        let text = case[3].as_str().expect("a text");
        let ends: Vec<usize> = text.char_indices().map(|c| c.0).chain([text.len()]).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|c| *c.get(&ends)).chain([0, text.len()]).collect();
        cuts.sort_unstable();
        let chunks: Vec<&str> = cuts.windows(2).map(|w| &text[w[0]..w[1]]).collect();
        prop_assert_eq!(run(case, &chunks), json!([case[4], case[5]]));
    }
}

#[test]
fn text_that_is_no_marker_is_released_at_once() {
    let mut router = router("qwen", &[], Channel::Content);
    let mut pieces = Vec::new();
    router.push("<<<<<<t", &mut pieces);
    assert_eq!(pieces.concat_text(), "<<<<<");
    router.flush(&mut pieces);
    assert_eq!(pieces.concat_text(), "<<<<<<t");
}

#[test]
fn a_call_that_is_only_opened_has_a_piece() {
    let mut router = router("qwen", &[], Channel::Content);
    let mut pieces = Vec::new();
    router.push("a<tool_call>", &mut pieces);
    router.flush(&mut pieces);
    let piece = |channel, text: &str| Piece { channel, text: text.to_owned(), ends_call: false };
    assert_eq!(pieces, [piece(Channel::Content, "a"), piece(Channel::ToolCall, "")]);
}

trait ConcatText {
    fn concat_text(&self) -> String;
}

impl ConcatText for Vec<Piece> {
    fn concat_text(&self) -> String {
        self.iter().map(|p| p.text.as_str()).collect()
    }
}

/// Pieces of `text`, whole and byte by byte, which must be the same.
fn exclusively(text: &str, stops: &[&str]) -> (Vec<(&'static str, String)>, Option<usize>) {
    let stops: Vec<String> = stops.iter().map(ToString::to_string).collect();
    let read = |chunks: Vec<&str>| {
        let mut router = router("minicpm5", &stops, Channel::Content).exclusive(true);
        let mut pieces = Vec::new();
        for chunk in chunks {
            router.push(chunk, &mut pieces);
        }
        router.flush(&mut pieces);
        let pieces = merged(pieces).into_iter().map(|p| (name(p.channel), p.text)).collect();
        (pieces, router.stopped())
    };
    let whole = read(vec![text]);
    assert_eq!(read(text.split_inclusive(|_| true).collect()), whole);
    whole
}

#[test]
fn content_leaves_no_room_for_markers() {
    let owned = |pieces: &[(&'static str, &str)]| {
        pieces.iter().map(|(channel, text)| (*channel, (*text).to_owned())).collect::<Vec<_>>()
    };
    let json = r#"{"a": "<function name=b</function><think>"}"#;
    assert_eq!(exclusively(json, &[]), (owned(&[("normal", json)]), None));
    let calls = "\n<function name=f</function>\n<function name=g</function>";
    let want = [("normal", "\n"), ("tool", "f"), ("normal", "\n"), ("tool", "g")];
    assert_eq!(exclusively(calls, &[]), (owned(&want), None));
    let after = "<think>x</think>\n{\"<think>\": 1}";
    let want = [("reasoning", "x"), ("normal", "\n{\"<think>\": 1}")];
    assert_eq!(exclusively(after, &[]), (owned(&want), None));
    // A stop string counts, also where a marker ends with it.
    assert_eq!(
        exclusively(json, &["name="]),
        (owned(&[("normal", r#"{"a": "<function "#)]), Some(0))
    );
}
