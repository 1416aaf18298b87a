//! Fuzz targets: what each does with one input, and the inputs that it begins with.
//!
//! A body panics where a promise is broken. cargo-fuzz drives the bodies (`fuzz/runner`); the
//! ordinary tests run them on their seeds and on small changes of those, so that they cannot rot.
//! `fuzz/README.md` tells how to fuzz.

mod adapter;
mod dictionary;
mod events;
mod input;
mod model;
mod prompt_cache;
mod protocols;
mod safetensors;
mod scratch;
mod template;
mod tokenizer;
mod tools;

pub use dictionary::dictionary;
pub use prompt_cache::{Operation, RULES as PROMPT_CACHE_RULES, check as check_prompt_cache};

/// A fuzz target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Runs one input. Panics where a promise is broken; the result tells whether the input was
    /// accepted, which the tests count.
    pub body: fn(&[u8]) -> bool,
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "safetensors", body: safetensors::body, seeds: safetensors::seeds },
    Target { name: "model", body: model::body, seeds: model::seeds },
    Target { name: "adapter", body: adapter::body, seeds: adapter::seeds },
    Target { name: "tokenizer", body: tokenizer::body, seeds: tokenizer::seeds },
    Target { name: "template", body: template::body, seeds: template::seeds },
    Target { name: "tools", body: tools::body, seeds: tools::seeds },
    Target { name: "chat", body: protocols::chat, seeds: protocols::chat_seeds },
    Target {
        name: "completions",
        body: protocols::completions,
        seeds: protocols::completions_seeds,
    },
    Target { name: "messages", body: protocols::messages, seeds: protocols::messages_seeds },
    Target { name: "responses", body: protocols::responses, seeds: protocols::responses_seeds },
    Target { name: "prompt_cache", body: prompt_cache::body, seeds: prompt_cache::seeds },
    Target { name: "events", body: events::body, seeds: events::seeds },
];

/// The target of a name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
