//! A summary for terminals.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{Cell, CellStatus, Outcome, PortableOutcome, Report, ResumedTotals};

/// Failures listed at most.
const MAX_LISTED: usize = 20;

pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    let _ = matrix(&mut out, report);
    let _ = portable(&mut out, report);
    let _ = resumed(&mut out, "caches saved, loaded, copied and continued", &report.resumed());
    let _ = resumed(&mut out, "prompts cold, cached, branched and restored", &report.cached());
    let _ = not_cached(&mut out, report);
    let _ = hot(&mut out, report);
    let _ = failures(&mut out, report);
    let _ = verdict(&mut out, report);
    out
}

fn matrix(out: &mut String, report: &Report) -> std::fmt::Result {
    let first = report.families.iter().map(|f| f.label.len()).max().unwrap_or(0).max(6);
    let width = report.columns.iter().map(|c| c.label.len()).max().unwrap_or(0).max(10) + 2;
    write!(out, "{:first$}", "")?;
    for column in &report.columns {
        write!(out, "{:>width$}", column.label)?;
    }
    writeln!(out)?;
    for family in &report.families {
        write!(out, "{:first$}", family.label)?;
        for cell in report.cells.iter().filter(|c| c.family == family.id) {
            write!(out, "{:>width$}", cell_text(cell))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn cell_text(cell: &Cell) -> String {
    let total = cell.equal + cell.failed + cell.missing + cell.skipped;
    match cell.status {
        CellStatus::Green => format!("✓ {}/{total}", cell.equal),
        CellStatus::Red => format!("✗ {}/{total}", cell.equal),
        CellStatus::Missing => "missing".into(),
        CellStatus::Skipped => "skipped".into(),
        CellStatus::Empty => "·".into(),
    }
}

fn portable(out: &mut String, report: &Report) -> std::fmt::Result {
    if report.portable.is_empty() {
        return Ok(());
    }
    let rows: usize = report.portable.iter().map(|p| p.rows).sum();
    let equal = report.portable.iter().filter(|p| p.outcome == PortableOutcome::Equal).count();
    writeln!(out, "tables: {equal} of {} equal, {rows} rows", report.portable.len())
}

fn resumed(
    out: &mut String,
    what: &str,
    cells: &BTreeMap<(&str, &str), ResumedTotals>,
) -> std::fmt::Result {
    if cells.is_empty() {
        return Ok(());
    }
    let cases: usize = cells.values().map(|c| c.equal + c.differing).sum();
    let equal: usize = cells.values().map(|c| c.equal).sum();
    let runs: usize = cells.values().map(|c| c.runs).sum();
    writeln!(
        out,
        "{what}: {equal} of {cases} cases equal, {runs} runs, {} families and modes",
        cells.len()
    )
}

fn not_cached(out: &mut String, report: &Report) -> std::fmt::Result {
    for (reason, cases) in report.not_cached() {
        writeln!(out, "    left out with {cases} cases: {reason}")?;
    }
    Ok(())
}

fn hot(out: &mut String, report: &Report) -> std::fmt::Result {
    match report.hot() {
        (_, 0) => Ok(()),
        (equal, all) => writeln!(
            out,
            "adapters mounted on a running engine, beside another in use: {equal} of {all} cases equal"
        ),
    }
}

fn failures(out: &mut String, report: &Report) -> std::fmt::Result {
    let mut lines = Vec::new();
    for case in &report.cases {
        match &case.outcome {
            Outcome::Differs { first } => lines.push(format!("{}: {first}", case.id)),
            Outcome::Error { message } => lines.push(format!("{}: {message}", case.id)),
            Outcome::Missing { path } if case.required => {
                lines.push(format!("{}: no golden at {path}", case.id));
            }
            Outcome::Skipped { reason } => lines.push(format!("{}: skipped, {reason}", case.id)),
            Outcome::Equal | Outcome::Missing { .. } => continue,
        }
        lines.extend(case.notes.iter().map(|note| format!("    {note}")));
    }
    for table in &report.portable {
        match &table.outcome {
            PortableOutcome::Equal => {}
            PortableOutcome::Differs { rows, first } => {
                lines
                    .push(format!("{}: {rows} of {} rows differ; {first}", table.path, table.rows));
            }
            PortableOutcome::Missing => lines.push(format!("{}: there is no table", table.path)),
            PortableOutcome::Skipped { reason } => {
                lines.push(format!("{}: skipped, {reason}", table.path));
            }
            PortableOutcome::Error { message } => lines.push(format!("{}: {message}", table.path)),
        }
    }
    for line in lines.iter().take(MAX_LISTED) {
        writeln!(out, "{line}")?;
    }
    if lines.len() > MAX_LISTED {
        writeln!(out, "… and {} more lines in the report", lines.len() - MAX_LISTED)?;
    }
    Ok(())
}

fn verdict(out: &mut String, report: &Report) -> std::fmt::Result {
    let totals = report.totals();
    let word = if report.is_green() { "equal" } else { "NOT equal" };
    writeln!(
        out,
        "{word}: {} cases equal, {} failed, {} missing, {} skipped; {} tokens and {} values compared in {:.1} s",
        totals.equal,
        totals.failed,
        totals.missing,
        totals.skipped,
        totals.steps,
        totals.values,
        report.seconds
    )
}
