//! Clients that are slow, foreign, or guess.

use std::{io::Write, net::TcpStream, time::Duration};

use rstest::rstest;

use crate::common::{Server, client, hello, read_all};

#[tokio::test]
async fn slow_clients_hold_nobody_up_and_are_cut_off() {
    let server = Server::start(&["--header-timeout", "0.5", "--body-timeout", "0.5"]);
    let slow: Vec<TcpStream> = (0..100)
        .map(|i| {
            let mut socket = server.raw();
            let start: &[u8] = if i % 2 == 0 {
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx-a: b\r\n"
            } else {
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{"
            };
            socket.write_all(start).expect("written");
            socket
        })
        .collect();
    server.chat(&hello()).await;
    for mut socket in slow {
        // A byte now and then does not keep it open.
        let _ = socket.write_all(b"x");
        let answer = read_all(&mut socket);
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    server.chat(&hello()).await;
}

#[tokio::test]
async fn bodies_without_end_are_cut_off() {
    let server = Server::start(&["--max-body-bytes", "4096", "--body-timeout", "2"]);
    let mut socket = server.raw();
    let head =
        b"POST /v1/completions HTTP/1.1\r\nhost: a.localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    socket.write_all(head).expect("written");
    for _ in 0..1_000 {
        if socket.write_all(b"400\r\n").and_then(|()| socket.write_all(&[b' '; 0x400])).is_err() {
            break;
        }
        if socket.write_all(b"\r\n").is_err() {
            break;
        }
    }
    let answer = read_all(&mut socket);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413 "), "{answer}");
    server.chat(&hello()).await;
}

#[rstest]
#[case("evil.example", None)]
#[case("localhost.evil.example:8080", None)]
#[case("127.0.0.1.nip.io", None)]
#[case("localhost", Some("https://evil.example"))]
#[case("localhost", Some("null"))]
#[case("127.0.0.1", Some("http://127.0.0.1.evil.example"))]
fn foreign_names_and_pages_are_refused(#[case] host: &str, #[case] origin: Option<&str>) {
    let server = Server::start(&[]);
    let origin = origin.map(|o| format!("origin: {o}\r\n")).unwrap_or_default();
    for path in ["/v1/models", "/health", "/metrics", "/openapi.json", "/"] {
        for method in ["GET", "OPTIONS", "POST"] {
            let head = format!(
                "{method} {path} HTTP/1.1\r\nhost: {host}\r\n{origin}content-length: 0\r\nconnection: close\r\n\r\n"
            );
            let answer = server.raw_exchange(head.as_bytes()).to_lowercase();
            assert!(answer.starts_with("http/1.1 403 "), "{method} {path}: {answer}");
            assert!(!answer.contains("access-control-"), "{answer}");
        }
    }
}

#[tokio::test]
async fn pages_get_no_leave_unless_they_are_listed() {
    let server = Server::start(&[]);
    let response = server.get("/v1/models").send().await.expect("an answer");
    assert!(response.headers().keys().all(|name| !name.as_str().starts_with("access-control-")));
}

#[tokio::test]
async fn keys_are_matched_as_a_whole() {
    let key = "sk-0123456789abcdef";
    let server = Server::start(&["--api-key", key]);
    let ask = async |guess: &[u8]| {
        let value = reqwest::header::HeaderValue::from_bytes(guess).expect("a header");
        client().get(server.url("/v1/models")).header("x-api-key", value).send().await.expect("ok")
    };
    assert_eq!(ask(key.as_bytes()).await.status(), 200);
    for length in 0..key.len() {
        assert_eq!(ask(&key.as_bytes()[..length]).await.status(), 401, "{length}");
    }
    let upper = key.to_uppercase();
    let doubled = format!("{key}{key}");
    let spaced = format!("{key} x");
    let high = [key.as_bytes(), &[0xff]].concat();
    for guess in [upper.as_bytes(), doubled.as_bytes(), spaced.as_bytes(), &high] {
        assert_eq!(ask(guess).await.status(), 401, "{guess:?}");
    }
    // Two headers of the same name are not a list of guesses.
    let head = format!(
        "GET /v1/models HTTP/1.1\r\nhost: localhost\r\nx-api-key: a\r\nx-api-key: {key}\r\nconnection: close\r\n\r\n"
    );
    assert!(server.raw_exchange(head.as_bytes()).starts_with("HTTP/1.1 401 "));
    tokio::time::sleep(Duration::ZERO).await;
}
