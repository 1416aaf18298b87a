//! The Responses endpoint of a running server, as clients see it.

mod common;

use common::{Server, with};
use serde_json::{Value, json};

const PATH: &str = "/v1/responses";

/// A response that must succeed.
async fn respond(server: &Server, body: &Value) -> Value {
    let (status, json) = server.ask(PATH, body).await;
    assert_eq!(status, 200, "{json}");
    json
}

async fn refused(server: &Server, body: &Value) -> Value {
    let (status, json) = server.ask(PATH, body).await;
    assert_eq!(status, 400, "{json}");
    json["error"].clone()
}

/// The events of a stream.
async fn streamed(server: &Server, body: &Value) -> Vec<Value> {
    let body = with(body.clone(), &json!({"stream": true}));
    let response = server.post(PATH, &body).send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    let text = response.text().await.expect("text");
    let named = text.split_terminator("\n\n").filter(|event| !event.starts_with(':'));
    named
        .map(|event| {
            let (kind, data) = event.split_once('\n').expect("two lines");
            let data = data.strip_prefix("data: ").expect("data");
            let json: Value = serde_json::from_str(data).expect("JSON");
            assert_eq!(kind.strip_prefix("event: "), json["type"].as_str());
            json
        })
        .collect()
}

async fn get(server: &Server, path: &str) -> (u16, Value) {
    let response = server.get(path).send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

fn text(response: &Value) -> String {
    let items = response["output"].as_array().expect("items").iter();
    items
        .filter(|item| item["type"] == "message")
        .filter_map(|item| item["content"][0]["text"].as_str())
        .collect()
}

/// A response without what differs in every run.
fn stable(mut response: Value) -> Value {
    for name in ["id", "created_at", "completed_at"] {
        response[name] = Value::Null;
    }
    // Whoever asks second finds the prompt in the cache.
    response["usage"]["input_tokens_details"]["cached_tokens"] = Value::Null;
    for item in response["output"].as_array_mut().expect("items") {
        item["id"] = Value::Null;
        if item.get("call_id").is_some() {
            item["call_id"] = Value::Null;
        }
    }
    response
}

fn hello() -> Value {
    json!({"input": "Hello!", "max_output_tokens": 12})
}

fn weather() -> Value {
    json!({
        "input": "What is the weather in Paris?",
        "reasoning": {"effort": "none"},
        "tools": [{"type": "function", "name": "get_weather", "description": "Get the weather in a city.",
                   "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}],
    })
}

#[tokio::test]
async fn a_stream_ends_with_what_a_whole_answer_is() {
    let server = Server::start(&[]);
    for body in [hello(), weather(), with(hello(), &json!({"reasoning": {"effort": "low"}}))] {
        let whole = respond(&server, &body).await;
        let events = streamed(&server, &body).await;
        assert_eq!(events[0]["type"], "response.created");
        let last = events.last().expect("events");
        assert_eq!(stable(last["response"].clone()), stable(whole.clone()));
        let told: String = events
            .iter()
            .filter(|event| event["type"] == "response.output_text.delta")
            .filter_map(|event| event["delta"].as_str())
            .collect();
        assert_eq!(told, text(&whole));
    }
}

#[tokio::test]
async fn a_response_repeats_the_request() {
    let server = Server::start(&[]);
    let body = with(
        hello(),
        &json!({"instructions": "Be brief.", "max_output_tokens": 64, "metadata": {"k": "v"}, "user": "u", "temperature": 0.5,
                "top_p": 0.9, "seed": 3, "service_tier": "auto", "max_tool_calls": 2}),
    );
    let response = respond(&server, &body).await;
    let id = response["id"].as_str().expect("an id");
    assert!(id.starts_with("resp_"));
    for (name, want) in [
        ("object", json!("response")),
        ("status", json!("completed")),
        ("error", Value::Null),
        ("incomplete_details", Value::Null),
        ("instructions", json!("Be brief.")),
        ("max_output_tokens", json!(64)),
        ("max_tool_calls", json!(2)),
        ("metadata", json!({"k": "v"})),
        ("model", json!("default_model")),
        ("parallel_tool_calls", json!(true)),
        ("previous_response_id", Value::Null),
        ("reasoning", json!({"effort": null, "summary": null})),
        ("service_tier", json!("default")),
        ("store", json!(true)),
        ("temperature", json!(0.5)),
        ("text", json!({"format": {"type": "text"}, "verbosity": "medium"})),
        ("tool_choice", json!("auto")),
        ("tools", json!([])),
        ("top_p", json!(0.9)),
        ("truncation", json!("disabled")),
        ("user", json!("u")),
    ] {
        assert_eq!(response.get(name), Some(&want), "{name}");
    }
    assert_eq!(get(&server, &format!("{PATH}/{id}")).await, (200, response.clone()));
}

#[tokio::test]
async fn a_conversation_goes_on_from_what_was_stored() {
    let server = Server::start(&[]);
    let first =
        respond(&server, &json!({"input": "My name is Ada.", "instructions": "Be kind."})).await;
    let second_input = json!([{"role": "user", "content": "What is 2 plus 3?"}]);
    let second =
        respond(&server, &json!({"input": second_input, "previous_response_id": first["id"]}))
            .await;
    // The same conversation in full, without the first response's instructions.
    let output = first["output"].as_array().expect("items");
    let mut full = vec![json!({"role": "user", "content": "My name is Ada."})];
    full.extend(output.iter().cloned());
    full.push(second_input[0].clone());
    let again = respond(&server, &json!({"input": full, "store": false})).await;
    assert_eq!(second["usage"]["input_tokens"], again["usage"]["input_tokens"]);
    assert_eq!(text(&second), text(&again));

    let path = format!("{PATH}/{}/input_items", second["id"].as_str().expect("an id"));
    let (status, list) = get(&server, &format!("{path}?order=asc")).await;
    assert_eq!((status, list["data"].as_array().map(Vec::len)), (200, Some(full.len())));
    assert_eq!(list["data"][1]["id"], output[0]["id"]);
    let counted = json!({"input": second_input, "previous_response_id": first["id"]});
    let (_, count) = server.ask("/v1/responses/input_tokens", &counted).await;
    let tokens = &second["usage"]["input_tokens"];
    assert_eq!(count, json!({"object": "response.input_tokens", "input_tokens": tokens}));
    for (item, output) in full[1..].iter_mut().zip(output) {
        *item = json!({"type": "item_reference", "id": output["id"]});
    }
    let by_reference = json!({"input": full});
    assert_eq!(text(&respond(&server, &by_reference).await), text(&second));
}

#[tokio::test]
async fn a_tool_is_called_and_answered() {
    let server = Server::start(&[]);
    let first = respond(&server, &weather()).await;
    let call = &first["output"][0];
    assert_eq!((&call["type"], &call["name"]), (&json!("function_call"), &json!("get_weather")));
    assert_eq!(call["arguments"].as_str().map(|a| a.contains("Paris")), Some(true));
    assert_eq!(call["status"], "completed");
    let output = json!({"type": "function_call_output", "call_id": call["call_id"],
                        "output": "{\"temperature\": 18, \"condition\": \"sunny\"}"});
    let body = with(weather(), &json!({"input": [output], "previous_response_id": first["id"]}));
    let second = respond(&server, &body).await;
    assert!(text(&second).contains("18"), "{second}");
    let lost = json!({"input": [{"type": "function_call_output", "call_id": "x", "output": "1"}]});
    assert!(refused(&server, &lost).await["message"].as_str().unwrap().contains("call_id x"));
}

#[tokio::test]
async fn reasoning_is_an_item_that_can_be_turned_off() {
    let server = Server::start(&[]);
    let ask = |effort: &str| {
        json!({"input": "What is 2 plus 3?", "reasoning": {"effort": effort},
               "include": ["reasoning.encrypted_content"]})
    };
    let on = respond(&server, &ask("high")).await;
    let item = &on["output"][0];
    assert_eq!((&item["type"], &item["summary"]), (&json!("reasoning"), &json!([])));
    assert!(item["content"][0]["text"].as_str().is_some_and(|text| !text.is_empty()));
    let usage = &on["usage"];
    let reasoning = usage["output_tokens_details"]["reasoning_tokens"].as_u64().expect("a count");
    assert!(reasoning > 0 && reasoning < usage["output_tokens"].as_u64().expect("a count"));
    let off = respond(&server, &ask("none")).await;
    assert_eq!(off["output"][0]["type"], "message");
    assert_eq!(off["usage"]["output_tokens_details"]["reasoning_tokens"], 0);

    // With and without its content the item comes back as the same reasoning.
    let mut bare = item.clone();
    bare.as_object_mut().expect("an object").remove("content");
    for item in [item, &bare] {
        let input =
            json!([{"role": "user", "content": "What is 2 plus 3?"}, item, on["output"][1]]);
        let (status, count) =
            server.ask("/v1/responses/input_tokens", &json!({"input": input})).await;
        assert_eq!(status, 200, "{count}");
        let without = json!({"input": [input[0], input[2]]});
        let (_, less) = server.ask("/v1/responses/input_tokens", &without).await;
        assert!(count["input_tokens"].as_u64() > less["input_tokens"].as_u64());
    }
}

#[tokio::test]
async fn a_cut_response_is_incomplete_and_stored_so() {
    let server = Server::start(&[]);
    let response = respond(&server, &with(hello(), &json!({"max_output_tokens": 2}))).await;
    assert_eq!(response["status"], "incomplete");
    assert_eq!(response["incomplete_details"], json!({"reason": "max_output_tokens"}));
    let path = format!("{PATH}/{}", response["id"].as_str().expect("an id"));
    assert_eq!(get(&server, &path).await.1, response);
}

#[tokio::test]
async fn what_is_not_stored_cannot_be_referred_to() {
    let server = Server::start(&["--responses-ttl", "0"]);
    let expired = respond(&server, &hello()).await;
    let unstored = respond(&server, &with(hello(), &json!({"store": false}))).await;
    assert_eq!(unstored["store"], false);
    for id in [&expired["id"], &unstored["id"], &json!("resp_x")] {
        let e = refused(&server, &with(hello(), &json!({"previous_response_id": id}))).await;
        assert_eq!(
            (&e["code"], &e["param"]),
            (&json!("previous_response_not_found"), &json!("previous_response_id"))
        );
        let path = format!("{PATH}/{}", id.as_str().expect("an id"));
        assert_eq!(get(&server, &path).await.0, 404);
        assert_eq!(get(&server, &format!("{path}/input_items")).await.0, 404);
    }
}

#[tokio::test]
async fn a_response_can_be_deleted() {
    let server = Server::start(&[]);
    let response = respond(&server, &hello()).await;
    let path = format!("{PATH}/{}", response["id"].as_str().expect("an id"));
    let delete = || common::client().delete(server.url(&path)).send();
    let answer = delete().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let deleted: Value = answer.json().await.expect("JSON");
    assert_eq!(deleted, json!({"id": response["id"], "object": "response", "deleted": true}));
    assert_eq!(delete().await.expect("an answer").status(), 404);
}

#[tokio::test]
async fn log_probabilities_are_in_the_message() {
    let server = Server::start(&[]);
    let body = with(
        hello(),
        &json!({"include": ["message.output_text.logprobs"], "top_logprobs": 2, "reasoning": {"effort": "none"}}),
    );
    let response = respond(&server, &body).await;
    let part = &response["output"][0]["content"][0];
    let entries = part["logprobs"].as_array().expect("entries");
    assert!(entries.iter().all(|entry| entry["top_logprobs"].as_array().unwrap().len() == 2));
    let joined: String = entries.iter().filter_map(|entry| entry["token"].as_str()).collect();
    assert_eq!(joined.trim(), part["text"].as_str().expect("text").trim());
}

#[tokio::test]
async fn answers_keep_to_a_schema() {
    let server = Server::start(&[]);
    let schema = json!({"type": "object", "properties": {"answer": {"enum": ["yes", "no"]}},
                        "required": ["answer"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "name": "answer", "strict": true, "schema": schema});
    let body = json!({"input": "Is Paris in France?", "text": {"format": format},
                      "reasoning": {"effort": "none"}});
    let response = respond(&server, &body).await;
    assert_eq!(response["text"]["format"], format);
    let answer: Value = serde_json::from_str(&text(&response)).expect("JSON");
    assert!(answer == json!({"answer": "yes"}) || answer == json!({"answer": "no"}), "{answer}");
}

#[tokio::test]
async fn calls_can_be_forced() {
    let server = Server::start(&[]);
    for choice in [json!("required"), json!({"type": "function", "name": "get_weather"})] {
        let forced =
            json!({"input": "Hello!", "tool_choice": choice, "parallel_tool_calls": false});
        let response = respond(&server, &with(weather(), &forced)).await;
        let output = response["output"].as_array().expect("items");
        let kinds: Vec<&Value> = output.iter().map(|item| &item["type"]).collect();
        assert_eq!(kinds, ["function_call"], "{response}");
        assert_eq!(response["tool_choice"], choice);
    }
}

#[tokio::test]
async fn what_is_not_honoured_is_refused_by_name() {
    let server = Server::start(&[]);
    for (extra, param) in [
        (json!({"background": true}), "background"),
        (json!({"conversation": "conv_1"}), "conversation"),
        (json!({"prompt": {"id": "p"}}), "prompt"),
        (json!({"truncation": "auto"}), "truncation"),
        (json!({"reasoning": {"effort": "extreme"}}), "reasoning.effort"),
        (json!({"reasoning": {"summary": "detailed"}}), "reasoning.summary"),
        (json!({"text": {"verbosity": "low"}}), "text.verbosity"),
        (json!({"include": ["everything"]}), "include"),
        (json!({"stream_options": {"include_obfuscation": true}}), "stream_options"),
        (json!({"context_management": [{"type": "compaction"}]}), "context_management"),
        (json!({"max_output_tokens": 0}), "max_output_tokens"),
        (json!({"max_tokens": 5}), "max_tokens"),
        (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
        (json!({"metadata": {"k": 1}}), "metadata"),
        (json!({"input": []}), "input"),
        (json!({"input": [{"type": "image_generation_call"}]}), "input[0].type"),
        (json!({"input": null}), "input"),
        (json!({"instructions": 1}), "instructions"),
    ] {
        let e = refused(&server, &with(hello(), &extra)).await;
        assert_eq!(e["param"], param, "{e}");
    }
}

#[tokio::test]
async fn an_agent_that_speaks_only_this_protocol_is_served() {
    let request: Value =
        serde_json::from_str(include_str!("data/responses_agent.json")).expect("JSON");
    let strict = Server::start(&[]);
    let e = refused(&strict, &request).await;
    assert!(e["message"].as_str().unwrap().contains("--ignore-hosted-tools"), "{e}");

    let server = Server::start(&["--ignore-hosted-tools"]);
    let mut items = turn(&server, &request).await;
    assert_eq!(items[0]["name"], "get_weather", "{items:?}");
    let call_id = items[0]["call_id"].clone();
    items.push(json!({"type": "function_call_output", "call_id": call_id,
                      "output": "{\"temperature\": 18, \"condition\": \"sunny\"}"}));
    let mut input = request["input"].as_array().expect("items").clone();
    input.extend(items);
    let answer = turn(&server, &with(request, &json!({"input": input}))).await;
    let said = answer[0]["content"][0]["text"].as_str().expect("text");
    assert!(said.contains("18"), "{answer:?}");
}

/// Streams one turn; the items that such an agent keeps of it, as it sends them back.
async fn turn(server: &Server, request: &Value) -> Vec<Value> {
    let events = streamed(server, request).await;
    assert_eq!(events.last().expect("events")["type"], "response.completed", "{events:?}");
    events
        .iter()
        .filter(|event| event["type"] == "response.output_item.done")
        .map(|event| {
            let mut item = event["item"].clone();
            let fields = item.as_object_mut().expect("an object");
            fields.remove("id");
            fields.remove("status");
            if fields["type"] == "reasoning" {
                fields.remove("content");
            }
            item
        })
        .collect()
}
