//! Running cases on the engine and holding them against their goldens.

mod cached;
mod case;
mod hot;
mod kv;
mod models;
mod plan;
mod portable;
mod run;
mod runner;
mod workers;

use std::path::{Path, PathBuf};

use verbatim_engine::EngineOptions;

pub use cached::{Cached, cached};
pub use case::{Replayed, Resumed, replay, resume};
pub(crate) use kv::quantization;
pub use models::Models;
pub(crate) use run::commit;
pub use run::{RunOptions, run};
pub use workers::{Workers, serve};

use crate::case::{Case, MAX_COMPANY};

/// How the engine is loaded for a case, from the folders of its model and its adapter.
///
/// # Errors
/// A key-value format that does not exist.
pub fn engine_options(
    case: &Case,
    model: &Path,
    adapter: Option<PathBuf>,
) -> Result<EngineOptions, String> {
    let mut options = EngineOptions::new(model);
    options.set_adapter(adapter);
    options.kv = quantization(&case.kv)?;
    if !case.company.is_empty() {
        options.max_batch = Some(1 + MAX_COMPANY);
    }
    Ok(options)
}

/// Now, RFC 3339 in UTC.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// SHA-256 of the MLX library mapped into this process, where the system can tell.
pub fn loaded_libmlx_sha256() -> Option<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let path = maps
        .lines()
        .filter_map(|line| line.split_once('/').map(|(_, path)| format!("/{path}")))
        .find(|path| path.rsplit('/').next().is_some_and(|name| name.starts_with("libmlx.")))?;
    Some(crate::sha256(&std::fs::read(path).ok()?))
}
