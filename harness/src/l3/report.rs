//! What a run of the gauge found, as stable data.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Divergence, Limits, Mode, html};
use crate::{Error, Result, files::write_whole};

/// Version of the report's JSON.
pub const FORMAT: u32 = 1;

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct L3Report {
    /// The number of this layout.
    pub format: u32,
    /// The policy's name.
    pub policy: String,
    /// When it began, RFC 3339.
    pub started: String,
    /// How long it took.
    pub seconds: f64,
    /// What was run where.
    pub setting: L3Setting,
    /// Ways to keep keys and values.
    pub modes: Vec<Mode>,
    /// Models.
    pub subjects: Vec<SubjectReport>,
    /// Memory while plain keys and values were packed.
    pub conversions: Vec<ConversionReport>,
}

/// What was run where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct L3Setting {
    /// System, architecture and MLX's backend: `linux-x86_64-cpu`.
    pub machine: String,
    /// Version of the engine.
    pub engine_version: String,
    /// The checkout's commit, `-dirty` when files differ from it; absent outside a repository.
    pub commit: Option<String>,
    /// SHA-256 of the MLX library in this process, when it could be found.
    pub libmlx_sha256: Option<String>,
}

/// One model and its stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubjectReport {
    /// Its name.
    pub id: String,
    /// What readers see.
    pub label: String,
    /// Dtype of weights and activations.
    pub dtype: String,
    /// Tokens read at once.
    pub prompt_tokens: usize,
    /// Positions compared, one token each.
    pub positions: usize,
    /// Bytes of plain keys and values at the stream's end, over its tokens.
    pub plain_bytes_per_token: f64,
    /// What was held against plain keys and values.
    pub candidates: Vec<CandidateReport>,
}

/// One mode on one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CandidateReport {
    /// The mode.
    pub mode: String,
    /// The cache's setting in words.
    pub kv: String,
    /// Bytes of keys and values at the stream's end, over its tokens.
    pub bytes_per_token: f64,
    /// How far it is from plain keys and values.
    pub found: Divergence,
    /// What is allowed.
    pub limits: Limits,
    /// Whether it keeps to that.
    pub within: bool,
}

/// One conversion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConversionReport {
    /// What readers see.
    pub label: String,
    /// The cache's setting in words.
    pub kv: String,
    /// Tokens whose keys and values were packed.
    pub tokens: usize,
    /// Bytes of all plain layers that were packed.
    pub plain: u64,
    /// Bytes of the largest of them.
    pub largest_layer: u64,
    /// Greatest number of bytes that MLX held meanwhile beyond those before.
    pub extra_peak: u64,
    /// Whether that is bounded by the largest layer: packed it takes at most 9/16 of itself, and MLX
    /// copies one of its two buffers meanwhile.
    pub within: bool,
}

/// A line of a report, named.
#[derive(Debug, Clone, Copy)]
pub enum Row<'a> {
    /// A mode on a model.
    Candidate(&'a SubjectReport, &'a CandidateReport),
    /// A conversion.
    Conversion(&'a ConversionReport),
}

impl L3Report {
    /// Whether everything keeps to its limits.
    pub fn is_green(&self) -> bool {
        let candidates = self.subjects.iter().all(|s| s.candidates.iter().all(|c| c.within));
        candidates && self.conversions.iter().all(|c| c.within)
    }

    /// A mode's name for readers.
    pub fn label<'a>(&'a self, mode: &'a str) -> &'a str {
        self.modes.iter().find(|m| m.id == mode).map_or(mode, |m| &m.label)
    }

    /// Writes `l3.json` and `l3.html` into `folder`.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write(&self, folder: &Path) -> Result<()> {
        let json = folder.join("l3.json");
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::file(&json, e))? + "\n";
        write_whole(&json, text.as_bytes())?;
        write_whole(&folder.join("l3.html"), html::render(self).as_bytes())
    }

    /// A line for a terminal.
    pub fn verdict(&self) -> String {
        let rows = self.subjects.iter().map(|s| s.candidates.len()).sum::<usize>()
            + self.conversions.len();
        let word = if self.is_green() { "within the limits" } else { "NOT within the limits" };
        format!("{word}: {} lines of {} in {:.1} s\n", rows, self.policy, self.seconds)
    }
}

impl std::fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mark = |within: bool| if within { '✓' } else { '✗' };
        match self {
            Self::Candidate(subject, c) => write!(
                f,
                "{} {} {}: KL mean {} (limit {}), max {} (limit {}), same top {:.1} %, {:.0} of {:.0} bytes per token",
                mark(c.within),
                subject.id,
                c.mode,
                nats(c.found.mean),
                nats(c.limits.mean),
                nats(c.found.max),
                nats(c.limits.max),
                c.found.same_top * 100.0,
                c.bytes_per_token,
                subject.plain_bytes_per_token
            ),
            Self::Conversion(c) => write!(
                f,
                "{} packing {}, {} tokens: {} bytes beside {} of plain layers, the largest {}",
                mark(c.within),
                c.label,
                c.tokens,
                c.extra_peak,
                c.plain,
                c.largest_layer
            ),
        }
    }
}

/// Three digits that count.
pub(super) fn nats(value: f64) -> String {
    if value == 0.0 { "0".into() } else { format!("{value:.2e}") }
}
