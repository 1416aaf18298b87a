//! A running `verbatim serve` with the demo model.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// How long the server may take to load the model, and to log what is waited for.
const PATIENCE: Duration = Duration::from_mins(2);

/// A server process; it ends with this value.
pub struct Server {
    process: Child,
    /// `http://` with address and port.
    pub url: String,
    log: Arc<Mutex<String>>,
}

impl Server {
    /// Starts a server on a free port.
    pub fn start(flags: &[&str]) -> Self {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/model");
        let mut process = Command::new(env!("CARGO_BIN_EXE_verbatim"))
            .args(["serve", "--port", "0", "--model"])
            .arg(model)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("verbatim starts");
        let log = Arc::new(Mutex::new(String::new()));
        collect(process.stderr.take().expect("a pipe for the log"), Arc::clone(&log));
        let stdout = process.stdout.take().expect("a pipe for the output");
        let mut server = Self { process, url: String::new(), log };
        server.url = server.announced(stdout);
        server
    }

    /// The address in the line that says the server is ready.
    fn announced(&self, stdout: impl Read + Send + 'static) -> String {
        let (sender, receiver) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some((_, url)) = line.split_once(" at http://") {
                    let _ = sender.send(format!("http://{url}"));
                }
            }
        });
        match receiver.recv_timeout(PATIENCE) {
            Ok(url) => url,
            Err(RecvTimeoutError::Timeout) => panic!("verbatim does not serve:\n{}", self.log()),
            Err(RecvTimeoutError::Disconnected) => panic!("verbatim ended:\n{}", self.log()),
        }
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("the log is intact").clone()
    }

    /// Waits until the server has logged `text` this many times.
    pub fn wait_for_log(&self, text: &str, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.log().matches(text).count() < times {
            assert!(Instant::now() < deadline, "not logged: {text:?}\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// A request whose answer has begun and goes on until the returned connection is dropped.
    pub fn keep_busy(&self) -> TcpStream {
        self.endless_answer("data: ")
    }

    /// A request that waits for its turn until the returned connection is dropped.
    pub fn wait_in_line(&self) -> TcpStream {
        self.endless_answer("\r\n\r\n")
    }

    fn endless_answer(&self, until: &str) -> TcpStream {
        let address = self.url.trim_start_matches("http://");
        let mut connection = TcpStream::connect(address).expect("the server accepts");
        let body = endless_request().to_string();
        write!(
            connection,
            "POST /v1/chat/completions HTTP/1.1\r\nHost: {address}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("the request is sent");
        let mut answer = String::new();
        while !answer.contains(until) {
            let mut bytes = [0; 1024];
            let read = connection.read(&mut bytes).expect("an answer comes");
            answer.push_str(&String::from_utf8_lossy(&bytes[..read]));
            assert!(answer.starts_with("HTTP/1.1 200") && read > 0, "{answer}");
        }
        connection
    }

    /// Ends the server at once.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// At this temperature all tokens are about as likely, so the end token rarely comes.
pub const ENDLESS_TEMPERATURE: &str = "100";
/// Seed of a draw that goes on for long.
pub const ENDLESS_SEED: &str = "8";
/// Tokens of an answer that is not meant to reach its end.
pub const ENDLESS_TOKENS: &str = "3000";

fn endless_request() -> Value {
    let number = |text: &str| serde_json::from_str::<Value>(text).expect("a number");
    json!({
        "messages": [{"role": "user", "content": "Go on"}],
        "stream": true,
        "temperature": number(ENDLESS_TEMPERATURE),
        "seed": number(ENDLESS_SEED),
        "max_tokens": number(ENDLESS_TOKENS),
        "chat_template_kwargs": {"enable_thinking": false},
    })
}

fn collect(pipe: impl Read + Send + 'static, into: Arc<Mutex<String>>) {
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut log = into.lock().expect("the log is intact");
            log.push_str(&line);
            log.push('\n');
        }
    });
}
