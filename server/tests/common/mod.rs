//! The real server, started as a process on a free port.
#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

/// Nothing in these tests takes as long on a working server, however slow the machine.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// The model to test with: the demo model, unless `VERBATIM_TEST_MODEL` names another.
pub fn model() -> PathBuf {
    let model = std::env::var_os("VERBATIM_TEST_MODEL").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../demo/model")),
        PathBuf::from,
    );
    assert!(
        model.join("config.json").exists(),
        "{} has no model: these tests need demo/model, or VERBATIM_TEST_MODEL set",
        model.display()
    );
    model
}

/// Writes an adapter for the model under test.
pub fn write_adapter(adapter: Value, folder: &Path) {
    let config = std::fs::read(model().join("config.json")).expect("a configuration");
    let geometry: Value = serde_json::from_slice(&config).expect("JSON");
    let made = json!({"geometry": geometry, "seed": 1, "dtype": "bf16"});
    let made = serde_json::from_value(made).expect("a model");
    let adapter = serde_json::from_value(adapter).expect("an adapter");
    verbatim_harness::maker::write_adapter(&made, &adapter, folder).expect("written");
}

/// `body` with the fields of `extra`.
pub fn with(mut body: Value, extra: &Value) -> Value {
    let extra = extra.as_object().expect("an object").clone();
    body.as_object_mut().expect("an object").extend(extra);
    body
}

/// Every endpoint that reads a conversation or a text, with a body that is fine.
pub fn posts() -> Vec<(&'static str, Value)> {
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let model = "default_model";
    vec![
        ("/v1/chat/completions", json!({"messages": messages, "max_tokens": 1})),
        ("/v1/completions", json!({"prompt": "Hi", "max_tokens": 1})),
        ("/v1/messages", json!({"model": model, "messages": messages, "max_tokens": 1})),
        ("/v1/messages/count_tokens", json!({"messages": messages, "model": model})),
        ("/v1/responses", json!({"input": "Hi", "max_output_tokens": 1})),
        ("/v1/responses/input_tokens", json!({"input": "Hi"})),
    ]
}

/// The command under test.
pub fn verbatim() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_verbatim"));
    command.env_remove("VERBATIM_API_KEY");
    command
}

/// A running server; killed when dropped.
pub struct Server {
    pub address: SocketAddr,
    child: Child,
    log: Option<thread::JoinHandle<String>>,
}

impl Server {
    /// Starts a server with more arguments.
    pub fn start(args: &[&str]) -> Self {
        Self::start_with(args, &[])
    }

    /// Starts a server with more arguments and variables.
    pub fn start_with(args: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child = verbatim()
            .args(["serve", "--port", "0", "--model"])
            .arg(model())
            .args(args)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut stderr = child.stderr.take().expect("piped");
        let log = thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let Some((_, address)) = line.trim().rsplit_once("http://") else {
            let _ = child.kill();
            panic!("the server is not ready: {line:?} {}", log.join().unwrap_or_default());
        };
        Self { address: address.parse().expect("an address"), child, log: Some(log) }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        client().get(self.url(path))
    }

    pub fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        client().post(self.url(path)).json(body)
    }

    /// Status and JSON of a POST.
    pub async fn ask(&self, path: &str, body: &Value) -> (u16, Value) {
        let response = self.post(path, body).send().await.expect("an answer");
        let status = response.status().as_u16();
        (status, response.json().await.expect("JSON"))
    }

    /// The answer to a chat, which must succeed.
    pub async fn chat(&self, body: &Value) -> Value {
        let (status, json) = self.ask("/v1/chat/completions", body).await;
        assert_eq!(status, 200, "{json}");
        json
    }

    pub async fn health(&self) -> (u16, Value) {
        let response = self.get("/health").send().await.expect("an answer");
        (response.status().as_u16(), response.json().await.expect("JSON"))
    }

    /// Waits until `/health` is as wanted.
    pub async fn until(&self, what: &str, wanted: impl Fn(u16, &Value) -> bool) {
        let start = Instant::now();
        loop {
            let (status, json) = self.health().await;
            if wanted(status, &json) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "never {what}: {status} {json}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn until_idle(&self) {
        self.until("idle", |_, h| h["active"] == 0 && h["queued"] == 0).await;
    }

    /// A socket for what no HTTP client would send.
    pub fn raw(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// Sends bytes and reads until the server closes.
    pub fn raw_exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.raw();
        stream.write_all(bytes).expect("written");
        read_all(&mut stream)
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a status").is_none()
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(status.success());
    }

    /// Waits for the process to end; its status and what it logged.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a status") {
                break status;
            }
            assert!(start.elapsed() < PATIENCE, "the server does not end");
            thread::sleep(Duration::from_millis(10));
        };
        let log = self.log.take().map(|log| log.join().expect("a log")).unwrap_or_default();
        (status, log)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads until the peer closes; a reset counts as closed.
pub fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(e) => panic!("the server does not close: {e}"),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub fn client() -> Client {
    Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client")
}

/// A short greedy chat.
pub fn hello() -> Value {
    json!({"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 12})
}

/// A generation that goes on until someone stops it.
pub fn endless(server_eos: &[u32]) -> Value {
    let bias: serde_json::Map<String, Value> =
        server_eos.iter().map(|id| (id.to_string(), json!(-1000.0))).collect();
    json!({
        "messages": [{"role": "user", "content": "Hello!"}],
        "max_tokens": 1_000_000, "logit_bias": bias, "stream": true,
    })
}

/// The end tokens of the model under test.
pub fn eos() -> Vec<u32> {
    let read = |file: &str| -> Option<Value> {
        serde_json::from_slice(&std::fs::read(model().join(file)).ok()?).ok()
    };
    let ids = ["generation_config.json", "config.json"]
        .iter()
        .find_map(|f| read(f)?.get("eos_token_id").cloned())
        .expect("the model names its end tokens");
    let ids = ids.as_array().cloned().unwrap_or_else(|| vec![ids]);
    ids.iter().map(|v| v.as_u64().expect("an id") as u32).collect()
}

/// The events of a stream: comments and data.
#[derive(Debug, Default)]
pub struct Events {
    pub comments: Vec<String>,
    pub data: Vec<String>,
}

impl Events {
    pub fn parse(text: &str) -> Self {
        let mut events = Self::default();
        for event in text.split_terminator("\n\n") {
            if let Some(comment) = event.strip_prefix(": ") {
                events.comments.push(comment.to_owned());
            } else {
                let data = event.strip_prefix("data: ").expect("data or a comment");
                events.data.push(data.to_owned());
            }
        }
        events
    }

    /// The chunks before `[DONE]`, which must be last.
    pub fn chunks(&self) -> Vec<Value> {
        let (last, chunks) = self.data.split_last().expect("events");
        assert_eq!(last, "[DONE]");
        chunks.iter().map(|c| serde_json::from_str(c).expect("JSON")).collect()
    }
}

/// The text of one kind in a stream's deltas.
pub fn joined(chunks: &[Value], pointer: &str) -> String {
    chunks.iter().filter_map(|c| c.pointer(pointer)?.as_str()).collect()
}

/// Reads chunks of a response until one is data.
pub async fn first_data(response: &mut Response) {
    loop {
        let chunk = response.chunk().await.expect("a chunk").expect("not the end");
        if chunk.starts_with(b"data: ") {
            return;
        }
    }
}
