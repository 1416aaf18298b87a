//! `POST /v1/messages/count_tokens`.

use std::sync::Arc;

use axum::{extract::Request, http::StatusCode, response::Response};
use serde_json::json;

use super::request::{self, Purpose};
use crate::{core::Prepared, error::ApiResult, generate, http::json_response, state::AppState};

/// Counts the tokens of a prompt, as a message would report them.
pub async fn count_tokens(state: Arc<AppState>, request: Request) -> ApiResult<Response> {
    let body = state.bodies.read(request).await?;
    let tokens = generate::on_a_thread(&state, move |state| {
        let parsed = request::parse(&body.bytes, &state.config.defaults, Purpose::Count)?;
        state.check_model(&parsed.model)?;
        let prepared = Prepared::new(&state.engine, &state.config.rendering, parsed.request)?;
        Ok(prepared.prompt_tokens())
    })
    .await?;
    Ok(json_response(StatusCode::OK, &json!({ "input_tokens": tokens })))
}
