#![no_main]

verbatim_fuzz_runner::target!("completions");
