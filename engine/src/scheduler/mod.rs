//! The MLX thread: takes requests from a bounded queue and gives each running sequence one turn
//! after another, a prefill chunk or a token at a time. Where batching is on, several sequences
//! share a turn and the model's calls.

mod batch;
mod sequence;
mod status;
mod worker;

pub(crate) use sequence::Job;
pub(crate) use status::Status;
pub(crate) use worker::{Setup, spawn};

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic".into())
}
