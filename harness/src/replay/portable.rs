//! Traces that no machine influences, on the engine's text stack.

use std::path::Path;

use crate::{
    golden::ANY_MACHINE,
    report::{PortableOutcome, PortableReport},
};

/// Replays every table of the wanted kinds; a kind without tables is missing.
pub(super) fn replay(golden: &Path, _root: &Path, kinds: &[String]) -> Vec<PortableReport> {
    let any = golden.join(ANY_MACHINE);
    kinds
        .iter()
        .map(|kind| PortableReport {
            kind: kind.clone(),
            path: format!("{ANY_MACHINE}/{kind}"),
            rows: 0,
            outcome: if any.join(kind).is_dir() {
                PortableOutcome::Error { message: "not ready".into() }
            } else {
                PortableOutcome::Missing
            },
        })
        .collect()
}
