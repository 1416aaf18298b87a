//! The command line.

mod adapters;
pub mod args;
mod config_file;
mod fit;
mod generate;
mod get;
mod inspect;
mod keys;
mod kv;
mod kv_plan;
mod logits;
mod ls;
pub mod memory;
mod model;
mod output;
mod prompt_cache;
mod responses;
mod serve;

use std::{io, process::ExitCode};

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches};

use crate::{logging, version};
use args::{Cli, Command};

/// Exit status for arguments that make no sense, as clap has it.
const WRONG_USAGE: u8 = 2;

/// Parses the arguments, runs the command and tells how it went: 0 for success, 1 for a failure, 2
/// for wrong usage.
pub fn main() -> ExitCode {
    // The version in `args` is a constant; MLX tells its own only at run time.
    let command = Cli::command().version(version::long().leak() as &str);
    let given = match config_file::expand(std::env::args_os().collect(), &command) {
        Ok(given) => given,
        Err(e) => {
            output::error(&format!("{e:#}"));
            return ExitCode::from(WRONG_USAGE);
        }
    };
    let matches = command.get_matches_from(given);
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
        Command::Serve(mut args) => {
            // A snapshot's directory is called by its commit, which is no name for a model.
            let id = model::settle(&mut args.model)?.map(|id| id.to_string());
            args.model_name = args.model_name.take().or(id);
            serve::run(&args)
        }
        Command::Generate(mut args) => {
            model::settle(&mut args.model)?;
            generate::run(&args)
        }
        Command::Inspect(mut args) => {
            model::settle(&mut args.model)?;
            inspect::run(&args)
        }
        Command::Fit(mut args) => {
            model::settle(&mut args.model)?;
            fit::run(&args)
        }
        Command::Logits(mut args) => {
            model::settle(&mut args.model)?;
            logits::run(&args)
        }
        Command::KvPlan(mut args) => {
            model::settle(&mut args.model)?;
            kv_plan::run(&args)
        }
        Command::Get(args) => get::run(&args),
        Command::Ls(args) => ls::run(&args),
    }
}

fn is_broken_pipe(e: &anyhow::Error) -> bool {
    e.chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
