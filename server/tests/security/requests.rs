//! Requests that ask for too much.

use std::time::Instant;

use rstest::rstest;
use serde_json::{Value, json};

use crate::common::{PATIENCE, Server, hello, posts};

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

/// All of them in one server: what is refused must be refused before any work.
#[tokio::test]
async fn template_variables_outside_the_list_are_refused() {
    let server = Server::start(&[]);
    let variables = [
        "tokenize",
        "messages",
        "tools",
        "documents",
        "add_generation_prompt",
        "continue_final_message",
        "chat_template",
        "return_tensors",
        "bos_token",
        "raise_exception",
        "loop",
        "namespace",
        "__class__",
    ];
    for variable in variables {
        let body = with(hello(), "chat_template_kwargs", json!({variable: true}));
        let (status, e) = server.ask("/v1/chat/completions", &body).await;
        assert_eq!(status, 400, "{variable}: {e}");
    }
    // A value can be no object either, in which a template could look for methods.
    let body = with(hello(), "chat_template_kwargs", json!({"reasoning_effort": {"a": 1}}));
    assert_eq!(server.ask("/v1/chat/completions", &body).await.0, 400);
    assert_eq!(server.health().await.1["active"], 0);
}

#[tokio::test]
async fn counts_beyond_every_bound_are_refused() {
    let server = Server::start(&[]);
    let tool = |i: usize| json!({"type": "function", "function": {"name": format!("f{i}")}});
    let tools: Vec<Value> = (0..100_000).map(tool).collect();
    let messages = vec![json!({"role": "user", "content": "x"}); 100_000];
    let parts = vec![json!({"type": "text", "text": "x"}); 100_000];
    let bias: serde_json::Map<String, Value> =
        (0..100_000).map(|i| (i.to_string(), json!(1))).collect();
    let cases = [
        ("n", json!(1_000_000)),
        ("n", json!(u64::MAX)),
        ("best_of", json!(1_000_000)),
        ("logprobs", json!(1_000_000)),
        ("top_logprobs", json!(1_000_000)),
        ("max_tokens", json!(1_u64 << 40)),
        ("max_completion_tokens", json!(u64::MAX)),
        ("top_k", json!(u64::MAX)),
        ("seed", json!(1e30)),
        ("stop", json!(vec!["a"; 10_000])),
        ("stop", json!("a".repeat(1_000_000))),
        ("stop", json!([""])),
        ("logit_bias", bias.into()),
        ("tools", tools.into()),
        ("tools", json!([{"type": "function", "function": {"name": "f".repeat(100_000)}}])),
        ("messages", messages.into()),
        ("messages", json!([{"role": "user", "content": parts}])),
        (
            "role_mapping",
            json!(
                (0..10_000).map(|i| (i.to_string(), json!("x"))).collect::<serde_json::Map<_, _>>()
            ),
        ),
        ("repetition_context_size", json!(u64::MAX)),
    ];
    for (field, value) in cases {
        let body = with(hello(), field, value);
        let (status, e) = server.ask("/v1/chat/completions", &body).await;
        // A context size beyond what there is to look at is no work; everything else is refused.
        let harmless = field == "repetition_context_size";
        assert!(status == 400 || (harmless && status == 200), "{field}: {status} {e}");
        assert!(e.to_string().len() < 4_000, "{field}");
    }
    server.chat(&hello()).await;
}

/// Schemas that a careless compiler would unfold or match for ever.
#[tokio::test]
async fn schema_bombs_are_refused_or_harmless() {
    let server = Server::start(&["--max-tokens", "2"]);
    let deep = (0..100).fold(
        json!({"type": "null"}),
        |inner, _| json!({"type": "object", "properties": {"a": inner}, "required": ["a"]}),
    );
    let doubled = {
        let mut definitions = serde_json::Map::new();
        for i in 0..64 {
            let next = json!({"$ref": format!("#/$defs/d{}", i + 1)});
            let both = json!({"type": "object", "properties": {"a": next, "b": next}});
            definitions.insert(format!("d{i}"), both);
        }
        definitions.insert("d64".to_owned(), json!({"type": "null"}));
        json!({"$defs": definitions, "$ref": "#/$defs/d0"})
    };
    let schemas = [
        deep,
        doubled,
        json!({"$ref": "#"}),
        json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}),
        json!({"$ref": "http://127.0.0.1:1/schema.json"}),
        json!({"$ref": "file:///etc/passwd"}),
        json!({"enum": (0..200_000).map(|i| format!("value-{i}")).collect::<Vec<_>>()}),
        json!({"type": "string", "pattern": "^(a+)+$"}),
        json!({"type": "string", "pattern": "((a{1,1000}){1,1000}){1,1000}"}),
        json!({"type": "string", "maxLength": 1_000_000_000, "minLength": 999_999_999}),
        json!({"type": "array", "minItems": 1_000_000_000}),
        json!({"type": "object", "minProperties": 1_000_000_000}),
        json!({"allOf": vec![json!({"anyOf": vec![json!({"type": "object"}); 50]}); 50]}),
    ];
    for schema in schemas {
        let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
        let body = with(hello(), "response_format", format);
        let started = Instant::now();
        let (status, answer) = server.ask("/v1/chat/completions", &body).await;
        let shown: String = schema.to_string().chars().take(100).collect();
        assert!(status == 400 || status == 200, "{shown}: {status} {answer}");
        assert!(started.elapsed() < PATIENCE, "{shown}");
        assert_eq!(server.health().await.0, 200, "{shown}");
    }
    let large = json!({"type": "object", "description": "x".repeat(4 << 20)});
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": large}});
    let (status, e) =
        server.ask("/v1/chat/completions", &with(hello(), "response_format", format)).await;
    assert_eq!(status, 400, "{e}");
}

#[rstest]
#[case("{% for i in range(1000000000) %}x{% endfor %}")]
#[case("{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}")]
#[case("{{ 'x' * 1000000000000 }}")]
#[case(
    "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}"
)]
#[case("{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}")]
#[case("{{ 10 ** 1000000000 }}")]
#[tokio::test]
async fn template_bombs_end_and_leave_the_server_alone(#[case] template: &str) {
    let server = Server::start(&["--chat-template", template]);
    let started = Instant::now();
    let (status, e) = server.ask("/v1/chat/completions", &hello()).await;
    assert_eq!(status, 400, "{template}: {e}");
    assert!(started.elapsed() < PATIENCE);
    assert!(e.to_string().len() < 4_000, "the answer repeats the output");
    assert_eq!(server.health().await.0, 200);
    let (status, _) = server.ask("/v1/completions", &json!({"prompt": "x", "max_tokens": 1})).await;
    assert_eq!(status, 200);
}

/// mlx-lm reads control tokens in user text as such, and so do we: the prompt is its prompt. The
/// guide tells operators so.
#[tokio::test]
async fn control_tokens_in_user_text_are_read_as_the_reference_reads_them() {
    let server = Server::start(&[]);
    let tokens = async |text: &str| -> u64 {
        let body = json!({"messages": [{"role": "user", "content": text}], "max_tokens": 1});
        server.chat(&body).await["usage"]["prompt_tokens"].as_u64().expect("a count")
    };
    let plain = tokens("a").await;
    assert_eq!(tokens("a<|im_end|>").await, plain + 1);
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
    let guide = std::fs::read_to_string(guide).expect("the guide");
    assert!(guide.contains("Control tokens in user text"));
}

#[tokio::test]
async fn bodies_beyond_the_limit_are_refused_before_they_are_read() {
    let server = Server::start(&["--max-body-bytes", "2000"]);
    for (path, fine) in posts() {
        let body = with(fine, "user", json!("x".repeat(3_000)));
        let response = server.post(path, &body).send().await.expect("an answer");
        assert_eq!(response.status(), 413, "{path}");
    }
}
