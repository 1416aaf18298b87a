//! Answers that a grammar constrains, on the demo model.

#[path = "../common/mod.rs"]
mod common;
mod validate;

use common::{Events, Server, eos, joined, with};
use rstest::rstest;
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";

fn said(text: &str) -> Value {
    json!({"messages": [{"role": "user", "content": text}], "max_tokens": 250})
}

fn by_schema(schema: &Value) -> Value {
    let format =
        json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}});
    with(said("Tell me about Paris."), &json!({"response_format": format}))
}

/// The content of every choice; all must have ended by themselves.
fn contents(answer: &Value) -> Vec<String> {
    let choices = answer["choices"].as_array().expect("choices");
    let content = |choice: &Value| {
        assert_eq!(choice["finish_reason"], "stop", "{choice}");
        choice["message"]["content"].as_str().expect("content").to_owned()
    };
    choices.iter().map(content).collect()
}

fn schemas() -> Vec<Value> {
    let text = json!({"type": "string", "maxLength": 12});
    let object = |properties: Value, required: Value| {
        json!({"type": "object", "properties": properties, "required": required,
            "additionalProperties": false})
    };
    vec![
        json!({"type": "null"}),
        json!({"type": "boolean"}),
        json!({"const": {"a": [1, "x"]}}),
        json!({"enum": ["red", "green", 3, null, true]}),
        json!({"type": "integer", "minimum": -5, "maximum": 1_000}),
        json!({"type": "integer", "minimum": 0, "exclusiveMaximum": 100, "multipleOf": 7}),
        json!({"type": "number", "exclusiveMinimum": 0, "maximum": 10, "multipleOf": 0.5}),
        json!({"type": "string", "minLength": 3, "maxLength": 9}),
        json!({"type": ["string", "null"], "maxLength": 5}),
        json!({"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 5}),
        json!({"type": "array", "prefixItems": [text, {"type": "boolean"}], "items": false,
            "minItems": 2}),
        json!({"type": "array", "maxItems": 3, "items": {"enum": ["a", "b"]}}),
        object(json!({"city": text, "big": {"type": "boolean"}}), json!(["city", "big"])),
        object(json!({"city": text, "big": {"type": "boolean"}}), json!([])),
        object(
            json!({"a": object(json!({"b": object(json!({"c": {"enum": [1, 2]}}), json!(["c"]))}),
                json!(["b"]))}),
            json!(["a"]),
        ),
        object(
            json!({"list": {"type": "array", "maxItems": 3, "items":
                object(json!({"k": text, "v": {"type": "integer", "minimum": 0, "maximum": 9}}),
                    json!(["k", "v"]))}}),
            json!(["list"]),
        ),
        json!({"anyOf": [{"type": "boolean"}, {"type": "array", "items": {"type": "null"},
            "maxItems": 2}]}),
        json!({"oneOf": [
            object(json!({"kind": {"const": "a"}, "x": {"type": "boolean"}}), json!(["kind", "x"])),
            object(json!({"kind": {"const": "b"}, "y": text}), json!(["kind", "y"]))]}),
        json!({"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 40}]}),
        json!({"$ref": "#/$defs/pair", "$defs": {"pair": {"type": "array", "minItems": 2,
            "maxItems": 2, "items": {"$ref": "#/$defs/leaf"}}, "leaf": {"enum": [0, 1]}}}),
        json!({"$defs": {"tree": {"type": "object", "properties": {
                "label": {"enum": ["x", "y"]}, "left": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]}},
            "required": ["label"], "additionalProperties": false}}, "$ref": "#/$defs/tree"}),
        json!({"type": "object", "properties": {"no \"1\"\n": {"type": "boolean"}, "ü": text},
            "required": ["no \"1\"\n", "ü"], "additionalProperties": false, "title": "Names"}),
    ]
}

#[tokio::test]
async fn answers_keep_to_the_schema() {
    let server = Server::start(&[]);
    let schemas = schemas();
    assert!(schemas.len() >= 20);
    for (seed, schema) in schemas.iter().enumerate() {
        let body = with(by_schema(schema), &json!({"reasoning_effort": "none"}));
        let greedy = server.chat(&body).await;
        let hot = with(body, &json!({"temperature": 1.0, "seed": seed, "n": 2}));
        let drawn = server.chat(&hot).await;
        for text in contents(&greedy).into_iter().chain(contents(&drawn)) {
            let value: Value =
                serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text:?} by {schema}"));
            validate::check(schema, schema, &value).unwrap_or_else(|e| panic!("{e}"));
        }
        if seed.is_multiple_of(5) {
            assert_eq!(drawn["choices"], server.chat(&hot).await["choices"], "{schema}");
        }
    }
    // Without alternatives there is one text, whatever the model would rather write.
    let text = &contents(&server.chat(&by_schema(&json!({"const": "Lyon"}))).await)[0];
    assert_eq!(text.trim(), "\"Lyon\"");
}

#[rstest]
#[case("^[a-c]{2,4}$", |s: &str| (2..=4).contains(&s.len()) && s.chars().all(|c| ('a'..='c').contains(&c)))]
#[case("^\\d{3}-\\d{4}$", |s: &str| s.len() == 8 && s.as_bytes()[3] == b'-')]
#[tokio::test]
async fn answers_keep_to_patterns(#[case] pattern: &str, #[case] fits: fn(&str) -> bool) {
    let server = Server::start(&[]);
    let body = by_schema(&json!({"type": "string", "pattern": pattern}));
    for seed in 0..3 {
        let body = with(body.clone(), &json!({"temperature": 1.2, "seed": seed}));
        let text = contents(&server.chat(&body).await).remove(0);
        let value: String = serde_json::from_str(&text).expect("a string");
        assert!(fits(&value), "{value}");
    }
}

#[tokio::test]
async fn json_objects() {
    let server = Server::start(&[]);
    let body = with(
        said("What is 2 plus 3?"),
        &json!({"response_format": {"type": "json_object"}, "reasoning_effort": "none"}),
    );
    let answer = server.chat(&body).await;
    let text = answer["choices"][0]["message"]["content"].as_str().expect("content");
    assert!(text.starts_with('{'), "{text}");
    if answer["choices"][0]["finish_reason"] == "stop" {
        assert!(serde_json::from_str::<Value>(text).expect("JSON").is_object());
    }
}

#[tokio::test]
async fn the_answer_comes_after_thinking() {
    let server = Server::start(&[]);
    let schema = json!({"type": "object", "properties": {"sum": {"type": "integer", "minimum": 0,
        "maximum": 99}}, "required": ["sum"], "additionalProperties": false});
    let mut body = by_schema(&schema);
    body["messages"][0]["content"] = "What is 2 plus 3?".into();
    for effort in ["high", "none"] {
        let body = with(body.clone(), &json!({"reasoning_effort": effort}));
        let answer = server.chat(&body).await;
        let value: Value = serde_json::from_str(&contents(&answer)[0]).expect("JSON");
        assert!(value["sum"].is_u64(), "{value}");
        let reasoning = &answer["choices"][0]["message"]["reasoning"];
        assert_eq!(reasoning.is_string(), effort == "high", "{answer}");
        let streamed = stream(&server, &body).await;
        assert_eq!(joined(&streamed, "/choices/0/delta/content"), contents(&answer)[0]);
    }
}

fn tools() -> Value {
    json!([
        {"type": "function", "function": {
            "name": "get_weather", "description": "Weather of a city",
            "parameters": {"type": "object", "required": ["city", "days", "unit"], "properties": {
                "city": {"type": "string", "maxLength": 24}, "days": {"type": "integer", "minimum": 1, "maximum": 9},
                "unit": {"enum": ["celsius", "fahrenheit"]}}}}},
        {"type": "function", "function": {
            "name": "calculator", "description": "Works out an expression",
            "parameters": {"type": "object", "required": ["expression"], "properties": {
                "expression": {"type": "string", "maxLength": 24}}}}},
    ])
}

/// Name and arguments of every call of the first choice.
fn calls(answer: &Value) -> Vec<(String, Value)> {
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls", "{choice}");
    let calls = choice["message"]["tool_calls"].as_array().expect("calls");
    let read = |call: &Value| {
        let text = |key: &str| call["function"][key].as_str().expect("text").to_owned();
        (text("name"), serde_json::from_str(&text("arguments")).expect("JSON"))
    };
    calls.iter().map(read).collect()
}

async fn stream(server: &Server, body: &Value) -> Vec<Value> {
    let body =
        with(body.clone(), &json!({"stream": true, "stream_options": {"include_usage": true}}));
    let response = server.post(CHAT, &body).send().await.expect("an answer");
    Events::parse(&response.text().await.expect("a stream")).chunks()
}

#[rstest]
#[case::greeting("Hello!")]
#[case::weather("What is the weather in Paris?")]
#[case::sum("What is 12 * 34?")]
#[tokio::test]
async fn calls_are_forced(#[case] question: &str) {
    let server = Server::start(&[]);
    let body = with(said(question), &json!({"tools": tools(), "parallel_tool_calls": false}));
    for effort in ["none", "low"] {
        let body = with(body.clone(), &json!({"reasoning_effort": effort}));
        let required = with(body.clone(), &json!({"tool_choice": "required"}));
        let answer = server.chat(&required).await;
        let made = calls(&answer);
        assert_eq!(made.len(), 1, "{made:?}");
        let names = ["get_weather", "calculator"];
        assert!(names.contains(&made[0].0.as_str()), "{made:?}");
        let reasoning = &answer["choices"][0]["message"]["reasoning"];
        assert_eq!(reasoning.is_string(), effort == "low", "{answer}");
        for name in names {
            let choice = json!({"type": "function", "function": {"name": name}});
            let body = with(body.clone(), &json!({"tool_choice": choice}));
            let hot = with(body.clone(), &json!({"temperature": 1.0, "seed": 5}));
            for body in [body, hot] {
                let made = calls(&server.chat(&body).await);
                assert_eq!((made.len(), made[0].0.as_str()), (1, name));
                let tools = tools();
                let tool =
                    tools.as_array().expect("tools").iter().find(|t| t["function"]["name"] == name);
                let schema = &tool.expect("a tool")["function"]["parameters"];
                validate::check(schema, schema, &made[0].1).unwrap_or_else(|e| panic!("{e}"));
            }
        }
    }
}

#[tokio::test]
async fn one_call_at_most() {
    let server = Server::start(&[]);
    let body = with(
        said("What is the weather in Paris?"),
        &json!({"tools": tools(), "parallel_tool_calls": false}),
    );
    assert_eq!(calls(&server.chat(&body).await).len(), 1);
    // The end is forbidden, so calls would go on and on.
    let bias: serde_json::Map<String, Value> =
        eos().iter().map(|id| (id.to_string(), json!(-1000.0))).collect();
    let endless = with(body.clone(), &json!({"logit_bias": bias}));
    let one = server.chat(&endless).await;
    assert_eq!(calls(&one).len(), 1);
    assert!(one["usage"]["completion_tokens"].as_u64() < Some(250), "{one}");
    let mut text = with(said("Hello!"), &json!({"tools": tools()}));
    let free = server.chat(&text).await;
    text["parallel_tool_calls"] = false.into();
    let held = server.chat(&text).await;
    assert_eq!(free["choices"], held["choices"], "text is as it was");
}

/// Without the token that begins `</`, no parameter can end.
#[tokio::test]
async fn a_void_call_is_content_streamed_or_not() {
    let server = Server::start(&[]);
    let parameters =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let body = with(
        said("What is the weather in Paris?"),
        &json!({"reasoning_effort": "none", "max_tokens": 60, "logit_bias": {"292": -100},
            "tools": [{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}]}),
    );
    let choice = server.chat(&body).await["choices"][0].take();
    let content = choice["message"]["content"].as_str().expect("content");
    assert!(content.contains("<function name=\"get_weather\">"), "{choice}");
    assert!(choice["message"].get("tool_calls").is_none(), "{choice}");
    let chunks = stream(&server, &body).await;
    assert_eq!(joined(&chunks, "/choices/0/delta/content"), content);
    let begun = chunks.iter().filter(|c| c.pointer("/choices/0/delta/tool_calls/0/id").is_some());
    assert_eq!(begun.count(), 1, "no second call follows");
    let reasons: Vec<&Value> =
        chunks.iter().filter_map(|c| c.pointer("/choices/0/finish_reason")).collect();
    assert_eq!(reasons.last(), Some(&&choice["finish_reason"]));
    assert_ne!(choice["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn strict_tools_keep_their_schema_where_the_model_may_choose() {
    let server = Server::start(&[]);
    let tool = |strict: bool, properties: Value| {
        let parameters = json!({"type": "object", "properties": properties, "required": ["city"],
            "additionalProperties": false});
        json!({"tools": [{"type": "function", "function": {"name": "get_weather",
            "description": "Weather of a city", "strict": strict, "parameters": parameters}}]})
    };
    let question =
        with(said("What is the weather in Paris?"), &json!({"reasoning_effort": "none"}));
    let cities = json!({"city": {"enum": ["Rome", "Oslo"]}});
    let free = calls(&server.chat(&with(question.clone(), &tool(false, cities.clone()))).await);
    assert_eq!(free[0].1, json!({"city": "Paris"}));
    let held = calls(&server.chat(&with(question.clone(), &tool(true, cities.clone()))).await);
    assert!(
        held[0].1 == json!({"city": "Rome"}) || held[0].1 == json!({"city": "Oslo"}),
        "{held:?}"
    );
    let greeting = with(said("Hello!"), &tool(true, cities));
    assert_eq!(contents(&server.chat(&greeting).await).len(), 1, "text is as free as before");
    let unkept = json!({"city": {"type": "array", "uniqueItems": true}});
    assert_eq!(
        server.ask(CHAT, &with(question.clone(), &tool(false, unkept.clone()))).await.0,
        200
    );
    let (status, error) = server.ask(CHAT, &with(question, &tool(true, unkept))).await;
    assert_eq!(status, 400);
    assert!(error.to_string().contains("uniqueItems"), "{error}");
}

#[tokio::test]
async fn choices_stream_and_are_counted() {
    let server = Server::start(&[]);
    let body = with(
        said("Hi! Who are you?"),
        &json!({"n": 3, "temperature": 0.8, "seed": 3, "max_tokens": 20, "logprobs": true}),
    );
    let whole = server.chat(&body).await;
    let chunks = stream(&server, &body).await;
    let (usage, chunks) = chunks.split_last().expect("chunks");
    // What the prompt cache had differs between the two.
    for count in ["prompt_tokens", "completion_tokens", "total_tokens"] {
        assert_eq!(usage["usage"][count], whole["usage"][count]);
    }
    let mut tokens = 0;
    for (at, choice) in whole["choices"].as_array().expect("choices").iter().enumerate() {
        let own: Vec<Value> =
            chunks.iter().filter(|c| c["choices"][0]["index"] == at).cloned().collect();
        let text = joined(&own, "/choices/0/delta/content");
        assert_eq!(Some(text.as_str()), choice["message"]["content"].as_str());
        let entries: Vec<Value> = own
            .iter()
            .filter_map(|c| c.pointer("/choices/0/logprobs/content")?.as_array().cloned())
            .flatten()
            .collect();
        assert_eq!(Value::from(entries.clone()), choice["logprobs"]["content"]);
        tokens += entries.len();
        let last = own.last().expect("a chunk");
        assert_eq!(last["choices"][0]["finish_reason"], choice["finish_reason"]);
    }
    assert_eq!(whole["usage"]["completion_tokens"], tokens);
    let alone = server.chat(&with(body, &json!({"n": 1, "seed": 4}))).await;
    assert_eq!(alone["choices"][0]["message"], whole["choices"][1]["message"]);
}

#[tokio::test]
async fn what_cannot_be_enforced_is_refused() {
    let server = Server::start(&[]);
    let deep =
        (0..100).fold(json!({"type": "null"}), |inner, _| json!({"type": "array", "items": inner}));
    for (schema, named) in [
        (json!({"not": {"type": "string"}}), "not"),
        (json!({"type": "array", "uniqueItems": true}), "uniqueItems"),
        (json!({"$ref": "#/$defs/lost"}), "lost"),
        (json!({"$ref": "https://example.com/x"}), "$ref"),
        (json!({"enum": vec!["x"; 5_000]}), "enum"),
        (json!({"type": "string", "pattern": "("}), "("),
        (json!({"type": "string", "maxLength": 10_000_000}), "maxLength"),
        (json!({"description": "x".repeat(2 << 20)}), "bytes"),
        (deep, "nesting"),
    ] {
        let (status, error) = server.ask(CHAT, &by_schema(&schema)).await;
        assert_eq!(status, 400, "{error}");
        let message = error["error"]["message"].as_str().expect("a message");
        assert!(message.contains(named), "{named}: {message}");
    }
    let (status, health) = server.health().await;
    assert_eq!((status, &health["active"]), (200, &json!(0)));
}
