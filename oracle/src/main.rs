//! Command line of the oracle: runs mlx-lm on the harness's cases and writes or checks goldens.

mod check;
mod checkout;
mod convert;
mod embed;
mod fuzz;
mod plans;
mod portable;
mod record;
mod reference;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use verbatim_harness::{
    case::ModelSpec,
    fuzz::{Extent, Plan},
    maker::ModelStore,
};

use crate::{
    check::Times,
    checkout::Checkout,
    record::{Part, Recording},
};

/// Runs the reference (mlx-lm, unchanged) and records what it computes.
#[derive(Debug, Parser)]
#[command(name = "oracle", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run every case of harness/cases and write its golden, and the goldens that no machine influences.
    Golden {
        /// Where to write; the checkout's golden/ by default.
        #[arg(long)]
        out: Option<PathBuf>,
        /// Only cases whose id contains this; goldens of other cases stay as they are.
        #[arg(long)]
        filter: Option<String>,
        /// Where made models are kept; .cache/oracle-models by default.
        #[arg(long)]
        models: Option<PathBuf>,
        /// Only a part of all cases and tables, such as 1/2.
        #[arg(long, hide = true)]
        part: Option<Part>,
    },
    /// Regenerate twice into scratch folders; fail unless both equal each other and golden/.
    GoldenCheck {
        /// Regenerate once only, one half in each of two processes; fail unless it equals golden/.
        #[arg(long)]
        once: bool,
        /// Only cases whose id contains this.
        #[arg(long)]
        filter: Option<String>,
    },
    /// Convert every quantized model with mlx_lm.convert and compare tensors with those recorded, and
    /// with those that the harness's own conversion left in .cache/models.
    ConvertCheck,
    /// Draw fresh cases, run reference and engine on each, shrink what disagrees and write it below
    /// harness/cases/fuzz. Fails when something disagrees.
    Fuzz {
        /// Cases to draw.
        #[arg(long, default_value_t = 100)]
        count: usize,
        /// Seed of the draws.
        #[arg(long)]
        seed: u64,
        /// Only this family; all take turns by default.
        #[arg(long)]
        family: Option<String>,
        /// Which key-value modes to draw: `l1` none (caches in the model's dtype), `kv` packed ones
        /// only, `all` either.
        #[arg(long, default_value_t)]
        space: Extent,
        /// Note the run in harness/fuzz-runs.json, which the README shows.
        #[arg(long)]
        record: bool,
        /// Print every case.
        #[arg(long)]
        verbose: bool,
    },
    /// Make the model that a JSON file specifies (as cases do) and print its folder.
    Make {
        /// The specification.
        spec: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            report(&format!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn run(arguments: Arguments) -> Result<bool> {
    let checkout = Checkout::find()?;
    match arguments.command {
        Command::Golden { out, filter, models, part } => {
            embed::enter(&checkout)?;
            let recording = Recording {
                golden: out.unwrap_or_else(|| checkout.root.join("golden")),
                models: models.unwrap_or_else(|| checkout.models()),
                filter,
                part,
                checkout,
            };
            recording.run().map(|()| true)
        }
        Command::GoldenCheck { filter, once } => {
            let times = if once { Times::Once } else { Times::Twice };
            check::run(&checkout, filter.as_deref(), times)
        }
        Command::ConvertCheck => {
            embed::enter(&checkout)?;
            convert::check(&checkout)
        }
        Command::Fuzz { count, seed, family, space, record, verbose } => {
            embed::enter(&checkout)?;
            let plan = Plan { seed, count, family, extent: space };
            fuzz::run(&checkout, &plan, record, verbose)
        }
        Command::Make { spec } => {
            embed::enter(&checkout)?;
            make(&checkout, &spec)
        }
    }
}

#[allow(clippy::print_stdout)] // the folder is this command's result
fn make(checkout: &Checkout, spec: &Path) -> Result<bool> {
    let text = fs::read_to_string(spec).with_context(|| spec.display().to_string())?;
    let spec: ModelSpec =
        serde_json::from_str(&text).with_context(|| spec.display().to_string())?;
    let store = ModelStore::new(&checkout.root).with_cache(checkout.models());
    println!("{}", record::model(&store, &spec)?.display());
    Ok(true)
}

/// A line for the person who watches.
#[allow(clippy::print_stderr)] // this is the one place that talks
fn report(line: &str) {
    eprintln!("oracle: {line}");
}
