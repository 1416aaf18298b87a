//! The README's table of a run.

use std::{fmt::Write as _, path::Path};

use super::{L3Report, SubjectReport, report::nats};
use crate::{Result, readme};

const MARKERS: readme::Markers = readme::Markers("<!-- l3:begin -->", "<!-- l3:end -->");

/// Puts the run's table into the README of the checkout at `root`; true when that changed it.
///
/// # Errors
/// [`crate::Error::File`], and for a README without the two markers.
pub fn update_readme(root: &Path, report: &L3Report) -> Result<bool> {
    MARKERS.put(root, &table(report))
}

/// The first subject in full, of the others what they lost.
fn table(report: &L3Report) -> String {
    let mut out = String::new();
    if let Some((first, others)) = report.subjects.split_first() {
        let _ = whole(&mut out, report, first);
        if !others.is_empty() {
            let _ = short(&mut out, report, others);
        }
    }
    for c in &report.conversions {
        let _ = writeln!(
            out,
            "\nPacking {} ({} tokens) took {:.1} MB beside {:.1} MB of plain layers, the largest of which has {:.1} MB.",
            c.label,
            c.tokens,
            c.extra_peak as f64 / 1e6,
            c.plain as f64 / 1e6,
            c.largest_layer as f64 / 1e6
        );
    }
    out
}

fn whole(out: &mut String, report: &L3Report, s: &SubjectReport) -> std::fmt::Result {
    writeln!(
        out,
        "KL(plain ‖ quantized) in nats, measured by `./just parity --l3` on {}: {}, {} tokens at once, then {} positions \
         one by one.\n",
        report.setting.machine, s.label, s.prompt_tokens, s.positions
    )?;
    writeln!(
        out,
        "| Keys and values | Options | Bytes per token | KL mean | KL max | Same top token |"
    )?;
    writeln!(out, "|---|---|--:|--:|--:|--:|")?;
    writeln!(out, "| plain | none | {:.0} | | | |", s.plain_bytes_per_token)?;
    for c in &s.candidates {
        let options = report.modes.iter().find(|m| m.id == c.mode).map_or("", |m| &m.options);
        writeln!(
            out,
            "| {} | `{options}` | {:.0} ({:.0} %) | {} | {} | {:.1} % |",
            report.label(&c.mode),
            c.bytes_per_token,
            100.0 * c.bytes_per_token / s.plain_bytes_per_token,
            nats(c.found.mean),
            nats(c.found.max),
            c.found.same_top * 100.0
        )?;
    }
    Ok(())
}

fn short(out: &mut String, report: &L3Report, subjects: &[SubjectReport]) -> std::fmt::Result {
    let modes: Vec<_> = report
        .modes
        .iter()
        .filter(|m| subjects.iter().any(|s| s.candidates.iter().any(|c| c.mode == m.id)))
        .collect();
    writeln!(
        out,
        "\nKL mean and the share of positions with the same top token on other models, random ones where they are tiny. On \
         MLX's CPU backend\nproducts of packed rows are summed in the activations' dtype, which costs bf16 models more \
         than packing to 8 bits does.\n"
    )?;
    let labels: Vec<&str> = modes.iter().map(|m| m.label.as_str()).collect();
    writeln!(out, "| | {} |", labels.join(" | "))?;
    writeln!(out, "|---|{}", "--:|".repeat(modes.len()))?;
    for subject in subjects {
        write!(out, "| {} |", subject.label)?;
        for mode in &modes {
            match subject.candidates.iter().find(|c| c.mode == mode.id) {
                Some(c) => {
                    write!(out, " {}, {:.0} % |", nats(c.found.mean), c.found.same_top * 100.0)?;
                }
                None => out.push_str(" · |"),
            }
        }
        writeln!(out)?;
    }
    Ok(())
}
