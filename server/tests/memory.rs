//! The memory budget as clients and operators see it.

mod common;

use common::{Server, endless, eos, first_data, model, verbatim, with, write_adapter};
use rstest::rstest;
use serde_json::{Value, json};

/// What `verbatim fit` says of requests of `context` tokens.
fn fit(context: u64, args: &[&str]) -> Value {
    let context = context.to_string();
    let output = verbatim()
        .arg("fit")
        .arg(model())
        .args(["--json", "--context", &context])
        .args(args)
        .output()
        .expect("the command runs");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// A server with room for one request of `context` tokens.
fn server_for(context: u64) -> (Server, u64) {
    let budget = fit(context, &[])["total"].as_u64().expect("a number");
    (Server::start(&["--memory-budget", &budget.to_string()]), budget)
}

fn ask(max_tokens: Option<u64>) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": "What is 2 plus 3?"}]});
    if let Some(n) = max_tokens {
        body["max_tokens"] = json!(n);
    }
    body
}

#[tokio::test]
async fn ordinary_requests_pass_and_absurd_ones_are_refused_with_figures() {
    let (server, budget) = server_for(300);
    // 512 tokens are the default, which there is no room for: fewer are generated at most.
    server.chat(&ask(None)).await;
    server.chat(&ask(Some(16))).await;
    let (status, body) = server.ask("/v1/responses", &json!({"input": "What is 2 plus 3?"})).await;
    assert_eq!(status, 200, "{body}");

    let (status, body) = server.ask("/v1/chat/completions", &ask(Some(1_000_000))).await;
    assert_eq!((status, &body["error"]["code"]), (413, &json!("memory_budget")), "{body}");
    let message = body["error"]["message"].as_str().expect("a message");
    assert!(message.contains("lower max_tokens to at most"), "{message}");
    let most: u64 = message.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    server.chat(&ask(Some(most.min(400)))).await;

    let words = "word ".repeat(20_000);
    let (status, body) =
        server.ask("/v1/completions", &json!({"prompt": words, "max_tokens": 4})).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (400, &json!("context_length_exceeded")),
        "{body}"
    );
    assert!(body["error"]["message"].as_str().expect("text").contains("shorten the prompt"));

    server.until_idle().await;
    let (_, health) = server.health().await;
    let memory = &health["memory"];
    assert_eq!(memory["budget_bytes"], json!(budget), "{health}");
    assert_eq!(memory["reserved_bytes"], fit(300, &[])["weights"], "{health}");
    let (active, peak) = (memory["active_bytes"].as_u64(), memory["peak_bytes"].as_u64());
    assert!(active > Some(0) && peak >= active && peak <= Some(budget), "{health}");
}

#[tokio::test]
async fn an_overlong_prompt_is_told_as_agents_look_for_it() {
    let (server, _) = server_for(300);
    let words = "word ".repeat(20_000);
    let messages = json!([{"role": "user", "content": words}]);
    let body = json!({"model": "default_model", "messages": messages, "max_tokens": 4});
    let (status, refused) = server.ask("/v1/messages", &body).await;
    assert_eq!((status, &refused["error"]["type"]), (400, &json!("invalid_request_error")));
    let message = refused["error"]["message"].as_str().expect("text");
    let figures = message.strip_prefix("prompt is too long: ").expect("Anthropic's words");
    let (prompt, rest) = figures.split_once(" tokens > ").expect("what it has");
    let (most, rest) = rest.split_once(" maximum; ").expect("what it may have");
    let number = |text: &str| text.parse::<u64>().expect("a number");
    assert!((1..number(prompt)).contains(&number(most)), "{message}");
    assert!(rest.ends_with(&format!("shorten the prompt to at most {most} tokens")), "{message}");
    let (_, counted) = server.ask("/v1/messages/count_tokens", &body).await;
    assert!(!counted["input_tokens"].is_u64() || counted["input_tokens"] == number(prompt));

    let body = json!({"input": words, "max_output_tokens": 4});
    let (status, refused) = server.ask("/v1/responses", &body).await;
    assert_eq!((status, &refused["error"]["code"]), (400, &json!("context_length_exceeded")));
    let stream = with(body, &json!({"stream": true}));
    let response = server.post("/v1/responses", &stream).send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let events = response.text().await.expect("text");
    let last = events.lines().filter_map(|line| line.strip_prefix("data: ")).next_back();
    let last: Value = serde_json::from_str(last.expect("events")).expect("JSON");
    assert_eq!(last["type"], "response.failed", "{events}");
    assert_eq!(last["response"]["error"]["code"], "context_length_exceeded", "{events}");
}

#[tokio::test]
async fn requests_that_do_not_fit_together_wait_and_all_finish() {
    let (server, budget) = server_for(300);
    let body = ask(Some(200));
    let ask = || async { server.ask("/v1/chat/completions", &body).await };
    let answers = tokio::join!(ask(), ask(), ask(), ask(), ask(), ask());
    let answers = [answers.0, answers.1, answers.2, answers.3, answers.4, answers.5];
    for (status, answer) in &answers {
        assert_eq!(*status, 200, "{answer}");
        assert_eq!(answer["choices"][0]["message"], answers[0].1["choices"][0]["message"]);
    }
    let (_, health) = server.health().await;
    assert!(health["memory"]["peak_bytes"].as_u64() <= Some(budget), "{health}");
}

#[tokio::test]
async fn every_choice_counts() {
    let (server, _) = server_for(300);
    let mut body = ask(Some(64));
    body["n"] = json!(3);
    let (status, answer) = server.ask("/v1/chat/completions", &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["choices"].as_array().map(Vec::len), Some(3), "{answer}");
}

/// Bytes beside the weights in which a request of a whole context fits, or an adapter of rank 64.
const ROOM: u64 = 16 << 20;

#[tokio::test]
async fn an_adapter_without_room_is_refused_or_told_to_come_again() {
    let root = tempfile::tempdir().expect("a folder");
    for (name, rank) in [("large", 1024), ("middling", 64)] {
        let adapter = json!({"format": "mlx_lm", "seed": 1, "rank": rank, "scale": 1.0});
        write_adapter(adapter, &root.path().join(name));
    }
    let budget = fit(1, &[])["weights"].as_u64().expect("a number") + ROOM;
    let folder = root.path().to_str().expect("text");
    let server = Server::start(&["--memory-budget", &budget.to_string(), "--adapter-root", folder]);
    let add = |name: &str| server.post("/v1/adapters", &json!({"name": name, "path": name})).send();

    let refused = add("large").await.expect("an answer");
    assert_eq!(refused.status(), 413);
    assert!(!refused.headers().contains_key("retry-after"));
    let body: Value = refused.json().await.expect("JSON");
    assert_eq!(body["error"]["code"], "memory_budget", "{body}");
    assert!(body["error"]["message"].as_str().expect("text").contains("beside 9.8 MiB of weights"));

    let long = with(endless(&eos()), &json!({"max_tokens": 3900}));
    let mut running = server.post("/v1/chat/completions", &long).send().await.expect("an answer");
    first_data(&mut running).await;
    let busy = add("middling").await.expect("an answer");
    assert_eq!(busy.status(), 503);
    assert!(busy.headers().contains_key("retry-after"));
    let body: Value = busy.json().await.expect("JSON");
    assert_eq!(body["error"]["code"], "memory_busy", "{body}");

    drop(running);
    server.until_idle().await;
    assert_eq!(add("middling").await.expect("an answer").status(), 201);
}

#[test]
fn a_budget_below_the_weights_is_told_at_start() {
    let output = verbatim()
        .args(["serve", "--port", "0", "--memory-budget", "1KiB", "--model"])
        .arg(model())
        .output()
        .expect("the command runs");
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("the memory budget is 1.0 KiB"), "{error}");
}

#[rstest]
#[case("8XB")]
#[case("lots")]
#[case("-1")]
fn budgets_that_are_no_size(#[case] budget: &str) {
    let flag = format!("--memory-budget={budget}");
    let output = verbatim().args(["fit", "x", &flag]).output().expect("the command runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("expected a size such as 8GB"));
}

#[test]
fn fit_says_what_admission_counts() {
    let turns = ["--requests", "3", "--memory-budget", "1GiB", "--max-batch", "1"];
    let report = fit(2048, &turns);
    let part = |name: &str| report[name].as_u64().expect("a number");
    let sum = part("weights") + part("adapters") + part("cache") + part("work");
    assert_eq!(part("total"), sum, "{report}");
    assert_eq!(report["budget"]["bytes"], json!(1_u64 << 30));
    assert_eq!(report["machines"].as_array().map(Vec::len), Some(8));
    let one = fit(2048, &[]);
    assert_eq!(part("cache"), 3 * one["cache"].as_u64().expect("a number"));
    assert_eq!(report["work"], one["work"]);
    // Requests that share calls have their intermediate results at the same time.
    let shared = fit(2048, &turns[..4]);
    assert!(shared["work"].as_u64() > one["work"].as_u64(), "{shared}");
    assert_eq!(shared["cache"], report["cache"]);
}
