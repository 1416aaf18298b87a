//! `/v1/adapters`: adapters that come and go while the server runs. What is added is known to this
//! process only: after a restart, the flags alone decide.

mod root;

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use verbatim_engine::{Error as EngineError, adapter::NamedAdapter};

pub use root::AdapterRoot;

use crate::{
    error::{ApiError, ApiResult},
    http::{PathPart, json_response},
    state::AppState,
    wire::adapters::{Registration, deleted, entry, list},
};

/// `GET /v1/adapters`.
pub async fn list_all(State(state): State<Arc<AppState>>) -> Response {
    json_response(StatusCode::OK, &list(&state.engine.adapters()))
}

/// `POST /v1/adapters`: mounts an adapter under a name.
pub async fn add(State(state): State<Arc<AppState>>, request: Request) -> ApiResult<Response> {
    check_allowed(&state)?;
    let body = state.bodies.read(request).await?;
    let registration = Registration::parse(&body.bytes)?;
    drop(body);
    // One at a time: the others wait here, not on threads that requests need.
    let turn = Arc::clone(&state.mounting).acquire_owned().await.map_err(|_| failed())?;
    let span = tracing::Span::current();
    let work = move || {
        let _turn = turn;
        let _in_span = span.enter();
        mount(&state, &registration)
    };
    let mounted = tokio::task::spawn_blocking(work).await.map_err(|e| {
        tracing::error!(error = %e, "mounting an adapter failed");
        failed()
    })??;
    Ok(json_response(StatusCode::CREATED, &entry(&mounted)))
}

/// `DELETE /v1/adapters/{name}`: takes the name away; running requests finish.
pub async fn remove(
    State(state): State<Arc<AppState>>,
    PathPart(name): PathPart,
) -> ApiResult<Response> {
    check_allowed(&state)?;
    let removed = state.engine.unmount_adapter(&name)?;
    tracing::info!(adapter = %removed.info, requests = removed.users, "removed");
    Ok(json_response(StatusCode::OK, &deleted(&removed.info.name)))
}

fn check_allowed(state: &AppState) -> ApiResult<&AdapterRoot> {
    state.config.adapter_root.as_ref().ok_or_else(|| {
        ApiError::new(
            StatusCode::FORBIDDEN,
            "adapters can be added and removed only where the server was started with \
             --adapter-root DIR",
        )
    })
}

fn mount(state: &AppState, registration: &Registration) -> ApiResult<NamedAdapter> {
    let Registration { name, path, replace } = registration;
    let folder = check_allowed(state)?.find(path)?;
    let mounted = if *replace {
        state.engine.replace_adapter(name, &folder)
    } else {
        state.engine.mount_adapter(name, &folder)
    };
    let mounted = mounted.map_err(refusal)?;
    tracing::info!(adapter = %mounted.info, folder = ?folder, "added");
    Ok(mounted)
}

/// What is wrong with the folder is the client's to know; where it lies is not.
fn refusal(error: EngineError) -> ApiError {
    match error {
        EngineError::File { path, reason } => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            ApiError::field("path", format!("{name}: {reason}"))
        }
        EngineError::Adapter(_) => ApiError::field("path", error.to_string()),
        other => other.into(),
    }
}

fn failed() -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the adapter could not be mounted")
}
