//! What a request takes at most, in bytes, and what is let in beside what runs.
//!
//! One arithmetic serves admission, `verbatim fit` and `verbatim inspect`. A *peak* is what MLX's
//! arrays take at most at one time, weights included (`active memory`, as MLX counts it). Buffers
//! that MLX keeps for arrays to come are not in it: MLX gives them back before it asks the system
//! for more, and the engine has it do so after every chunk of a prompt.

mod budget;
mod estimate;
mod facts;
mod fit;
mod ledger;
mod rows;
mod size;
mod system;
mod work;

pub use budget::{Advice, Shortage};
pub use estimate::{Demand, Estimate, MemoryModel};
pub use facts::{CacheFacts, Heads, LayerFacts, MemoryFacts, Phase, WorkFacts};
pub use fit::{Fit, FitOptions, Machine, Within, fit};
pub use ledger::{Cost, FREE_ROW_TOKENS, Ledger, MAX_PADDING, Place, Sharing, Verdict};
pub use rows::Rows;
pub use size::parse_bytes;
pub(crate) use size::{bytes, grouped};
pub use system::default_budget;

/// What the process takes, as the MLX thread last saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryHealth {
    /// What everything may take together; absent when there is no bound.
    pub budget: Option<u64>,
    /// What weights, adapters and running requests may come to.
    pub reserved: u64,
    /// What MLX's arrays take.
    pub active: u64,
    /// The most that MLX's arrays took since the weights were read.
    pub peak: u64,
    /// What MLX keeps for arrays to come; it goes back to the system before more is asked of it.
    pub cached: u64,
}
