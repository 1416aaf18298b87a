//! Flags of the Responses endpoint.

use std::time::Duration;

use clap::Args;

use super::args::{none_or_up_to, seconds};
use crate::{limits, wire::responses::store::Bounds};

/// Flags of the Responses endpoint.
#[derive(Debug, Args)]
#[command(next_help_heading = "Responses")]
pub struct ResponsesArgs {
    /// Bytes of responses that are stored for previous_response_id; 0 stores none
    #[arg(long, value_name = "BYTES", default_value_t = limits::DEFAULT_RESPONSES_BYTES, value_parser = none_or_up_to::<{ limits::MAX_RESPONSES_BYTES }>)]
    pub responses_bytes: usize,
    /// Number of responses that are stored; 0 stores none
    #[arg(long, value_name = "N", default_value_t = limits::DEFAULT_RESPONSES, value_parser = none_or_up_to::<{ limits::MAX_RESPONSES }>)]
    pub responses_entries: usize,
    /// Seconds that a response is stored
    #[arg(long, value_name = "SECONDS", default_value = "86400", value_parser = seconds)]
    pub responses_ttl: Duration,
    /// Pass over tools that only OpenAI can run, such as web_search, instead of refusing requests
    /// that offer them
    #[arg(long)]
    pub ignore_hosted_tools: bool,
}

impl ResponsesArgs {
    /// The bounds of the store.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            bytes: self.responses_bytes,
            entries: self.responses_entries,
            ttl: self.responses_ttl,
        }
    }
}
