//! Compares conversions: the reference's now, the reference's as recorded, the harness's own.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result};
use verbatim_harness::{case::load_suites, golden::machine_key, maker::ModelStore};

use crate::{
    checkout::Checkout,
    record::{self, CONVERTED_FILE, Converted, Tensors, model, tensor_digests},
    reference::Setting,
    report,
};

/// Whether every quantized model's tensors are the recorded ones and the engine's; differences are
/// reported by model and tensor.
///
/// # Errors
/// When a conversion fails or nothing is recorded for this machine.
pub fn check(checkout: &Checkout) -> Result<bool> {
    let setting = Setting::find(checkout)?;
    let path = checkout.root.join("golden").join(machine_key(setting.backend)).join(CONVERTED_FILE);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let recorded: Converted = serde_json::from_str(&text)?;
    let scratch = tempfile::tempdir().context("making a scratch folder")?;
    let store = ModelStore::new(&checkout.root).with_cache(scratch.path());
    let (mut done, mut engine, mut problems) = (BTreeSet::new(), 0, 0);
    for case in load_suites(&checkout.root.join("harness/cases"))? {
        let digest = case.model.digest();
        if case.model.quantization.is_none() || done.contains(&digest) {
            continue;
        }
        let fresh = tensor_digests(&model(&store, &case.model).with_context(|| case.id.clone())?)?;
        if recorded.get(&digest) != Some(&record::digest(&fresh)?) {
            report(&format!("{}: the converted model is not the recorded one", case.id));
            problems += 1;
        }
        let ours = checkout.root.join(".cache/models").join(&digest);
        if ours.is_dir() {
            engine += 1;
            problems += differences("the engine's", &case.id, &fresh, &tensor_digests(&ours)?);
        }
        done.insert(digest);
    }
    report(&format!(
        "{} converted models, {engine} of them compared with the engine's, {problems} differences",
        done.len()
    ));
    Ok(problems == 0)
}

fn differences(what: &str, id: &str, fresh: &Tensors, other: &Tensors) -> usize {
    let names: BTreeSet<_> = fresh.keys().chain(other.keys()).collect();
    let wrong: Vec<_> =
        names.into_iter().filter(|name| fresh.get(*name) != other.get(*name)).collect();
    for name in &wrong {
        report(&format!("{id}: {name} is not {what}"));
    }
    wrong.len()
}
