//! Running cases on the engine and holding them against their goldens.

mod case;
mod kv;
mod models;
mod plan;
mod portable;
mod run;

pub use case::{Replayed, replay};
pub(crate) use kv::quantization;
pub use models::Models;
pub use run::{RunOptions, run};

/// SHA-256 of the MLX library mapped into this process, where the system can tell.
pub fn loaded_libmlx_sha256() -> Option<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let path = maps
        .lines()
        .filter_map(|line| line.split_once('/').map(|(_, path)| format!("/{path}")))
        .find(|path| path.rsplit('/').next().is_some_and(|name| name.starts_with("libmlx.")))?;
    Some(crate::sha256(&std::fs::read(path).ok()?))
}
