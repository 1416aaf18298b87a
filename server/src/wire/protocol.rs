//! What a protocol brings: a parser of bodies, and a writer of answers.

use std::fmt::Debug;

use bytes::Bytes;
use serde_json::Value;

use crate::{
    core::{Answer, Outcome, Request, Start, Step},
    error::{ApiError, ApiResult},
    sse,
    state::AppState,
};

/// A protocol's generating endpoint.
pub trait Protocol: Debug + Send + Sync {
    /// Reads a body. Runs on a thread where it may take its time.
    ///
    /// # Errors
    /// 400 that names the field at fault.
    fn parse(&self, state: &AppState, body: &[u8]) -> ApiResult<Ask>;

    /// The field that says what an answer has to look like.
    fn format_field(&self) -> &'static str {
        "response_format"
    }
}

/// A body as its protocol read it.
#[derive(Debug)]
pub struct Ask {
    /// The model as the client names it.
    pub model: String,
    /// Answer as a stream of events.
    pub stream: bool,
    /// What to run.
    pub request: Request,
    /// Writes the answer.
    pub reply: Box<dyn Reply>,
}

/// Writes one answer, whole or as a stream. Each method returns server-sent events, framed.
///
/// A stream is `start`, then `progress`, `step` and `finish` as they come, then `end`; or `fail`
/// at any point, after which nothing follows.
pub trait Reply: Debug + Send {
    /// The events that open a stream, once the engine took the request up.
    fn start(&mut self, start: Start) -> Vec<Bytes>;

    /// What tells that `done` of `total` prompt tokens are processed.
    fn progress(&mut self, done: usize, total: usize) -> Vec<Bytes> {
        vec![sse::progress(done, total)]
    }

    /// What keeps a silent stream open. Before `start` comments are all there is.
    fn keepalive(&mut self) -> Bytes {
        sse::keepalive()
    }

    /// The events of a token of the choice `choice`.
    fn step(&mut self, choice: usize, step: Step) -> Vec<Bytes>;

    /// The events of the end of the choice `choice`.
    fn finish(&mut self, choice: usize, outcome: Outcome) -> Vec<Bytes>;

    /// The events that close a stream when every choice has ended.
    fn end(&mut self) -> Vec<Bytes>;

    /// The events of a failure.
    fn fail(&mut self, error: &ApiError) -> Vec<Bytes>;

    /// The whole stream that tells of a request that the engine refused, where it is not the status
    /// that tells.
    fn refused(&mut self, _error: &ApiError) -> Option<Vec<Bytes>> {
        None
    }

    /// Sees a token of an answer that is to be whole, for what an [`Answer`] does not keep.
    fn observe(&mut self, _choice: usize, _step: &Step) {}

    /// The whole response; `answers` has one item per choice.
    fn whole(self: Box<Self>, answers: Vec<Answer>) -> Value;

    /// Notes that an answer that was to be whole failed.
    fn failed_whole(self: Box<Self>, _error: &ApiError) {}
}
