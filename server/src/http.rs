//! Bodies in and out.

use std::time::Duration;

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;
use tokio::time::timeout;

use crate::error::{ApiError, ApiResult};

/// A JSON response.
pub fn json_response(status: StatusCode, json: &Value) -> Response {
    let mut response = Response::new(Body::from(json.to_string()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The whole body of a request, of at most `max_bytes`, that must arrive in time.
pub async fn read_body(request: Request, max_bytes: usize, limit: Duration) -> ApiResult<Bytes> {
    check_length(request.headers(), max_bytes)?;
    let body = Limited::new(request.into_body(), max_bytes);
    match timeout(limit, body.collect()).await {
        Err(_) => Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "the request's body did not arrive in time",
        )),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => Err(too_large(max_bytes)),
        Ok(Err(_)) => Err(ApiError::bad_request("the request's body broke off")),
    }
}

fn check_length(headers: &HeaderMap, max_bytes: usize) -> ApiResult<()> {
    let length = headers.get(header::CONTENT_LENGTH);
    if length.is_none() && !headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(ApiError::new(
            StatusCode::LENGTH_REQUIRED,
            "Content-Length header is required",
        ));
    }
    let length = length.map(|l| l.to_str().ok().and_then(|l| l.parse::<u64>().ok()));
    match length {
        Some(None) => Err(ApiError::bad_request("Invalid Content-Length header")),
        Some(Some(n)) if n > max_bytes as u64 => Err(too_large(max_bytes)),
        _ => Ok(()),
    }
}

fn too_large(max_bytes: usize) -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the request's body has more than {max_bytes} bytes (see --max-body-bytes)"),
    )
}
