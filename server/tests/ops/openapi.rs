//! `/openapi.json` is true: of the routes, of the parsers, of the answers.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use boon::{Compiler, Schemas};
use rstest::rstest;
use serde_json::{Value, json};
use verbatim_server::{openapi, routes::ROUTES};

use crate::common::{Server, client, posts};

const ADDRESS: &str = "http://localhost/openapi.json";

/// Checks a value against a schema of the document.
fn assert_valid(schema: &str, value: &Value) {
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource(ADDRESS, openapi::document()).expect("a document");
    let at = format!("{ADDRESS}#/components/schemas/{schema}");
    let index = compiler.compile(&at, &mut schemas).unwrap_or_else(|e| panic!("{schema}: {e}"));
    if let Err(e) = schemas.validate(value, index) {
        panic!("not a {schema}: {e:#}\n{value:#}");
    }
}

#[test]
fn every_route_is_described() {
    let document = openapi::document();
    let paths = document["paths"].as_object().expect("paths");
    for (template, endpoint) in ROUTES {
        let item = &paths[&openapi::path(template)];
        let operations = item.as_object().expect("operations");
        assert!(!operations.is_empty(), "{endpoint:?}");
        for (method, operation) in operations {
            let at = format!("{method} {template}");
            assert!(operation["summary"].as_str().is_some_and(|s| !s.is_empty()), "{at}");
            let answers = operation["responses"].as_object().expect("answers");
            assert!(answers.contains_key("200") || answers.contains_key("201"), "{at}");
            assert!(operation["operationId"].is_string(), "{at}");
        }
    }
    assert_eq!(paths.len(), ROUTES.len());
}

#[tokio::test]
async fn every_operation_exists_and_no_other_method_does() {
    let server = Server::start(&[]);
    let document: Value =
        server.get("/openapi.json").send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(document, openapi::document());
    for (path, item) in document["paths"].as_object().expect("paths") {
        let url = server.url(&path.replace("{id}", "x").replace("{name}", "x"));
        for method in ["get", "post", "put", "delete", "patch"] {
            let verb = method.to_uppercase().parse::<reqwest::Method>().expect("a method");
            let response = client().request(verb, &url).send().await.expect("ok");
            let refused = response.status() == 405;
            assert_eq!(refused, item.get(method).is_none(), "{method} {path}");
            if refused {
                let allowed = response.headers()["allow"].to_str().expect("text").to_lowercase();
                assert!(!allowed.contains(method), "{method} {path}: {allowed}");
            }
        }
    }
}

/// Words in the sources of the protocols, among which are all fields that their parsers know.
fn words() -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/wire")];
    while let Some(at) = open.pop() {
        if at.is_dir() {
            let entries = fs::read_dir(at).expect("a folder");
            open.extend(entries.map(|e| e.expect("an entry").path()));
        } else if at.file_name() != Some("schema.rs".as_ref()) {
            words.extend(literals(&at));
        }
    }
    words
}

fn literals(file: &PathBuf) -> Vec<String> {
    let text = fs::read_to_string(file).expect("a source");
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let parts = text.split('"').map(str::to_owned);
    parts.filter(|w| !w.is_empty() && w.len() < 40 && w.chars().all(word)).collect()
}

#[tokio::test]
async fn parsers_and_schemas_know_the_same_fields() {
    let root = tempfile::tempdir().expect("a folder");
    let root = root.path().to_str().expect("UTF-8");
    let server = Server::start(&["--log-level", "error", "--adapter-root", root]);
    let document = openapi::document();
    let words = words();
    for (path, body) in posts().into_iter().chain([("/v1/adapters", json!({"name": "a"}))]) {
        let operation = &document["paths"][path]["post"];
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
        let schema = schema.as_str().and_then(|s| document.pointer(&s[1..])).expect("a schema");
        assert_eq!(schema["additionalProperties"], false, "{path}");
        let described: BTreeSet<String> =
            schema["properties"].as_object().expect("properties").keys().cloned().collect();
        let mut known = BTreeSet::new();
        let mut candidates = words.clone();
        candidates.extend(described.iter().cloned());
        candidates.insert("made_up".to_owned());
        for field in candidates {
            let mut body = body.clone();
            body[&field] = json!({"\u{1f9ea}": [-1]});
            let (status, answer) = server.ask(path, &body).await;
            let text = answer["error"]["message"].as_str().unwrap_or_default();
            if !(status == 400
                && text.contains(&format!("{field} is not a field that this server honours")))
            {
                known.insert(field);
            }
        }
        assert_eq!(known, described, "{path}");
        assert!(!known.contains("made_up"));
    }
}

#[rstest]
#[case("/v1/chat/completions", json!({"messages": [{"role": "user", "content": "Hello!"}]}), "ChatCompletion")]
#[case("/v1/chat/completions", json!({"messages": [{"role": "user", "content": "What is 17 + 25?"}],
    "chat_template_kwargs": {"enable_thinking": true}, "max_tokens": 200}), "ChatCompletion")]
#[case("/v1/chat/completions", json!({"messages": [{"role": "user", "content": "What's the weather in Paris?"}],
    "tools": [{"type": "function", "function": {"name": "get_weather", "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}],
    "max_tokens": 200, "chat_template_kwargs": {"enable_thinking": false}}), "ChatCompletion")]
#[case("/v1/chat/completions", json!({"messages": [{"role": "user", "content": "Hi"}], "logprobs": true,
    "top_logprobs": 2, "max_tokens": 3}), "ChatCompletion")]
#[case("/v1/messages", json!({"model": "default_model", "max_tokens": 200,
    "messages": [{"role": "user", "content": "What is 17 + 25?"}],
    "thinking": {"type": "enabled", "budget_tokens": 1024}}), "Message")]
#[case("/v1/messages", json!({"model": "default_model", "max_tokens": 200,
    "messages": [{"role": "user", "content": "What's the weather in Paris?"}], "tools": [{"name": "get_weather",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}]}), "Message")]
#[case("/v1/responses", json!({"input": "What is 17 + 25?", "max_output_tokens": 200,
    "reasoning": {"effort": "low"}}), "Response")]
#[case("/v1/responses", json!({"input": "Hi", "max_output_tokens": 3, "instructions": "Be short.",
    "include": ["message.output_text.logprobs"], "top_logprobs": 2, "metadata": {"a": "b"}}), "Response")]
#[case("/v1/completions", json!({"prompt": "Hello", "max_tokens": 3}), "Completion")]
#[case("/v1/completions", json!({"prompt": [5, 6], "max_tokens": 3, "logprobs": 2}), "Completion")]
#[case("/v1/chat/completions", json!({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",
    "content": [{"type": "refusal", "refusal": "No."}]}, {"role": "user", "content": "Why?"}], "max_tokens": 3,
    "response_format": {"type": "text"}, "stream_options": {"include_usage": null}}), "ChatCompletion")]
#[case("/v1/completions", json!({"prompt": [5, 6], "max_tokens": 3, "logprobs": true, "top_logprobs": 2}), "Completion")]
#[tokio::test]
async fn answers_and_events_are_as_described(
    #[case] path: &str,
    #[case] mut body: Value,
    #[case] schema: &str,
) {
    let server = Server::start(&[]);
    let operation = &openapi::document()["paths"][path]["post"];
    let request = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].clone();
    assert_valid(request.as_str().and_then(|r| r.rsplit('/').next()).expect("a name"), &body);
    let (status, answer) = server.ask(path, &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_valid(schema, &answer);
    body["stream"] = json!(true);
    let (event, usage) = match schema {
        "ChatCompletion" => ("ChatCompletionChunk", true),
        "Completion" => ("Completion", true),
        "Message" => ("MessageEvent", false),
        _ => ("ResponseEvent", false),
    };
    if usage {
        body["stream_options"] = json!({"include_usage": true});
    }
    let response = server.post(path, &body).send().await.expect("an answer");
    let text = response.text().await.expect("text");
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let events: Vec<&str> = data.filter(|data| *data != "[DONE]").collect();
    assert!(events.len() > 1, "{text}");
    for data in events {
        let value: Value = serde_json::from_str(data).expect("JSON");
        assert_valid(event, &value);
        if value["type"] == "response.completed" {
            assert_valid("Response", &value["response"]);
        }
    }
}

#[tokio::test]
async fn the_rest_is_as_described() {
    let server = Server::start(&["--api-key", "k"]);
    let get = async |path: &str| -> (u16, Value) {
        let response = server.get(path).bearer_auth("k").send().await.expect("an answer");
        (response.status().as_u16(), response.json().await.expect("JSON"))
    };
    let (_, models) = get("/v1/models").await;
    assert_valid("ModelList", &models);
    let id = models["data"][0]["id"].as_str().expect("an id");
    assert_valid("Model", &get(&format!("/v1/models/{id}")).await.1);
    assert_valid("Health", &get("/health").await.1);
    assert_valid("AdapterList", &get("/v1/adapters").await.1);
    let anthropic = server.get("/v1/models").bearer_auth("k").header("anthropic-version", "1");
    let page = anthropic.send().await.expect("an answer").json().await.expect("JSON");
    assert_valid("AnthropicModelList", &page);
    let response = server.post("/v1/responses", &json!({"input": "Hi", "max_output_tokens": 2}));
    let response: Value =
        response.bearer_auth("k").send().await.expect("an answer").json().await.expect("JSON");
    let at = format!("/v1/responses/{}", response["id"].as_str().expect("an id"));
    assert_valid("Response", &get(&at).await.1);
    assert_valid("ResponseItems", &get(&format!("{at}/input_items")).await.1);
    let deleted = client().delete(server.url(&at)).bearer_auth("k").send().await.expect("ok");
    assert_valid("Deleted", &deleted.json().await.expect("JSON"));
    let (status, refused) =
        server.ask("/v1/messages", &json!({"messages": [], "max_tokens": 1})).await;
    assert_eq!(status, 401);
    assert_valid("AnthropicError", &refused);
    let (status, missing) = get("/v1/models/other").await;
    assert_eq!(status, 404);
    assert_valid("Error", &missing);
    let (status, refused) = server.ask("/v1/completions", &json!({"prompt": "x"})).await;
    assert_eq!(status, 401);
    assert_valid("Error", &refused);
}
