//! The `verbatim` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    verbatim_engine::map_large_buffers();
    verbatim_server::cli::main()
}
