//! From libFuzzer to the bodies of `verbatim-fuzz`.

use std::sync::Once;

pub use libfuzzer_sys;

/// Runs the body of the target `name` on one input. A panic that leaves the body is a finding.
///
/// # Panics
/// Where the body does.
pub fn run(name: &str, input: &[u8]) {
    static FIRST: Once = Once::new();
    // libFuzzer's hook would end the process at panics that the engine catches and reports as errors.
    FIRST.call_once(|| drop(std::panic::take_hook()));
    let target = verbatim_fuzz::target(name).expect("a target of this name");
    (target.body)(input);
}

/// The whole of a target's file.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        $crate::libfuzzer_sys::fuzz_target!(|input: &[u8]| $crate::run($name, input));
    };
}
