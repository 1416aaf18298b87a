//! The `verbatim` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    verbatim_server::cli::main()
}
