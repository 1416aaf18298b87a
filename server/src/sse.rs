//! Server-sent events: their framing, and a response body fed through a bounded channel.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use http_body::Frame;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::limits;

/// The event that ends an OpenAI stream.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

/// `data:` with JSON. serde_json writes no line breaks outside of strings and escapes those inside.
pub fn data(json: &Value) -> Bytes {
    format!("data: {json}\n\n").into()
}

/// An event with a type line, for protocols that name their events.
pub fn event(kind: &str, json: &Value) -> Bytes {
    format!("event: {kind}\ndata: {json}\n\n").into()
}

/// A comment that tells how far the prompt is, as mlx-lm's server words it.
pub fn progress(done: usize, total: usize) -> Bytes {
    format!(": keepalive {done}/{total}\n\n").into()
}

/// A comment that only keeps the connection alive.
pub fn keepalive() -> Bytes {
    Bytes::from_static(b": keepalive\n\n")
}

/// A response whose body is what the returned sender sends. The sender notices when the client has
/// gone; the body ends when the sender is dropped.
pub fn response() -> (mpsc::Sender<Bytes>, Response) {
    let (sender, receiver) = mpsc::channel(limits::STREAM_BUFFER);
    (sender, framed(Body::new(ChannelBody { receiver })))
}

/// A response whose events are known.
pub fn of(events: &[Bytes]) -> Response {
    framed(Body::from(events.concat()))
}

fn framed(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Reverse proxies would otherwise collect the stream before they pass it on.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

#[derive(Debug)]
struct ChannelBody {
    receiver: mpsc::Receiver<Bytes>,
}

impl http_body::Body for ChannelBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.receiver.poll_recv(cx).map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn framing() {
        assert_eq!(data(&json!({"a": 1})), "data: {\"a\":1}\n\n");
        assert_eq!(event("x.y", &json!({"a": 1})), "event: x.y\ndata: {\"a\":1}\n\n");
        assert_eq!(progress(3, 7), ": keepalive 3/7\n\n");
    }

    proptest! {
        #[test]
        fn any_text_stays_on_one_line_and_comes_back(text in any::<String>()) {
            let bytes = data(&json!({"t": text}));
            let line = std::str::from_utf8(&bytes).unwrap().strip_suffix("\n\n").unwrap();
            prop_assert!(!line.contains(['\n', '\r']));
            let back: Value = serde_json::from_str(line.strip_prefix("data: ").unwrap()).unwrap();
            prop_assert_eq!(back["t"].as_str(), Some(text.as_str()));
        }
    }
}
