//! The MLX thread: takes requests from a bounded queue and gives each running sequence one turn
//! after another, a prefill chunk or a token at a time.

mod sequence;
mod status;
mod worker;

pub(crate) use sequence::Job;
pub(crate) use status::Status;
pub(crate) use worker::{Setup, spawn};
