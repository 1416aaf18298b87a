//! Clients that leave, stall, flood or lie; signals; and a worker in trouble.

mod common;

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use common::{Events, Server, endless, eos, first_data, hello, read_all};
use rstest::rstest;
use serde_json::{Value, json};
use verbatim_engine::{Engine, EngineOptions, Health, WorkerState};
use verbatim_server::{
    accept::{AcceptOptions, serve},
    routes::router,
    state::{AppState, ServeConfig},
};

const GET_HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nhost: a.localhost\r\nconnection: close\r\n\r\n";

/// A stream that has begun and ends when it is dropped.
async fn streaming(server: &Server) -> reqwest::Response {
    let mut response =
        server.post("/v1/chat/completions", &endless(&eos())).send().await.expect("an answer");
    first_data(&mut response).await;
    response
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_stops_its_generation() {
    let server = Server::start(&[]);
    let response = streaming(&server).await;
    assert_eq!(server.health().await.1["active"], 1);
    drop(response);
    server.until_idle().await;
    let (status, health) = server.health().await;
    assert_eq!((status, &health["worker"]), (200, &json!("ready")));
}

#[rstest]
#[case(&[], "unquantized")]
#[case(&["--kv-bits", "8"], "8 bits (groups of 64) in every layer, stock attention")]
#[tokio::test]
async fn health_tells_how_keys_and_values_are_kept(#[case] args: &[&str], #[case] words: &str) {
    let (status, health) = Server::start(args).health().await;
    assert_eq!((status, &health["kv_cache"]), (200, &json!(words)));
}

#[tokio::test]
async fn a_client_that_leaves_a_plain_request_stops_its_generation() {
    let server = Server::start(&[]);
    let mut body = endless(&eos());
    body["stream"] = json!(false);
    let text = body.to_string();
    let mut socket = server.raw();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{text}",
        text.len()
    );
    socket.write_all(head.as_bytes()).expect("written");
    server.until("active", |_, h| h["active"] == 1).await;
    drop(socket);
    server.until_idle().await;
}

#[tokio::test]
async fn bodies_that_are_announced_and_never_come_hold_up_nobody() {
    let server = Server::start(&["--body-timeout", "600"]);
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n";
    let silent: Vec<TcpStream> = (0..40)
        .map(|i| {
            let mut socket = server.raw();
            let length =
                if i % 2 == 0 { "content-length: 16777216" } else { "transfer-encoding: chunked" };
            socket.write_all(format!("{head}{length}\r\n\r\n").as_bytes()).expect("written");
            socket
        })
        .collect();
    server.chat(&hello()).await;
    drop(silent);
}

#[tokio::test]
async fn large_bodies_that_find_no_room_are_told_to_come_again() {
    let server = Server::start(&["--body-timeout", "600"]);
    let size = 16 << 20;
    let most = vec![b' '; size - 1];
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {size}\r\n\r\n"
    );
    // All but the last byte of as many as there is room for, and of a few more.
    let mut sockets: Vec<TcpStream> = (0..20).map(|_| server.raw()).collect();
    for socket in &mut sockets {
        socket.write_all(head.as_bytes()).expect("written");
        // A refused one is closed while it is being written.
        let _ = socket.write_all(&most);
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("set");
    }
    let is_refused = |socket: &mut TcpStream| {
        let mut answer = [0; 12];
        match socket.read(&mut answer) {
            Ok(n) => {
                assert_eq!(&answer[..n], &b"HTTP/1.1 503"[..n]);
                true
            }
            // What is closed before all of it was read may lose its answer.
            Err(e) => e.kind() == std::io::ErrorKind::ConnectionReset,
        }
    };
    let deadline = std::time::Instant::now() + common::PATIENCE;
    while !sockets.iter_mut().any(is_refused) {
        assert!(std::time::Instant::now() < deadline, "there is no bound");
    }
    server.chat(&hello()).await;
    drop(sockets);
    server.chat(&hello()).await;
}

#[tokio::test]
async fn a_full_queue_answers_503_and_recovers() {
    let server = Server::start(&["--max-active", "1", "--queue-limit", "1"]);
    let running = streaming(&server).await;
    let waiting = server.post("/v1/chat/completions", &endless(&eos())).send().await.expect("ok");
    assert_eq!(waiting.status(), 200);
    let refused = server.post("/v1/chat/completions", &hello()).send().await.expect("an answer");
    assert_eq!(refused.status(), 503);
    assert!(refused.headers()["retry-after"].to_str().expect("text").parse::<u64>().is_ok());
    let e: Value = refused.json().await.expect("JSON");
    assert_eq!(e["error"]["code"], "queue_full");
    drop((running, waiting));
    server.until_idle().await;
    server.chat(&hello()).await;
}

#[tokio::test]
async fn a_worker_without_progress_is_reported_as_stuck() {
    let server = Server::start(&["--stuck-after", "0"]);
    let response = streaming(&server).await;
    server.until("stuck", |status, h| status == 503 && h["worker"] == "stuck").await;
    drop(response);
    server.until("ready again", |status, h| status == 200 && h["worker"] == "ready").await;
}

#[tokio::test]
async fn a_dead_worker_is_reported() {
    let engine = Engine::load(EngineOptions::new(common::model())).expect("the model loads");
    let dead = Health { state: WorkerState::Dead, ..Health::default() };
    let model = common::model();
    let state = AppState::with_probe(engine, &model, ServeConfig::default(), move || dead);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/health", listener.local_addr().expect("an address"));
    let router = router(Arc::new(state));
    let task = tokio::spawn(serve(
        listener,
        router,
        AcceptOptions::default(),
        std::future::pending(),
        || {},
    ));
    let response = common::client().get(url).send().await.expect("an answer");
    assert_eq!(response.status(), 503);
    let json: Value = response.json().await.expect("JSON");
    assert_eq!((&json["status"], &json["worker"]), (&json!("unavailable"), &json!("dead")));
    task.abort();
}

#[tokio::test]
async fn slow_heads_and_bodies_are_cut_off() {
    let server = Server::start(&["--header-timeout", "0.3", "--body-timeout", "0.3"]);
    let mut head = server.raw();
    head.write_all(b"POST /v1/completions HTTP/1.1\r\nhost: loc").expect("written");
    read_all(&mut head);
    let mut idle = server.raw();
    read_all(&mut idle);
    let mut body = server.raw();
    body.write_all(
        b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{\"pro",
    )
    .expect("written");
    assert!(read_all(&mut body).starts_with("HTTP/1.1 408 "));
    server.chat(&hello()).await;
}

#[tokio::test]
async fn oversized_heads_are_refused() {
    let server = Server::start(&[]);
    let many = "x: y\r\n".repeat(200);
    let answer =
        server.raw_exchange(format!("GET /health HTTP/1.1\r\nhost: a\r\n{many}\r\n").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let mut socket = server.raw();
    // The server may close while this is still being written.
    let _ = socket.write_all(
        format!("GET /health HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(1 << 20)).as_bytes(),
    );
    let answer = read_all(&mut socket);
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.chat(&hello()).await;
}

#[tokio::test]
async fn too_many_connections_are_told_so() {
    let server = Server::start(&["--max-connections", "2"]);
    let held: Vec<TcpStream> = (0..2)
        .map(|_| {
            let mut socket = server.raw();
            socket.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("written");
            // The answer says that the connection has been accepted.
            assert_ne!(socket.read(&mut [0; 64]).expect("an answer"), 0);
            socket
        })
        .collect();
    let answer = read_all(&mut server.raw());
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("too_many_connections"));
    drop(held);
    server.until_idle_raw();
}

impl Server {
    /// Retries until a connection is served again.
    fn until_idle_raw(&self) {
        let start = std::time::Instant::now();
        loop {
            let answer = self.raw_exchange(GET_HEALTH);
            if answer.starts_with("HTTP/1.1 200 ") {
                return;
            }
            assert!(start.elapsed() < common::PATIENCE, "{answer}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[tokio::test]
async fn sigterm_lets_running_requests_finish() {
    let server = Server::start(&[]);
    let mut body = endless(&eos());
    body["max_tokens"] = json!(600);
    let mut response = server.post("/v1/chat/completions", &body).send().await.expect("an answer");
    first_data(&mut response).await;
    server.signal("TERM");
    // The rest of the stream arrives, with its orderly end.
    let rest = response.text().await.expect("the rest");
    let rest = &rest[rest.find("data: ").expect("data")..];
    let chunks = Events::parse(rest).chunks();
    assert_eq!(chunks.last().expect("a chunk")["choices"][0]["finish_reason"], "length");
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
}

/// Waits until `/health` says so. A connection that is new in the moment of the signal may be closed
/// before its request is read.
async fn until_draining(server: &Server) {
    let start = std::time::Instant::now();
    loop {
        if let Ok(answer) = server.get("/health").send().await
            && answer.status() == 503
        {
            let health: Value = answer.json().await.expect("JSON");
            assert_eq!(health["worker"], "draining");
            return;
        }
        assert!(start.elapsed() < common::PATIENCE, "it never says so");
    }
}

/// Waits while the client goes on closing its connections.
async fn status_at_end(server: Server) -> Option<i32> {
    tokio::task::spawn_blocking(|| server.wait().0.code()).await.expect("no panic")
}

#[tokio::test]
async fn a_draining_server_says_so() {
    let server = Server::start(&["--drain-timeout", "100000"]);
    let mut running = streaming(&server).await;
    server.signal("TERM");
    until_draining(&server).await;
    let metrics = server.get("/metrics").send().await.expect("an answer");
    // One request, and the connection is closed.
    assert_eq!(metrics.headers()["connection"], "close");
    let metrics = metrics.text().await.expect("text");
    assert!(metrics.contains("verbatim_worker_state{state=\"draining\"} 1"), "{metrics}");
    let (status, e) = server.ask("/v1/chat/completions", &hello()).await;
    assert_eq!((status, &e["error"]["code"]), (503, &json!("shutting_down")), "{e}");
    // What ran goes on, and when it ends so does the server.
    first_data(&mut running).await;
    drop(running);
    assert_eq!(status_at_end(server).await, Some(0));
}

#[tokio::test]
async fn the_limit_of_connections_holds_while_draining() {
    let args = ["--max-connections", "2", "--header-timeout", "100000"];
    let server = Server::start(&[&args[..], &["--drain-timeout", "100000"]].concat());
    let running = streaming(&server).await;
    server.signal("TERM");
    until_draining(&server).await;
    let start = std::time::Instant::now();
    let mut silent = Vec::new();
    while !server.raw_exchange(GET_HEALTH).contains("too_many_connections") {
        assert!(start.elapsed() < common::PATIENCE, "there is no limit");
        silent.push(server.raw());
    }
    // Who came and asked nothing holds nobody up.
    drop(running);
    assert_eq!(status_at_end(server).await, Some(0));
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_the_end() {
    let server = Server::start(&["--drain-timeout", "100000", "--header-timeout", "100000"]);
    let mut kept = server.raw();
    kept.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("written");
    assert_ne!(kept.read(&mut [0; 64]).expect("an answer"), 0);
    let silent = server.raw();
    server.until_idle().await;
    server.signal("TERM");
    assert_eq!(server.wait().0.code(), Some(0));
    drop((kept, silent));
}

#[tokio::test]
async fn sigint_ends_an_idle_server() {
    let server = Server::start(&[]);
    server.signal("INT");
    assert_eq!(server.wait().0.code(), Some(0));
}

#[tokio::test]
async fn draining_ends_at_its_limit() {
    let server = Server::start(&["--drain-timeout", "0.2"]);
    let response = streaming(&server).await;
    let mut body = endless(&eos());
    body["stream"] = json!(false);
    let waiting = tokio::spawn(server.post("/v1/chat/completions", &body).send());
    server.signal("TERM");
    // Whoever is cut off is told so.
    let rest = response.text().await.expect("an orderly end");
    let last =
        Events::parse(&rest[rest.find("data: ").expect("data")..]).data.pop().expect("an event");
    assert!(last.contains("shutting_down"), "{last}");
    if let Ok(cut) = waiting.await.expect("no panic") {
        assert_eq!(cut.status(), 503);
    }
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let server = Server::start(&["--drain-timeout", "100000"]);
    let _response = streaming(&server).await;
    server.signal("TERM");
    // Signals that arrive together count once, hence more than two.
    let mut server = server;
    while server.is_running() {
        server.signal("TERM");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(server.wait().0.code(), Some(143));
}

#[tokio::test]
async fn texts_in_json_lines_are_quoted_once() {
    let server = Server::start(&["--log-format", "json", "--model-name", "pebble"]);
    assert_eq!(server.get("/health").send().await.expect("an answer").status(), 200);
    server.signal("TERM");
    let (_, log) = server.wait();
    let lines: Vec<Value> =
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let found = |message: &str| {
        lines.iter().find(|line| line["message"] == message).expect("a line with the message")
    };
    assert_eq!(found("listening")["model"], "pebble", "{log}");
    assert_eq!(found("answered")["path"], "/health", "{log}");
}

#[tokio::test]
async fn no_client_can_forge_log_lines() {
    let server = Server::start(&["--log-format", "json", "--log-level", "debug"]);
    for path in ["/%0a%1b[31m", "/\u{1b}[31mred", "/x%0d%0a{}"] {
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        server.raw_exchange(request.as_bytes());
    }
    let body = json!({"model": "x\n{\"level\":\"forged\"}\u{1b}[31m", "prompt": "x"});
    assert_eq!(server.ask("/v1/completions", &body).await.0, 404);
    server.signal("TERM");
    let (_, log) = server.wait();
    assert!(log.lines().count() > 3, "{log}");
    for line in log.lines() {
        let json: Value = serde_json::from_str(line).expect("every line is JSON");
        assert_ne!(json["level"], "forged");
        assert!(!line.contains('\u{1b}'));
    }
}
