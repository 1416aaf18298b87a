//! `/v1/responses/{id}`, its input items, and the count of input tokens.

use std::{borrow::Cow, sync::Arc};

use axum::{
    extract::{RawQuery, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::{
    Responses,
    request::is_known_include,
    store::{Kept, Shared},
};
use crate::{
    error::{ApiError, ApiResult},
    generate,
    http::{PathPart, json_response},
    limits,
    state::AppState,
    wire::fields::quoted,
};

/// `GET /v1/responses/{id}`.
pub async fn one(
    State(state): State<Arc<AppState>>,
    PathPart(id): PathPart,
    RawQuery(query): RawQuery,
) -> ApiResult<Response> {
    for (name, value) in pairs(query.as_deref()) {
        match (name.as_ref(), value.as_ref()) {
            ("stream", "false") | ("include_obfuscation", _) => {}
            // A stored response is told as it is.
            ("include" | "include[]", what) if is_known_include(what) => {}
            _ => return Err(unknown(&name)),
        }
    }
    let response = kept(&state.responses, &id)?.response;
    let headers = [(header::CONTENT_TYPE, "application/json")];
    Ok((headers, response.to_string()).into_response())
}

/// `DELETE /v1/responses/{id}`.
pub async fn forget(
    State(state): State<Arc<AppState>>,
    PathPart(id): PathPart,
) -> ApiResult<Response> {
    if !state.responses.forget(&id) {
        return Err(not_found(&state.responses, &id));
    }
    let body = json!({"id": id, "object": "response", "deleted": true});
    Ok(json_response(StatusCode::OK, &body))
}

/// `POST /v1/responses/{id}/cancel`: nothing runs in the background.
pub async fn cancel(
    State(state): State<Arc<AppState>>,
    PathPart(id): PathPart,
) -> ApiResult<Response> {
    kept(&state.responses, &id)?;
    Err(ApiError::bad_request(
        "only a response in the background could be cancelled; to stop one that is being made, \
         close its connection",
    ))
}

/// `GET /v1/responses/{id}/input_items`.
pub async fn input_items(
    State(state): State<Arc<AppState>>,
    PathPart(id): PathPart,
    RawQuery(query): RawQuery,
) -> ApiResult<Response> {
    let page = Page::read(query.as_deref())?;
    let items = kept(&state.responses, &id)?.input;
    let items = items.iter().filter_map(|item| serde_json::from_str(item).ok()).collect();
    Ok(json_response(StatusCode::OK, &page.of(items)?))
}

/// `POST /v1/responses/input_tokens`.
pub async fn input_tokens(
    State(state): State<Arc<AppState>>,
    request: Request,
) -> ApiResult<Response> {
    let tokens = generate::count(&state, &Responses, request).await?;
    let body = json!({"object": "response.input_tokens", "input_tokens": tokens});
    Ok(json_response(StatusCode::OK, &body))
}

fn kept(store: &Shared, id: &str) -> ApiResult<Kept> {
    store.get(id).ok_or_else(|| not_found(store, id))
}

fn not_found(store: &Shared, id: &str) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, absent("Response", store, id))
}

/// Why a response may not be there.
pub(super) fn absent(what: &str, store: &Shared, id: &str) -> String {
    format!(
        "{what} with id '{}' not found: it was not stored (see store), was deleted, made room for \
         others, or is older than {} s (see --responses-ttl)",
        quoted(id),
        store.bounds().ttl.as_secs()
    )
}

/// The part of a list that was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Page {
    limit: usize,
    newest_first: bool,
    after: Option<String>,
}

impl Page {
    fn read(query: Option<&str>) -> ApiResult<Self> {
        let mut page = Self { limit: limits::DEFAULT_INPUT_ITEMS, newest_first: true, after: None };
        for (name, value) in pairs(query) {
            match name.as_ref() {
                "limit" => page.limit = limit(&value)?,
                "order" if value == "asc" => page.newest_first = false,
                "order" if value == "desc" => page.newest_first = true,
                "order" => return Err(ApiError::field("order", "order must be asc or desc")),
                "after" => page.after = Some(value.into_owned()),
                _ => return Err(unknown(&name)),
            }
        }
        Ok(page)
    }

    fn of(&self, mut items: Vec<Value>) -> ApiResult<Value> {
        if self.newest_first {
            items.reverse();
        }
        if let Some(after) = &self.after {
            let found = items.iter().position(|item| item["id"].as_str() == Some(after));
            let at = found.ok_or_else(|| {
                ApiError::field("after", format!("after: there is no item {}", quoted(after)))
            })?;
            items.drain(..=at);
        }
        let has_more = items.len() > self.limit;
        items.truncate(self.limit);
        let id = |item: Option<&Value>| item.map_or(Value::Null, |item| item["id"].clone());
        Ok(json!({
            "object": "list",
            "first_id": id(items.first()),
            "last_id": id(items.last()),
            "has_more": has_more,
            "data": items,
        }))
    }
}

fn limit(value: &str) -> ApiResult<usize> {
    let most = limits::MAX_INPUT_ITEMS;
    value
        .parse()
        .ok()
        .filter(|n| (1..=most).contains(n))
        .ok_or_else(|| ApiError::field("limit", format!("limit must be from 1 to {most}")))
}

/// The names and values of a query.
fn pairs(query: Option<&str>) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let decoded = |text| percent_decode_str(text).decode_utf8_lossy();
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs.map(move |pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    })
}

fn unknown(name: &str) -> ApiError {
    let name = quoted(name);
    ApiError::unsupported(name.clone(), format!("the query parameter {name} is not supported"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn page(query: &str) -> ApiResult<Value> {
        let items = (0..5).map(|i| json!({"id": format!("i{i}")})).collect();
        Page::read(Some(query))?.of(items)
    }

    #[rstest]
    #[case("", &["i4", "i3", "i2", "i1", "i0"], false)]
    #[case("order=asc&limit=2", &["i0", "i1"], true)]
    #[case("order=asc&after=i2", &["i3", "i4"], false)]
    #[case("after=i2&limit=1", &["i1"], true)]
    #[case("after=i0", &[], false)]
    #[case("%6frder=as%63&limit=5", &["i0", "i1", "i2", "i3", "i4"], false)]
    fn pages(#[case] query: &str, #[case] ids: &[&str], #[case] more: bool) {
        let page = page(query).unwrap();
        let got: Vec<&str> =
            page["data"].as_array().unwrap().iter().filter_map(|i| i["id"].as_str()).collect();
        assert_eq!((got.as_slice(), page["has_more"].as_bool()), (ids, Some(more)));
        assert_eq!(page["last_id"].as_str(), ids.last().copied());
    }

    #[rstest]
    #[case("limit=0", "limit must be from 1 to 100")]
    #[case("limit=x", "limit must be from 1 to 100")]
    #[case("order=up", "order must be asc or desc")]
    #[case("after=x", "after: there is no item x")]
    #[case("include=x", "the query parameter include is not supported")]
    fn bad_queries_are_refused(#[case] query: &str, #[case] message: &str) {
        assert_eq!(page(query).unwrap_err().message, message);
    }
}
