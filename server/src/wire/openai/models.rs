//! `GET /v1/models` and `GET /v1/models/{id}`.

use serde_json::{Value, json};

use crate::{error::ApiError, wire::fields::quoted};
use axum::http::StatusCode;

/// The model's entry.
pub fn entry(id: &str, created: u64) -> Value {
    json!({"id": id, "object": "model", "created": created, "owned_by": "verbatim"})
}

/// The list with its one model.
pub fn list(id: &str, created: u64) -> Value {
    json!({"object": "list", "data": [entry(id, created)]})
}

/// 404 for a model that is not served here.
pub fn not_found(asked: &str, served: &str) -> ApiError {
    let message = format!(
        "model {:?} is not served here; ask for {served:?} or leave the model out",
        quoted(asked)
    );
    let mut e = ApiError::new(StatusCode::NOT_FOUND, message).with_code("model_not_found");
    e.param = Some("model".to_owned());
    e
}
