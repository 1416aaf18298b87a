//! Bodies in and out.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    extract::{FromRequestParts, Path, Request},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::Response,
};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    error::{ApiError, ApiResult},
    limits,
};

/// A JSON response.
pub fn json_response(status: StatusCode, json: &Value) -> Response {
    let mut response = Response::new(Body::from(json.to_string()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The variable part of a path.
#[derive(Debug)]
pub struct PathPart(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathPart {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(part)) => Ok(Self(part)),
            Err(e) => Err(ApiError::bad_request(e.body_text())),
        }
    }
}

/// A request's body, and the room it takes up.
#[derive(Debug)]
pub struct HeldBody {
    /// The body.
    pub bytes: Bytes,
    /// Other bodies get this room when it is dropped.
    _room: Option<OwnedSemaphorePermit>,
}

/// Reads bodies within limits of size, time and memory.
#[derive(Debug)]
pub struct BodyReader {
    max_bytes: usize,
    time_limit: Duration,
    room: Arc<Semaphore>,
}

impl BodyReader {
    /// A reader of bodies of at most `max_bytes` each, that must arrive within `time_limit`.
    pub fn new(max_bytes: usize, time_limit: Duration) -> Self {
        let room = limits::MAX_BODY_BYTES_AT_ONCE.max(max_bytes);
        let room = Arc::new(Semaphore::new(rooms(room)));
        Self { max_bytes, time_limit, room }
    }

    /// The whole body of a request.
    ///
    /// # Errors
    /// 411 without a length, 413 for too many bytes, 408 for too much time, 400 when it breaks off, 503
    /// while other bodies take all the room there is.
    pub async fn read(&self, request: Request) -> ApiResult<HeldBody> {
        let length = self.announced(request.headers())?;
        let late = |_| {
            ApiError::new(StatusCode::REQUEST_TIMEOUT, "the request's body did not arrive in time")
        };
        timeout(self.time_limit, self.read_all(request, length)).await.map_err(late)?
    }

    /// Room is taken for what has arrived, not for what a head announces: whoever sends nothing keeps
    /// nobody waiting.
    async fn read_all(&self, request: Request, length: usize) -> ApiResult<HeldBody> {
        let mut body = Limited::new(request.into_body(), length);
        let (mut bytes, mut room) = (Vec::new(), None);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| {
                if e.is::<LengthLimitError>() {
                    self.too_large()
                } else {
                    ApiError::bad_request("the request's body broke off")
                }
            })?;
            let Ok(data) = frame.into_data() else { continue };
            self.take_room(&mut room, bytes.len() + data.len())?;
            bytes.extend_from_slice(&data);
        }
        Ok(HeldBody { bytes: bytes.into(), _room: room })
    }

    /// Extends `room` to that of a body of so many bytes. Small ones need none: connections are
    /// bounded.
    fn take_room(&self, room: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> ApiResult<()> {
        let held = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let wanted = rooms(bytes.saturating_sub(limits::FREE_BODY_BYTES));
        let Some(more) = wanted.checked_sub(held).filter(|more| *more > 0) else { return Ok(()) };
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let more = Arc::clone(&self.room).try_acquire_many_owned(more).map_err(|_| {
            let message = "other requests' bodies take all the room there is; try again later";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).with_code("bodies_full")
        })?;
        match room {
            Some(room) => room.merge(more),
            None => *room = Some(more),
        }
        Ok(())
    }

    /// The length that the head announces; the most that is allowed when it is left open.
    fn announced(&self, headers: &HeaderMap) -> ApiResult<usize> {
        let Some(length) = headers.get(header::CONTENT_LENGTH) else {
            return if headers.contains_key(header::TRANSFER_ENCODING) {
                Ok(self.max_bytes)
            } else {
                Err(ApiError::new(StatusCode::LENGTH_REQUIRED, "Content-Length header is required"))
            };
        };
        match length.to_str().ok().and_then(|l| l.parse::<u64>().ok()) {
            None => Err(ApiError::bad_request("Invalid Content-Length header")),
            Some(n) if n > self.max_bytes as u64 => Err(self.too_large()),
            Some(n) => Ok(n as usize),
        }
    }

    fn too_large(&self) -> ApiError {
        ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "the request's body has more than {} bytes (see --max-body-bytes)",
                self.max_bytes
            ),
        )
    }
}

/// A body that holds on to something until it is sent or given up.
#[derive(Debug)]
pub struct Held<T> {
    body: Body,
    _held: T,
}

impl<T> Held<T> {
    /// `held` is dropped with the body.
    pub fn new(body: Body, held: T) -> Self {
        Self { body, _held: held }
    }
}

impl<T: Unpin> http_body::Body for Held<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn rooms(bytes: usize) -> usize {
    bytes.div_ceil(limits::BODY_ROOM_BYTES)
}
