//! Prometheus' text format, version 0.0.4.

use std::fmt::Write;

use super::histogram::Histogram;

/// `content-type` of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family's samples are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A document in the making.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
}

/// Names of labels and their values.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

// Writing to a string cannot fail.
impl Exposition {
    /// Opens a family; its samples follow.
    pub(super) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {}\n", kind.word());
    }

    pub(super) fn sample(&mut self, name: &str, labels: Labels, value: f64) {
        self.text.push_str(name);
        for (i, (label, value)) in labels.iter().enumerate() {
            let value = escaped(value);
            let _ = write!(self.text, "{}{label}=\"{value}\"", if i == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// A family with one sample.
    pub(super) fn single(&mut self, name: &str, kind: Kind, help: &str, value: f64) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// The samples of one histogram.
    pub(super) fn histogram(&mut self, name: &str, labels: Labels, histogram: &Histogram) {
        let mut total = 0;
        for (bound, count) in histogram.cumulative() {
            let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
            let labels = [labels, &[("le", &bound)]].concat();
            self.sample(&format!("{name}_bucket"), &labels, count as f64);
            total = count;
        }
        self.sample(&format!("{name}_sum"), labels, histogram.sum());
        self.sample(&format!("{name}_count"), labels, total as f64);
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples() {
        let mut e = Exposition::default();
        e.single("a_total", Kind::Counter, "How many.", 3.0);
        e.sample("b", &[("x", "q\"\\\n"), ("y", "2")], 0.5);
        assert_eq!(
            e.finish(),
            "# HELP a_total How many.\n# TYPE a_total counter\na_total 3\n\
             b{x=\"q\\\"\\\\\\n\",y=\"2\"} 0.5\n"
        );
    }

    #[test]
    fn histograms_end_in_infinity() {
        let mut h = Histogram::default();
        h.observe(0.02);
        let mut e = Exposition::default();
        e.histogram("h_seconds", &[("l", "v")], &h);
        let text = e.finish();
        assert!(text.contains("h_seconds_bucket{l=\"v\",le=\"0.01\"} 0\n"), "{text}");
        assert!(text.contains("h_seconds_bucket{l=\"v\",le=\"+Inf\"} 1\n"), "{text}");
        assert!(text.contains("h_seconds_sum{l=\"v\"} 0.02\nh_seconds_count{l=\"v\"} 1\n"));
    }
}
