//! What a failed request answers: a status and an OpenAI-shaped error object.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use verbatim_engine::{Error as EngineError, constrain::Part, memory::Advice};

use crate::{http::json_response, limits};

/// Result with an [`ApiError`].
pub type ApiResult<T> = Result<T, ApiError>;

/// An error as clients see it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// What is wrong and what to do.
    pub message: String,
    /// The request field at fault.
    pub param: Option<String>,
    /// Machine-readable cause.
    pub code: Option<&'static str>,
    /// How much too long the prompt is, where that is what is wrong.
    pub overlong: Option<Overlong>,
}

/// A prompt that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlong {
    /// Its tokens.
    pub prompt: u64,
    /// Tokens that it may have.
    pub most: u64,
}

impl ApiError {
    /// An error without field or code.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code: None, overlong: None }
    }

    /// 400 with `message` and no field.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 400 about the field `param`.
    pub fn field(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..Self::bad_request(message) }
    }

    /// 400 for a field, or a value of it, that this server does not honour.
    pub fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::field(param, message).with_code("unsupported_parameter")
    }

    /// 400 for a prompt that is too long, with the code that clients know to shorten it by.
    pub fn too_long(overlong: Overlong, message: impl Into<String>) -> Self {
        let e = Self::bad_request(message).with_code("context_length_exceeded");
        Self { overlong: Some(overlong), ..e }
    }

    /// The same error with a code.
    #[must_use]
    pub fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// OpenAI's error type of this status.
    pub fn kind(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            503 => "service_unavailable",
            500..=599 => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// `{"error": {"message", "type", "param", "code"}}`.
    pub fn to_json(&self) -> Value {
        json!({"error": {
            "message": self.message,
            "type": self.kind(),
            "param": self.param,
            "code": self.code,
        }})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = json_response(self.status, &self.to_json());
        let headers = response.headers_mut();
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(limits::RETRY_AFTER_SECONDS));
            }
            StatusCode::UNAUTHORIZED => {
                let challenge = HeaderValue::from_static("Bearer realm=\"verbatim\"");
                headers.insert(header::WWW_AUTHENTICATE, challenge);
            }
            _ => {}
        }
        // `guard` rewrites the body where the path's protocol words errors in another way.
        response.extensions_mut().insert(self);
        response
    }
}

impl From<EngineError> for ApiError {
    /// The caller's mistakes are 400, overlong prompts among them; a full or ending engine is 503.
    /// Anything else is the engine's own trouble: its text goes to the log, since it may tell of
    /// addresses and paths.
    fn from(e: EngineError) -> Self {
        if let Some(overlong) = overlong(&e) {
            return Self::too_long(overlong, e.to_string());
        }
        match e {
            EngineError::Request(_) | EngineError::Template(_) | EngineError::Tokenizer(_) => {
                Self::bad_request(e.to_string())
            }
            EngineError::Grammar { ref part, .. } => {
                let field = if *part == Part::Format { "response_format" } else { "tools" };
                Self::field(field, e.to_string())
            }
            EngineError::AdapterExists(_) => {
                Self::new(StatusCode::CONFLICT, e.to_string()).with_code("adapter_exists")
            }
            EngineError::UnknownAdapter(_) => {
                Self::new(StatusCode::NOT_FOUND, e.to_string()).with_code("adapter_not_found")
            }
            EngineError::Memory(shortage) if shortage.is_passing() => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, shortage.to_string())
                    .with_code("memory_busy")
            }
            EngineError::Memory(_) => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, e.to_string()).with_code("memory_budget")
            }
            EngineError::QueueFull { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, e.to_string()).with_code("queue_full")
            }
            EngineError::ShuttingDown => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down")
                    .with_code("shutting_down")
            }
            EngineError::WorkerDied(_) => {
                tracing::error!(error = ?e.to_string(), "the MLX thread has died");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the generation thread has died; the server must be restarted",
                )
                .with_code("worker_died")
            }
            _ => {
                tracing::error!(error = ?e.to_string(), "a generation failed");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the model could not run this request; the server's log has the cause",
                )
                .with_code("engine_failure")
            }
        }
    }
}

/// How much too long the prompt is, where a shorter one would do.
fn overlong(e: &EngineError) -> Option<Overlong> {
    match e {
        EngineError::PromptTooLong { prompt, most } => {
            Some(Overlong { prompt: *prompt as u64, most: *most as u64 })
        }
        EngineError::Memory(shortage) => match shortage.advice {
            Advice::ShorterPrompt { prompt, most } => Some(Overlong { prompt, most }),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use verbatim_engine::memory::Shortage;

    fn memory(advice: Advice) -> EngineError {
        Shortage { resident: 1, request: 2, budget: 2, advice }.into()
    }

    #[rstest]
    #[case(EngineError::Request("top_k must be below 8".into()), 400, "invalid_request_error", None)]
    #[case(EngineError::Template("no".into()), 400, "invalid_request_error", None)]
    #[case(EngineError::PromptTooLong { prompt: 9, most: 8 }, 400, "invalid_request_error", Some("context_length_exceeded"))]
    #[case(memory(Advice::ShorterPrompt { prompt: 9, most: 8 }), 400, "invalid_request_error", Some("context_length_exceeded"))]
    #[case(memory(Advice::FewerTokens(8)), 413, "invalid_request_error", Some("memory_budget"))]
    #[case(EngineError::QueueFull { limit: 3 }, 503, "service_unavailable", Some("queue_full"))]
    #[case(EngineError::ShuttingDown, 503, "service_unavailable", Some("shutting_down"))]
    #[case(EngineError::WorkerDied("x".into()), 503, "service_unavailable", Some("worker_died"))]
    #[case(EngineError::Mlx("at 0x7f".into()), 500, "server_error", Some("engine_failure"))]
    fn engine_errors_map(
        #[case] e: EngineError,
        #[case] status: u16,
        #[case] kind: &str,
        #[case] code: Option<&str>,
    ) {
        let api = ApiError::from(e);
        assert_eq!((api.status.as_u16(), api.kind(), api.code), (status, kind, code));
        assert!(!api.message.contains("0x7f"));
        let overlong = api.overlong.map(|overlong| (overlong.prompt, overlong.most));
        assert_eq!(overlong, (code == Some("context_length_exceeded")).then_some((9, 8)));
        let has_retry = api.into_response().headers().contains_key(header::RETRY_AFTER);
        assert_eq!(has_retry, status == 503);
    }

    #[test]
    fn the_json_has_openai_shape() {
        let e = ApiError::unsupported("n", "n must be 1");
        assert_eq!(
            e.to_json().to_string(),
            r#"{"error":{"message":"n must be 1","type":"invalid_request_error","param":"n","code":"unsupported_parameter"}}"#
        );
    }
}
