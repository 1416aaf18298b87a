//! What the log says, and what it must not.

use serde_json::{Value, json};

use crate::common::{Server, hello, posts};

/// A word that the demo model will not come up with.
const SECRET: &str = "xylophagous-quine-4711";

#[tokio::test]
async fn prompts_and_answers_are_not_logged() {
    let server = Server::start(&["--log-level", "trace"]);
    for (path, mut body) in posts() {
        for (_, value) in body.as_object_mut().expect("an object") {
            secrets(value);
        }
        server.ask(path, &body).await;
        body["stream"] = json!(true);
        let response = server.post(path, &body).send().await.expect("an answer");
        response.text().await.expect("text");
        // What is refused is not logged either.
        body[SECRET] = json!(SECRET);
        assert_eq!(server.ask(path, &body).await.0, 400);
        let raw = server.post(path, &json!(null)).body(format!("{{\"{SECRET}")).send().await;
        assert_eq!(raw.expect("an answer").status(), 400);
    }
    let answer = server.chat(&hello()).await;
    let text = answer["choices"][0]["message"]["content"].as_str().expect("text").to_owned();
    server.signal("TERM");
    let (_, log) = server.wait();
    assert!(log.contains("answered"), "{log}");
    assert!(!log.contains(SECRET), "{log}");
    assert!(text.len() > 8 && !log.contains(&text), "{log}");
}

/// Puts the secret into every text that a model would read.
fn secrets(value: &mut Value) {
    match value {
        Value::String(text) if text == "Hi" => *text = format!("Hi {SECRET}"),
        Value::Array(items) => items.iter_mut().for_each(secrets),
        Value::Object(map) => map.values_mut().for_each(secrets),
        _ => {}
    }
}

#[tokio::test]
async fn no_header_or_field_forges_a_line() {
    let server = Server::start(&["--log-format", "json", "--log-level", "debug"]);
    let forged = "x\\n{\\\"level\\\":\\\"forged\\\"}\\u001b[31m";
    for body in [
        format!("{{\"model\":\"{forged}\",\"prompt\":\"x\"}}"),
        format!("{{\"{forged}\":1,\"prompt\":\"x\"}}"),
    ] {
        let head = format!(
            "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nx-request-id: \u{1b}[31m\r\n\
             user-agent: \u{1b}[31m\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        server.raw_exchange(head.as_bytes());
    }
    server.signal("TERM");
    let (_, log) = server.wait();
    for line in log.lines() {
        let json: Value = serde_json::from_str(line).expect("every line is JSON");
        assert_ne!(json["level"], "forged");
        assert!(!line.contains('\u{1b}'));
    }
}
