//! Every route, in one table.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{MethodRouter, delete, get, post},
};

use crate::{
    adapters,
    error::{ApiError, ApiResult},
    generate,
    guard::guard,
    health,
    http::{PathPart, json_response},
    metrics::{self, Facts},
    openapi,
    state::AppState,
    wire::{
        anthropic::{self, Messages},
        openai::{chat::ChatCompletions, completions::Completions, models},
        responses::{Responses, retrieve},
    },
};

const PAGE: &str = include_str!("../assets/index.html");

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// A conversation's next message.
    Chat,
    /// A text's continuation.
    Completions,
    /// A conversation's next message, in Anthropic's API.
    Messages,
    /// The tokens of such a conversation.
    CountTokens,
    /// A response of the model.
    Responses,
    /// A response that was stored.
    Response,
    /// Stop such a response.
    Cancel,
    /// What such a response answered.
    InputItems,
    /// The tokens of an input.
    InputTokens,
    /// The models served.
    Models,
    /// One model.
    Model,
    /// The adapters that requests can use.
    Adapters,
    /// One of them.
    Adapter,
    /// Whether the server can do its work.
    Health,
    /// Counters for a monitoring system.
    Metrics,
    /// This API's description.
    OpenApi,
    /// The chat page.
    Page,
}

/// Every path with what it does.
pub const ROUTES: &[(&str, Endpoint)] = &[
    ("/v1/chat/completions", Endpoint::Chat),
    ("/chat/completions", Endpoint::Chat),
    ("/v1/completions", Endpoint::Completions),
    ("/v1/messages", Endpoint::Messages),
    ("/v1/messages/count_tokens", Endpoint::CountTokens),
    ("/v1/responses", Endpoint::Responses),
    ("/responses", Endpoint::Responses),
    ("/v1/responses/input_tokens", Endpoint::InputTokens),
    ("/v1/responses/{id}", Endpoint::Response),
    ("/v1/responses/{id}/cancel", Endpoint::Cancel),
    ("/v1/responses/{id}/input_items", Endpoint::InputItems),
    ("/v1/models", Endpoint::Models),
    ("/v1/models/{*id}", Endpoint::Model),
    ("/v1/adapters", Endpoint::Adapters),
    ("/v1/adapters/{name}", Endpoint::Adapter),
    ("/health", Endpoint::Health),
    ("/metrics", Endpoint::Metrics),
    ("/openapi.json", Endpoint::OpenApi),
    ("/", Endpoint::Page),
];

/// The route of the path template that a request matched.
pub fn route(template: &str) -> Option<(&'static str, Endpoint)> {
    ROUTES.iter().find(|(path, _)| *path == template).copied()
}

impl Endpoint {
    /// Whether it is answered without a key.
    pub fn is_public(self, public_metrics: bool) -> bool {
        match self {
            Self::Health | Self::Page => true,
            Self::Metrics => public_metrics,
            _ => false,
        }
    }

    fn handler(self) -> MethodRouter<Arc<AppState>> {
        match self {
            Self::Chat => post(|State(state): State<Arc<AppState>>, request: Request| {
                generate::answer(state, &ChatCompletions, request)
            }),
            Self::Completions => post(|State(state): State<Arc<AppState>>, request: Request| {
                generate::answer(state, &Completions, request)
            }),
            Self::Messages => post(|State(state): State<Arc<AppState>>, request: Request| {
                generate::answer(state, &Messages, request)
            }),
            Self::CountTokens => post(|State(state): State<Arc<AppState>>, request: Request| {
                anthropic::count_tokens(state, request)
            }),
            Self::Responses => post(|State(state): State<Arc<AppState>>, request: Request| {
                generate::answer(state, &Responses, request)
            }),
            Self::Response => get(retrieve::one).delete(retrieve::forget),
            Self::Cancel => post(retrieve::cancel),
            Self::InputItems => get(retrieve::input_items),
            Self::InputTokens => post(retrieve::input_tokens),
            Self::Models => get(list_models),
            Self::Model => get(one_model),
            Self::Adapters => get(adapters::list_all).post(adapters::add),
            Self::Adapter => delete(adapters::remove),
            Self::Health => get(report_health),
            Self::Metrics => get(report_metrics),
            Self::OpenApi => get(describe),
            Self::Page => get(page),
        }
    }
}

/// The router over [`ROUTES`].
pub fn router(state: Arc<AppState>) -> Router {
    ROUTES
        .iter()
        .fold(Router::new(), |router, (path, endpoint)| router.route(path, endpoint.handler()))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&state), guard))
        .with_state(state)
}

async fn list_models(State(state): State<Arc<AppState>>, headers: HeaderMap) -> Response {
    let (id, created) = (&state.model_id, state.created);
    let list = if anthropic::errors::speaks_anthropic(&headers) {
        anthropic::models::page(&[anthropic::models::entry(id, created)])
    } else {
        models::list(id, created)
    };
    json_response(StatusCode::OK, &list)
}

async fn one_model(
    State(state): State<Arc<AppState>>,
    PathPart(id): PathPart,
    headers: HeaderMap,
) -> ApiResult<Response> {
    state.check_model(&id)?;
    // By the name that was asked for, as answers have it.
    let entry = if anthropic::errors::speaks_anthropic(&headers) {
        anthropic::models::entry(&id, state.created)
    } else {
        models::entry(&id, state.created)
    };
    Ok(json_response(StatusCode::OK, &entry))
}

async fn report_health(State(state): State<Arc<AppState>>) -> Response {
    let kv = &state.engine.model().kv;
    let health = state.health();
    let (status, body) = health::report(&health, state.condition(&health), kv);
    json_response(status, &body)
}

async fn report_metrics(State(state): State<Arc<AppState>>) -> Response {
    let health = state.health();
    let condition = state.condition(&health);
    let facts = Facts { health, condition, model: &state.model_id, started: state.created };
    let mut response = Response::new(Body::from(metrics::report(&state.metrics, &facts)));
    let content_type = HeaderValue::from_static(metrics::CONTENT_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

async fn describe() -> Response {
    json_response(StatusCode::OK, &openapi::document())
}

async fn page() -> Response {
    let mut response = Response::new(Body::from(PAGE));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // The page is one file that talks to its own server only.
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
             img-src data:; font-src data:; connect-src 'self'; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
        ),
    );
    response
}

async fn not_found() -> Response {
    ApiError::new(StatusCode::NOT_FOUND, "Not Found").into_response()
}

async fn wrong_method() -> Response {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take that method")
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    /// The page's own policy names its script and style by their digests.
    #[test]
    fn the_pages_policy_is_that_of_its_contents() {
        for (kind, open, close) in [
            ("script-src", "<script type=\"module\">", "</script>"),
            ("style-src", "<style>", "</style>"),
        ] {
            let text =
                PAGE.split_once(open).and_then(|(_, rest)| rest.split_once(close)).unwrap().0;
            let wanted = format!("{kind} 'sha256-{}'", base64(&Sha256::digest(text)));
            assert!(PAGE.contains(&wanted), "the page must say {wanted}");
        }
    }

    fn base64(bytes: &[u8]) -> String {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let bits = chunk.iter().fold(0_u32, |bits, b| bits << 8 | u32::from(*b));
            let bits = bits << (8 * (3 - chunk.len()));
            for i in 0..4 {
                let digit = DIGITS[(bits >> (18 - 6 * i) & 63) as usize];
                text.push(if i <= chunk.len() { char::from(digit) } else { '=' });
            }
        }
        text
    }
}
