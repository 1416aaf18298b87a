//! Images and videos: until there is a model that sees them, they are refused, and never fetched.

use std::{net::TcpListener, time::Duration};

use serde_json::{Value, json};

use crate::common::Server;

/// Bodies that name media at `url`, in every protocol's way.
fn asking(url: &str) -> Vec<(&'static str, Value)> {
    let user = |part: Value| json!([{"role": "user", "content": [{"type": "text", "text": "What is it?"}, part]}]);
    let chat =
        |part: Value| ("/v1/chat/completions", json!({"messages": user(part), "max_tokens": 1}));
    let message = |part: Value| {
        let model = "default_model";
        ("/v1/messages", json!({"model": model, "messages": user(part), "max_tokens": 1}))
    };
    let response = |part: Value| {
        let input = json!([{"role": "user", "content": [part]}]);
        ("/v1/responses", json!({"input": input, "max_output_tokens": 1}))
    };
    vec![
        chat(json!({"type": "image_url", "image_url": {"url": url}})),
        chat(json!({"type": "image_url", "image_url": url})),
        chat(json!({"type": "video_url", "video_url": {"url": url}})),
        chat(json!({"type": "input_audio", "input_audio": {"data": url, "format": "wav"}})),
        chat(json!({"type": "file", "file": {"file_data": url}})),
        message(json!({"type": "image", "source": {"type": "url", "url": url}})),
        message(
            json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": url}}),
        ),
        message(json!({"type": "document", "source": {"type": "url", "url": url}})),
        response(json!({"type": "input_image", "image_url": url})),
        response(json!({"type": "input_file", "file_url": url})),
    ]
}

async fn refusals(server: &Server, url: &str) -> Vec<String> {
    let mut texts = Vec::new();
    for (path, body) in asking(url) {
        let (status, e) = server.ask(path, &body).await;
        assert_eq!(status, 400, "{path} {body}: {e}");
        texts.push(e["error"]["message"].as_str().expect("a message").to_owned());
    }
    texts
}

#[tokio::test]
async fn nothing_is_fetched() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("set");
    let port = listener.local_addr().expect("an address").port();
    let server = Server::start(&[]);
    for url in [
        format!("http://127.0.0.1:{port}/x.png"),
        format!("http://localhost:{port}\\@example.com/x.png"),
        format!("http://0x7f000001:{port}/x.png"),
        format!("http://[::ffff:127.0.0.1]:{port}/x.png"),
    ] {
        refusals(&server, &url).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(listener.accept().is_err(), "someone came for the image");
}

#[tokio::test]
async fn errors_tell_nothing_about_an_address() {
    let server = Server::start(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let of = async |url: &str| refusals(&server, url).await;
    let there = of(&format!("http://127.0.0.1:{port}/")).await;
    for url in ["http://127.0.0.1:1/", "http://no-such-host.invalid/", "file:///etc/passwd", "x"] {
        assert_eq!(of(url).await, there, "{url}");
    }
}

#[tokio::test]
async fn data_is_not_decoded() {
    let server = Server::start(&[]);
    // A picture whose header claims a size that no memory holds.
    let bomb = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUv////////8IBgAAAA==";
    let large = format!("data:image/png;base64,{}", "A".repeat(4_000_000));
    let small = refusals(&server, "data:,").await;
    for url in [bomb, &large] {
        let texts = refusals(&server, url).await;
        assert_eq!(texts, small);
        assert!(texts.iter().all(|text| text.len() < 300 && !text.contains("0x")));
    }
}
