//! Regenerates goldens twice and compares.

use std::{collections::BTreeMap, path::Path, process::Command, thread};

use anyhow::{Context, Result, bail, ensure};
use verbatim_harness::golden::{ANY_MACHINE, FileRecord, Manifest};

use crate::{checkout::Checkout, record::CONVERTED_FILE, report};

type Files = BTreeMap<String, FileRecord>;

/// Whether two fresh generations equal each other and what is committed; differences are reported.
///
/// # Errors
/// When a generation fails.
pub fn run(checkout: &Checkout, filter: Option<&str>) -> Result<bool> {
    let scratch = tempfile::tempdir().context("making a scratch folder")?;
    let generation = |name: &str| -> Result<Files> {
        let mut files = generate(&scratch.path().join(name), filter)?;
        if filter.is_some() {
            // It lists the converted models of every case.
            files.retain(|name, _| !name.ends_with(CONVERTED_FILE));
        }
        Ok(files)
    };
    report("two generations, side by side: every line comes twice");
    let (first, second) = thread::scope(|scope| {
        let second = scope.spawn(|| generation("second"));
        let first = generation("first");
        (first, second.join().unwrap_or_else(|_| bail!("the second generation panicked")))
    });
    let (first, second) = (&first?, &second?);
    let golden = checkout.root.join("golden");
    let mut committed = Manifest::scan(&golden)?;
    let listed = Manifest::read(&golden)?;
    let mut problems = listed.differences(&committed);
    committed.files.retain(|name, _| belongs(name, first, filter.is_some()));
    problems.extend(compare("the second generation", first, second));
    problems.extend(compare("what is committed", first, &committed.files));
    for problem in &problems {
        report(problem);
    }
    report(&format!(
        "{} files generated twice, {} committed ones compared, {} differences",
        first.len(),
        committed.files.len(),
        problems.len()
    ));
    Ok(problems.is_empty())
}

/// One generation in a process and with models of its own.
fn generate(folder: &Path, filter: Option<&str>) -> Result<Files> {
    let golden = folder.join("golden");
    let mut command = Command::new(std::env::current_exe().context("this executable's path")?);
    command.arg("golden").arg("--out").arg(&golden).arg("--models").arg(folder.join("models"));
    if let Some(filter) = filter {
        command.args(["--filter", filter]);
    }
    let status = command.status().context("starting a generation")?;
    ensure!(status.success(), "the generation failed");
    Ok(Manifest::scan(&golden)?.files)
}

/// Whether a committed file should have been generated: the same machine's or no machine's. Templates
/// outside the checkout may be absent, and a filter leaves out most.
fn belongs(name: &str, generated: &Files, filtered: bool) -> bool {
    if generated.contains_key(name) {
        return true;
    }
    let machine = generated.keys().filter_map(|n| n.split('/').next()).find(|m| *m != ANY_MACHINE);
    !filtered && name.split('/').next() == machine
}

fn compare(what: &str, first: &Files, other: &Files) -> Vec<String> {
    let left = Manifest { files: first.clone() };
    let right = Manifest { files: other.clone() };
    left.differences(&right).into_iter().map(|line| format!("{what}: {line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Files {
        let record = |name: &str| FileRecord { sha256: format!("digest of {name}"), bytes: 1 };
        names.iter().map(|name| ((*name).to_owned(), record(name))).collect()
    }

    #[test]
    fn only_this_machines_files_are_expected() {
        let generated = files(&["linux-cpu/s/a.safetensors", "any/tokens/x.json"]);
        assert!(belongs("linux-cpu/s/gone.safetensors", &generated, false));
        assert!(!belongs("macos-metal/s/a.safetensors", &generated, false));
        assert!(!belongs("any/templates/not-here.json", &generated, false));
        assert!(!belongs("linux-cpu/s/gone.safetensors", &generated, true));
        assert!(belongs("any/tokens/x.json", &generated, true));
    }

    #[test]
    fn every_kind_of_difference_is_a_line() {
        let first = files(&["m/a", "m/b"]);
        let mut other = files(&["m/a", "m/c"]);
        other.get_mut("m/a").unwrap().bytes = 2;
        let lines = compare("x", &first, &other);
        assert_eq!(lines, ["x: m/a differs", "x: m/b is missing", "x: m/c is not listed"]);
        assert!(compare("x", &first, &first).is_empty());
    }
}
