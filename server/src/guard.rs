//! What every request passes: its id, the origin rule, its key, CORS headers, counters and a log line.

use std::{sync::Arc, time::Instant};

use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    error::ApiResult,
    generate::rounded,
    http::Held,
    keys::Admitted,
    limits, metrics,
    routes::{Endpoint, route},
    state::AppState,
    wire::anthropic,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The middleware around all routes.
pub async fn guard(State(state): State<Arc<AppState>>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let span = tracing::info_span!("request", id = %id);
    let mut response = checked(&state, &id, request, next).instrument(span).await;
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

async fn checked(state: &AppState, id: &str, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let anthropic = anthropic::errors::is_ours(request.uri().path(), request.headers());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let matched = request.extensions().get::<MatchedPath>().and_then(|m| route(m.as_str()));
    let mut in_flight = state.metrics.request(matched.map_or(metrics::OTHER, |(path, _)| path));
    let (mut response, admitted) = judged(state, matched.map(|(_, e)| e), request, next).await;
    if anthropic {
        anthropic::errors::reword(&mut response, id);
    }
    let status = response.status().as_u16();
    in_flight.answered(status);
    // A text, which both formats quote: no client can break a line or colour the log.
    tracing::info!(
        method = %method,
        path = path.as_str(),
        status,
        key = admitted.name.as_deref(),
        ms = rounded(started.elapsed().as_secs_f64() * 1e3),
        "answered"
    );
    response.map(|body| Body::new(Held::new(body, (in_flight, admitted.place))))
}

/// The response, and who asked as far as it matters.
async fn judged(
    state: &AppState,
    endpoint: Option<Endpoint>,
    request: Request,
    next: Next,
) -> (Response, Admitted) {
    let asked_headers = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let foreign = match state.config.origins.check(request.headers()) {
        Ok(foreign) => foreign,
        Err(e) => return (e.into_response(), Admitted::default()),
    };
    let (mut response, admitted) = if request.method() == Method::OPTIONS {
        (StatusCode::NO_CONTENT.into_response(), Admitted::default())
    } else {
        match admit(state, endpoint, &request) {
            Ok(admitted) => (next.run(request).await, admitted),
            Err(e) => (e.into_response(), Admitted::default()),
        }
    };
    if let Some(origin) = foreign {
        allow(response.headers_mut(), origin, asked_headers);
    }
    (response, admitted)
}

/// Paths that do not exist need a key as well. What takes a place of the key are POSTs: they work.
fn admit(state: &AppState, endpoint: Option<Endpoint>, request: &Request) -> ApiResult<Admitted> {
    if endpoint.is_some_and(|e| e.is_public(state.config.public_metrics)) {
        return Ok(Admitted::default());
    }
    state.config.keys.admit(request.headers(), request.method() == Method::POST)
}

fn allow(headers: &mut HeaderMap, origin: HeaderValue, asked_headers: Option<HeaderValue>) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, DELETE, OPTIONS"),
    );
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("x-request-id, request-id, retry-after"),
    );
    if let Some(asked) = asked_headers {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked);
    }
}

/// The client's own id if it is a plain one, else a fresh one.
fn request_id(headers: &HeaderMap) -> String {
    let plain = |id: &&str| {
        !id.is_empty()
            && id.len() <= limits::MAX_REQUEST_ID_BYTES
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    headers
        .get(REQUEST_ID)
        .and_then(|v| v.to_str().ok())
        .filter(plain)
        .map_or_else(|| Uuid::new_v4().to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("abc-1.2_3", true)]
    #[case("", false)]
    #[case("a b", false)]
    #[case("a\u{1b}[31m", false)]
    #[case(&"x".repeat(65), false)]
    fn ids_of_clients(#[case] id: &str, #[case] kept: bool) {
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(id.as_bytes()) {
            headers.insert(REQUEST_ID, value);
        }
        assert_eq!(request_id(&headers) == id, kept);
    }
}
