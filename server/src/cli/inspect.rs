//! `verbatim inspect`: what a model directory holds.

use anyhow::{Result, bail};
use verbatim_engine::weights::inspect;

use super::{args::InspectArgs, output::print};

pub(super) fn run(args: &InspectArgs) -> Result<()> {
    let report = inspect(&args.model)?;
    if args.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        let text = report.to_string();
        print(text.trim_end())?;
        print("\n")?;
    }
    if !report.supported {
        bail!("this model is not supported: {}", report.problems.join("; "));
    }
    Ok(())
}
