//! `verbatim fit`: what a model takes in memory, line by line.

use anyhow::{Result, bail};
use verbatim_engine::memory::{FitOptions, fit};

use super::{args::FitArgs, output::print};

pub(super) fn run(args: &FitArgs) -> Result<()> {
    let kv = args.kv.setting(&args.model)?;
    let options = FitOptions {
        context: args.context.map(|n| n as u64),
        requests: args.requests as u64,
        max_batch: args.max_batch,
        prefill_step_size: args.prefill_step_size as u64,
        budget: args.memory.budget(),
    };
    let report = fit(&args.model, args.adapter.as_deref(), kv.quantization(), &options)?;
    if args.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        print(&report.to_string())?;
    }
    if report.budget.is_some_and(|budget| !budget.fits) {
        bail!("this does not fit the memory budget");
    }
    Ok(())
}
