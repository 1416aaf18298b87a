//! The arguments of the prompt cache.

use clap::Args;
use verbatim_engine::EngineOptions;

use crate::limits;

/// State kept of earlier prompts.
#[derive(Debug, Args)]
#[command(next_help_heading = "Prompt cache")]
pub struct PromptCacheArgs {
    /// Bytes of state kept of earlier requests, for those that begin alike; 0 keeps none
    #[arg(long, value_name = "BYTES", default_value_t = limits::DEFAULT_PROMPT_CACHE_BYTES)]
    pub prompt_cache_bytes: usize,
}

impl PromptCacheArgs {
    /// Sets the engine's options.
    pub(super) fn apply(&self, options: &mut EngineOptions) {
        options.prompt_cache_bytes = self.prompt_cache_bytes;
    }
}
