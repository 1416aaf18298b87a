//! What runs found, kept for readers.

use std::{collections::BTreeMap, fs, io::ErrorKind, path::Path};

use serde::{Deserialize, Serialize};

use super::{Extent, Findings, Plan, Tally};
use crate::{
    Error, Result,
    files::{read_text, write_whole},
};

/// The file below the checkout's root.
pub const RECORD_FILE: &str = "harness/fuzz-runs.json";
/// Runs kept; older ones are forgotten.
pub const MAX_RECORDS: usize = 50;
/// Largest file read, in bytes.
const MAX_RECORD_BYTES: u64 = 1 << 20;

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Seed of the run.
    pub seed: u64,
    /// Which key-value modes were drawn.
    pub space: String,
    /// Cases drawn.
    pub count: usize,
    /// When it began, RFC 3339.
    pub started: String,
    /// How long it took.
    pub seconds: f64,
    /// What they ran on: `linux-x86_64-cpu`.
    pub machine: String,
    /// Versions of the reference, by tool.
    pub versions: BTreeMap<String, String>,
    /// What the cases gave, by family.
    pub families: BTreeMap<String, Counts>,
}

/// What a family's cases gave.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Cases that are equal.
    pub equal: usize,
    /// Cases that are not.
    pub differing: usize,
    /// What the reference said to cases that it cannot run, and how often.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, usize>,
}

impl From<&Tally> for Counts {
    fn from(tally: &Tally) -> Self {
        Self { equal: tally.equal, differing: tally.differing, refused: tally.refusals.clone() }
    }
}

impl Record {
    /// The record of a run; `seconds`, place and versions are the caller's to fill in.
    pub fn of(plan: &Plan, findings: &Findings) -> Self {
        let families = &findings.families;
        Self {
            seed: plan.seed,
            space: plan.extent.to_string(),
            count: families.values().map(|t| t.equal + t.differing + t.refused).sum(),
            started: String::new(),
            seconds: 0.0,
            machine: String::new(),
            versions: BTreeMap::new(),
            families: families.iter().map(|(f, tally)| (f.clone(), tally.into())).collect(),
        }
    }

    /// Sums over the families: equal, differing, not run by the reference.
    pub fn totals(&self) -> (usize, usize, usize) {
        self.families.values().fold((0, 0, 0), |(equal, differing, refused), counts| {
            let here: usize = counts.refused.values().sum();
            (equal + counts.equal, differing + counts.differing, refused + here)
        })
    }
}

/// The runs recorded in the checkout at `root`, oldest first; none where there is no file.
///
/// # Errors
/// [`Error::File`] for a file that is unreadable, too large or malformed.
pub fn read_records(root: &Path) -> Result<Vec<Record>> {
    let path = root.join(RECORD_FILE);
    if fs::metadata(&path).is_err_and(|e| e.kind() == ErrorKind::NotFound) {
        return Ok(Vec::new());
    }
    let text = read_text(&path, MAX_RECORD_BYTES)?;
    serde_json::from_str(&text).map_err(|e| Error::file(&path, e))
}

/// Adds a run, in the place of an earlier one with its seed, space and count.
///
/// # Errors
/// As [`read_records`], and trouble writing.
pub fn append_record(root: &Path, record: Record) -> Result<()> {
    let path = root.join(RECORD_FILE);
    let mut records = read_records(root)?;
    let key = |r: &Record| (r.seed, r.space.clone(), r.count);
    records.retain(|earlier| key(earlier) != key(&record));
    records.push(record);
    records.drain(..records.len().saturating_sub(MAX_RECORDS));
    let text = serde_json::to_string_pretty(&records).map_err(|e| Error::file(&path, e))? + "\n";
    write_whole(&path, text.as_bytes())
}

/// What is said of an extent in a sentence.
pub(crate) fn drawn(space: &str) -> &'static str {
    match space.parse() {
        Ok(Extent::L1) => "unquantized keys and values",
        Ok(Extent::Kv) => "quantized keys and values",
        _ => "either kind of keys and values",
    }
}
