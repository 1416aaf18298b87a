//! From the engine's events to OpenAI's JSON.

use std::sync::Arc;

use rstest::rstest;
use serde_json::{Value, json};
use verbatim_engine::{
    Event as EngineEvent, FinishReason, Finished, Piece, Stats, TokenEvent, TokenLogprob,
    text::{Channel, ToolFormat},
};
use verbatim_server::{
    core::{Answer, Delta, Event, Outcome, StopReason, Translator},
    wire::{
        openai::{
            logprobs::{Entries, Vocabulary},
            reply::{Answering, Envelope, Kind},
        },
        protocol::Reply,
    },
};

#[derive(Debug)]
struct Letters;

impl Vocabulary for Letters {
    fn bytes(&self, id: u32) -> Vec<u8> {
        format!(" {id}").into_bytes()
    }
}

fn reply(kind: Kind) -> Answering {
    let envelope = Envelope::new(kind, "default_model".into(), "fp".into(), Arc::new(Letters));
    Answering::new(envelope, 1, true)
}

/// The JSON of a framed event; `None` for the one that ends a stream.
fn json_of(message: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(message).unwrap();
    let data = text.strip_prefix("data: ").unwrap().strip_suffix("\n\n").unwrap();
    (data != "[DONE]").then(|| serde_json::from_str(data).unwrap())
}

fn piece(channel: Channel, text: &str) -> Piece {
    Piece { channel, text: text.to_owned(), ends_call: false }
}

fn call_end(text: &str) -> Piece {
    Piece { channel: Channel::ToolCall, text: text.to_owned(), ends_call: true }
}

fn token(id: u32, pieces: Vec<Piece>) -> EngineEvent {
    EngineEvent::Token(TokenEvent { id, pieces, logprob: None, logits: None })
}

fn finished(reason: FinishReason, pieces: Vec<Piece>) -> EngineEvent {
    let stats =
        Stats { prompt_tokens: 5, cached_tokens: 2, generated_tokens: 3, ..Stats::default() };
    EngineEvent::Finished(Finished { reason, pieces, stats })
}

fn tools() -> Vec<Value> {
    vec![json!({"type": "function", "function": {"name": "f", "parameters": {
        "type": "object", "properties": {"x": {"type": "integer"}}}}})]
}

/// What is equal in every run.
fn stable(mut json: Value) -> Value {
    json["id"] = "ID".into();
    json["created"] = 0.into();
    json
}

fn stable_calls(mut choice: Value) -> Value {
    for holder in ["delta", "message"] {
        if let Some(calls) =
            choice.pointer_mut(&format!("/{holder}/tool_calls")).and_then(Value::as_array_mut)
        {
            for call in calls.iter_mut().filter(|call| call.get("id").is_some()) {
                assert!(call["id"].as_str().is_some_and(|id| id.starts_with("call_")));
                call["id"] = "ID".into();
            }
        }
    }
    choice
}

fn stream(kind: Kind, translator: &mut Translator, events: Vec<EngineEvent>) -> Vec<Value> {
    let mut reply = reply(kind);
    let mut messages: Vec<_> = events
        .into_iter()
        .filter_map(|e| translator.translate(e))
        .flat_map(|event| match event {
            Event::Step(step) => reply.step(0, step),
            Event::Finished(outcome) => reply.finish(0, outcome),
            _ => Vec::new(),
        })
        .collect();
    messages.extend(reply.end());
    messages.iter().filter_map(|message| json_of(message)).map(stable).collect()
}

fn whole(kind: Kind, translator: &mut Translator, events: Vec<EngineEvent>) -> Value {
    let mut answer = Answer::default();
    for event in events.into_iter().filter_map(|e| translator.translate(e)) {
        match event {
            Event::Step(step) => answer.step(step),
            Event::Finished(outcome) => answer.finish(outcome),
            _ => {}
        }
    }
    assert!(answer.outcome.is_some(), "the events have an end");
    stable(Box::new(reply(kind)).whole(vec![answer]))
}

fn no_tools() -> Translator {
    Translator::new(Some(ToolFormat::MiniCpm5), Vec::new())
}

fn with_tools() -> Translator {
    Translator::new(Some(ToolFormat::MiniCpm5), tools())
}

#[test]
fn a_streamed_chat() {
    let events = vec![
        EngineEvent::Prefill { done: 1, total: 5 },
        token(1, vec![piece(Channel::Reasoning, "hm")]),
        token(2, vec![]),
        token(3, vec![piece(Channel::Reasoning, "."), piece(Channel::Content, "Hi")]),
        finished(FinishReason::EndOfSequence, vec![piece(Channel::Content, "!")]),
    ];
    let chunks = stream(Kind::Chat, &mut no_tools(), events);
    let choices: Vec<Value> = chunks[..5].iter().map(|c| c["choices"][0].clone()).collect();
    let choice =
        |delta: Value, reason: Value| json!({"index": 0, "finish_reason": reason, "delta": delta});
    assert_eq!(
        choices,
        [
            choice(json!({"role": "assistant", "reasoning": "hm"}), Value::Null),
            choice(json!({"reasoning": "."}), Value::Null),
            choice(json!({"content": "Hi"}), Value::Null),
            choice(json!({"content": "!"}), Value::Null),
            choice(json!({}), "stop".into()),
        ]
    );
    assert_eq!(
        chunks[5],
        json!({
            "id": "ID", "system_fingerprint": "fp", "object": "chat.completion.chunk",
            "model": "default_model", "created": 0, "choices": [],
            "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8,
                      "prompt_tokens_details": {"cached_tokens": 2},
                      "completion_tokens_details": {"reasoning_tokens": 3}},
        })
    );
    assert_eq!(chunks.len(), 6);
}

#[test]
fn an_answer_without_text_still_has_a_role() {
    let events = vec![finished(FinishReason::EndOfSequence, vec![])];
    let chunks = stream(Kind::Chat, &mut no_tools(), events);
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant"}));
}

#[test]
fn a_whole_chat() {
    let events = vec![
        token(1, vec![piece(Channel::Reasoning, "hm")]),
        token(2, vec![piece(Channel::Content, "Hi")]),
        finished(FinishReason::Length, vec![]),
    ];
    assert_eq!(
        whole(Kind::Chat, &mut no_tools(), events),
        json!({
            "id": "ID", "system_fingerprint": "fp", "object": "chat.completion",
            "model": "default_model", "created": 0,
            "choices": [{"index": 0, "finish_reason": "length",
                         "message": {"role": "assistant", "content": "Hi", "reasoning": "hm"}}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8,
                      "prompt_tokens_details": {"cached_tokens": 2},
                      "completion_tokens_details": {"reasoning_tokens": 1}},
        })
    );
}

#[test]
fn plain_completions() {
    let events = || {
        vec![
            token(1, vec![piece(Channel::Content, "a")]),
            finished(FinishReason::StopString("z".into()), vec![piece(Channel::Content, "b")]),
        ]
    };
    let chunks = stream(Kind::Text, &mut no_tools(), events());
    let texts: Vec<_> = chunks[..3].iter().map(|c| c["choices"][0]["text"].clone()).collect();
    assert_eq!(texts, ["a", "b", ""]);
    assert!(chunks.iter().all(|c| c["object"] == "text_completion"));
    let response = whole(Kind::Text, &mut no_tools(), events());
    assert_eq!(response["choices"], json!([{"index": 0, "finish_reason": "stop", "text": "ab"}]));
}

/// Two calls, the first split over tokens.
fn two_calls() -> Vec<EngineEvent> {
    vec![
        token(1, vec![piece(Channel::Content, "ok"), piece(Channel::ToolCall, "\"f\"><param")]),
        token(2, vec![call_end(" name=\"x\">1</param>"), piece(Channel::ToolCall, "\"f\">")]),
        token(3, vec![call_end("")]),
        finished(FinishReason::EndOfSequence, vec![]),
    ]
}

#[test]
fn tool_calls_are_parsed() {
    let response = whole(Kind::Chat, &mut with_tools(), two_calls());
    let call = |arguments: &str| json!({"function": {"name": "f", "arguments": arguments}, "type": "function", "id": "ID"});
    assert_eq!(
        stable_calls(response["choices"][0].clone()),
        json!({"index": 0, "finish_reason": "tool_calls", "message": {
            "role": "assistant", "content": "ok",
            "tool_calls": [call("{\"x\": 1}"), call("{}")]}})
    );
    let chunks = stream(Kind::Chat, &mut with_tools(), two_calls());
    let deltas: Vec<Value> =
        chunks.iter().map(|c| stable_calls(c["choices"][0].clone())["delta"].clone()).collect();
    let start = |index: usize| {
        let mut call = call("");
        call["index"] = index.into();
        json!({ "tool_calls": [call] })
    };
    let arguments = |index: usize, arguments: &str| json!({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]});
    assert_eq!(deltas[0], json!({"role": "assistant", "content": "ok"}));
    assert_eq!(
        deltas[1..8],
        [
            start(0),
            arguments(0, "{"),
            arguments(0, "\"x\": 1}"),
            start(1),
            arguments(1, "{"),
            arguments(1, "}"),
            json!({})
        ]
    );
    assert_eq!(chunks[7]["choices"][0]["finish_reason"], "tool_calls");
}

#[test]
fn a_call_nobody_offered_is_text() {
    let response = whole(Kind::Chat, &mut no_tools(), two_calls());
    assert_eq!(
        response["choices"][0],
        json!({"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content":
            "ok<function name=\"f\"><param name=\"x\">1</param></function><function name=\"f\"></function>"}})
    );
}

/// Everything that a chat's reader is told.
fn deltas(translator: &mut Translator, events: Vec<EngineEvent>) -> Vec<Delta> {
    let events = events.into_iter().filter_map(|event| translator.translate(event));
    events
        .flat_map(|event| match event {
            Event::Step(step) => step.deltas,
            Event::Finished(outcome) => outcome.deltas,
            _ => Vec::new(),
        })
        .collect()
}

/// A call that is cut off, and one that turns out malformed.
#[rstest]
#[case(vec![], "")]
#[case(vec![call_end("}")], "}<tool_call|>")]
fn a_call_that_breaks_off_is_void_and_text(#[case] pieces: Vec<Piece>, #[case] written: &str) {
    let mut translator = Translator::new(Some(ToolFormat::Gemma4), tools());
    let events = vec![
        token(1, vec![piece(Channel::ToolCall, "call:f{x:1,")]),
        token(2, pieces),
        finished(FinishReason::EndOfSequence, vec![]),
    ];
    let mut deltas = deltas(&mut translator, events);
    let Delta::CallStart { id, name } = deltas.remove(0) else { panic!("no call began") };
    assert!(id.starts_with("call_"));
    assert_eq!(name, "f");
    assert_eq!(
        deltas,
        [
            Delta::CallArguments("{\"x\": 1, ".into()),
            Delta::CallEnd { complete: false },
            Delta::Content(format!("<|tool_call>call:f{{x:1,{written}")),
        ]
    );
}

/// It shows a parameter that never ends, of which the parser would make a call without arguments.
#[test]
fn a_call_that_contradicts_itself_is_no_call_in_streams_either() {
    let events = || {
        vec![
            token(1, vec![piece(Channel::ToolCall, "\"f\"><param name=\"s\">Paris,")]),
            token(2, vec![call_end(">")]),
            finished(FinishReason::EndOfSequence, vec![]),
        ]
    };
    let written = "<function name=\"f\"><param name=\"s\">Paris,></function>";
    let response = whole(Kind::Chat, &mut with_tools(), events());
    let choice = &response["choices"][0];
    assert_eq!(choice["message"], json!({"role": "assistant", "content": written}));
    assert_eq!(choice["finish_reason"], "stop");
    let chunks = stream(Kind::Chat, &mut with_tools(), events());
    let told = |at: &str| chunks.iter().filter_map(|c| c.pointer(at)).cloned().collect::<Vec<_>>();
    assert_eq!(told("/choices/0/delta/tool_calls/0/function/name"), ["f"]);
    assert_eq!(told("/choices/0/delta/content"), [written]);
    assert_eq!(told("/choices/0/finish_reason").last(), Some(&json!("stop")));
}

#[test]
fn a_models_own_id_is_kept() {
    let body = r#"{"id": "mine", "name": "f", "arguments": {"x": 1}}"#;
    let events =
        vec![token(1, vec![call_end(body)]), finished(FinishReason::EndOfSequence, vec![])];
    let mut translator = Translator::new(Some(ToolFormat::Json), tools());
    assert_eq!(
        deltas(&mut translator, events),
        [
            Delta::CallStart { id: "mine".into(), name: "f".into() },
            Delta::CallArguments("{\"x\": 1}".into()),
            Delta::CallEnd { complete: true },
        ]
    );
}

#[test]
fn a_call_nobody_offered_is_text_at_once() {
    let pieces = vec![piece(Channel::ToolCall, "\"f\">")];
    let deltas = deltas(&mut no_tools(), vec![token(1, pieces)]);
    assert_eq!(deltas, [Delta::Content("<function name=\"f\">".into())]);
}

#[rstest]
#[case(vec![], vec![piece(Channel::ToolCall, "")], "<function name=", FinishReason::EndOfSequence, "stop")]
#[case(vec![call_end("><<")], vec![], "<function name=><<</function>", FinishReason::EndOfSequence, "stop")]
#[case(
    vec![piece(Channel::ToolCall, "\"f\"><param name=\"x\">1</par")],
    vec![],
    "<function name=\"f\"><param name=\"x\">1</par",
    FinishReason::Length,
    "length"
)]
#[case(
    vec![piece(Channel::ToolCall, "\"f\">")],
    vec![piece(Channel::ToolCall, "<par")],
    "<function name=\"f\"><par",
    FinishReason::EndOfSequence,
    "stop"
)]
fn broken_calls_are_text(
    #[case] pieces: Vec<Piece>,
    #[case] last: Vec<Piece>,
    #[case] content: &str,
    #[case] reason: FinishReason,
    #[case] finish_reason: &str,
) {
    let events = || vec![token(1, pieces.clone()), finished(reason.clone(), last.clone())];
    let response = whole(Kind::Chat, &mut with_tools(), events());
    assert_eq!(response["choices"][0]["message"]["content"], content);
    assert_eq!(response["choices"][0]["finish_reason"], finish_reason);
    let chunks = stream(Kind::Chat, &mut with_tools(), events());
    let text: String =
        chunks.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, content);
}

#[test]
fn a_call_cut_off_by_the_length_limit_after_a_good_one() {
    let mut events = two_calls();
    events.pop();
    events.push(token(4, vec![piece(Channel::ToolCall, "\"f")]));
    events.push(finished(FinishReason::Length, vec![]));
    let response = whole(Kind::Chat, &mut with_tools(), events);
    let choice = &response["choices"][0];
    assert_eq!(choice["finish_reason"], "length");
    assert_eq!(choice["message"]["content"], "ok<function name=\"f");
    assert_eq!(choice["message"]["tool_calls"].as_array().map(Vec::len), Some(2));
}

fn with_logprob(id: u32, pieces: Vec<Piece>, top: Vec<(u32, f32)>) -> EngineEvent {
    let logprob = Some(TokenLogprob { logprob: -0.5, top });
    EngineEvent::Token(TokenEvent { id, pieces, logprob, logits: None })
}

fn logprob_events() -> Vec<EngineEvent> {
    vec![
        with_logprob(7, vec![], vec![(9, -0.25), (7, f32::NEG_INFINITY)]),
        with_logprob(8, vec![piece(Channel::Content, "ab")], vec![]),
        with_logprob(1, vec![], vec![]),
        finished(FinishReason::EndOfSequence, vec![]),
    ]
}

#[test]
fn logprobs_describe_the_chosen_token() {
    let response = whole(Kind::Chat, &mut no_tools(), logprob_events());
    let content = &response["choices"][0]["logprobs"]["content"];
    let ids: Vec<_> = (0..3).map(|i| content[i]["id"].clone()).collect();
    assert_eq!(ids, [7, 8, 1]);
    assert_eq!(content[0]["token"], " 7");
    assert_eq!(content[0]["top_logprobs"][0]["token"], " 9");
    assert_eq!(content[0]["bytes"], json!([32, 55]));
    assert_eq!(content[0]["logprob"], -0.5);
    assert_eq!(content[0]["top_logprobs"][0]["id"], 9);
    assert!(content[0]["top_logprobs"][1]["logprob"].is_number(), "no null for minus infinity");
    assert_eq!(content[1]["top_logprobs"], json!([]));
}

#[test]
fn streamed_logprobs_lose_no_token() {
    let chunks = stream(Kind::Chat, &mut no_tools(), logprob_events());
    let ids = |chunk: &Value| -> Vec<u64> {
        let content = chunk["choices"][0]["logprobs"]["content"].as_array();
        content.into_iter().flatten().filter_map(|e| e["id"].as_u64()).collect()
    };
    assert_eq!(ids(&chunks[0]), [7, 8]);
    assert_eq!(ids(&chunks[1]), [1]);
}

#[test]
fn completions_have_both_shapes_of_logprobs() {
    let response = whole(Kind::Text, &mut no_tools(), logprob_events());
    let logprobs = &response["choices"][0]["logprobs"];
    assert_eq!(logprobs["tokens"], json!([" 7", " 8", " 1"]));
    assert_eq!(logprobs["text_offset"], json!([0, 2, 4]));
    assert_eq!(logprobs["token_logprobs"], json!([-0.5, -0.5, -0.5]));
    assert_eq!(logprobs["top_logprobs"][0][" 9"], -0.25);
    assert_eq!(logprobs["top_logprobs"][1], json!({" 8": -0.5}), "the chosen one is among them");
    assert_eq!(logprobs["content"].as_array().map(Vec::len), Some(3));
}

#[test]
fn offsets_go_on_from_chunk_to_chunk() {
    let chunks = stream(Kind::Text, &mut no_tools(), logprob_events());
    let offsets = |at: usize| &chunks[at]["choices"][0]["logprobs"]["text_offset"];
    assert_eq!((offsets(0), offsets(1)), (&json!([0, 2]), &json!([4])));
}

/// Pieces of characters, as byte-level vocabularies have them.
#[derive(Debug)]
struct Bytes;

impl Vocabulary for Bytes {
    fn bytes(&self, id: u32) -> Vec<u8> {
        vec![id as u8]
    }
}

#[test]
fn a_part_of_a_character_is_no_character_of_its_own() {
    let mut entries = Entries::default();
    let logprob = TokenLogprob { logprob: -0.5, top: vec![(0xc3, -0.5), (0xe4, -1.0)] };
    for byte in "aäb".bytes() {
        entries.push(&Bytes, byte.into(), &logprob);
    }
    let legacy = entries.take(Kind::Text).unwrap();
    assert_eq!(legacy["tokens"], json!(["a", "\u{fffd}", "\u{fffd}", "b"]));
    assert_eq!(legacy["text_offset"], json!([0, 1, 2, 2]));
    assert_eq!(legacy["top_logprobs"][1], json!({"\u{fffd}": -0.5}), "the most probable");
}

fn outcome(cached_tokens: usize) -> Outcome {
    let stats = Stats { prompt_tokens: 9, cached_tokens, generated_tokens: 1, ..Stats::default() };
    Outcome { reason: StopReason::EndOfTurn, deltas: Vec::new(), stats }
}

/// Later choices find what earlier ones left in the cache.
#[rstest]
#[case([2, 8])]
#[case([8, 2])]
fn cached_is_what_was_so_before_the_request(#[case] cached: [usize; 2]) {
    let reply = || {
        let envelope = Envelope::new(Kind::Chat, "m".into(), "fp".into(), Arc::new(Letters));
        Answering::new(envelope, 2, true)
    };
    let answer = |cached| {
        let mut answer = Answer::default();
        answer.finish(outcome(cached));
        answer
    };
    let whole = Box::new(reply()).whole(cached.map(answer).to_vec());
    assert_eq!(whole["usage"]["prompt_tokens_details"]["cached_tokens"], 2);
    let mut stream = reply();
    for (at, cached) in cached.into_iter().enumerate() {
        stream.finish(at, outcome(cached));
    }
    assert_eq!(json_of(&stream.end()[0]).unwrap()["usage"], whole["usage"]);
}

#[test]
fn failures_pass_through() {
    let failed = EngineEvent::Failed(verbatim_engine::Error::Mlx("x".into()));
    assert!(matches!(no_tools().translate(failed), Some(Event::Failed(_))));
    let cancelled = finished(FinishReason::Cancelled, vec![]);
    assert!(matches!(no_tools().translate(cancelled), Some(Event::Failed(_))));
}
