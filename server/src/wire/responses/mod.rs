//! OpenAI's Responses: items in and out, typed events, and responses that can be referred to.
//!
//! `docs/responses.md` says what is honoured. The shapes are those of the official SDKs
//! (`openai/types/responses`).

mod content;
pub mod items;
mod messages;
pub mod output;
pub mod reply;
mod request;
pub mod retrieve;
pub mod schema;
pub mod store;
pub mod tools;

use uuid::Uuid;

use crate::{
    error::ApiResult,
    state::AppState,
    wire::protocol::{Ask, Protocol},
};

/// `/v1/responses`.
#[derive(Debug)]
pub struct Responses;

impl Protocol for Responses {
    fn parse(&self, state: &AppState, body: &[u8]) -> ApiResult<Ask> {
        request::parse(state, body)
    }

    fn format_field(&self) -> &'static str {
        "text.format"
    }
}

/// A fresh id; `prefix` tells what it is of.
fn fresh_id(prefix: &str) -> String {
    format!("{prefix}_{}", Uuid::new_v4().simple())
}
