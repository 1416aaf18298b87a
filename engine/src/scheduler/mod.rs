//! The MLX thread: takes requests from a bounded queue and gives each running sequence one turn
//! after another, a prefill chunk or a token at a time. Where batching is on, several sequences
//! share a turn and the model's calls.

mod adapters;
mod admission;
mod batch;
mod sequence;
mod status;
mod worker;

pub(crate) use sequence::Job;
pub(crate) use status::Status;
pub(crate) use worker::{Loaded, LoadedModel, Setup, batch_rows, spawn};

use std::panic::{AssertUnwindSafe, catch_unwind};

use tracing::error;

use crate::{Error, Result};

/// Runs `work`; a panic in it becomes an error that names `what` in the log.
fn contained<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let reason = panic_text(panic.as_ref());
        error!(reason, "{what} panicked");
        Err(Error::Mlx(format!("internal error: {reason}")))
    })
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic".into())
}
