//! Anthropic's Messages API of a running server, as its clients see it.

mod common;

use common::{Server, with};
use reqwest::RequestBuilder;
use rstest::rstest;
use serde_json::{Value, json};

const MESSAGES: &str = "/v1/messages?beta=true";
const COUNT: &str = "/v1/messages/count_tokens?beta=true";

fn ask(text: &str) -> Value {
    json!({"model": "default_model", "max_tokens": 64, "messages": [{"role": "user", "content": text}]})
}

/// A message, which must be one.
async fn message(server: &Server, body: &Value) -> Value {
    let (status, json) = server.ask(MESSAGES, body).await;
    assert_eq!(status, 200, "{json}");
    assert_eq!((&json["type"], &json["role"]), (&json!("message"), &json!("assistant")));
    json
}

/// The blocks' texts of one kind.
fn texts(message: &Value, kind: &str) -> String {
    let blocks = message["content"].as_array().expect("blocks");
    blocks.iter().filter(|b| b["type"] == kind).filter_map(|b| b[kind].as_str()).collect()
}

/// The events of a stream, which must have begun well. Comments only come before the first.
async fn events(request: RequestBuilder) -> Vec<Value> {
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = response.text().await.expect("text");
    let events = text.split_terminator("\n\n").skip_while(|event| event.starts_with(": "));
    let events: Vec<Value> = events
        .map(|event| {
            let (name, data) = event.split_once('\n').expect("two lines");
            let data = data.strip_prefix("data: ").expect("data");
            let data: Value = serde_json::from_str(data).expect("JSON");
            assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
            data
        })
        .collect();
    assert_eq!(events[0]["type"], "message_start");
    assert_eq!(events[1]["type"], "ping");
    events
}

/// The message that a client puts together from a stream.
async fn streamed(server: &Server, body: &Value) -> Value {
    let body = with(body.clone(), &json!({"stream": true}));
    collected(&events(server.post(MESSAGES, &body)).await)
}

fn collected(events: &[Value]) -> Value {
    let mut message = events[0]["message"].clone();
    let mut content: Vec<Value> = Vec::new();
    let mut arguments = String::new();
    for event in &events[1..events.len() - 2] {
        match event["type"].as_str().expect("a type") {
            "ping" => {}
            "content_block_start" => {
                assert_eq!(event["index"], content.len());
                content.push(event["content_block"].clone());
            }
            "content_block_delta" => {
                let block = content.last_mut().expect("a block");
                let delta = &event["delta"];
                match delta["type"].as_str().expect("a type").trim_end_matches("_delta") {
                    "input_json" => arguments.push_str(delta["partial_json"].as_str().unwrap()),
                    key => {
                        let before = block[key].as_str().unwrap().to_owned();
                        block[key] = (before + delta[key].as_str().unwrap()).into();
                    }
                }
            }
            "content_block_stop" => {
                let json = std::mem::take(&mut arguments);
                if !json.is_empty() {
                    content.last_mut().expect("a block")["input"] =
                        serde_json::from_str(&json).expect("JSON");
                }
            }
            other => panic!("{other} is out of order"),
        }
    }
    let [delta, stop] = &events[events.len() - 2..] else { panic!("no end") };
    assert_eq!((&delta["type"], &stop["type"]), (&json!("message_delta"), &json!("message_stop")));
    message["content"] = content.into();
    message["stop_reason"] = delta["delta"]["stop_reason"].clone();
    message["stop_sequence"] = delta["delta"]["stop_sequence"].clone();
    message["usage"] = delta["usage"].clone();
    message
}

/// All tokens of the prompt, from the cache or not.
fn input_tokens(message: &Value) -> u64 {
    let of = |key: &str| message["usage"][key].as_u64().expect("a count");
    of("input_tokens") + of("cache_read_input_tokens") + of("cache_creation_input_tokens")
}

/// What is equal in every run: all but ids, and where the prompt's tokens came from.
fn stable(mut message: Value) -> Value {
    let tokens = input_tokens(&message);
    message["id"].take();
    message["usage"] = json!([tokens, message["usage"]["output_tokens"]]);
    for block in message["content"].as_array_mut().expect("blocks") {
        if let Some(id) = block.get_mut("id") {
            assert!(id.as_str().is_some_and(|id| id.starts_with("toolu_")));
            id.take();
        }
    }
    message
}

fn weather() -> Value {
    json!({"tools": [{"name": "get_weather", "description": "Weather of a city", "input_schema": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}]})
}

#[tokio::test]
async fn a_conversation() {
    let server = Server::start(&[]);
    let hello = ask("Hello!");
    let whole = message(&server, &hello).await;
    assert!(whole["id"].as_str().is_some_and(|id| id.starts_with("msg_")));
    assert_eq!(
        (&whole["model"], &whole["stop_reason"]),
        (&json!("default_model"), &json!("end_turn"))
    );
    assert!(!texts(&whole, "text").is_empty());
    assert_eq!(stable(streamed(&server, &hello).await), stable(whole.clone()));

    let mut more = hello.clone();
    let messages = more["messages"].as_array_mut().expect("messages");
    messages.push(json!({"role": "assistant", "content": whole["content"]}));
    messages
        .push(json!({"role": "user", "content": [{"type": "text", "text": "What is 2 plus 3?"}]}));
    let next = message(&server, &more).await;
    assert!(texts(&next, "text").contains('5'), "{next}");
    assert!(input_tokens(&next) > input_tokens(&whole));

    // The chat endpoint, asked for the same, has the same prompt.
    let chat = json!({"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 64,
                      "chat_template_kwargs": {"enable_thinking": false}});
    let chat = server.chat(&chat).await;
    assert_eq!(chat["usage"]["prompt_tokens"], input_tokens(&whole));
    assert_eq!(chat["choices"][0]["message"]["content"], texts(&whole, "text"));
}

#[tokio::test]
async fn thinking_is_off_unless_asked_for() {
    let server = Server::start(&[]);
    let sum = ask("What is 2 plus 3?");
    for thinking in [Value::Null, json!({"type": "disabled"})] {
        let direct = message(&server, &with(sum.clone(), &json!({ "thinking": thinking }))).await;
        assert_eq!(texts(&direct, "thinking"), "", "{direct}");
        assert!(texts(&direct, "text").contains('5'), "{direct}");
    }
    let body = with(sum.clone(), &json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}));
    let thought = message(&server, &body).await;
    assert_eq!(thought["content"][0]["type"], "thinking", "{thought}");
    assert!(!texts(&thought, "thinking").is_empty());
    assert!(texts(&thought, "text").contains('5'), "{thought}");
    assert_eq!(stable(streamed(&server, &body).await), stable(thought.clone()));
    let omitted = json!({"thinking": {"type": "adaptive", "display": "omitted"}});
    let omitted = message(&server, &with(sum, &omitted)).await;
    assert_eq!(texts(&omitted, "thinking"), "");
    assert_eq!(omitted["content"][1], thought["content"][1]);
}

#[tokio::test]
async fn a_tool_is_used_and_its_result_told() {
    let server = Server::start(&[]);
    let mut body = with(ask("What is the weather in Paris?"), &weather());
    let used = message(&server, &body).await;
    assert_eq!(used["stop_reason"], "tool_use", "{used}");
    let blocks = used["content"].as_array().expect("blocks");
    let call = blocks.last().expect("a block").clone();
    assert_eq!((&call["type"], &call["name"]), (&json!("tool_use"), &json!("get_weather")));
    assert_eq!(call["input"], json!({"city": "Paris"}));
    assert_eq!(stable(streamed(&server, &body).await), stable(used.clone()));

    let messages = body["messages"].as_array_mut().expect("messages");
    messages.push(json!({"role": "assistant", "content": used["content"]}));
    messages.push(json!({"role": "user", "content": [{
        "type": "tool_result", "tool_use_id": call["id"],
        "content": [{"type": "text", "text": "{\"temperature\": 21, \"condition\": \"sunny\"}"}]}]}));
    let told = message(&server, &body).await;
    let text = texts(&told, "text");
    assert!(text.contains("21") && text.contains("Paris"), "{told}");
    assert_eq!(told["stop_reason"], "end_turn");

    let none = json!({"tool_choice": {"type": "none"}});
    let none = with(with(ask("What is the weather in Paris?"), &weather()), &none);
    assert_ne!(message(&server, &none).await["stop_reason"], "tool_use");
}

#[rstest]
#[case(json!({"type": "any"}))]
#[case(json!({"type": "any", "disable_parallel_tool_use": true}))]
#[case(json!({"type": "tool", "name": "get_weather", "disable_parallel_tool_use": true}))]
#[tokio::test]
async fn a_tool_can_be_forced(#[case] choice: Value) {
    let server = Server::start(&[]);
    let body = with(with(ask("Hello!"), &weather()), &json!({"tool_choice": choice}));
    let forced = message(&server, &body).await;
    assert_eq!(forced["stop_reason"], "tool_use", "{forced}");
    let blocks = forced["content"].as_array().expect("blocks");
    assert!(blocks.iter().all(|b| b["type"] == "tool_use" && b["name"] == "get_weather"));
    assert!(blocks.iter().all(|b| b["input"]["city"].is_string()), "{forced}");
    if choice["disable_parallel_tool_use"] == true {
        assert_eq!(blocks.len(), 1);
    }
    assert_eq!(stable(streamed(&server, &body).await), stable(forced));
}

#[tokio::test]
async fn an_answer_keeps_to_a_schema() {
    let server = Server::start(&[]);
    let schema = json!({"type": "object", "properties": {"answer": {"enum": ["yes", "no"]}},
                        "required": ["answer"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "schema": schema});
    for extra in [json!({"output_config": {"format": format}}), json!({"output_format": format})] {
        let answer = message(&server, &with(ask("Is Paris in France?"), &extra)).await;
        let json: Value = serde_json::from_str(&texts(&answer, "text")).expect("JSON");
        assert!(json["answer"] == "yes" || json["answer"] == "no", "{answer}");
    }
}

#[tokio::test]
async fn stop_sequences_and_the_length_limit_are_told() {
    let server = Server::start(&[]);
    let whole = message(&server, &ask("Hello!")).await;
    let text = texts(&whole, "text");
    let stop: String = text.chars().skip(text.chars().count() / 2).take(3).collect();
    let body = with(ask("Hello!"), &json!({"stop_sequences": ["\u{0}never", stop]}));
    let stopped = message(&server, &body).await;
    assert_eq!(
        (&stopped["stop_reason"], &stopped["stop_sequence"]),
        (&json!("stop_sequence"), &json!(stop))
    );
    assert_eq!(Some(texts(&stopped, "text").as_str()), text.split(&stop).next());
    assert_eq!(stable(streamed(&server, &body).await), stable(stopped));
    let short = message(&server, &with(ask("Hello!"), &json!({"max_tokens": 2}))).await;
    assert_eq!(short["stop_reason"], "max_tokens");
    assert_eq!(short["usage"]["output_tokens"], 2);
}

#[tokio::test]
async fn a_begun_answer_is_gone_on_from() {
    let server = Server::start(&[]);
    let whole = message(&server, &ask("Hello!")).await;
    let text = texts(&whole, "text");
    let (begun, rest) = text.split_once(' ').expect("two words");
    let mut body = ask("Hello!");
    body["messages"].as_array_mut().unwrap().push(json!({"role": "assistant", "content": begun}));
    let next = message(&server, &body).await;
    assert_eq!(texts(&next, "text"), format!(" {rest}"));
    assert!(input_tokens(&next) > input_tokens(&whole));
}

#[tokio::test]
async fn a_count_is_what_a_message_reports() {
    let server = Server::start(&[]);
    let bodies = [
        ask("Hello!"),
        with(ask("Hello!"), &json!({"system": [{"type": "text", "text": "Be short."}]})),
        with(ask("What is the weather in Paris?"), &weather()),
        with(ask("Hello!"), &json!({"thinking": {"type": "adaptive"}})),
    ];
    let mut counts = Vec::new();
    for body in bodies {
        let message = message(&server, &body).await;
        let mut body = body;
        body.as_object_mut().unwrap().remove("max_tokens");
        let (status, count) = server.ask(COUNT, &body).await;
        assert_eq!((status, &count), (200, &json!({"input_tokens": input_tokens(&message)})));
        counts.push(count["input_tokens"].as_u64());
    }
    counts.dedup();
    assert_eq!(counts.len(), 4, "the prompts differ");
    let (status, e) = server.ask(COUNT, &json!({"model": "default_model"})).await;
    assert_eq!((status, &e["error"]["type"]), (400, &json!("invalid_request_error")));
}

#[rstest]
#[case("POST", "/v1/messages", json!({}), 400, "invalid_request_error", "model is missing")]
#[case("POST", "/v1/messages", json!([]), 400, "invalid_request_error", "JSON dictionary")]
#[case("POST", "/v1/messages", with(ask("a"), &json!({"foo": 1})), 400, "invalid_request_error", "foo")]
#[case("POST", "/v1/messages", with(ask("a"), &json!({"model": "gpt"})), 404, "not_found_error", "gpt")]
#[case("POST", "/v1/messages/count_tokens", with(ask("a"), &json!({"model": "gpt"})), 404, "not_found_error", "gpt")]
#[case("POST", "/v1/messages", ask(&"x".repeat(3000)), 413, "request_too_large", "2000 bytes")]
#[case("POST", "/v1/messages/batches", json!({}), 404, "not_found_error", "Not Found")]
#[case("GET", "/v1/messages", json!({}), 405, "invalid_request_error", "method")]
#[case("GET", "/v1/models/gpt", json!({}), 404, "not_found_error", "gpt")]
#[tokio::test]
async fn errors_have_anthropics_shape(
    #[case] method: &str,
    #[case] path: &str,
    #[case] body: Value,
    #[case] status: u16,
    #[case] kind: &str,
    #[case] says: &str,
) {
    let server = Server::start(&["--max-body-bytes", "2000"]);
    let request = common::client().request(method.parse().unwrap(), server.url(path));
    let request = request.header("anthropic-version", "2023-06-01").header("x-request-id", "mine");
    let response = request.json(&body).send().await.expect("an answer");
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()["request-id"], "mine");
    let mut e: Value = response.json().await.expect("JSON");
    let message = e["error"]["message"].take();
    assert!(message.as_str().is_some_and(|text| text.contains(says)), "{message}");
    let want =
        json!({"type": "error", "error": {"type": kind, "message": null}, "request_id": "mine"});
    assert_eq!(e, want);
}

#[tokio::test]
async fn a_full_queue_is_told_as_overload() {
    let server = Server::start(&["--max-active", "1", "--queue-limit", "1"]);
    let endless = common::endless(&common::eos());
    let chat = || server.post("/v1/chat/completions", &endless).send();
    let mut running = chat().await.expect("an answer");
    common::first_data(&mut running).await;
    let _waiting = chat().await.expect("an answer");
    let response = server.post(MESSAGES, &ask("Hello!")).send().await.expect("an answer");
    assert_eq!(response.status(), 529);
    assert!(response.headers().contains_key("retry-after"));
    let e: Value = response.json().await.expect("JSON");
    assert_eq!(e["error"]["type"], "overloaded_error");
}

#[tokio::test]
async fn models_are_listed_as_the_client_knows_them() {
    let server = Server::start(&["--model-name", "org/tiny"]);
    let get = |path: &str| server.get(path).header("anthropic-version", "2023-06-01").send();
    let list: Value = get("/v1/models?limit=20").await.unwrap().json().await.unwrap();
    assert_eq!((&list["first_id"], &list["last_id"]), (&json!("org/tiny"), &json!("org/tiny")));
    assert_eq!(list["has_more"], false);
    let entry = &list["data"][0];
    assert_eq!((&entry["id"], &entry["type"]), (&json!("org/tiny"), &json!("model")));
    assert!(entry["created_at"].as_str().is_some_and(|time| time.ends_with('Z')));
    let one: Value = get("/v1/models/org/tiny").await.unwrap().json().await.unwrap();
    assert_eq!(&one, entry);
    let openai: Value = server.get("/v1/models").send().await.unwrap().json().await.unwrap();
    assert_eq!(openai["object"], "list");
}

/// A request of a coding agent: its body, headers and query as one sends them.
fn agents(server: &Server, path: &str, body: &Value) -> RequestBuilder {
    let headers: Value =
        serde_json::from_str(include_str!("data/coding_agent/headers.json")).expect("JSON");
    let headers = headers.as_object().expect("an object").clone();
    headers.iter().fold(server.post(path, body), |request, (name, value)| {
        request.header(name, value.as_str().expect("text"))
    })
}

fn recorded(name: &str) -> Value {
    let text = match name {
        "first_turn" => include_str!("data/coding_agent/first_turn.json"),
        "second_turn" => include_str!("data/coding_agent/second_turn.json"),
        "title" => include_str!("data/coding_agent/title.json"),
        _ => include_str!("data/coding_agent/count_tokens.json"),
    };
    serde_json::from_str(text).expect("JSON")
}

#[tokio::test]
async fn a_coding_agents_traffic() {
    let server = Server::start(&[]);
    for name in ["title", "first_turn", "second_turn"] {
        let mut body = recorded(name);
        let (status, count) = {
            let mut body = body.clone();
            body.as_object_mut().unwrap().remove("max_tokens");
            server.ask(COUNT, &body).await
        };
        assert_eq!(status, 200, "{name}: {count}");
        // The demo model may not find an end by itself.
        body["max_tokens"] = 4.into();
        let message = collected(&events(agents(&server, MESSAGES, &body)).await);
        assert_eq!(count["input_tokens"], input_tokens(&message), "{name}");
        assert!(message["stop_reason"].is_string());
    }
    let count = agents(&server, COUNT, &recorded("count_tokens")).send().await.expect("an answer");
    assert_eq!(count.status(), 200);
}

#[tokio::test]
async fn the_billing_header_is_no_part_of_the_prompt() {
    let server = Server::start(&[]);
    let first = recorded("first_turn");
    let mut other = first.clone();
    other["system"][0]["text"] =
        "x-anthropic-billing-header: cc_version=2.1.177.abc; cc_entrypoint=cli; cch=543cf54;"
            .into();
    let mut without = first.clone();
    without["system"].as_array_mut().expect("blocks").remove(0);
    let mut kept = first.clone();
    kept["system"][0]["text"] = "billing header: none".into();
    let mut counts = Vec::new();
    for body in [first, other, without, kept] {
        let (status, count) = server.ask(COUNT, &body).await;
        assert_eq!(status, 200, "{count}");
        counts.push(count["input_tokens"].as_u64().expect("a count"));
    }
    assert_eq!(counts[..2], [counts[2]; 2]);
    assert!(counts[3] > counts[2]);
}
