//! The command line.

pub mod args;
mod fit;
mod generate;
mod inspect;
mod kv;
mod kv_plan;
mod logits;
pub mod memory;
mod output;
mod serve;

use std::{io, process::ExitCode};

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches};

use crate::{logging, version};
use args::{Cli, Command};

/// Parses the arguments, runs the command and tells how it went: 0 for success, 1 for a failure, 2
/// for wrong usage.
pub fn main() -> ExitCode {
    // The version in `args` is a constant; MLX tells its own only at run time.
    let matches = Cli::command().version(version::long().leak() as &str).get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(e) => e.exit(),
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has enough, e.g. `| head`.
        Err(e) if is_broken_pipe(&e) => ExitCode::SUCCESS,
        Err(e) => {
            output::error(&format!("{e:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let quiet = logging::LogLevel::Warn;
    let level = match cli.command {
        Command::Serve(_) => cli.log.log_level.unwrap_or(logging::LogLevel::Info),
        _ => cli.log.log_level.unwrap_or(quiet),
    };
    logging::init(level, cli.log.log_format);
    match cli.command {
        Command::Serve(args) => serve::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Fit(args) => fit::run(&args),
        Command::Logits(args) => logits::run(&args),
        Command::KvPlan(args) => kv_plan::run(&args),
    }
}

fn is_broken_pipe(e: &anyhow::Error) -> bool {
    e.chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
