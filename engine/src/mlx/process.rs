//! What the process as a whole does for MLX: how it allocates, how it ends.

#![allow(unsafe_code)]

use std::ffi::c_int;

unsafe extern "C" {
    fn _exit(code: c_int) -> !;
}

/// Ends the process with `code` and nothing else: no destructor runs.
///
/// `std::process::exit` takes MLX's library down while its threads may still compute, which crashes
/// the process; whoever cannot wait for the engine to end leaves this way. Output that is still
/// buffered is lost.
pub fn exit_at_once(code: i32) -> ! {
    // SAFETY: takes a number, touches no memory of ours and does not return.
    unsafe { _exit(code) }
}

/// Gives every buffer from 128 KiB a mapping of its own, for as long as the process runs.
///
/// glibc raises this threshold each time that it frees a larger mapping, as reading a tokenizer
/// does. Weights that are loaded later then lie within a heap, where MLX's CPU products run about a
/// sixth slower. Fixing it also fixes when a heap shrinks, so that is set too, far above what one
/// step of decoding frees. Call it first thing; other C libraries have no such rules, so there it
/// does nothing.
pub fn map_large_buffers() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const M_TRIM_THRESHOLD: c_int = -1;
        const M_MMAP_THRESHOLD: c_int = -3;
        const TRIM_BYTES: c_int = 32 << 20;
        const MAP_BYTES: c_int = 128 << 10;
        unsafe extern "C" {
            fn mallopt(parameter: c_int, value: c_int) -> c_int;
        }
        // SAFETY: takes two numbers and may be called at any time.
        unsafe {
            mallopt(M_TRIM_THRESHOLD, TRIM_BYTES);
            mallopt(M_MMAP_THRESHOLD, MAP_BYTES);
        }
    }
}
