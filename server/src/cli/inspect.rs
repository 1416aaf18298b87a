//! `verbatim inspect`: what a model directory holds.

use anyhow::Result;

use super::args::InspectArgs;

pub(super) fn run(args: &InspectArgs) -> Result<()> {
    let _ = args;
    anyhow::bail!("not ready")
}
