//! Searches for layers' bits on the engine, file against file.

use std::path::Path;

use verbatim_engine::kv::plan::{KvPlan, PlanOptions, plan};

use super::{Models, loaded_libmlx_sha256};
use crate::{
    case::Backend,
    golden::{MANIFEST_FILE, Manifest, machine_key},
    plan::{FOLDER, PlanCase, PlanGolden},
    report::{PortableOutcome, PortableReport},
    sha256,
};

/// Replays every search, each file of a golden being a row.
pub(super) fn replay(
    golden: &Path,
    models: &mut Models,
    cases: &[PlanCase],
) -> Vec<PortableReport> {
    let machine = machine_key(Backend::Cpu);
    let manifest = Manifest::read(golden).map_err(|e| e.to_string());
    cases
        .iter()
        .map(|case| {
            let relative = case.relative_path(&machine);
            let (rows, outcome) = match row(golden, &relative, &manifest, models, case) {
                Ok(differences) => compared(&differences),
                Err(Stop::Missing) => (0, PortableOutcome::Missing),
                Err(Stop::Fail(message)) => (0, PortableOutcome::Error { message }),
            };
            PortableReport { kind: FOLDER.into(), path: relative, rows, outcome }
        })
        .collect()
}

enum Stop {
    Missing,
    Fail(String),
}

impl<E: std::fmt::Display> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Fail(error.to_string())
    }
}

fn compared(differences: &[Option<String>]) -> (usize, PortableOutcome) {
    let wrong: Vec<&String> = differences.iter().flatten().collect();
    let outcome = match wrong.first() {
        None => PortableOutcome::Equal,
        Some(first) => PortableOutcome::Differs { rows: wrong.len(), first: (*first).clone() },
    };
    (differences.len(), outcome)
}

/// How each file differs, the sensitivities first.
fn row(
    golden: &Path,
    relative: &str,
    manifest: &Result<Manifest, String>,
    models: &mut Models,
    case: &PlanCase,
) -> Result<Vec<Option<String>>, Stop> {
    let path = golden.join(relative);
    if !path.is_file() {
        return Err(Stop::Missing);
    }
    let listed = manifest.as_ref().map_err(Clone::clone)?.files.get(relative);
    if listed
        .is_none_or(|record| sha256(&std::fs::read(&path).unwrap_or_default()) != record.sha256)
    {
        return Err(Stop::Fail(format!("the golden is not the file that {MANIFEST_FILE} lists")));
    }
    let expected = PlanGolden::read(&path)?;
    let (folder, weights) = models.get(&case.model)?;
    check(&expected, case, &weights)?;
    let found = search(&folder, case)?;
    let mut differences =
        vec![difference("kv_sensitivity.json", &expected.sensitivity, &found.sensitivity_json())];
    for (target, config) in case.target_bits.iter().zip(&expected.configs) {
        let name = format!("kv_config.json for {target} bits");
        differences.push(difference(
            &name,
            config,
            &found.clone().with_target(*target).config_json(),
        ));
    }
    Ok(differences)
}

fn search(folder: &Path, case: &PlanCase) -> Result<KvPlan, String> {
    let options = PlanOptions {
        candidate_bits: case.candidate_bits.clone(),
        target_bits: case.target_bits.first().copied().ok_or("the case has no target")?,
        group_size: case.group_size,
    };
    plan(folder, &case.ids(), &options, &mut |_| {}).map_err(|e| e.to_string())
}

fn check(golden: &PlanGolden, case: &PlanCase, weights: &str) -> Result<(), String> {
    if golden.provenance.case_digest != case.digest() {
        return Err(
            "the golden was made for another version of this case; run `just golden`".into()
        );
    }
    if golden.configs.len() != case.target_bits.len() {
        return Err("the golden has other targets".into());
    }
    if golden.provenance.model_sha256 != weights {
        return Err("the model's weights are not those that the oracle used".into());
    }
    match loaded_libmlx_sha256() {
        Some(here) if here != golden.provenance.libmlx_sha256 => {
            Err("the golden is from another libmlx; record with this one (`just golden`)".into())
        }
        _ => Ok(()),
    }
}

/// The first line of `found` that is not `expected`'s.
fn difference(name: &str, expected: &str, found: &str) -> Option<String> {
    if expected == found {
        return None;
    }
    let mut lines = expected.lines().zip(found.lines()).enumerate();
    let line = lines.find(|(_, (expected, found))| expected != found);
    Some(match line {
        Some((n, (expected, found))) => {
            format!("{name}, line {}: {} instead of {}", n + 1, found.trim(), expected.trim())
        }
        None => format!("{name}: {} bytes instead of {}", found.len(), expected.len()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_other_line_is_told() {
        assert_eq!(difference("f", "a\nb", "a\nb"), None);
        assert_eq!(
            difference("f", "a\n b,\nc", "a\n x,\nd").unwrap(),
            "f, line 2: x, instead of b,"
        );
        assert_eq!(difference("f", "a\nb", "a").unwrap(), "f: 1 bytes instead of 3");
    }
}
