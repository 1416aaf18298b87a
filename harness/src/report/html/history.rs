//! Earlier runs: a bar each, the latest in a table.

use maud::{Markup, html};

use super::grouped;
use crate::report::HistoryEntry;

/// Runs in the table.
const LISTED: usize = 12;
/// Bars shown.
const BARS: usize = 60;
/// Width and gap of a bar, height of the strip, in pixels.
const BAR: usize = 8;
const GAP: usize = 4;
const HEIGHT: f64 = 48.0;

pub(super) fn render(history: &[HistoryEntry]) -> Markup {
    html! {
        @if !history.is_empty() {
            h2 { "Runs" }
            div.card.history {
                @if history.len() > 1 { (strip(&history[history.len().saturating_sub(BARS)..])) }
                div.wide {
                    table {
                        thead {
                            tr {
                                th { "Begun (UTC)" } th { "Commit" } th { "mlx-lm" } th { "MLX" } th { "libmlx" }
                                th.number-cell { "Equal" } th.number-cell { "Failed" }
                                th.number-cell { "Missing" } th.number-cell { "Skipped" }
                                th.number-cell { "Tables" } th.number-cell { "Time" }
                            }
                        }
                        tbody { @for run in history.iter().rev().take(LISTED) { (row(run)) } }
                    }
                }
            }
            @if history.len() > LISTED {
                p.soft.small { "The latest " (LISTED) " of " (history.len()) " runs over the whole matrix." }
            }
        }
    }
}

/// Bars as high as the share of cases: equal at the bottom, then what failed, is missing, was skipped.
fn strip(runs: &[HistoryEntry]) -> Markup {
    let total = |r: &HistoryEntry| r.equal + r.failed + r.missing + r.skipped;
    let most = runs.iter().map(total).max().unwrap_or(1).max(1) as f64;
    let width = runs.len() * (BAR + GAP);
    html! {
        svg.strip width=(width) height=(HEIGHT) viewBox={ "0 0 " (width) " " (HEIGHT) } role="img"
            aria-label="cases equal, failed, missing and skipped, run by run" {
            @for (i, run) in runs.iter().enumerate() {
                g {
                    title {
                        (run.started) ": " (run.equal) " equal, " (run.failed) " failed, "
                        (run.missing) " missing, " (run.skipped) " skipped"
                    }
                    @for (class, from, count) in stack(run) {
                        rect.(class) x=(i * (BAR + GAP)) width=(BAR) rx="1.5"
                            y=(format!("{:.1}", HEIGHT - HEIGHT * (from + count) as f64 / most))
                            height=(format!("{:.1}", HEIGHT * count as f64 / most)) {}
                    }
                }
            }
        }
    }
}

/// Class, start and size of the parts of a bar that are not empty.
fn stack(run: &HistoryEntry) -> Vec<(&'static str, usize, usize)> {
    let mut parts = Vec::new();
    let mut from = 0;
    for (class, count) in [
        ("bar-green", run.equal),
        ("bar-red", run.failed),
        ("bar-amber", run.missing),
        ("bar-grey", run.skipped),
    ] {
        if count > 0 {
            parts.push((class, from, count));
        }
        from += count;
    }
    parts
}

fn row(run: &HistoryEntry) -> Markup {
    let version = |tool: &str| run.versions.get(tool).map_or("?", |v| v.as_str());
    let begun = run.started.get(..16).unwrap_or(&run.started).replace('T', " ");
    let library = run.libmlx_sha256.as_deref().map_or("?", |s| s.get(..8).unwrap_or(s));
    html! {
        tr {
            td.nowrap { span.mark.(if run.green { "bar-green" } else { "bar-red" }) {} (begun) }
            td { code { (run.commit.as_deref().unwrap_or("?")) } }
            td { (version("mlx-lm")) } td { (version("mlx")) } td { code { (library) } }
            td.number-cell { (grouped(run.equal as u64)) }
            (count(run.failed, "red")) (count(run.missing, "missing")) (count(run.skipped, "skipped"))
            td.number-cell { (run.tables.0) " / " (run.tables.1) }
            td.number-cell { (format!("{:.0} s", run.seconds)) }
        }
    }
}

/// A number that stands out unless it is zero.
fn count(number: usize, class: &str) -> Markup {
    html! {
        td.number-cell { @if number == 0 { span.soft { "0" } } @else { span.dot.(class) { (number) } } }
    }
}
