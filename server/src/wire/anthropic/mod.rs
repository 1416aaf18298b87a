//! Anthropic's Messages API: `/v1/messages` and `/v1/messages/count_tokens`.
//!
//! `docs/anthropic.md` tells what is honoured and what is refused.

mod blocks;
mod count_tokens;
pub mod errors;
mod input;
mod messages;
pub mod models;
mod options;
pub mod reply;
pub mod request;
pub mod schema;
mod stream;
mod system;
mod tools;

pub use count_tokens::count_tokens;

use crate::{
    error::ApiResult,
    state::AppState,
    wire::{
        fields::Fields,
        protocol::{Ask, Protocol},
    },
};
use reply::Answering;
use request::{Parsed, Purpose};

/// `/v1/messages`.
#[derive(Debug)]
pub struct Messages;

impl Protocol for Messages {
    fn parse(&self, state: &AppState, body: &[u8]) -> ApiResult<Ask> {
        let parsed = request::parse(body, &state.config.defaults, Purpose::Answer)?;
        let Parsed { model, stream, shows_thinking, request } = parsed;
        let reply = Box::new(Answering::new(model.clone(), shows_thinking));
        Ok(Ask { model, stream, request, reply })
    }

    fn format_field(&self) -> &'static str {
        "output_config.format"
    }
}

/// Takes the mark of a prompt's reusable part. The prompt cache finds such parts by itself, so it
/// changes nothing.
fn take_cache_control(fields: &mut Fields) -> ApiResult<()> {
    fields.object("cache_control").map(drop)
}
