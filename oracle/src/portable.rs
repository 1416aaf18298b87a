//! Goldens that no machine influences: Python builds their texts, this writes them.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::json;
use verbatim_harness::{
    files::write_whole,
    golden::{ANY_MACHINE, Manifest},
};

use crate::{checkout::Checkout, embed, report};

/// What `verbatim_oracle.portable.build_all` returns.
#[derive(Debug, Deserialize)]
struct Built {
    /// Text by path below `golden/any`.
    files: BTreeMap<String, String>,
    /// Files that could not be built here, and why.
    left_out: BTreeMap<String, String>,
}

/// Writes `golden/any`, removes what is no longer built.
///
/// # Errors
/// The reference's exception; trouble writing.
pub fn write(checkout: &Checkout, golden: &Path) -> Result<()> {
    let any = golden.join(ANY_MACHINE);
    let paths = json!({
        "root": checkout.root,
        "any": any,
        "shared": checkout.root.join("../shared/templates"),
    });
    // Later tables read the tokenizers that the first stage writes.
    let mut known = BTreeMap::new();
    for stage in ["tokenizers", "tables"] {
        let built: Built = embed::call_json("portable", "build", &[json!(stage), paths.clone()])?;
        for (name, text) in &built.files {
            write_whole(&any.join(name), text.as_bytes())?;
        }
        for (name, reason) in &built.left_out {
            report(&format!("{ANY_MACHINE}/{name} left as it is: {reason}"));
        }
        known.extend(built.files);
        known.extend(built.left_out);
    }
    let prefix = format!("{ANY_MACHINE}/");
    for name in Manifest::scan(golden)?.files.keys() {
        if name.strip_prefix(&prefix).is_some_and(|name| !known.contains_key(name)) {
            fs::remove_file(golden.join(name)).with_context(|| name.clone())?;
            report(&format!("removed {name}, which is no longer built"));
        }
    }
    Ok(())
}
