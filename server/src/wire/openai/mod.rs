//! OpenAI's Chat Completions and Completions, with mlx-lm's extensions
//! (`mlx_lm/server.py`).

pub mod chat;
pub mod completions;
mod format;
pub mod logprobs;
mod messages;
pub mod models;
pub mod options;
pub mod reply;
pub mod schema;
mod tools;

pub use options::{Defaults, Options};
