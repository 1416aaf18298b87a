//! Chromium, driven over the protocol of its developer tools.
//!
//! Commands and events go through a pair of pipes, so neither a WebSocket client nor a port is
//! needed; the crates that wrap the whole protocol take minutes to compile for the dozen
//! commands used here.

use std::{
    env,
    ffi::OsString,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// How long the browser may take for one command.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long the browser may take to end before it is killed.
const FAREWELL: Duration = Duration::from_secs(5);

const NAMES: &[&str] =
    &["chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome"];
const MAC_APPS: &[&str] = &[
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];
/// No sandbox, since it needs more rights than containers give, and only our own page is loaded.
const FLAGS: &[&str] = &[
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
];
/// The protocol's pipes are the descriptors 3 and 4; the shell puts ours there.
const TO_PIPES: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null"#;

/// One browser with one tab.
pub struct Chromium {
    process: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    session: Option<String>,
    next_id: u64,
    events: Vec<Value>,
    _profile: TempDir,
}

impl Chromium {
    /// Starts a browser with an empty profile.
    pub fn launch() -> Self {
        let profile = tempfile::tempdir().expect("a folder for the browser's profile");
        let mut process = Command::new("sh")
            .args(["-c", TO_PIPES])
            .arg(find())
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Chromium starts");
        let commands = process.stdin.take().expect("a pipe to the browser");
        let messages = read_messages(process.stdout.take().expect("a pipe from the browser"));
        let mut browser = Self {
            process,
            commands,
            messages,
            session: None,
            next_id: 0,
            events: Vec::new(),
            _profile: profile,
        };
        browser.attach();
        browser
    }

    fn attach(&mut self) {
        let tab = self.call("Target.createTarget", &json!({"url": "about:blank"}));
        let target = json!({"targetId": tab["targetId"], "flatten": true});
        let session = self.call("Target.attachToTarget", &target);
        self.session = session["sessionId"].as_str().map(ToOwned::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            self.call(&format!("{domain}.enable"), &json!({}));
        }
    }

    /// Sends a command and waits for its result.
    pub fn call(&mut self, method: &str, params: &Value) -> Value {
        let id = self.send(method, params);
        loop {
            let message = self
                .messages
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|e| panic!("Chromium did not answer {method}: {e}"));
            if message["id"] != id {
                self.events.push(message);
                continue;
            }
            assert!(message["error"].is_null(), "{method}: {}", message["error"]);
            return message["result"].clone();
        }
    }

    fn send(&mut self, method: &str, params: &Value) -> u64 {
        self.next_id += 1;
        let mut command = json!({"id": self.next_id, "method": method, "params": params});
        if let Some(session) = &self.session {
            command["sessionId"] = session.as_str().into();
        }
        let written = write!(self.commands, "{command}\0").and_then(|()| self.commands.flush());
        assert!(written.is_ok() || method == "Browser.close", "Chromium has gone: {written:?}");
        self.next_id
    }

    /// The value of a JavaScript expression; a promise is awaited.
    pub fn eval(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let result = self.call("Runtime.evaluate", &params);
        let thrown = &result["exceptionDetails"];
        assert!(thrown.is_null(), "{expression}: {}", thrown["exception"]["description"]);
        result["result"]["value"].clone()
    }

    /// The parameters of every event of this name so far.
    pub fn events<'a>(&'a self, method: &'a str) -> impl Iterator<Item = &'a Value> + 'a {
        self.events.iter().filter(move |e| e["method"] == method).map(|e| &e["params"])
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        self.session = None;
        self.send("Browser.close", &json!({}));
        let deadline = Instant::now() + FAREWELL;
        while Instant::now() < deadline {
            if matches!(self.process.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The browser that `CHROMIUM` names, or the first one found.
fn find() -> OsString {
    if let Some(named) = env::var_os("CHROMIUM").filter(|n| !n.is_empty()) {
        return named;
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let in_path = NAMES.iter().flat_map(|name| env::split_paths(&path).map(move |p| p.join(name)));
    in_path
        .chain(MAC_APPS.iter().map(PathBuf::from))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| {
            panic!(
                "no Chromium found: install one (Debian: apt-get install chromium), or set \
                 CHROMIUM to its path"
            )
        })
        .into_os_string()
}

/// Messages end with a NUL byte each.
fn read_messages(pipe: ChildStdout) -> Receiver<Value> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for message in BufReader::new(pipe).split(0) {
            let Ok(bytes) = message else { return };
            let Ok(value) = serde_json::from_slice(&bytes) else {
                continue;
            };
            if sender.send(value).is_err() {
                return;
            }
        }
    });
    receiver
}
