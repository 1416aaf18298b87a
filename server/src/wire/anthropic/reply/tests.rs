use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::core::Delta;

fn content(text: &str) -> Delta {
    Delta::Content(text.into())
}

fn reasoning(text: &str) -> Delta {
    Delta::Reasoning(text.into())
}

fn start(name: &str) -> Delta {
    Delta::CallStart { id: "call_1".into(), name: name.into() }
}

fn arguments(json: &str) -> Delta {
    Delta::CallArguments(json.into())
}

const END: Delta = Delta::CallEnd { complete: true };
const VOID: Delta = Delta::CallEnd { complete: false };

fn outcome(reason: StopReason, deltas: Vec<Delta>) -> Outcome {
    let stats =
        Stats { prompt_tokens: 9, cached_tokens: 4, generated_tokens: 3, ..Stats::default() };
    Outcome { reason, deltas, stats }
}

fn step(deltas: Vec<Delta>) -> Step {
    Step { token: 1, logprob: None, deltas }
}

/// Name and data of a framed event; the data tells the name again.
fn read(event: &Bytes) -> Value {
    let text = std::str::from_utf8(event).unwrap();
    let (name, data) = text.strip_suffix("\n\n").unwrap().split_once('\n').unwrap();
    let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
    data
}

/// All events of an answer, token by token.
fn stream(shows_thinking: bool, deltas: &[Delta], reason: StopReason) -> Vec<Value> {
    let mut reply = Answering::new("m".into(), shows_thinking);
    let mut events = reply.start(Start { prompt_tokens: 9, cached_tokens: 4 });
    events.extend(reply.progress(5, 9));
    for delta in deltas {
        events.extend(reply.step(0, step(vec![delta.clone()])));
    }
    events.extend(reply.finish(0, outcome(reason, Vec::new())));
    events.extend(reply.end());
    events.iter().map(read).collect()
}

fn whole(shows_thinking: bool, deltas: &[Delta], reason: StopReason) -> Value {
    let mut answer = Answer::default();
    answer.step(step(deltas.to_vec()));
    answer.finish(outcome(reason, Vec::new()));
    Box::new(Answering::new("m".into(), shows_thinking)).whole(vec![answer])
}

fn delta(index: usize, delta: &Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn began(index: usize, block: &Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn stopped(index: usize) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

fn text(index: usize, text: &str) -> Value {
    delta(index, &json!({"type": "text_delta", "text": text}))
}

fn json_piece(index: usize, json: &str) -> Value {
    delta(index, &json!({"type": "input_json_delta", "partial_json": json}))
}

fn empty_text() -> Value {
    json!({"type": "text", "text": ""})
}

fn empty_call(name: &str) -> Value {
    json!({"type": "tool_use", "id": "toolu_1", "name": name, "input": {}})
}

/// The events between the pings and the message's end.
fn between(events: &[Value]) -> &[Value] {
    &events[3..events.len() - 2]
}

#[test]
fn a_stream_has_the_apis_order() {
    let deltas = [
        reasoning("\n"),
        reasoning("hm"),
        reasoning("."),
        content("\n\n"),
        content("Hi"),
        content(" there"),
        start("f"),
        arguments("{\"x\":"),
        arguments(""),
        arguments(" 1}"),
        END,
    ];
    let mut events = stream(true, &deltas, StopReason::ToolCalls);
    let id = events[0]["message"]["id"].take();
    assert!(id.as_str().unwrap().starts_with("msg_"));
    let want = [
        json!({"type": "message_start", "message": {
            "id": null, "type": "message", "role": "assistant", "model": "m", "content": [],
            "stop_reason": null, "stop_sequence": null,
            "usage": {"input_tokens": 5, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4,
                      "output_tokens": 0}}}),
        json!({"type": "ping"}),
        json!({"type": "ping"}),
        began(0, &json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, &json!({"type": "thinking_delta", "thinking": "\nhm"})),
        delta(0, &json!({"type": "thinking_delta", "thinking": "."})),
        delta(0, &json!({"type": "signature_delta", "signature": SIGNATURE})),
        stopped(0),
        began(1, &empty_text()),
        text(1, "\n\nHi"),
        text(1, " there"),
        stopped(1),
        began(2, &empty_call("f")),
        json_piece(2, "{\"x\":"),
        json_piece(2, " 1}"),
        stopped(2),
        json!({"type": "message_delta",
               "delta": {"stop_reason": "tool_use", "stop_sequence": null},
               "usage": {"input_tokens": 5, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4,
                         "output_tokens": 3}}),
        json!({"type": "message_stop"}),
    ];
    assert_eq!(events, want);
}

#[test]
fn a_whole_message() {
    let deltas =
        [reasoning("hm"), content("Hi"), start("f"), arguments("{\"b\": 1, \"a\": 2}"), END];
    let mut message = whole(true, &deltas, StopReason::ToolCalls);
    message["id"].take();
    let want = json!({
        "id": null, "type": "message", "role": "assistant", "model": "m",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": SIGNATURE},
            {"type": "text", "text": "Hi"},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"b": 1, "a": 2}},
        ],
        "stop_reason": "tool_use", "stop_sequence": null,
        "usage": {"input_tokens": 5, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4,
                  "output_tokens": 3},
    });
    assert_eq!(message.to_string(), want.to_string());
}

#[test]
fn thinking_can_be_left_out() {
    let deltas = [reasoning("hm"), content("Hi")];
    let events = stream(false, &deltas, StopReason::EndOfTurn);
    let want = [
        began(0, &json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, &json!({"type": "signature_delta", "signature": SIGNATURE})),
        stopped(0),
        began(1, &empty_text()),
        text(1, "Hi"),
        stopped(1),
    ];
    assert_eq!(between(&events), want);
    let message = whole(false, &deltas, StopReason::EndOfTurn);
    assert_eq!(
        message["content"],
        json!([{"type": "thinking", "thinking": "", "signature": SIGNATURE}, {"type": "text", "text": "Hi"}])
    );
}

/// What was sent cannot be taken back; clients that go by the stop reason do not run the call.
#[test]
fn a_void_call_is_closed_and_told_as_text() {
    let deltas = [start("f"), arguments("{\"x"), VOID, content("<call f x")];
    let events = stream(true, &deltas, StopReason::Length);
    let want = [
        began(0, &empty_call("f")),
        json_piece(0, "{\"x"),
        stopped(0),
        began(1, &empty_text()),
        text(1, "<call f x"),
        stopped(1),
    ];
    assert_eq!(between(&events), want);
    assert_eq!(events[events.len() - 2]["delta"]["stop_reason"], "max_tokens");
    let message = whole(true, &deltas, StopReason::Length);
    assert_eq!(message["content"], json!([{"type": "text", "text": "<call f x"}]));
}

#[test]
fn whitespace_makes_no_block() {
    let deltas = [
        reasoning("\n"),
        content("\n"),
        start("f"),
        arguments("{}"),
        END,
        content("\n"),
        start("g"),
        arguments("{}"),
        END,
        content(" \n"),
    ];
    let events = stream(true, &deltas, StopReason::ToolCalls);
    let want = [
        began(0, &empty_call("f")),
        json_piece(0, "{}"),
        stopped(0),
        began(1, &empty_call("g")),
        json_piece(1, "{}"),
        stopped(1),
    ];
    assert_eq!(between(&events), want);
    assert_eq!(whole(true, &deltas, StopReason::ToolCalls)["content"].as_array().unwrap().len(), 2);
}

/// Whitespace of another kind between pieces of a block belongs to none.
#[test]
fn whitespace_does_not_part_a_block() {
    let deltas = [reasoning("a"), content(" "), reasoning("b"), content("c")];
    let message = whole(true, &deltas, StopReason::EndOfTurn);
    let want = json!([
        {"type": "thinking", "thinking": "ab", "signature": SIGNATURE},
        {"type": "text", "text": "c"},
    ]);
    assert_eq!(message["content"], want);
    assert_eq!(json!(collected(&stream(true, &deltas, StopReason::EndOfTurn))), want);
}

#[rstest]
#[case(StopReason::EndOfTurn, "end_turn", Value::Null)]
#[case(StopReason::StopString("END".into()), "stop_sequence", json!("END"))]
#[case(StopReason::ToolCalls, "tool_use", Value::Null)]
#[case(StopReason::Length, "max_tokens", Value::Null)]
fn stop_reasons(#[case] reason: StopReason, #[case] word: &str, #[case] sequence: Value) {
    let message = whole(true, &[], reason.clone());
    assert_eq!(message["content"], json!([]));
    assert_eq!((&message["stop_reason"], &message["stop_sequence"]), (&json!(word), &sequence));
    let events = stream(true, &[], reason);
    assert_eq!(events.len(), 5, "{events:?}");
    assert_eq!(events[3]["delta"], json!({"stop_reason": word, "stop_sequence": sequence}));
}

#[test]
fn output_held_back_until_the_end_is_told() {
    let mut reply = Answering::new("m".into(), true);
    let events = reply.finish(0, outcome(StopReason::EndOfTurn, vec![content("Hi")]));
    let names: Vec<Value> = events.iter().map(|event| read(event)["type"].clone()).collect();
    let want =
        ["content_block_start", "content_block_delta", "content_block_stop", "message_delta"];
    assert_eq!(names, want);
}

#[test]
fn silence_and_failures() {
    let mut reply = Answering::new("m".into(), true);
    assert_eq!(reply.keepalive(), "event: ping\ndata: {\"type\":\"ping\"}\n\n");
    let error = ApiError::from(verbatim_engine::Error::ShuttingDown);
    let events: Vec<Value> = reply.fail(&error).iter().map(read).collect();
    let want = json!({"type": "error", "error": {
        "type": "overloaded_error", "message": "the server is shutting down"}});
    assert_eq!(events, [want]);
}

#[rstest]
#[case("call_0a", "toolu_0a")]
#[case("functions.f:0", "toolu_functions_f_0")]
fn ids(#[case] id: &str, #[case] want: &str) {
    assert_eq!(tool_use_id(id), want);
}

/// The content that a client puts together from events.
fn collected(events: &[Value]) -> Vec<Value> {
    let mut content: Vec<Value> = Vec::new();
    let mut json = String::new();
    for event in events {
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!(event["index"], content.len());
                content.push(event["content_block"].clone());
            }
            "content_block_delta" => {
                assert_eq!(event["index"], content.len() - 1);
                let (block, delta) = (content.last_mut().unwrap(), &event["delta"]);
                let key = delta["type"].as_str().unwrap().trim_end_matches("_delta");
                match key {
                    "input_json" => json.push_str(delta["partial_json"].as_str().unwrap()),
                    key => {
                        let text = block[key].as_str().unwrap().to_owned();
                        block[key] = (text + delta[key].as_str().unwrap()).into();
                    }
                }
            }
            "content_block_stop" if !json.is_empty() => {
                let input = serde_json::from_str(&std::mem::take(&mut json)).unwrap();
                content.last_mut().unwrap()["input"] = input;
            }
            _ => {}
        }
    }
    content
}

fn any_deltas() -> impl Strategy<Value = Vec<Delta>> {
    let call = prop::collection::vec("[a-z]{0,3}", 0..3).prop_map(|words| {
        let json = json!({ "x": words }).to_string();
        let (before, after) = json.split_at(json.len() / 2);
        vec![start("f"), arguments(before), arguments(after), END]
    });
    let delta = prop_oneof![
        "[ \na]{1,3}".prop_map(|text| vec![Delta::Content(text)]),
        "[ \na]{1,3}".prop_map(|text| vec![Delta::Reasoning(text)]),
        call,
    ];
    prop::collection::vec(delta, 0..12).prop_map(|deltas| deltas.concat())
}

proptest! {
    #[test]
    fn a_stream_tells_what_the_whole_message_has(deltas in any_deltas(), shown in any::<bool>()) {
        let message = whole(shown, &deltas, StopReason::EndOfTurn);
        let events = stream(shown, &deltas, StopReason::EndOfTurn);
        prop_assert_eq!(&json!(collected(&events)), &message["content"]);
    }
}
