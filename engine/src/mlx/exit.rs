//! Ending the process while MLX still computes.

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
