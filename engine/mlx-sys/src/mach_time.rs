//! `mlx_rs::random` asks Darwin's clock for its default seed; other systems lack the symbol.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch, cut to 64 bits.
#[unsafe(no_mangle)]
pub extern "C" fn mach_approximate_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)
}
