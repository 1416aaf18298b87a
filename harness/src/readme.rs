//! The table in the README: what cases and goldens define, not what a run found.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use crate::{
    Error, Result,
    case::{Case, Matrix, MatrixFamily, load_matrix, load_suites},
    files::write_whole,
    fuzz,
    golden::{ANY_MACHINE, Golden, Manifest, relative_path},
};

const MARKERS: Markers = Markers("<!-- parity:begin -->", "<!-- parity:end -->");
/// Part of the paths of searches' goldens.
const SEARCHES: &str = "/kv-plan/";

/// Puts the table of the checkout at `root` into its README; true when that changed it.
///
/// # Errors
/// As [`table`], and for a README without the two markers.
pub fn update(root: &Path) -> Result<bool> {
    MARKERS.put(root, &table(root)?)
}

/// The lines that a generated table stands between.
pub(crate) struct Markers(pub(crate) &'static str, pub(crate) &'static str);

impl Markers {
    /// Puts `table` between them in the README of the checkout at `root`; true when that changed it.
    ///
    /// # Errors
    /// [`Error::File`], also for a README without the two.
    pub(crate) fn put(&self, root: &Path, table: &str) -> Result<bool> {
        self.put_in(&root.join("README.md"), table)
    }

    /// The same for another file.
    ///
    /// # Errors
    /// [`Error::File`], also for a file without the two.
    pub(crate) fn put_in(&self, path: &Path, table: &str) -> Result<bool> {
        let text = fs::read_to_string(path).map_err(|e| Error::file(path, e))?;
        let new = self.with_table(&text, table).ok_or_else(|| {
            Error::file(path, format!("needs the lines {} and {}", self.0, self.1))
        })?;
        if new == text {
            return Ok(false);
        }
        write_whole(path, new.as_bytes()).map(|()| true)
    }

    /// `text` with `table` between the two; `None` when it lacks them.
    fn with_table(&self, text: &str, table: &str) -> Option<String> {
        let Self(begin, end) = self;
        let (before, rest) = text.split_once(begin)?;
        let (_, after) = rest.split_once(end)?;
        Some(format!("{before}{begin}\n{table}{end}{after}"))
    }
}

/// The table: families and columns, in each cell the cases that have a golden of their present
/// version, on whichever machine.
///
/// # Errors
/// [`Error::File`], [`Error::Case`] for unreadable suites, matrix, manifest or goldens.
pub fn table(root: &Path) -> Result<String> {
    let folder = root.join("harness/cases");
    let golden = root.join("golden");
    let matrix = load_matrix(&folder)?;
    let cases = load_suites(&folder)?;
    let manifest = Manifest::read(&golden)?;
    let recorded = recorded(&golden, &manifest, &cases)?;
    let mut out = String::new();
    let _ = rows(&mut out, &matrix, &cases, &recorded);
    let _ = explanation(&mut out, &matrix, &cases, &recorded, &manifest);
    let _ = fresh(&mut out, &fuzz::read_records(root)?);
    Ok(out)
}

/// Ids of cases with a golden of their present version.
fn recorded(golden: &Path, manifest: &Manifest, cases: &[Case]) -> Result<BTreeSet<String>> {
    let machines: BTreeSet<&str> =
        manifest.files.keys().filter_map(|name| name.split('/').next()).collect();
    let mut found = BTreeSet::new();
    for case in cases.iter().filter(|case| case.skip.is_none()) {
        for machine in machines.iter().filter(|machine| **machine != ANY_MACHINE) {
            let name = relative_path(machine, case);
            if manifest.files.contains_key(&name)
                && Golden::read(&golden.join(&name))?.provenance.case_digest == case.digest()
            {
                found.insert(case.id.clone());
            }
        }
    }
    Ok(found)
}

fn rows(
    out: &mut String,
    matrix: &Matrix,
    cases: &[Case],
    recorded: &BTreeSet<String>,
) -> std::fmt::Result {
    let labels: Vec<&str> = matrix.columns.iter().map(|c| c.label.as_str()).collect();
    writeln!(out, "| Cases | {} |", labels.join(" | "))?;
    writeln!(out, "|---|{}", "--:|".repeat(labels.len()))?;
    for family in &matrix.families {
        write!(out, "| {} |", family.label)?;
        for column in &matrix.columns {
            write!(out, " {} |", cell(family, &column.id, cases, recorded))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn cell(
    family: &MatrixFamily,
    column: &str,
    cases: &[Case],
    recorded: &BTreeSet<String>,
) -> String {
    let here: Vec<&Case> =
        cases.iter().filter(|c| c.family == family.id && c.column == column).collect();
    let skipped = here.iter().filter(|c| c.skip.is_some()).count();
    let equal = here.iter().filter(|c| recorded.contains(&c.id)).count();
    let missing = here.len() - skipped - equal;
    let mut parts = Vec::new();
    if equal > 0 {
        parts.push(equal.to_string());
    }
    if missing > 0 || (here.is_empty() && family.required.iter().any(|c| c == column)) {
        parts.push(format!(
            "{} missing",
            if missing > 0 { missing.to_string() } else { "all".into() }
        ));
    }
    if skipped > 0 {
        parts.push(format!("{skipped} skipped"));
    }
    if parts.is_empty() { "·".into() } else { parts.join(", ") }
}

fn explanation(
    out: &mut String,
    matrix: &Matrix,
    cases: &[Case],
    recorded: &BTreeSet<String>,
    manifest: &Manifest,
) -> std::fmt::Result {
    let steps: usize = cases.iter().filter(|c| recorded.contains(&c.id)).map(|c| c.steps).sum();
    writeln!(
        out,
        "\nA case is a model, a prompt and settings with what mlx-lm computed for them: tokens, the bits of the logits\n\
         of every step, for some the output of every layer. {} cases with {steps} generated tokens are recorded, and\n\
         `./just parity` fails on one bit of them that differs. What they cover:\n",
        recorded.len()
    )?;
    for family in &matrix.families {
        let mut paths: Vec<&str> = Vec::new();
        for case in cases.iter().filter(|c| c.family == family.id && recorded.contains(&c.id)) {
            if !paths.contains(&case.path.as_str()) {
                paths.push(&case.path);
            }
        }
        if !paths.is_empty() {
            writeln!(out, "- {}: {}", family.label, paths.join(", "))?;
        }
    }
    let tables = |kind: &String| {
        let prefix = format!("{ANY_MACHINE}/{kind}/");
        manifest.files.keys().filter(|name| name.starts_with(&prefix)).count()
    };
    let kinds: Vec<String> =
        matrix.portable.iter().map(|k| format!("{k} ({} tables)", tables(k))).collect();
    if !kinds.is_empty() {
        writeln!(out, "- on any machine: {}", kinds.join(", "))?;
    }
    let searches = manifest.files.keys().filter(|name| name.contains(SEARCHES)).count();
    if searches > 0 {
        writeln!(out, "- searches for layers' bits, with mlx-optiq's files: {searches}")?;
    }
    again(out, cases, recorded)?;
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in cases.iter().filter_map(|c| c.skip.as_deref()) {
        *reasons.entry(reason).or_default() += 1;
    }
    for (reason, count) in reasons {
        writeln!(out, "- {count} skipped: {reason}")?;
    }
    Ok(())
}

/// Cases that are run in other ways as well.
fn again(out: &mut String, cases: &[Case], recorded: &BTreeSet<String>) -> std::fmt::Result {
    let count = |is_run: fn(&Case) -> bool| {
        cases.iter().filter(|case| recorded.contains(&case.id) && is_run(case)).count()
    };
    let ways = [
        (
            count(Case::is_mountable),
            "with their adapter mounted on a running engine, beside another in use",
        ),
        (count(|case| case.resumed), "with their caches saved, loaded and copied midway"),
        (
            count(|case| case.cached),
            "with the prompt cache: cold, cached, branched off and, without an adapter, restored from disk",
        ),
    ];
    for (count, how) in ways {
        if count > 0 {
            writeln!(out, "- {count} run again {how}")?;
        }
    }
    Ok(())
}

/// Runs on fresh cases.
fn fresh(out: &mut String, runs: &[fuzz::Record]) -> std::fmt::Result {
    if runs.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\nFresh cases: random geometries, weights formats, adapters, prompts, samplers, batches and cache modes, drawn\n\
         from a seed that no earlier run had, each run by mlx-lm and the engine (`./just parity-fuzz`):\n"
    )?;
    for run in runs {
        let (equal, differing, refused) = run.totals();
        writeln!(
            out,
            "- {}: {} cases with {}, seed {}: {equal} equal, {differing} not equal, {refused} that the reference cannot \
             run; {:.0} s on {}",
            run.started.get(..10).unwrap_or(&run.started),
            run.count,
            fuzz::drawn(&run.space),
            run.seed,
            run.seconds,
            run.machine
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_markers_changes() {
        let Markers(begin, end) = MARKERS;
        let text = format!("a\n{begin}\nold\n{end}\nb\n");
        let new = MARKERS.with_table(&text, "new\n").unwrap();
        assert_eq!(new, format!("a\n{begin}\nnew\n{end}\nb\n"));
        assert_eq!(MARKERS.with_table(&new, "new\n").unwrap(), new);
        assert_eq!(MARKERS.with_table("no markers", "new"), None);
    }
}
