//! Constrained decoding: what a generation may write, kept by masks over its logits.
//!
//! A [`Grammar`] is plain data. [`Engine::constrain`](crate::Engine::constrain) compiles it with
//! llguidance to a [`Constraint`], off the MLX thread; there a `Matcher` of the sequence tells
//! before each token which tokens may follow.

mod blame;
mod compile;
mod grammar;
mod matcher;
mod outline;
mod schema;
mod vocabulary;

pub(crate) use compile::Compiler;
pub use grammar::{Answer, Calls, Grammar, Part};
pub use matcher::Constraint;
pub(crate) use matcher::{Mask, Matcher};

#[cfg(test)]
mod tests;
