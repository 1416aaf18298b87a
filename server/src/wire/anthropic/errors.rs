//! Errors in Anthropic's words.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::Response,
};
use serde_json::{Map, Value, json};

use crate::error::{ApiError, Overlong};

/// Which version of the API a client speaks; OpenAI's clients send no such header.
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");
/// Anthropic's name of the header with a request's id.
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
/// Anthropic's status for a service that has too much to do.
const OVERLOADED: u16 = 529;

/// Whether a request is one of Anthropic's API.
pub fn is_ours(path: &str, headers: &HeaderMap) -> bool {
    let under = |root: &str| {
        path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    under("/v1/messages") || (under("/v1/models") && speaks_anthropic(headers))
}

/// Whether a client of Anthropic's API sent these headers.
pub fn speaks_anthropic(headers: &HeaderMap) -> bool {
    headers.contains_key(VERSION)
}

/// Gives a response its id, and an error Anthropic's status and words.
pub fn reword(response: &mut Response, request_id: &str) {
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    if let Some(error) = response.extensions().get::<ApiError>() {
        let (status, json) = (status_of(error), json_of(error, Some(request_id)));
        *response.status_mut() = status;
        *response.body_mut() = Body::from(json.to_string());
    }
}

/// An error's status: one that passes when there is less to do is told as such.
pub fn status_of(error: &ApiError) -> StatusCode {
    let passes =
        error.status == StatusCode::SERVICE_UNAVAILABLE && error.code != Some("worker_died");
    let overloaded = StatusCode::from_u16(OVERLOADED).ok().filter(|_| passes);
    overloaded.unwrap_or(error.status)
}

/// `{"type": "error", "error": {"type", "message"}, "request_id"}`.
pub fn json_of(error: &ApiError, request_id: Option<&str>) -> Value {
    let mut json = Map::new();
    json.insert("type".to_owned(), "error".into());
    let kind = kind(status_of(error));
    json.insert("error".to_owned(), json!({"type": kind, "message": message(error)}));
    if let Some(id) = request_id {
        json.insert("request_id".to_owned(), id.into());
    }
    json.into()
}

/// The message; one about an overlong prompt begins as Anthropic's, from which agents read how much
/// they have to cut.
fn message(error: &ApiError) -> String {
    match error.overlong {
        Some(Overlong { prompt, most }) => {
            format!("prompt is too long: {prompt} tokens > {most} maximum; {}", error.message)
        }
        None => error.message.clone(),
    }
}

fn kind(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        OVERLOADED => "overloaded_error",
        500..=599 => "api_error",
        _ => "invalid_request_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;
    use rstest::rstest;
    use verbatim_engine::Error as EngineError;

    #[rstest]
    #[case(ApiError::bad_request("m"), 400, "invalid_request_error")]
    #[case(ApiError::new(StatusCode::UNAUTHORIZED, "m"), 401, "authentication_error")]
    #[case(ApiError::new(StatusCode::FORBIDDEN, "m"), 403, "permission_error")]
    #[case(ApiError::new(StatusCode::NOT_FOUND, "m"), 404, "not_found_error")]
    #[case(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "m"), 405, "invalid_request_error")]
    #[case(ApiError::new(StatusCode::REQUEST_TIMEOUT, "m"), 408, "invalid_request_error")]
    #[case(ApiError::new(StatusCode::LENGTH_REQUIRED, "m"), 411, "invalid_request_error")]
    #[case(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "m"), 413, "request_too_large")]
    #[case(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "m"), 429, "rate_limit_error")]
    #[case(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "m"), 500, "api_error")]
    #[case(ApiError::new(StatusCode::GATEWAY_TIMEOUT, "m"), 504, "timeout_error")]
    #[case(EngineError::QueueFull { limit: 3 }.into(), 529, "overloaded_error")]
    #[case(EngineError::ShuttingDown.into(), 529, "overloaded_error")]
    #[case(EngineError::WorkerDied("x".into()).into(), 503, "api_error")]
    fn errors_have_anthropics_words(#[case] e: ApiError, #[case] status: u16, #[case] kind: &str) {
        let want = json!({
            "type": "error",
            "error": {"type": kind, "message": e.message},
            "request_id": "r",
        });
        assert_eq!((status_of(&e).as_u16(), json_of(&e, Some("r"))), (status, want));
        let waits =
            [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].contains(&e.status);
        let mut response = e.into_response();
        reword(&mut response, "r");
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.headers()["request-id"], "r");
        assert_eq!(response.headers().contains_key("retry-after"), waits);
    }

    #[test]
    fn an_overlong_prompt_is_told_as_agents_look_for_it() {
        let error: ApiError = EngineError::PromptTooLong { prompt: 210, most: 200 }.into();
        assert_eq!(status_of(&error).as_u16(), 400);
        assert_eq!(
            json_of(&error, None)["error"],
            json!({"type": "invalid_request_error",
                   "message": "prompt is too long: 210 tokens > 200 maximum; the prompt has 210 \
                               tokens, the limit is 200"})
        );
    }

    #[rstest]
    #[case("/v1/messages", false, true)]
    #[case("/v1/messages/count_tokens", false, true)]
    #[case("/v1/messages/batches", false, true)]
    #[case("/v1/messagesx", false, false)]
    #[case("/v1/messagesx", true, false)]
    #[case("/v1/models", false, false)]
    #[case("/v1/models", true, true)]
    #[case("/v1/models/a/b", true, true)]
    #[case("/v1/chat/completions", true, false)]
    fn whose_requests(#[case] path: &str, #[case] version: bool, #[case] ours: bool) {
        let mut headers = HeaderMap::new();
        if version {
            headers.insert(VERSION, HeaderValue::from_static("2023-06-01"));
        }
        assert_eq!(is_ours(path, &headers), ours);
    }
}
