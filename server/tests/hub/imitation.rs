//! A small imitation of a hub: the answers that its clients rely on, and the ways in which they
//! go wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use sha1::{Digest, Sha1};
use sha2::Sha256;

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    #[default]
    None,
    /// The connection breaks after this many bytes of a large file's body, every time.
    BreakAfter(usize),
    /// Large files come with one byte changed.
    Flip,
    /// The hash of a file is a path.
    EtagIsPath,
    /// A redirection without a place to go.
    LostRedirect,
    /// Hash and commit of a file are right in the first answer, and paths from then on.
    SecondAnswerHasPaths,
    /// More bytes of large files than were announced.
    TooLong,
    /// Files come from their beginning, whatever was asked for.
    NoRanges,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    fault: Fault,
    requests: Vec<(String, Option<usize>)>,
    tokens: Vec<String>,
    /// Where the bytes of large files are.
    elsewhere: Option<String>,
    /// Files that were asked for before.
    seen: BTreeSet<String>,
}

/// Serves files of `org/model` until it is dropped with the process.
#[derive(Debug, Clone)]
pub struct Hub {
    state: Arc<Mutex<State>>,
    pub endpoint: String,
}

impl Hub {
    pub fn start(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state =
            Arc::new(Mutex::new(State { files: files.into_iter().collect(), ..State::default() }));
        let hub = Self { state, endpoint };
        let served = hub.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let hub = served.clone();
                thread::spawn(move || hub.answer(stream));
            }
        });
        hub
    }

    pub fn set(&self, fault: Fault) {
        self.state.lock().unwrap().fault = fault;
    }

    pub fn add(&self, name: &str, content: &[u8]) {
        self.state.lock().unwrap().files.insert(name.to_owned(), content.to_vec());
    }

    /// Paths asked for since the last call, with the first byte of the range.
    pub fn requests(&self) -> Vec<(String, Option<usize>)> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }

    /// Lets large files be fetched from another server.
    pub fn redirect(&self, to: &Self) {
        self.state.lock().unwrap().elsewhere = Some(to.endpoint.clone());
    }

    /// Every `Authorization` header that came.
    pub fn tokens(&self) -> Vec<String> {
        self.state.lock().unwrap().tokens.clone()
    }

    fn answer(&self, mut stream: TcpStream) {
        let Some(Head { path, range, token }) = read_head(&mut stream) else { return };
        let (files, fault, elsewhere) = {
            let mut state = self.state.lock().unwrap();
            state.requests.push((path.clone(), range.map(|r| r.0)));
            state.tokens.extend(token);
            let first = state.seen.insert(path.clone());
            let fault = match state.fault {
                Fault::SecondAnswerHasPaths if first => Fault::None,
                fault => fault,
            };
            (state.files.clone(), fault, state.elsewhere.clone())
        };
        if let Some(rest) = path.strip_prefix("/api/models/org/model/revision/") {
            if rest != "main" {
                return respond(&mut stream, "404 Not Found", "", b"{}", None);
            }
            let names: Vec<_> =
                files.keys().map(|name| serde_json::json!({"rfilename": name})).collect();
            let body = serde_json::json!({"siblings": names, "sha": COMMIT}).to_string();
            return respond(&mut stream, "200 OK", "", body.as_bytes(), None);
        }
        let prefix = format!("/org/model/resolve/{COMMIT}/");
        let Some(content) = path.strip_prefix(&prefix).and_then(|name| files.get(name)) else {
            return respond(&mut stream, "404 Not Found", "", b"Entry not found", None);
        };
        match elsewhere.filter(|_| is_large(content)) {
            Some(other) => {
                let etag = hex(&Sha256::digest(content));
                let head = format!(
                    "Location: {other}{path}\r\nX-Linked-ETag: \"{etag}\"\r\n\
                     ETag: \"of-the-redirection\"\r\nX-Repo-Commit: {COMMIT}\r\n"
                );
                respond(&mut stream, "302 Found", &head, b"", None);
            }
            None => Self::send(&mut stream, content, range, fault),
        }
    }

    fn send(stream: &mut TcpStream, content: &[u8], range: Option<Range>, fault: Fault) {
        let large = is_large(content);
        let outside = "../../../escaped";
        let (etag, commit) = match fault {
            Fault::EtagIsPath => (outside.to_owned(), COMMIT),
            Fault::SecondAnswerHasPaths => (outside.to_owned(), outside),
            _ if large => (hex(&Sha256::digest(content)), COMMIT),
            _ => (git(content), COMMIT),
        };
        let mut sent = content.to_vec();
        if fault == Fault::Flip && large {
            sent[content.len() / 2] ^= 1;
        }
        let word = format!("ETag: \"{etag}\"\r\nX-Repo-Commit: {commit}\r\n");
        if fault == Fault::LostRedirect {
            return respond(stream, "302 Found", &word, b"", None);
        }
        if fault == Fault::NoRanges {
            return respond(stream, "200 OK", &word, &sent, None);
        }
        let (start, end) = range.unwrap_or((0, None));
        if start == sent.len() {
            let head = format!("{word}Content-Range: bytes */{start}\r\n");
            return respond(stream, "416 Range Not Satisfiable", &head, b"", None);
        }
        let size = sent.len();
        if fault == Fault::TooLong && large && end.is_none() {
            sent.extend(vec![0; 100_000]);
        }
        let end = end.map_or(sent.len(), |end| (end + 1).min(sent.len()));
        let head = format!("{word}Content-Range: bytes {start}-{}/{size}\r\n", end - 1);
        let cut = match fault {
            Fault::BreakAfter(n) if large && end - start > n => Some(n),
            _ => None,
        };
        respond(stream, "206 Partial Content", &head, &sent[start..end], cut);
    }
}

fn is_large(content: &[u8]) -> bool {
    content.len() > 4096
}

/// First and last byte.
type Range = (usize, Option<usize>);

struct Head {
    path: String,
    range: Option<Range>,
    token: Option<String>,
}

fn read_head(stream: &mut TcpStream) -> Option<Head> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let path = head.split(' ').nth(1)?.to_owned();
    let range = head.lines().find_map(|line| {
        let range = line.to_ascii_lowercase();
        let (start, end) = range.strip_prefix("range: bytes=")?.split_once('-')?;
        Some((start.parse().ok()?, end.trim().parse().ok()))
    });
    let token = head.lines().find_map(|line| {
        let (name, token) = line.split_once(':')?;
        name.eq_ignore_ascii_case("authorization").then(|| token.trim().to_owned())
    });
    Some(Head { path, range, token })
}

fn respond(stream: &mut TcpStream, status: &str, head: &str, body: &[u8], cut: Option<usize>) {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\n{head}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    let body = &body[..cut.unwrap_or(length)];
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

fn git(content: &[u8]) -> String {
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {}\0", content.len()));
    hasher.update(content);
    hex(&hasher.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
