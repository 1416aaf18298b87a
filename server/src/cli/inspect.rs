//! `verbatim inspect`: what a model directory holds, and whether an adapter fits it.

use std::path::Path;

use anyhow::{Result, bail};
use serde_json::json;
use verbatim_engine::{
    adapter::{AdapterDir, AdapterInfo},
    weights::{ModelDir, inspect},
};

use super::{args::InspectArgs, output::print};

pub(super) fn run(args: &InspectArgs) -> Result<()> {
    let report = inspect(&args.model)?;
    let adapter = args.adapter.as_deref().map(|adapter| fit(&args.model, adapter));
    if args.json {
        let mut value = serde_json::to_value(&report)?;
        match &adapter {
            None => {}
            Some(Ok(info)) => value["adapter"] = serde_json::to_value(info)?,
            Some(Err(e)) => value["adapter"] = json!({ "problem": e.to_string() }),
        }
        print(&format!("{}\n", serde_json::to_string_pretty(&value)?))?;
    } else {
        let text = report.to_string();
        print(text.trim_end())?;
        print("\n")?;
        match &adapter {
            None => {}
            Some(Ok(info)) => print(&format!("\n  adapter       ✓ {info}\n"))?,
            Some(Err(e)) => print(&format!("\n  ✗ {e}\n"))?,
        }
    }
    if !report.supported {
        bail!("this model is not supported: {}", report.problems.join("; "));
    }
    match adapter {
        Some(Err(e)) => Err(e),
        _ => Ok(()),
    }
}

fn fit(model: &Path, adapter: &Path) -> Result<AdapterInfo> {
    Ok(AdapterDir::open(adapter)?.fit(&ModelDir::open(model)?)?.info)
}
