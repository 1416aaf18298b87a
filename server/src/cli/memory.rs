//! The arguments of the memory budget.

use clap::Args;
use verbatim_engine::memory::{default_budget, parse_bytes};

/// What `--memory-budget` names to have no bound.
const NONE: &str = "none";

/// How much memory everything may take.
#[derive(Debug, Args)]
#[command(next_help_heading = "Memory")]
pub struct MemoryArgs {
    /// Memory for weights, caches and intermediate results together, e.g. 8GB or 7.5GiB; none is no
    /// bound [default: three quarters of the machine's]
    #[arg(long, value_name = "BYTES", value_parser = budget)]
    pub memory_budget: Option<Budget>,
}

/// A budget, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget(pub Option<u64>);

impl MemoryArgs {
    /// Bytes that everything may take together.
    pub fn budget(&self) -> Option<u64> {
        self.memory_budget.map_or_else(default_budget, |Budget(bytes)| bytes)
    }
}

fn budget(text: &str) -> Result<Budget, String> {
    if text.eq_ignore_ascii_case(NONE) {
        return Ok(Budget(None));
    }
    parse_bytes(text).map(|bytes| Budget(Some(bytes)))
}
