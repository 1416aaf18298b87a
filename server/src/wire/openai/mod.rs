//! OpenAI's Chat Completions and Completions, with mlx-lm's extensions
//! (`mlx_lm/server.py`).

pub mod chat;
pub mod completions;
pub mod logprobs;
mod messages;
pub mod models;
pub mod options;
pub mod reply;
pub mod schema;

pub use options::{Defaults, Options};
