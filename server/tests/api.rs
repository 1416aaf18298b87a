//! The endpoints of a running server, as clients see them.

mod common;

use common::{Events, Server, eos, hello, joined, with};
use serde_json::{Value, json};

async fn streamed(server: &Server, path: &str, body: &Value) -> Events {
    let response = server.post(path, body).send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    Events::parse(&response.text().await.expect("text"))
}

#[tokio::test]
async fn a_stream_tells_the_same_as_a_whole_answer() {
    // Else the second answer has no prompt to read.
    let server = Server::start(&["--prompt-cache-bytes", "0"]);
    let whole = server.chat(&hello()).await;
    assert_eq!(whole["object"], "chat.completion");
    assert_eq!(whole["model"], "default_model");
    assert!(whole["id"].as_str().is_some_and(|id| id.starts_with("chatcmpl-")));
    let message = &whole["choices"][0]["message"];
    assert_eq!(message["role"], "assistant");

    let body = with(hello(), &json!({"stream": true, "stream_options": {"include_usage": true}}));
    let events = streamed(&server, "/chat/completions", &body).await;
    assert!(events.comments.iter().any(|c| c.starts_with("keepalive ")), "{:?}", events.comments);
    let chunks = events.chunks();
    for (pointer, key) in
        [("/choices/0/delta/content", "content"), ("/choices/0/delta/reasoning", "reasoning")]
    {
        assert_eq!(joined(&chunks, pointer), message[key].as_str().unwrap_or_default());
    }
    let (usage, chunks) = chunks.split_last().expect("chunks");
    assert_eq!(usage["usage"], whole["usage"]);
    assert_eq!(usage["choices"], json!([]));
    let finish = chunks.last().expect("a finish");
    assert_eq!(finish["choices"][0]["finish_reason"], whole["choices"][0]["finish_reason"]);
    assert!(
        chunks.iter().all(|c| c["object"] == "chat.completion.chunk" && c["id"] == usage["id"])
    );
    let roles = chunks.iter().filter(|c| c.pointer("/choices/0/delta/role").is_some()).count();
    assert_eq!(roles, 1);
    let without =
        streamed(&server, "/v1/chat/completions", &with(hello(), &json!({"stream": true}))).await;
    assert!(without.chunks().iter().all(|c| c.get("usage").is_none()));
}

#[tokio::test]
async fn plain_completions_by_text_and_by_ids() {
    let server = Server::start(&[]);
    let body = json!({"prompt": "The capital", "max_tokens": 8});
    let (status, whole) = server.ask("/v1/completions", &body).await;
    assert_eq!(status, 200, "{whole}");
    assert_eq!(whole["object"], "text_completion");
    let events = streamed(&server, "/v1/completions", &with(body, &json!({"stream": true}))).await;
    assert_eq!(
        joined(&events.chunks(), "/choices/0/text"),
        whole["choices"][0]["text"].as_str().expect("text")
    );
    let ids = json!({"prompt": [5, 6, 7], "max_tokens": 2});
    let (status, whole) = server.ask("/v1/completions", &ids).await;
    assert_eq!((status, &whole["usage"]["prompt_tokens"]), (200, &json!(3)));
    let far = json!({"prompt": [4_000_000_000_u32], "max_tokens": 2});
    assert_eq!(server.ask("/v1/completions", &far).await.0, 400);
}

#[tokio::test]
async fn the_length_limit_and_the_end_token_are_told() {
    let server = Server::start(&["--max-tokens", "3"]);
    let bias = |value: f64| -> Value {
        eos()
            .iter()
            .map(|id| (id.to_string(), json!(value)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let mut body = json!({"prompt": "x", "logit_bias": bias(-1000.0)});
    let (_, long) = server.ask("/v1/completions", &body).await;
    assert_eq!(long["choices"][0]["finish_reason"], "length");
    assert_eq!(long["usage"]["completion_tokens"], 3);
    body["logit_bias"] = bias(1000.0);
    let (_, short) = server.ask("/v1/completions", &body).await;
    assert_eq!(short["choices"][0]["finish_reason"], "stop");
    assert_eq!(short["choices"][0]["text"], "");
    assert_eq!(short["usage"]["completion_tokens"], 1);
}

#[tokio::test]
async fn seeds_make_draws_repeatable() {
    let server = Server::start(&["--temp", "1.5"]);
    let body = |seed: u64| json!({"prompt": "x", "max_tokens": 24, "seed": seed});
    let mut texts = Vec::new();
    for seed in [1, 1, 2] {
        let (status, json) = server.ask("/v1/completions", &body(seed)).await;
        assert_eq!(status, 200, "{json}");
        texts.push(json["choices"][0]["text"].clone());
    }
    assert_eq!(texts[0], texts[1]);
    assert_ne!(texts[0], texts[2]);
}

#[tokio::test]
async fn stop_strings_cut_the_text() {
    let server = Server::start(&[]);
    let body = json!({"prompt": "Hello", "max_tokens": 16});
    let (_, whole) = server.ask("/v1/completions", &body).await;
    let text = whole["choices"][0]["text"].as_str().expect("text").to_owned();
    let middle: Vec<char> = text.chars().collect();
    let stop: String = middle[middle.len() / 2..].iter().take(2).collect();
    let before = text.split(&stop).next().expect("a part");
    for stream in [false, true] {
        let body = with(body.clone(), &json!({"stop": [stop, "\u{0}never"], "stream": stream}));
        let (got, reason) = if stream {
            let chunks = streamed(&server, "/v1/completions", &body).await.chunks();
            let reason = chunks.last().expect("a chunk")["choices"][0]["finish_reason"].clone();
            (joined(&chunks, "/choices/0/text"), reason)
        } else {
            let choice = server.ask("/v1/completions", &body).await.1["choices"][0].clone();
            (choice["text"].as_str().expect("text").to_owned(), choice["finish_reason"].clone())
        };
        assert_eq!((got.as_str(), reason), (before, json!("stop")), "{text:?} {stop:?}");
    }
}

#[tokio::test]
async fn logprobs_are_reported_in_streams_too() {
    let server = Server::start(&[]);
    let body = with(hello(), &json!({"logprobs": true, "top_logprobs": 3}));
    let whole = server.chat(&body).await;
    let entries = whole["choices"][0]["logprobs"]["content"].as_array().expect("entries").clone();
    assert_eq!(json!(entries.len()), whole["usage"]["completion_tokens"]);
    for entry in &entries {
        let top = entry["top_logprobs"].as_array().expect("alternatives");
        assert_eq!(top.len(), 3);
        // Greedy: the chosen token is the best one.
        assert_eq!(entry["logprob"], top[0]["logprob"]);
        assert!(top[0]["logprob"].as_f64() >= top[2]["logprob"].as_f64());
        assert!(entry["token"].is_string() && entry["bytes"].is_array());
    }
    let events =
        streamed(&server, "/v1/chat/completions", &with(body, &json!({"stream": true}))).await;
    let got: Vec<Value> = events
        .chunks()
        .iter()
        .filter_map(|c| c.pointer("/choices/0/logprobs/content")?.as_array().cloned())
        .flatten()
        .collect();
    assert_eq!(got, entries);
}

#[tokio::test]
async fn requests_side_by_side_do_not_mix() {
    let server = Server::start(&["--max-active", "3"]);
    let body = |i: usize| json!({"prompt": format!("Number {i} is"), "max_tokens": 16});
    let mut alone = Vec::new();
    for i in 0..6 {
        alone.push(server.ask("/v1/completions", &body(i)).await.1["choices"].clone());
    }
    let tasks: Vec<_> =
        (0..6).map(|i| tokio::spawn(server.post("/v1/completions", &body(i)).send())).collect();
    for (task, want) in tasks.into_iter().zip(alone) {
        let json: Value = task.await.expect("joined").expect("sent").json().await.expect("JSON");
        assert_eq!(json["choices"], want);
    }
}

#[tokio::test]
async fn choices_get_their_places_all_at_once() {
    let server = Server::start(&["--max-active", "2", "--queue-limit", "1"]);
    let (status, e) =
        server.ask("/v1/chat/completions", &with(hello(), &json!({"n": 4, "max_tokens": 1}))).await;
    assert_eq!((status, &e["error"]["param"]), (400, &json!("n")), "{e}");
    for _ in 0..5 {
        let answer = server.chat(&with(hello(), &json!({"n": 3, "max_tokens": 1}))).await;
        assert_eq!(answer["choices"].as_array().map(Vec::len), Some(3), "{answer}");
        server.until_idle().await;
    }
}

#[tokio::test]
async fn models_are_listed_and_others_refused() {
    let server = Server::start(&["--model-name", "org/tiny"]);
    let list: Value = server.get("/v1/models").send().await.unwrap().json().await.unwrap();
    assert_eq!((&list["object"], &list["data"][0]["id"]), (&json!("list"), &json!("org/tiny")));
    let one: Value = server.get("/v1/models/org/tiny").send().await.unwrap().json().await.unwrap();
    assert_eq!(one, list["data"][0]);
    let default = server.get("/v1/models/default_model").send().await.unwrap();
    assert_eq!(default.status(), 200);
    assert_eq!(default.json::<Value>().await.unwrap()["id"], "default_model");
    assert_eq!(server.get("/v1/models/other").send().await.unwrap().status(), 404);
    let path = common::model().display().to_string();
    for name in ["org/tiny", "default_model", path.as_str()] {
        let answer = server.chat(&with(hello(), &json!({"model": name, "max_tokens": 1}))).await;
        assert_eq!(answer["model"], name);
    }
    let (status, e) =
        server.ask("/v1/chat/completions", &with(hello(), &json!({"model": "gpt"}))).await;
    assert_eq!((status, &e["error"]["code"]), (404, &json!("model_not_found")));
}

#[tokio::test]
async fn errors_have_openai_shape() {
    let server = Server::start(&["--max-body-bytes", "2000"]);
    let (status, e) =
        server.ask("/v1/chat/completions", &with(hello(), &json!({"top_p": 2}))).await;
    assert_eq!(status, 400);
    assert_eq!(
        e,
        json!({"error": {"message": "top_p must be at most 1", "type": "invalid_request_error", "param": "top_p", "code": null}})
    );
    let (status, e) = server.ask("/v1/completions", &json!({"prompt": "x".repeat(3000)})).await;
    assert_eq!((status, &e["error"]["type"]), (413, &json!("invalid_request_error")));
    for (method, path, status) in
        [("GET", "/nothing", 404), ("GET", "/v1/completions", 405), ("POST", "/health", 405)]
    {
        let request = common::client().request(method.parse().unwrap(), server.url(path));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{method} {path}");
        assert!(response.json::<Value>().await.unwrap()["error"]["message"].is_string());
    }
    let no_length = "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answer = server.raw_exchange(no_length.as_bytes());
    assert!(
        answer.starts_with("HTTP/1.1 411 ") && answer.contains("Content-Length header is required")
    );
    let chunked = "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
        transfer-encoding: chunked\r\n\r\n7d0\r\n";
    let answer = server.raw_exchange(
        format!("{chunked}{}\r\n7d0\r\n{}", "x".repeat(2000), "x".repeat(2000)).as_bytes(),
    );
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn the_page_is_served() {
    let server = Server::start(&[]);
    let response = server.get("/").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
    assert!(response.headers().contains_key("content-security-policy"));
    assert!(response.text().await.unwrap().contains("<html"));
}

#[tokio::test]
async fn foreign_pages_are_kept_out() {
    let server = Server::start(&["--allowed-origins", "https://chat.example"]);
    let status = |host: &'static str, origin: Option<&'static str>| {
        let mut request = server
            .post("/v1/chat/completions", &with(hello(), &json!({"max_tokens": 1})))
            .header("host", host);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        async move {
            let response = request.send().await.unwrap();
            let cors = response.headers().get("access-control-allow-origin").cloned();
            (response.status().as_u16(), cors.map(|v| v.to_str().unwrap().to_owned()))
        }
    };
    assert_eq!(status("localhost", None).await, (200, None));
    assert_eq!(status("evil.example", None).await, (403, None));
    assert_eq!(status("localhost", Some("http://evil.example")).await, (403, None));
    assert_eq!(status("localhost:1", Some("http://localhost:1")).await, (200, None));
    let allowed = "https://chat.example".to_owned();
    assert_eq!(status("localhost", Some("https://chat.example")).await, (200, Some(allowed)));
    let preflight = common::client()
        .request(reqwest::Method::OPTIONS, server.url("/v1/chat/completions"))
        .header("origin", "https://chat.example")
        .header("access-control-request-headers", "content-type")
        .send()
        .await
        .unwrap();
    assert_eq!(preflight.status(), 204);
    assert_eq!(preflight.headers()["access-control-allow-headers"], "content-type");
}

#[tokio::test]
async fn requests_have_ids() {
    let server = Server::start(&[]);
    let own = server.get("/health").header("x-request-id", "mine-1").send().await.unwrap();
    assert_eq!(own.headers()["x-request-id"], "mine-1");
    let odd = server.get("/health").header("x-request-id", "a b").send().await.unwrap();
    assert_ne!(odd.headers()["x-request-id"], "a b");
}

#[tokio::test]
async fn a_tool_is_called_and_its_result_told() {
    let server = Server::start(&[]);
    let tools = json!([{"type": "function", "function": {
        "name": "get_weather", "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }}]);
    let mut messages = vec![json!({"role": "user", "content": "What is the weather in Paris?"})];
    let body = |messages: &[Value]| json!({"messages": messages, "tools": tools});
    let answer = server.chat(&body(&messages)).await;
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls", "{choice}");
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(call["function"]["name"], "get_weather");
    let arguments: Value =
        serde_json::from_str(call["function"]["arguments"].as_str().expect("text")).expect("JSON");
    assert_eq!(arguments, json!({"city": "Paris"}));

    let events =
        streamed(&server, "/v1/chat/completions", &with(body(&messages), &json!({"stream": true})))
            .await;
    let chunks = events.chunks();
    let streamed: Vec<&Value> =
        chunks.iter().filter_map(|c| c.pointer("/choices/0/delta/tool_calls/0")).collect();
    let arguments: String =
        streamed.iter().filter_map(|c| c.pointer("/function/arguments")?.as_str()).collect();
    assert_eq!(streamed[0]["function"]["name"], call["function"]["name"]);
    assert_eq!(arguments, call["function"]["arguments"].as_str().expect("text"));
    assert!(streamed.iter().all(|c| c["index"] == 0));
    assert!(streamed.len() > 2, "arguments come while they are written: {streamed:?}");
    assert_eq!(chunks.last().expect("a chunk")["choices"][0]["finish_reason"], "tool_calls");

    messages.push(choice["message"].clone());
    messages.push(json!({"role": "tool", "tool_call_id": call["id"], "content": "{\"temperature\": 21, \"condition\": \"sunny\"}"}));
    let told = server.chat(&body(&messages)).await;
    let text = told["choices"][0]["message"]["content"].as_str().expect("text");
    assert!(text.contains("21") && text.contains("Paris"), "{text}");

    let none = server.chat(&with(body(&messages[..1]), &json!({"tool_choice": "none"}))).await;
    assert!(none["choices"][0]["message"].get("tool_calls").is_none());
}

#[tokio::test]
async fn thinking_can_be_switched_off() {
    let server = Server::start(&[]);
    let chat = json!({"messages": [{"role": "user", "content": "What is 2 plus 3?"}]});
    let thinking = server
        .chat(&with(chat.clone(), &json!({"chat_template_kwargs": {"enable_thinking": true}})))
        .await;
    assert!(thinking["choices"][0]["message"]["reasoning"].is_string(), "{thinking}");
    let direct = server
        .chat(&with(chat.clone(), &json!({"chat_template_kwargs": {"enable_thinking": false}})))
        .await;
    assert!(direct["choices"][0]["message"].get("reasoning").is_none(), "{direct}");
    let off = Server::start(&["--chat-template-args", "{\"enable_thinking\": false}"]);
    assert_eq!(off.chat(&chat).await["choices"], direct["choices"]);
}

#[tokio::test]
async fn another_template_can_be_given() {
    let template = "{% for m in messages %}{{ m.content }}{% endfor %}{{ raise_exception('never') if messages|length > 1 }}";
    let server = Server::start(&["--chat-template", template]);
    let whole = server
        .chat(&json!({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}))
        .await;
    let plain = server.ask("/v1/completions", &json!({"prompt": "Hello", "max_tokens": 4})).await.1;
    assert!(whole["usage"]["prompt_tokens"].as_u64() <= plain["usage"]["prompt_tokens"].as_u64());
    let two =
        json!({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]});
    let (status, e) = server.ask("/v1/chat/completions", &two).await;
    assert_eq!(status, 400);
    assert!(e["error"]["message"].as_str().expect("text").contains("never"), "{e}");
    // It also says how calls are written: this one does not.
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let body = with(hello(), &json!({"tools": tools, "tool_choice": "required"}));
    let (status, e) = server.ask("/v1/chat/completions", &body).await;
    let message = e["error"]["message"].as_str().expect("text");
    assert!(status == 400 && message.contains("no tool-call format"), "{e}");
}

/// As templates of Qwen3.5 do.
const STRICT: &str = "{% for m in messages %}{% if m.role == 'system' and not loop.first %}\
    {{ raise_exception('System message must be at the beginning.') }}{% endif %}\
    <|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
    {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

#[tokio::test]
async fn news_in_mid_conversation_do_not_fail_on_strict_templates() {
    let server = Server::start(&["--chat-template", STRICT]);
    let say = |role: &str, text: &str| json!({"role": role, "content": text});
    let ask = async |last: &[Value]| {
        let start = [say("system", "Be brief."), say("user", "Hello!"), say("assistant", "Hi!")];
        let messages = [&start, last].concat();
        server.chat(&json!({"messages": messages, "max_tokens": 8})).await
    };
    let told = ask(&[say("system", "It rains."), say("user", "And now?")]).await;
    let joined = ask(&[say("user", "It rains.\n\nAnd now?")]).await;
    assert_eq!(told["choices"], joined["choices"]);
    assert_eq!(told["usage"]["prompt_tokens"], joined["usage"]["prompt_tokens"]);

    let body = json!({"model": "default_model", "max_tokens": 8, "system": "Be brief.",
                      "messages": [say("user", "Hello!"), say("system", "It rains.")]});
    let (status, answer) = server.ask("/v1/messages", &body).await;
    assert_eq!(status, 200, "{answer}");
}
