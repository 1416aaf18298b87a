use proptest::prelude::*;
use rstest::rstest;
use verbatim_engine::{Stats, TokenLogprob};

use super::*;
use crate::{
    core::Delta,
    wire::{
        openai::logprobs::Vocabulary,
        responses::{
            output::{Events, Shown},
            store::Bounds,
            tools::Toolbox,
        },
    },
};

#[derive(Debug)]
struct Letters;

impl Vocabulary for Letters {
    fn bytes(&self, id: u32) -> Vec<u8> {
        format!(" {id}").into_bytes()
    }
}

fn responding(stream: bool, logprobs: bool, store: Option<&Arc<Shared>>) -> Responding {
    let tools = vec![
        json!({"type": "custom", "name": "c"}),
        json!({"type": "namespace", "name": "n", "description": "", "tools": [
            {"type": "function", "name": "g"}]}),
    ];
    let shown = Shown {
        logprobs: logprobs.then(|| Arc::new(Letters) as Arc<dyn Vocabulary>),
        opaque_reasoning: true,
    };
    let output = Output::new(Events::new(stream), Toolbox::read(tools, false).unwrap(), shown);
    let head = Head { id: "resp_1".into(), created: 1, settings: Map::new() };
    let keep = store.map(|store| Keep { store: Arc::clone(store), input: Vec::new() });
    Responding::new(head, output, keep)
}

fn content(text: &str) -> Delta {
    Delta::Content(text.into())
}

fn reasoning(text: &str) -> Delta {
    Delta::Reasoning(text.into())
}

fn call(name: &str, arguments: &[&str], complete: bool) -> Vec<Delta> {
    let mut deltas = vec![Delta::CallStart { id: "call_1".into(), name: name.into() }];
    deltas.extend(arguments.iter().map(|text| Delta::CallArguments((*text).into())));
    deltas.push(Delta::CallEnd { complete });
    deltas
}

fn step(token: u32, deltas: Vec<Delta>) -> Step {
    let logprob = Some(TokenLogprob { logprob: -1.0, top: vec![(token, -1.0)] });
    Step { token, logprob, deltas }
}

fn outcome(reason: StopReason, deltas: Vec<Delta>) -> Outcome {
    let stats =
        Stats { prompt_tokens: 5, cached_tokens: 2, generated_tokens: 4, ..Stats::default() };
    Outcome { reason, deltas, stats }
}

fn json_of(message: &Bytes) -> Value {
    let text = std::str::from_utf8(message).unwrap();
    let (kind, data) = text.split_once('\n').unwrap();
    let data = data.strip_prefix("data: ").unwrap().strip_suffix("\n\n").unwrap();
    let json: Value = serde_json::from_str(data).unwrap();
    assert_eq!(kind.strip_prefix("event: "), json["type"].as_str());
    json
}

fn stream(steps: Vec<Step>, end: Outcome) -> Vec<Value> {
    let mut reply = responding(true, false, None);
    let mut events = reply.start(Start { prompt_tokens: 5, cached_tokens: 2 });
    for step in steps {
        events.extend(reply.step(0, step));
    }
    events.extend(reply.finish(0, end));
    events.extend(reply.end());
    events.iter().map(json_of).collect()
}

fn whole(logprobs: bool, steps: Vec<Step>, end: Outcome) -> Value {
    let mut reply = responding(false, logprobs, None);
    let mut answer = Answer::default();
    for step in steps {
        reply.observe(0, &step);
        answer.step(step);
    }
    answer.finish(end);
    Box::new(reply).whole(vec![answer])
}

/// One line per event: its kind without `response.`, and what is particular to it.
fn lines(events: &[Value]) -> Vec<String> {
    let line = |event: &Value| {
        let kind = event["type"].as_str().unwrap().strip_prefix("response.").unwrap();
        let about = ["delta", "text", "arguments", "input"]
            .iter()
            .find_map(|name| event[*name].as_str())
            .or_else(|| event["item"]["status"].as_str())
            .or_else(|| event["response"]["status"].as_str())
            .unwrap_or_default();
        match event["output_index"].as_u64() {
            Some(index) => format!("{index} {kind} {about}"),
            None => format!("{kind} {about}"),
        }
    };
    events.iter().map(line).collect()
}

#[test]
fn the_order_of_events() {
    let mut steps = vec![
        step(1, vec![reasoning("hm")]),
        step(2, vec![]),
        step(3, vec![reasoning("."), content("Hi")]),
    ];
    steps.extend(call("n__g", &["{", "}"], true).into_iter().map(|delta| step(4, vec![delta])));
    steps.push(step(5, call("c", &[r#"{"input": "x"}"#], true)));
    let events = stream(steps, outcome(StopReason::ToolCalls, vec![]));
    assert_eq!(
        lines(&events),
        [
            "created in_progress",
            "in_progress in_progress",
            "0 output_item.added in_progress",
            "0 content_part.added ",
            "0 reasoning_text.delta hm",
            "0 reasoning_text.delta .",
            "0 reasoning_text.done hm.",
            "0 content_part.done ",
            "0 output_item.done completed",
            "1 output_item.added in_progress",
            "1 content_part.added ",
            "1 output_text.delta Hi",
            "1 output_text.done Hi",
            "1 content_part.done ",
            "1 output_item.done completed",
            "2 output_item.added in_progress",
            "2 function_call_arguments.delta {",
            "2 function_call_arguments.delta }",
            "2 function_call_arguments.done {}",
            "2 output_item.done completed",
            "3 output_item.added in_progress",
            "3 custom_tool_call_input.delta x",
            "3 custom_tool_call_input.done x",
            "3 output_item.done completed",
            "completed completed",
        ]
    );
    let numbers: Vec<u64> =
        events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
    let response = &events.last().unwrap()["response"];
    assert_eq!(
        response["usage"],
        json!({
            "input_tokens": 5,
            "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
            "output_tokens": 4,
            "output_tokens_details": {"reasoning_tokens": 3},
            "total_tokens": 9,
        })
    );
    let output = &response["output"];
    assert_eq!(output[0]["content"], json!([{"type": "reasoning_text", "text": "hm."}]));
    assert_eq!(output[0]["encrypted_content"], "mlx-verbatim:hm.");
    assert_eq!(
        (&output[2]["name"], &output[2]["namespace"], &output[2]["call_id"]),
        (&json!("g"), &json!("n"), &json!("call_1"))
    );
    assert_eq!(
        (&output[3]["type"], &output[3]["input"]),
        (&json!("custom_tool_call"), &json!("x"))
    );
}

#[test]
fn a_void_call_is_closed_and_its_text_follows() {
    let mut deltas = call("f", &["{"], false);
    deltas.push(content("<f"));
    let steps = vec![step(1, deltas)];
    let events = stream(steps.clone(), outcome(StopReason::EndOfTurn, vec![]));
    assert_eq!(
        lines(&events)[2..],
        [
            "0 output_item.added in_progress",
            "0 function_call_arguments.delta {",
            "0 function_call_arguments.done {",
            "0 output_item.done incomplete",
            "1 output_item.added in_progress",
            "1 content_part.added ",
            "1 output_text.delta <f",
            "1 output_text.done <f",
            "1 content_part.done ",
            "1 output_item.done completed",
            "completed completed",
        ]
    );
    // What was not told needs no taking back.
    let whole = whole(false, steps, outcome(StopReason::EndOfTurn, vec![]));
    let kinds: Vec<&Value> =
        whole["output"].as_array().unwrap().iter().map(|item| &item["type"]).collect();
    assert_eq!(kinds, ["message"]);
}

#[test]
fn a_void_call_of_a_custom_tool_was_never_told() {
    let mut deltas = call("c", &["{\"input\": \"*** Be"], false);
    deltas.push(content("<c"));
    let events = stream(vec![step(1, deltas)], outcome(StopReason::Length, vec![]));
    let lines = lines(&events);
    assert_eq!(lines[2], "0 output_item.added in_progress");
    assert_eq!(events[2]["item"]["type"], "message");
    assert_eq!(
        lines[4..],
        [
            "0 output_text.delta <c",
            "0 output_text.done <c",
            "0 content_part.done ",
            "0 output_item.done incomplete",
            "incomplete incomplete"
        ]
    );
}

#[rstest]
#[case::before_a_call(
    [vec![reasoning("hm"), content("\n\n")], call("f", &["{}"], true)].concat(),
    json!(["reasoning", "function_call"])
)]
#[case::between_calls(
    [call("f", &["{}"], true), vec![content("\n"), content(" ")], call("c", &["{}"], true), vec![content("\n")]]
        .concat(),
    json!(["function_call", "custom_tool_call"])
)]
#[case::before_text(
    vec![reasoning("hm"), content("\n\n"), content(" "), content("Hi"), content(" ")],
    json!(["reasoning", "\n\n Hi "])
)]
#[case::nothing_else(vec![content("\n")], json!(["\n"]))]
fn blanks_are_no_message_by_themselves(#[case] deltas: Vec<Delta>, #[case] expected: Value) {
    let steps: Vec<Step> = deltas.into_iter().map(|delta| step(1, vec![delta])).collect();
    let items = |response: &Value| -> Value {
        let items = response["output"].as_array().unwrap().iter();
        let item = |item: &Value| match item["type"].as_str() {
            Some("message") => item["content"][0]["text"].clone(),
            _ => item["type"].clone(),
        };
        items.map(item).collect()
    };
    let end = || outcome(StopReason::EndOfTurn, vec![]);
    assert_eq!(items(&whole(true, steps.clone(), end())), expected);
    let events = stream(steps, end());
    assert_eq!(items(&events.last().unwrap()["response"]), expected);
}

#[rstest]
#[case::text(vec![content("Hi")], "message")]
#[case::reasoning(vec![reasoning("hm")], "reasoning")]
fn a_cut_is_told(#[case] deltas: Vec<Delta>, #[case] kind: &str) {
    let events = stream(vec![step(1, deltas)], outcome(StopReason::Length, vec![]));
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.incomplete");
    let response = &last["response"];
    assert_eq!(response["incomplete_details"], json!({"reason": "max_output_tokens"}));
    assert_eq!(response["completed_at"], Value::Null);
    let item = &response["output"][0];
    assert_eq!((&item["type"], &item["status"]), (&json!(kind), &json!("incomplete")));
}

#[test]
fn a_failure_is_told_and_stored() {
    let store = Arc::new(Shared::new(Bounds::default()));
    let mut reply = responding(true, false, Some(&store));
    reply.start(Start { prompt_tokens: 1, cached_tokens: 0 });
    reply.step(0, step(1, vec![content("Hi")]));
    let events = reply.fail(&ApiError::from(verbatim_engine::Error::Mlx("boom".into())));
    let last = json_of(events.last().unwrap());
    assert_eq!(last["type"], "response.failed");
    assert_eq!(last["response"]["error"]["code"], "server_error");
    let stored: Value =
        serde_json::from_str(&store.get("resp_1").expect("stored").response).unwrap();
    assert_eq!(stored, last["response"]);
}

#[test]
fn a_failure_before_the_start_is_a_whole_stream() {
    let events = responding(true, false, None).fail(&ApiError::bad_request("no"));
    let kinds: Vec<Value> = events.iter().map(|event| json_of(event)["type"].clone()).collect();
    assert_eq!(kinds, ["response.created", "response.in_progress", "response.failed"]);
}

#[test]
fn log_probabilities_are_those_of_the_message() {
    let steps = vec![
        step(1, vec![reasoning("hm")]),
        step(2, vec![]),
        step(3, vec![content("Hi")]),
        step(4, vec![]),
    ];
    let response = whole(true, steps, outcome(StopReason::EndOfTurn, vec![content("!")]));
    let logprobs = response["output"][1]["content"][0]["logprobs"].as_array().unwrap();
    let tokens: Vec<&Value> = logprobs.iter().map(|entry| &entry["token"]).collect();
    assert_eq!(tokens, [" 2", " 3", " 4"]);
    assert_eq!(
        logprobs[0],
        json!({"token": " 2", "bytes": [32, 50], "logprob": -1.0,
               "top_logprobs": [{"token": " 2", "bytes": [32, 50], "logprob": -1.0}]})
    );
}

fn any_deltas() -> impl Strategy<Value = Vec<Delta>> {
    prop::collection::vec(
        prop_oneof![
            Just(vec![]),
            "[a-z ]{1,3}".prop_map(|text| vec![Delta::Content(text)]),
            "[a-z]{1,3}".prop_map(|text| vec![Delta::Reasoning(text)]),
            Just(call("f", &["{", "}"], true)),
            Just(call("c", &["{}"], true)),
            Just([call("f", &["{"], false), vec![content("<f")]].concat()),
        ],
        0..4,
    )
    .prop_map(|deltas| deltas.concat())
}

proptest! {
    /// What the SDKs rely on: items open and close in order, and the events say what the final
    /// response says.
    #[test]
    fn every_stream_adds_up(all in prop::collection::vec(any_deltas(), 0..6)) {
        let steps: Vec<Step> = all.into_iter().map(|deltas| step(1, deltas)).collect();
        let events = stream(steps, outcome(StopReason::EndOfTurn, vec![]));
        let response = &events.last().unwrap()["response"];
        let mut done = Vec::new();
        let mut told = String::new();
        let mut open: Option<Value> = None;
        for event in &events[2..events.len() - 1] {
            prop_assert_eq!(event["output_index"].as_u64(), Some(done.len() as u64));
            match event["type"].as_str().unwrap() {
                "response.output_item.added" => {
                    prop_assert!(open.is_none());
                    open = Some(event["item"]["id"].clone());
                }
                "response.output_item.done" => {
                    let opened = open.take();
                    prop_assert_eq!(opened.as_ref(), Some(&event["item"]["id"]));
                    done.push(event["item"].clone());
                }
                kind => {
                    prop_assert_eq!(open.as_ref(), Some(&event["item_id"]));
                    if kind == "response.output_text.delta" {
                        told.push_str(event["delta"].as_str().unwrap());
                    }
                }
            }
        }
        prop_assert!(open.is_none());
        prop_assert_eq!(&response["output"], &Value::from(done));
        let said: String = response["output"].as_array().unwrap().iter()
            .filter(|item| item["type"] == "message")
            .filter_map(|item| item["content"][0]["text"].as_str())
            .collect();
        prop_assert_eq!(told, said);
    }
}
