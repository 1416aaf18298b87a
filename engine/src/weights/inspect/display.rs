//! The report for a terminal.

use std::fmt;

use super::Inspection;
use crate::memory::{bytes, grouped};

/// Width of the label column.
const LABEL: usize = 14;

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.supported { "supported" } else { "not supported" };
        writeln!(f, "{} · {} · {verdict}", self.name, self.model_type)?;
        for problem in &self.problems {
            writeln!(f, "  ✗ {problem}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "  ! {warning}")?;
        }
        writeln!(f)?;
        self.write_facts(f)?;
        self.write_components(f)?;
        self.write_memory(f)
    }
}

impl Inspection {
    fn write_facts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let w = &self.weights;
        let source = match w.files {
            0 => "by the configuration; no weight files".to_owned(),
            1 => format!("{} tensors in 1 file", w.tensors),
            n => format!("{} tensors in {n} files", w.tensors),
        };
        line(f, "parameters", &count(w.parameters))?;
        line(f, "weights", &format!("{} · {source}", bytes(w.bytes)))?;
        let dtypes: Vec<_> =
            w.bytes_by_dtype.iter().map(|(name, n)| format!("{name} {}", bytes(*n))).collect();
        line(f, "stored as", &dtypes.join(" · "))?;
        if let Some(q) = &self.quantization {
            let schemes: Vec<_> =
                q.modules.iter().map(|(name, n)| format!("{name} × {n}")).collect();
            let schemes = schemes.join(" · ");
            line(
                f,
                "quantization",
                &format!("{schemes} · {:.2} bits per weight", q.bits_per_weight),
            )?;
        }
        if let Some(layers) = self.layers {
            line(f, "layers", &layers.to_string())?;
        }
        if let Some(context) = self.context_length {
            line(f, "context", &format!("{} tokens", grouped(context as u64)))?;
        }
        if let (Some(n), Some(dtype)) = (self.cache_bytes_per_token, self.activation_dtype) {
            line(f, "KV cache", &format!("{} per token in {dtype}", bytes(n)))?;
        }
        line(f, "end tokens", &list(&self.eos_token_ids))?;
        let t = &self.tokenizer;
        let files = [
            ("tokenizer.json", t.tokenizer_json),
            ("tokenizer_config.json", t.tokenizer_config),
            ("chat template", t.chat_template),
        ];
        let files: Vec<_> =
            files.iter().map(|(name, there)| format!("{} {name}", mark(*there))).collect();
        line(f, "tokenizer", &files.join("  "))
    }

    fn write_components(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.weights.components.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n  {:<LABEL$}{:>12}{:>12}{:>8}", "part", "parameters", "bytes", "share")?;
        for c in &self.weights.components {
            let share = c.bytes as f64 * 100.0 / self.weights.bytes.max(1) as f64;
            let (n, b) = (count(c.parameters), bytes(c.bytes));
            writeln!(f, "  {:<LABEL$}{n:>12}{b:>12}{share:>7.1}%", c.name)?;
        }
        Ok(())
    }

    fn write_memory(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.memory.is_empty() {
            return Ok(());
        }
        let (a, b, c, d) = ("context", "KV cache", "working ≤", "total ≤");
        writeln!(f, "\n  {a:<LABEL$}{b:>12}{c:>12}{d:>12}")?;
        for cost in &self.memory {
            let tokens = grouped(cost.tokens);
            let (kv, work) = (bytes(cost.cache_bytes), bytes(cost.working_bytes));
            let total = bytes(cost.total_bytes);
            writeln!(f, "  {tokens:<LABEL$}{kv:>12}{work:>12}{total:>12}")?;
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, label: &str, value: &str) -> fmt::Result {
    writeln!(f, "  {label:<LABEL$}{value}")
}

fn mark(there: bool) -> char {
    if there { '✓' } else { '✗' }
}

fn list(ids: &[u32]) -> String {
    if ids.is_empty() {
        return "none".to_owned();
    }
    ids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

/// `1.08 B`, `246.1 M`, `98.3 K`, `320`.
fn count(n: u64) -> String {
    match n {
        0..=999 => n.to_string(),
        1_000..=999_949 => format!("{:.1} K", n as f64 / 1e3),
        999_950..=999_949_999 => format!("{:.1} M", n as f64 / 1e6),
        _ => format!("{:.2} B", n as f64 / 1e9),
    }
}
