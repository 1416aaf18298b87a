//! API keys, seen from outside.

use std::{io::Write, process::Stdio};

use rstest::rstest;
use serde_json::{Value, json};

use crate::common::{self, Server, client, endless, eos, first_data, hello, verbatim};

const KEY: &str = "sk-first-0123456789";
const OTHER: &str = "sk-second-0123456789";

fn locked(more: &[&str]) -> Server {
    let mut args = vec!["--api-key", KEY, "--api-key", OTHER];
    args.extend(more);
    Server::start(&args)
}

async fn status(server: &Server, path: &str, headers: &[(&str, &str)]) -> u16 {
    let mut request = server.get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.expect("an answer").status().as_u16()
}

#[tokio::test]
async fn keys_open_what_is_not_public() {
    let server = locked(&[]);
    let bearer = format!("Bearer {OTHER}");
    for path in ["/v1/models", "/v1/models/x", "/metrics", "/made-up"] {
        assert_eq!(status(&server, path, &[]).await, 401, "{path}");
        assert_eq!(status(&server, path, &[("x-api-key", "sk-wrong")]).await, 401, "{path}");
    }
    for path in ["/v1/models", "/metrics"] {
        assert_eq!(status(&server, path, &[("x-api-key", KEY)]).await, 200, "{path}");
        assert_eq!(status(&server, path, &[("authorization", &bearer)]).await, 200, "{path}");
    }
    for path in ["/health", "/"] {
        assert_eq!(status(&server, path, &[]).await, 200, "{path}");
    }
}

#[rstest]
#[case("/v1/chat/completions")]
#[case("/v1/completions")]
#[tokio::test]
async fn a_refusal_says_what_to_send(#[case] path: &str) {
    let server = locked(&[]);
    let refused = server.post(path, &hello()).send().await.expect("an answer");
    assert_eq!(refused.status(), 401);
    assert_eq!(refused.headers()["www-authenticate"], "Bearer realm=\"verbatim\"");
    let e: Value = refused.json().await.expect("JSON");
    let kind = (&e["error"]["type"], &e["error"]["code"]);
    assert_eq!(kind, (&json!("authentication_error"), &json!("invalid_api_key")));
    assert!(e["error"]["message"].as_str().is_some_and(|m| m.contains("x-api-key")), "{e}");
}

#[tokio::test]
async fn metrics_may_be_public() {
    let server = locked(&["--public-metrics"]);
    assert_eq!(status(&server, "/metrics", &[]).await, 200);
    assert_eq!(status(&server, "/v1/models", &[]).await, 401);
}

#[tokio::test]
async fn a_preflight_needs_no_key_but_the_request_does() {
    let server = locked(&["--allowed-origins", "https://chat.example"]);
    let origin = ("origin", "https://chat.example");
    let preflight = client()
        .request(reqwest::Method::OPTIONS, server.url("/v1/chat/completions"))
        .header(origin.0, origin.1)
        .header("access-control-request-headers", "authorization")
        .send()
        .await
        .expect("an answer");
    assert_eq!(preflight.status(), 204);
    assert_eq!(preflight.headers()["access-control-allow-headers"], "authorization");
    let refused =
        server.get("/v1/models").header(origin.0, origin.1).send().await.expect("an answer");
    // A page that may ask can read why it was refused.
    assert_eq!(refused.status(), 401);
    assert_eq!(refused.headers()["access-control-allow-origin"], "https://chat.example");
}

#[tokio::test]
async fn each_key_has_its_own_places() {
    let server = locked(&["--max-requests-per-key", "1"]);
    let ask = |key: &str, body: &Value| {
        server.post("/v1/chat/completions", body).header("x-api-key", key.to_owned())
    };
    let mut running = ask(KEY, &endless(&eos())).send().await.expect("an answer");
    first_data(&mut running).await;
    let refused = ask(KEY, &hello()).send().await.expect("an answer");
    assert_eq!(refused.status(), 429);
    assert!(refused.headers()["retry-after"].to_str().expect("text").parse::<u64>().is_ok());
    let e: Value = refused.json().await.expect("JSON");
    assert_eq!(e["error"]["code"], "rate_limit_exceeded");
    // What does no work takes no place, and another key has its own.
    assert_eq!(status(&server, "/v1/models", &[("x-api-key", KEY)]).await, 200);
    assert_eq!(ask(OTHER, &hello()).send().await.expect("an answer").status(), 200);
    drop(running);
    server.until_idle().await;
    let start = std::time::Instant::now();
    while ask(KEY, &hello()).send().await.expect("an answer").status() != 200 {
        assert!(start.elapsed() < common::PATIENCE, "the place never becomes free");
    }
}

#[tokio::test]
async fn keys_come_from_files_and_the_environment() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    writeln!(file, "# team\nalice: {KEY}\n{OTHER}").expect("written");
    let path = file.path().to_str().expect("UTF-8");
    let server = Server::start_with(&["--api-key-file", path], &[("VERBATIM_API_KEY", "sk-env")]);
    for key in [KEY, OTHER, "sk-env"] {
        assert_eq!(status(&server, "/v1/models", &[("x-api-key", key)]).await, 200, "{key}");
    }
    assert_eq!(status(&server, "/v1/models", &[("x-api-key", "alice")]).await, 401);
    server.signal("TERM");
    let (_, log) = server.wait();
    assert!(log.contains("alice") && log.contains("line-3"), "{log}");
    for key in [KEY, OTHER, "sk-env"] {
        assert!(!log.contains(key), "{log}");
    }
}

/// Runs `verbatim serve` with arguments and variables that it refuses; what it wrote.
fn refused(args: &[&str], variables: &[(&str, &str)]) -> String {
    let output = verbatim()
        .args(["serve", "--port", "0", "--model"])
        .arg(common::model())
        .args(args)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    assert!(!output.status.success(), "{args:?}");
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[rstest]
#[case(&["--host", "0.0.0.0"], "--no-auth")]
#[case(&["--host", "::"], "--no-auth")]
#[case(&["--no-auth", "--api-key", "hunter2-hunter2"], "--no-auth")]
#[case(&["--no-auth", "--max-requests-per-key", "2"], "--max-requests-per-key")]
#[case(&["--max-requests-per-key", "2"], "--api-key")]
#[case(&["--api-key", "hunter2 hunter2"], "api-key-1")]
#[case(&["--api-key", "hunter2-x", "--api-key", "hunter2-x"], "api-key-2")]
#[case(&["--api-key-file", "/no/such/file"], "/no/such/file")]
fn unsafe_settings_are_refused_and_no_key_is_shown(#[case] args: &[&str], #[case] named: &str) {
    let text = refused(args, &[]);
    assert!(text.contains(named), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_key_in_the_environment_is_not_passed_over() {
    let text = refused(&["--no-auth"], &[("VERBATIM_API_KEY", "hunter2-hunter2")]);
    assert!(text.contains("--no-auth") && text.contains("VERBATIM_API_KEY"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn a_network_address_opens_with_a_key() {
    let server = locked(&["--host", "0.0.0.0"]);
    let url = format!("http://127.0.0.1:{}/v1/models", server.address.port());
    let answer = client().get(url).bearer_auth(KEY).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn no_answer_and_no_log_line_shows_a_key() {
    let server = locked(&["--log-level", "trace", "--log-format", "json"]);
    let wrong = "sk-wrong-0123456789";
    for (path, key) in [("/health", KEY), ("/metrics", KEY), ("/", KEY), ("/v1/models", wrong)] {
        let answer = server.get(path).bearer_auth(key).send().await.expect("an answer");
        let text = format!("{:?} {}", answer.headers().clone(), answer.text().await.expect("text"));
        assert!(!text.contains(key), "{path}: {text}");
    }
    server.post("/v1/chat/completions", &hello()).bearer_auth(KEY).send().await.expect("ok");
    server.signal("TERM");
    let (_, log) = server.wait();
    assert!(log.contains("\"key\":\"api-key-1\""), "{log}");
    for key in [KEY, OTHER, wrong] {
        assert!(!log.contains(key), "{log}");
    }
}
