//! `kv_sensitivity.html`: a chart and a table, in one file without scripts.

use std::fmt::Write;

use verbatim_engine::kv::plan::{KvPlan, LayerSensitivity};

/// What the page tells.
pub(super) struct Facts<'a> {
    pub(super) model: &'a str,
    pub(super) plan: &'a KvPlan,
    pub(super) target_bits: f64,
    pub(super) sequences: usize,
    pub(super) tokens: usize,
}

/// Colours of the candidates, fewest bits first.
const COLOURS: [&str; 6] = ["#c2410c", "#ca8a04", "#0f766e", "#1d4ed8", "#7e22ce", "#475569"];
/// Height of the chart's plot and the width that few layers share, in SVG units.
const PLOT: f64 = 240.0;
const WIDTH: usize = 640;
/// Width of a bar at least and at most.
const BAR: (usize, usize) = (9, 28);
/// Room between two layers.
const GAP: usize = 8;
/// Left of the plot, above it and below it.
const LEFT: usize = 60;
const TOP: usize = 12;
const BOTTOM: usize = 34;
/// Decades that the chart shows at most.
const MAX_DECADES: i32 = 8;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;\
color:#1e293b;background:#fff}h1{font-size:1.3rem;margin-bottom:.2rem}.chart{overflow-x:auto;margin:1.2rem 0}\
svg text{font:11px system-ui,sans-serif;fill:currentColor}svg line{stroke:currentColor;stroke-opacity:.15}\
table{border-collapse:collapse}th,td{padding:.2rem .9rem;text-align:right;border-bottom:1px solid #8883;\
font-variant-numeric:tabular-nums}.key{display:inline-block;width:.8rem;height:.8rem;margin:0 .3rem 0 1rem}\
.other{opacity:.35}td.chosen{font-weight:600}\
@media(prefers-color-scheme:dark){body{color:#e2e8f0;background:#0f172a}}";

/// The whole page.
pub(super) fn page(facts: &Facts<'_>) -> String {
    let plan = facts.plan;
    let model = escaped(facts.model);
    let mut bits: Vec<u32> =
        plan.sensitivities.iter().flat_map(|l| l.divergences.iter().map(|(b, _)| *b)).collect();
    bits.sort_unstable();
    bits.dedup();
    let keys: String = bits
        .iter()
        .enumerate()
        .map(|(i, b)| {
            format!("<span class=\"key\" style=\"background:{}\"></span>{b} bits", colour(i))
        })
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>KV sensitivity of {model}</title><style>{STYLE}</style></head><body>\n\
         <h1>Sensitivity of {model} to quantized keys and values</h1>\n\
         <p>Mean KL(full precision ‖ quantized) in nats when one layer alone is quantized, over {} \
         sequences, {} tokens in all. {} of {} layers have keys and values; groups of {}. \
         Bits per value: {:.2} on average, {} asked for. Solid bars are the bits chosen.</p>\n\
         <p>{keys}</p>\n<div class=\"chart\">{}</div>\n{}\n</body></html>\n",
        facts.sequences,
        facts.tokens,
        plan.sensitivities.len(),
        plan.layers,
        plan.group_size,
        plan.average_bits(),
        facts.target_bits,
        chart(plan, &bits),
        table(plan, &bits)
    )
}

fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
}

/// Divergences on a logarithmic axis, whole decades.
struct Axis {
    low: i32,
    high: i32,
}

impl Axis {
    fn of(plan: &KvPlan) -> Self {
        let all =
            || plan.sensitivities.iter().flat_map(|l| l.divergences.iter().map(|(_, kl)| *kl));
        let positive = || all().filter(|kl| *kl > 0.0);
        let most = positive().fold(f64::MIN_POSITIVE, f64::max);
        let least = positive().fold(most, f64::min);
        let high = most.log10().floor() as i32 + 1;
        let low = (least.log10().floor() as i32).clamp(high - MAX_DECADES, high - 1);
        Self { low, high }
    }

    /// Height of a bar; zero and what lies below the axis have none.
    fn height(&self, kl: f64) -> f64 {
        if kl <= 0.0 {
            return 0.0;
        }
        let place = (kl.log10() - f64::from(self.low)) / f64::from(self.high - self.low);
        place.clamp(0.0, 1.0) * PLOT
    }
}

fn chart(plan: &KvPlan, bits: &[u32]) -> String {
    let axis = Axis::of(plan);
    let bar = bar_width(plan.sensitivities.len() * bits.len());
    let group = bits.len() * bar + GAP;
    let width = LEFT + plan.sensitivities.len() * group + 10;
    let height = TOP + PLOT as usize + BOTTOM;
    let floor = TOP as f64 + PLOT;
    let mut svg = format!(
        "<svg role=\"img\" aria-label=\"KL divergence by layer\" width=\"{width}\" \
         height=\"{height}\" viewBox=\"0 0 {width} {height}\">"
    );
    for decade in axis.low..=axis.high {
        let y = floor - axis.height(10f64.powi(decade));
        let _ = write!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{width}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">1e{decade}</text>",
            LEFT - 6,
            y + 4.0
        );
    }
    for (place, (layer, chosen)) in plan.sensitivities.iter().zip(&plan.bits).enumerate() {
        let x = LEFT + 4 + place * group;
        for (i, &b) in bits.iter().enumerate() {
            let class = if b == *chosen { "" } else { " class=\"other\"" };
            let _ = write!(
                svg,
                "<rect{class} x=\"{}\" {} fill=\"{}\">{}</rect>",
                x + i * bar,
                size(bar - 1, axis.height(layer.at(b))),
                colour(i),
                label(layer, b)
            );
        }
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            x + bits.len() * bar / 2,
            floor + 14.0,
            layer.layer
        );
    }
    let _ = write!(svg, "<text x=\"{LEFT}\" y=\"{:.1}\">layer</text></svg>", floor + 30.0);
    svg
}

/// Width of each of `count` bars.
fn bar_width(count: usize) -> usize {
    (WIDTH / count.max(1)).clamp(BAR.0, BAR.1)
}

/// Attributes of a bar that stands on the plot's floor.
fn size(width: usize, height: f64) -> String {
    let y = TOP as f64 + PLOT - height;
    format!("y=\"{y:.1}\" width=\"{width}\" height=\"{height:.1}\"")
}

/// What a bar says when it is pointed at.
fn label(layer: &LayerSensitivity, bits: u32) -> String {
    format!("<title>layer {}, {bits} bits: {:.3e}</title>", layer.layer, layer.at(bits))
}

fn table(plan: &KvPlan, bits: &[u32]) -> String {
    let heads: String = bits.iter().map(|b| format!("<th>KL at {b} bits</th>")).collect();
    let mut rows = String::new();
    for (layer, chosen) in plan.sensitivities.iter().zip(&plan.bits) {
        let _ = write!(rows, "<tr><td>{}</td>", layer.layer);
        for &b in bits {
            let class = if b == *chosen { " class=\"chosen\"" } else { "" };
            let _ = write!(rows, "<td{class}>{:.3e}</td>", layer.at(b));
        }
        let (heads, dim) = (layer.kv_heads, layer.head_dim);
        let _ = writeln!(rows, "<td>{chosen}</td><td>{heads} × {dim}</td></tr>");
    }
    format!(
        "<table><thead><tr><th>layer</th>{heads}<th>bits</th><th>heads × features</th></tr></thead>\
         <tbody>\n{rows}</tbody></table>"
    )
}

fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(rows: &[[f64; 2]]) -> KvPlan {
        let layer = |(layer, kl): (usize, &[f64; 2])| LayerSensitivity {
            layer,
            kv_heads: 2,
            head_dim: 64,
            divergences: vec![(8, kl[1]), (4, kl[0])],
        };
        let sensitivities: Vec<_> = rows.iter().enumerate().map(layer).collect();
        KvPlan { layers: 9, group_size: 64, bits: vec![4; rows.len()], sensitivities }
    }

    fn shown(plan: &KvPlan) -> String {
        page(&Facts { model: "<a & b>", plan, target_bits: 5.0, sequences: 5, tokens: 2560 })
    }

    #[test]
    fn every_layer_has_its_bars_and_its_row() {
        let page = shown(&plan(&[[0.1, 0.01], [0.5, 0.0], [1e-20, 1e-30]]));
        assert_eq!(page.matches("<rect").count(), 6);
        assert_eq!(page.matches("<rect class=\"other\"").count(), 3);
        assert_eq!(page.matches("<tr><td>").count(), 3);
        assert!(page.contains("layer 0, 4 bits: 1.000e-1"), "{page}");
        assert!(page.contains("&lt;a &amp; b&gt;") && !page.contains("<a &"), "{page}");
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }

    #[test]
    fn the_axis_spans_the_divergences() {
        let axis = Axis::of(&plan(&[[0.1, 0.002], [0.5, 0.0]]));
        assert_eq!((axis.low, axis.high), (-3, 0));
        assert!((axis.height(1.0) - PLOT).abs() < 1e-9);
        assert!(axis.height(0.001).abs() < 1e-9);
        assert!(axis.height(0.0).abs() < 1e-9);
        let flat = Axis::of(&plan(&[[0.0, 0.0]]));
        assert!(flat.low < flat.high);
    }
}
