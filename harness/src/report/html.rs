//! The page that a release manager reads: one file, no network, light and dark.

mod history;

use std::collections::{BTreeMap, BTreeSet};

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    CaseReport, Cell, CellStatus, Failure, FamilyLabel, HistoryEntry, Outcome, PortableOutcome,
    PortableReport, Report, ResumedTotals,
};
use crate::canonical_json;

const STYLE: &str = include_str!("parity.css");
const SCRIPT: &str = include_str!("parity.js");

pub(super) fn render(report: &Report, runs: &[HistoryEntry]) -> String {
    let main = html! {
        (head(report))
        (troubles(report))
        (matrix(report))
        (portable(report))
        (resumed(report, &RESUMED, &report.resumed()))
        (resumed(report, &CACHED, &report.cached()))
        (not_cached(report))
        (hot(report))
        (history::render(runs))
        (groups(report))
        (provenance(report))
    };
    page(&format!("Parity: {}", verdict(report).1), &main, Some(SCRIPT))
}

/// A whole page around `main`, with nothing outside it.
pub(crate) fn page(title: &str, main: &Markup, script: Option<&str>) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    (main)
                    footer { "Written by the parity harness. Nothing on this page is edited by hand." }
                }
                @if let Some(script) = script {
                    script type="module" { (PreEscaped(script)) }
                }
            }
        }
    }
    .into_string()
}

fn verdict(report: &Report) -> (&'static str, &'static str) {
    match (report.is_green(), &report.setting.selection) {
        (true, None) => ("green", "bit for bit equal"),
        (true, Some(_)) => ("green", "equal, in part of the matrix"),
        (false, _) => ("red", "not equal"),
    }
}

fn head(report: &Report) -> Markup {
    let totals = report.totals();
    let (class, word) = verdict(report);
    html! {
        header.top {
            div {
                h1 { "mlx-verbatim against mlx-lm" }
                p.soft {
                    (report.setting.machine) " · " (report.started)
                    @if let Some(commit) = &report.setting.commit { " · " code { (commit) } }
                }
            }
            span.verdict.(class) { (word) }
        }
        @if let Some(selection) = &report.setting.selection {
            p.soft { "This run covers a part only: " code { (selection) } "." }
        }
        div.numbers {
            (number(&grouped(totals.equal as u64), "cases equal"))
            (number(&grouped(totals.failed as u64), "cases failed"))
            (number(&grouped(totals.missing as u64), "without a golden"))
            (number(&grouped(totals.skipped as u64), "skipped"))
            (number(&grouped(totals.steps as u64), "tokens compared"))
            (number(&grouped(totals.values), "values compared"))
            (number(&format!("{:.1} s", report.seconds), "in all"))
        }
    }
}

fn number(value: &str, label: &str) -> Markup {
    html! { div.number { b { (value) } span { (label) } } }
}

/// Everything that keeps the run from being green, and every skip with its reason.
fn troubles(report: &Report) -> Markup {
    let failed =
        |c: &&CaseReport| matches!(c.outcome, Outcome::Differs { .. } | Outcome::Error { .. });
    let missing =
        report.cases.iter().filter(|c| matches!(c.outcome, Outcome::Missing { .. })).count();
    let skipped: Vec<_> = report
        .cases
        .iter()
        .filter_map(|c| match &c.outcome {
            Outcome::Skipped { reason } => Some((c, reason)),
            _ => None,
        })
        .collect();
    let broken: Vec<_> = report.cases.iter().filter(failed).collect();
    let tables: Vec<_> =
        report.portable.iter().filter(|t| t.outcome != PortableOutcome::Equal).collect();
    html! {
        @if !broken.is_empty() || !tables.is_empty() || missing > 0 { h2 { "What is not equal" } }
        @for case in broken {
            div.trouble {
                a href={ "#case-" (case.id) } { code { (case.id) } }
                div { (result(&case.outcome)) }
                @for note in &case.notes { div.soft { (note) } }
            }
        }
        @for table in tables {
            div.trouble { code { (table.path) } div { (portable_result(&table.outcome)) } }
        }
        @if missing > 0 {
            div.trouble.amber {
                @if missing == 1 { "1 case has" } @else { (missing) " cases have" }
                " no golden on " code { (report.setting.machine) } ". What is missing is never equal."
            }
        }
        @if !skipped.is_empty() {
            h2 { "Skipped" }
            @for (case, reason) in skipped {
                div.trouble.amber { code { (case.id) } div { (reason) } }
            }
        }
    }
}

fn matrix(report: &Report) -> Markup {
    html! {
        h2 { "Matrix" }
        div.scroll {
            table.matrix {
                thead { tr { th {} @for column in &report.columns { th { (column.label) } } } }
                tbody {
                    @for family in &report.families {
                        tr.family {
                            th.row { (family.label) }
                            @for cell in report.cells.iter().filter(|c| c.family == family.id) {
                                td { (cell_markup(cell, true)) }
                            }
                        }
                        @for path in paths(report, family) {
                            tr.path {
                                th.row { (path) }
                                @for column in &report.columns {
                                    td { (cell_markup(&path_cell(report, &family.id, &column.id, path), false)) }
                                }
                            }
                        }
                    }
                }
            }
        }
        div.key {
            span { span.dot.green { "equal" } " every bit compared is equal" }
            span { span.dot.red { "differs" } " a bit differs, or the case failed" }
            span { span.dot.missing { "missing" } " no golden, so nothing is shown" }
            span { span.dot.skipped { "skipped" } " cannot run, for a stated reason" }
        }
    }
}

fn paths<'a>(report: &'a Report, family: &FamilyLabel) -> Vec<&'a str> {
    let mut paths = Vec::new();
    for case in report.cases.iter().filter(|c| c.family == family.id) {
        if !paths.contains(&case.path.as_str()) {
            paths.push(case.path.as_str());
        }
    }
    paths
}

fn path_cell(report: &Report, family: &str, column: &str, path: &str) -> Cell {
    let cases =
        report.cases.iter().filter(|c| c.family == family && c.column == column && c.path == path);
    Cell::of(family, column, false, cases)
}

fn cell_markup(cell: &Cell, steps: bool) -> Markup {
    let total = cell.equal + cell.failed + cell.missing + cell.skipped;
    let word = match cell.status {
        CellStatus::Green | CellStatus::Red => format!("{} / {total}", cell.equal),
        CellStatus::Missing => "missing".into(),
        CellStatus::Skipped => "skipped".into(),
        CellStatus::Empty => "·".into(),
    };
    let class = status_class(cell.status);
    html! {
        @if cell.status == CellStatus::Empty {
            span.cell.(class) title="nothing planned" { (word) }
        } @else {
            a.cell.(class) href={ "#cell-" (cell.family) "-" (cell.column) } {
                b { (word) }
                @if steps { small { (grouped(cell.steps as u64)) " tokens" } }
            }
        }
    }
}

fn status_class(status: CellStatus) -> &'static str {
    match status {
        CellStatus::Green => "green",
        CellStatus::Red => "red",
        CellStatus::Missing => "missing",
        CellStatus::Skipped => "skipped",
        CellStatus::Empty => "empty",
    }
}

fn portable(report: &Report) -> Markup {
    let mut kinds: Vec<&str> = Vec::new();
    for table in &report.portable {
        if !kinds.contains(&table.kind.as_str()) {
            kinds.push(&table.kind);
        }
    }
    html! {
        @if !kinds.is_empty() { h2 { "Text, sampling and searches" } }
        @for kind in kinds {
            @let tables: Vec<_> = report.portable.iter().filter(|t| t.kind == kind).collect();
            @let (equal, other) = tally(&tables);
            @let rows = tables.iter().map(|t| t.rows as u64).sum();
            details.group open[other > 0] {
                summary {
                    b { (kind) }
                    @if equal > 0 { span.dot.green { (equal) " equal" } }
                    @if other > 0 { span.dot.red { (other) " not equal" } }
                    span.soft { (grouped(rows)) " rows" }
                }
                div.inside {
                    table {
                        thead { tr { th { "Table" } th.number-cell { "Rows" } th { "Result" } } }
                        tbody { @for table in tables { (portable_row(table)) } }
                    }
                }
            }
        }
    }
}

/// Tables that are equal, and the rest.
fn tally(tables: &[&PortableReport]) -> (usize, usize) {
    let equal = tables.iter().filter(|t| t.outcome == PortableOutcome::Equal).count();
    (equal, tables.len() - equal)
}

fn portable_result(outcome: &PortableOutcome) -> Markup {
    let (class, word, detail) = match outcome {
        PortableOutcome::Equal => ("green", "equal", String::new()),
        PortableOutcome::Differs { rows, first } => {
            ("red", "differs", format!("{rows} rows; {first}"))
        }
        PortableOutcome::Missing => ("missing", "missing", String::new()),
        PortableOutcome::Skipped { reason } => ("skipped", "skipped", reason.clone()),
        PortableOutcome::Error { message } => ("red", "failed", message.clone()),
    };
    html! { span.dot.(class) { (word) } " " (detail) }
}

fn portable_row(table: &PortableReport) -> Markup {
    html! {
        tr {
            td { code { (table.path) } }
            td.number-cell { (grouped(table.rows as u64)) }
            td { (portable_result(&table.outcome)) }
        }
    }
}

/// Heading and explanation of a table of families and key-value modes.
struct Table(&'static str, &'static str);

const RESUMED: Table = Table(
    "Caches saved, loaded, copied and continued",
    "Each of these cases ran again for each of up to three points at which its caches went to a file and \
     back and were copied; the loaded ones then went another way, and the copy had to give every bit of the \
     uninterrupted golden.",
);

const CACHED: Table = Table(
    "Prompts from the cache",
    "Each of these cases ran again with the prompt cache, cold and cached, and had to give every bit of its \
     golden. A conversation that goes on from it and one that branches off then ran cold, cached, branched \
     and, by a second engine, restored from disk: all had to give the bits of the cold run.",
);

/// Families and key-value modes: cases that went on from what they had left.
fn resumed(
    report: &Report,
    Table(heading, about): &Table,
    cells: &BTreeMap<(&str, &str), ResumedTotals>,
) -> Markup {
    let modes: BTreeSet<&str> = cells.keys().map(|(_, kv)| *kv).collect();
    html! {
        @if !cells.is_empty() {
            h2 { (heading) }
            p.soft { (about) }
            div.scroll {
                table.matrix {
                    thead { tr { th {} @for kv in &modes { th { (kv) } } } }
                    tbody {
                        @for family in &report.families {
                            tr.family {
                                th.row { (family.label) }
                                @for kv in &modes {
                                    td { @if let Some(cell) = cells.get(&(family.id.as_str(), *kv)) { (resumed_cell(*cell)) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Runs with the prompt cache that were left out.
fn not_cached(report: &Report) -> Markup {
    html! {
        @for (reason, cases) in report.not_cached() {
            p.soft { "Left out with " (cases) " cases: " (reason) "." }
        }
    }
}

/// Cases whose adapter was mounted while the engine ran.
fn hot(report: &Report) -> Markup {
    let (equal, all) = report.hot();
    html! {
        @if all > 0 {
            h2 { "Adapters mounted on a running engine" }
            p.soft {
                "Each case with a LoRA or DoRA adapter ran again on an engine without one: its adapter and another were "
                "mounted, both were at work at the same time, in one batch where the family has batches, and every bit "
                "had to be that of the golden: " (equal) " of " (all) " are equal."
            }
        }
    }
}

fn resumed_cell(cell: ResumedTotals) -> Markup {
    let class = if cell.differing == 0 { "green" } else { "red" };
    html! {
        span.cell.(class) {
            b { (cell.equal) " / " (cell.equal + cell.differing) }
            small { (cell.runs) " runs" }
        }
    }
}

fn groups(report: &Report) -> Markup {
    html! {
        h2 { "Cases" }
        input.search type="search" placeholder="Find a case" aria-label="Find a case";
        @for cell in &report.cells {
            @if cell.status != CellStatus::Empty { (group(report, cell)) }
        }
    }
}

fn group(report: &Report, cell: &Cell) -> Markup {
    let label = |id: &str| {
        report.families.iter().find(|f| f.id == id).map_or(id.to_owned(), |f| f.label.clone())
    };
    let column =
        report.columns.iter().find(|c| c.id == cell.column).map_or(&*cell.column, |c| &*c.label);
    let cases = report.cases.iter().filter(|c| c.family == cell.family && c.column == cell.column);
    html! {
        details.group id={ "cell-" (cell.family) "-" (cell.column) } open[cell.status == CellStatus::Red] {
            summary {
                b { (label(&cell.family)) " · " (column) }
                @if cell.equal > 0 { span.dot.green { (cell.equal) " equal" } }
                @if cell.failed > 0 { span.dot.red { (cell.failed) " failed" } }
                @if cell.missing > 0 { span.dot.missing { (cell.missing) " missing" } }
                @if cell.skipped > 0 { span.dot.skipped { (cell.skipped) " skipped" } }
                span.soft { (grouped(cell.steps as u64)) " tokens" @if !cell.required { " · not required" } }
            }
            div.inside {
                @if let Some(failure) = &cell.first_failure { (first_failure(failure)) }
                table {
                    thead {
                        tr {
                            th { "Case" } th.number-cell { "Prompt" } th.number-cell { "Chunk" }
                            th.number-cell { "Steps" } th.number-cell { "Time" } th { "Result" }
                        }
                    }
                    tbody { @for case in cases { (case_row(case)) } }
                }
            }
        }
    }
}

/// What a red cell shows first: step, layer, how many values, how far apart.
fn first_failure(failure: &Failure) -> Markup {
    html! {
        dl.first {
            dt { "First" } dd { a href={ "#case-" (failure.case) } { code { (failure.case) } } }
            @match &failure.mismatch {
                None => { dt { "Failed" } dd { (failure.message) } }
                Some(mismatch) => {
                    dt { "Step" }
                    dd { @match mismatch.step { Some(step) => (step), None => { "prefill, call " (mismatch.call) } } }
                    dt { "At" } dd { (mismatch.what) }
                    @if let Some(difference) = &mismatch.difference {
                        dt { "Values" }
                        dd { (grouped(difference.differing as u64)) " of " (grouped(difference.of as u64)) }
                        dt { "Largest" }
                        dd {
                            @match difference.max_ulp {
                                Some(ulp) => { (grouped(ulp)) " ulp" }
                                None => "not a number",
                            }
                        }
                    }
                }
            }
        }
    }
}

fn case_row(case: &CaseReport) -> Markup {
    html! {
        tr data-id=(case.id) id={ "case-" (case.id) } {
            td { details.case { summary { (case.id) } (case_facts(case)) } }
            td.number-cell { (case.facts.prompt_tokens) }
            td.number-cell { (case.facts.prefill_step_size) }
            td.number-cell { (case.compared.steps) " / " (case.facts.steps) }
            td.number-cell { (format!("{:.2} s", case.seconds)) }
            td { (result(&case.outcome)) }
        }
    }
}

fn case_facts(case: &CaseReport) -> Markup {
    html! {
        dl.facts {
            dt { "path" } dd { (case.path) }
            dt { "suite" } dd { (case.suite) }
            dt { "compared" }
            dd {
                (case.compared.logits) " rows of logits, " (case.compared.layers) " layer outputs, "
                (grouped(case.compared.values)) " values"
            }
            @if let Some(sampling) = &case.facts.sampling {
                dt { "sampling" } dd { code { (canonical_json(sampling)) } }
            }
            @if let Some(golden) = &case.golden {
                dt { "golden" } dd { code { (golden.path) } }
                dt { "weights" } dd { code { (golden.provenance.model_sha256) } }
            }
            @if let Some(resumed) = &case.resumed {
                dt { "resumed" } dd { (resumed.runs) " runs went on from a file of their caches" }
            }
            @if let Some(cached) = &case.cached {
                dt { "cached" } dd {
                    (cached.runs) " runs with the prompt cache; " (cached.reused) " of " (cached.conversations)
                    " conversations went on from what was kept"
                    @if let Some(reason) = &cached.skipped { "; left out: " (reason) }
                }
            }
            @if case.hot.is_some() {
                dt { "adapter" } dd { "mounted on a running engine as well, beside another in use" }
            }
            @for note in &case.notes { dt { "note" } dd { (note) } }
        }
    }
}

fn result(outcome: &Outcome) -> Markup {
    html! {
        @match outcome {
            Outcome::Equal => { span.dot.green { "equal" } }
            Outcome::Differs { first } => {
                span.dot.red {
                    @match first.step {
                        Some(step) => { "step " (step) }
                        None => { "prefill call " (first.call) }
                    }
                    ", " (first.what)
                }
                " " (first.detail)
            }
            Outcome::Missing { path } => { span.dot.missing { "missing" } " no golden at " code { (path) } }
            Outcome::Skipped { reason } => { span.dot.skipped { "skipped" } " " (reason) }
            Outcome::Error { message } => { span.dot.red { "failed" } " " (message) }
        }
    }
}

fn provenance(report: &Report) -> Markup {
    html! {
        h2 { "Versions" }
        div.scroll {
            table.versions {
                thead { tr { th { "" } th { "Goldens" } th { "This run" } } }
                tbody {
                    tr { td { "engine" } td {} td { code { (report.setting.engine_version) } } }
                    @for (tool, versions) in report.versions() {
                        tr {
                            td { (tool) }
                            td { @for version in &versions { code { (version) } " " } }
                            td {
                                @if tool == "libmlx" {
                                    code { (report.setting.libmlx_sha256.as_deref().unwrap_or("not found")) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn digits_are_grouped() {
        assert_eq!(super::grouped(7), "7");
        assert_eq!(super::grouped(1_234_567), "1\u{202f}234\u{202f}567");
    }
}
