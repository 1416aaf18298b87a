//! The page that says what each mode costs.

use maud::{Markup, html};

use super::{
    CandidateReport, ConversionReport, L3Report, SubjectReport,
    report::{L3Setting, nats},
};
use crate::report::html::page;

pub(super) fn render(report: &L3Report) -> String {
    let (class, word) = verdict(report.is_green(), "within the limits", "beyond the limits");
    let main = html! {
        header.top {
            div {
                h1 { "What quantized keys and values cost" }
                p.soft { (setting(&report.setting)) " · " (report.started) }
            }
            span.verdict.(class) { (word) }
        }
        p { (report.policy) "." }
        p.soft {
            "The reference is the same model with plain keys and values. Both read the same tokens, the prompt \
             at once and the others one by one; divergences are in nats. The same top token: the share of \
             positions where both prefer it. Bytes per token are those of all keys and values at the stream's \
             end. On MLX's CPU backend products of packed keys and values are summed in the activations' dtype: \
             bf16 models pay for that too, f32 models for packing alone."
        }
        @for subject in &report.subjects { (subject_table(report, subject)) }
        @if !report.conversions.is_empty() { (conversions(&report.conversions)) }
    };
    page(&format!("Quantized keys and values: {word}"), &main, None)
}

fn verdict(good: bool, yes: &'static str, no: &'static str) -> (&'static str, &'static str) {
    if good { ("green", yes) } else { ("red", no) }
}

fn setting(setting: &L3Setting) -> String {
    let commit = setting.commit.as_deref().map(|commit| format!(" · {commit}"));
    format!("{}{}", setting.machine, commit.unwrap_or_default())
}

fn subject_table(report: &L3Report, subject: &SubjectReport) -> Markup {
    html! {
        h2 { (subject.label) }
        p.soft {
            (subject.dtype) ", " (subject.prompt_tokens) " tokens at once, then " (subject.positions)
            " positions compared"
        }
        div.scroll {
            table {
                thead {
                    tr {
                        th { "Keys and values" } th.number-cell { "Bytes per token" } th.number-cell { "of plain" }
                        th.number-cell { "KL mean (limit)" } th.number-cell { "KL max (limit)" }
                        th.number-cell { "Same top token" } th { "Result" }
                    }
                }
                tbody {
                    tr {
                        td { "plain" }
                        td.number-cell { (format!("{:.0}", subject.plain_bytes_per_token)) }
                        td.number-cell { "100 %" } td {} td {} td {} td { span.dot.skipped { "reference" } }
                    }
                    @for candidate in &subject.candidates { (candidate_row(report, subject, candidate)) }
                }
            }
        }
    }
}

fn candidate_row(report: &L3Report, subject: &SubjectReport, c: &CandidateReport) -> Markup {
    let (class, word) = verdict(c.within, "within", "beyond");
    let limited = |found: f64, limit: f64| format!("{} ({})", nats(found), nats(limit));
    html! {
        tr {
            td { (report.label(&c.mode)) div.soft.small { (c.kv) } }
            td.number-cell { (format!("{:.0}", c.bytes_per_token)) }
            td.number-cell { (format!("{:.0} %", 100.0 * c.bytes_per_token / subject.plain_bytes_per_token)) }
            td.number-cell { (limited(c.found.mean, c.limits.mean)) }
            td.number-cell { (limited(c.found.max, c.limits.max)) }
            td.number-cell { (format!("{:.1} %", c.found.same_top * 100.0)) }
            td { span.dot.(class) { (word) } }
        }
    }
}

fn conversions(conversions: &[ConversionReport]) -> Markup {
    html! {
        h2 { "Memory while a prompt's keys and values are packed" }
        p.soft {
            "Layer by layer, so that no more than one layer exists twice. A packed layer takes at most 9/16 of a plain one, and \
             MLX copies one of a layer's two buffers while it packs it: what it holds beyond what it held before must not \
             exceed 9/8 of the largest plain layer."
        }
        div.scroll {
            table {
                thead {
                    tr {
                        th { "Prompt" } th.number-cell { "Tokens" } th.number-cell { "Plain, all layers" }
                        th.number-cell { "Largest layer" } th.number-cell { "Extra at the peak" } th { "Result" }
                    }
                }
                tbody {
                    @for c in conversions {
                        @let (class, word) = verdict(c.within, "within", "beyond");
                        tr {
                            td { (c.label) div.soft.small { (c.kv) } }
                            td.number-cell { (c.tokens) }
                            td.number-cell { (c.plain) }
                            td.number-cell { (c.largest_layer) }
                            td.number-cell { (c.extra_peak) }
                            td { span.dot.(class) { (word) } }
                        }
                    }
                }
            }
        }
    }
}
