//! What every request passes: its id, the origin rule, CORS headers, and a log line.

use std::{sync::Arc, time::Instant};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tracing::Instrument;
use uuid::Uuid;

use crate::{generate::rounded, limits, state::AppState};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The middleware around all routes.
pub async fn guard(State(state): State<Arc<AppState>>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let span = tracing::info_span!("request", id = %id);
    let mut response = checked(&state, request, next).instrument(span).await;
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

async fn checked(state: &AppState, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let asked_headers = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let response = match state.config.origins.check(request.headers()) {
        Err(e) => e.into_response(),
        Ok(foreign) => {
            let mut response = if method == Method::OPTIONS {
                StatusCode::NO_CONTENT.into_response()
            } else {
                next.run(request).await
            };
            if let Some(origin) = foreign {
                allow(response.headers_mut(), origin, asked_headers);
            }
            response
        }
    };
    // Quoted, so that no client can break a line or colour the log.
    tracing::info!(
        method = %method,
        path = ?path,
        status = response.status().as_u16(),
        ms = rounded(started.elapsed().as_secs_f64() * 1e3),
        "answered"
    );
    response
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
        HeaderValue::from_static("x-request-id, retry-after"),
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
