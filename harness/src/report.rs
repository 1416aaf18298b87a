//! What a run found, as stable data, and its faces: JSON, JUnit, HTML, text.

pub(crate) mod cells;
pub mod history;
pub(crate) mod html;
mod junit;
mod text;

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

pub use cells::{Cell, CellStatus, Failure};
pub use history::HistoryEntry;

use crate::{
    Error, Result,
    case::{Adapter, Capture, MatrixColumn, Sampling},
    compare::Difference,
    files::write_whole,
    golden::Provenance,
};

/// Version of the report's JSON.
pub const FORMAT: u32 = 1;

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// When it began, RFC 3339.
    pub started: String,
    /// How long it took.
    pub seconds: f64,
    /// What was run where.
    pub setting: Setting,
    /// Columns of the matrix, in order.
    pub columns: Vec<MatrixColumn>,
    /// Families of the matrix, in order.
    pub families: Vec<FamilyLabel>,
    /// The matrix, family by family.
    pub cells: Vec<Cell>,
    /// Every case that was chosen.
    pub cases: Vec<CaseReport>,
    /// Traces that no machine influences, and files that searches wrote.
    pub portable: Vec<PortableReport>,
}

/// A row's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FamilyLabel {
    /// What cases call it.
    pub id: String,
    /// What readers see.
    pub label: String,
}

/// What was run where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Folder of the goldens used: `linux-x86_64-cpu`.
    pub machine: String,
    /// Version of the engine.
    pub engine_version: String,
    /// The checkout's commit, `-dirty` when files differ from it; absent outside a repository.
    pub commit: Option<String>,
    /// SHA-256 of the MLX library in this process, when it could be found.
    pub libmlx_sha256: Option<String>,
    /// Which part was chosen; absent when all of it was.
    pub selection: Option<String>,
}

/// One case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseReport {
    /// Its id.
    pub id: String,
    /// Its suite.
    pub suite: String,
    /// Its row.
    pub family: String,
    /// Its column.
    pub column: String,
    /// Its row within the family.
    pub path: String,
    /// Whether its cell must be green.
    pub required: bool,
    /// What it runs.
    pub facts: CaseFacts,
    /// How it went.
    pub outcome: Outcome,
    /// How much was compared.
    pub compared: Compared,
    /// The same with its caches saved, loaded and copied midway, where the case asks for it and got
    /// so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed: Option<ResumedRuns>,
    /// The same from the prompt cache, with conversations that go on from it and branch off, where
    /// the case asks for it and got so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached: Option<CachedRuns>,
    /// The same with its adapter mounted on a running engine, beside another in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hot: Option<HotRun>,
    /// Time in the engine.
    pub seconds: f64,
    /// The golden, when there is one.
    pub golden: Option<GoldenFacts>,
    /// Things a reader should know.
    pub notes: Vec<String>,
}

/// Runs of a case whose caches were saved, loaded and copied midway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumedRuns {
    /// Key-value mode: `unquantized`, `uniform`, `seq`, `fused`.
    pub kv: String,
    /// Points at which that was done.
    pub runs: usize,
    /// Values compared with the uninterrupted golden.
    pub values: u64,
    /// Whether every bit was equal.
    pub equal: bool,
}

/// Runs of a case with the prompt cache: cold, cached, branched, restored from disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedRuns {
    /// Key-value mode: `unquantized`, `uniform`, `seq`, `fused`.
    pub kv: String,
    /// Runs.
    pub runs: usize,
    /// Those of conversations.
    pub conversations: usize,
    /// Of these, the ones that went on from what was kept; the others read all of their prompt.
    pub reused: usize,
    /// Values compared with the golden or a cold run.
    pub values: u64,
    /// Whether every bit was equal.
    pub equal: bool,
    /// Which runs were left out, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

/// A run of a case whose adapter was mounted while the engine ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HotRun {
    /// Values compared with the golden.
    pub values: u64,
    /// Whether every bit was equal.
    pub equal: bool,
}

/// Runs with caches from a file or from the prompt cache, of one family in one key-value mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResumedTotals {
    /// Cases of which every run was equal.
    pub equal: usize,
    /// Cases of which one was not.
    pub differing: usize,
    /// Runs.
    pub runs: usize,
}

/// What a case runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseFacts {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens to generate.
    pub steps: usize,
    /// Prompt tokens per prefill call.
    pub prefill_step_size: usize,
    /// The sampler; absent when greedy without processors.
    pub sampling: Option<Sampling>,
    /// What is compared beside tokens.
    pub capture: Capture,
    /// Digest of the model's specification.
    pub model_digest: String,
    /// The adapter, where one is mounted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<Adapter>,
}

/// The golden of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoldenFacts {
    /// Path below the golden folder.
    pub path: String,
    /// Where it comes from.
    pub provenance: Provenance,
}

/// How a case went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    /// Every bit is equal.
    Equal,
    /// A bit differs.
    Differs {
        /// The first.
        first: Mismatch,
    },
    /// There is no golden.
    Missing {
        /// Where it should be.
        path: String,
    },
    /// The case says that it cannot run.
    Skipped {
        /// Why.
        reason: String,
    },
    /// It could not be compared.
    Error {
        /// Why.
        message: String,
    },
}

/// The first thing that differs, in the order in which the model computes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mismatch {
    /// Token that was being chosen, from 0; absent during prefill.
    pub step: Option<usize>,
    /// Model call, from 0.
    pub call: usize,
    /// What differs.
    pub what: What,
    /// How much, for tensors.
    pub difference: Option<Difference>,
    /// A sentence.
    pub detail: String,
}

/// What can differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A layer's output.
    Layer(String),
    /// The logits of a step.
    Logits,
    /// The chosen token.
    Token,
    /// A token that was generated before on the same caches, or what the caches forgot of it.
    Past,
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Layer(name) => f.write_str(name),
            Self::Logits => f.write_str("logits"),
            Self::Token => f.write_str("token"),
            Self::Past => f.write_str("what ran before"),
        }
    }
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.step {
            Some(step) => write!(f, "step {step}, {}: {}", self.what, self.detail),
            None => write!(f, "prefill call {}, {}: {}", self.call, self.what, self.detail),
        }
    }
}

/// How much was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Compared {
    /// Tokens.
    pub steps: usize,
    /// Rows of logits.
    pub logits: usize,
    /// Layer outputs.
    pub layers: usize,
    /// Values in all of them.
    pub values: u64,
}

/// A table of traces that no machine influences, or the files that a search wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortableReport {
    /// Token ids, templates, ….
    pub kind: String,
    /// Path below the golden folder; the kind's folder when there is none.
    pub path: String,
    /// Rows compared.
    pub rows: usize,
    /// How it went.
    pub outcome: PortableOutcome,
}

/// How a table went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum PortableOutcome {
    /// Every row is equal.
    Equal,
    /// Rows differ.
    Differs {
        /// How many.
        rows: usize,
        /// The first, in words.
        first: String,
    },
    /// There is no table.
    Missing,
    /// It was not replayed.
    Skipped {
        /// Why.
        reason: String,
    },
    /// It could not be compared.
    Error {
        /// Why.
        message: String,
    },
}

/// Numbers over a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Cases that are equal.
    pub equal: usize,
    /// Cases that differ or could not be compared.
    pub failed: usize,
    /// Cases without a golden.
    pub missing: usize,
    /// Cases that were skipped.
    pub skipped: usize,
    /// Tokens compared.
    pub steps: usize,
    /// Values compared.
    pub values: u64,
}

impl Report {
    /// Whether every required cell is green and every portable table is equal.
    pub fn is_green(&self) -> bool {
        let cells = self.cells.iter().filter(|c| c.required).all(|c| c.status == CellStatus::Green);
        let portable = self
            .portable
            .iter()
            .all(|p| matches!(p.outcome, PortableOutcome::Equal | PortableOutcome::Skipped { .. }));
        // A run that chose nothing has shown nothing.
        let something = !self.cases.is_empty() || !self.portable.is_empty();
        cells && portable && something
    }

    /// Sums over the cases.
    pub fn totals(&self) -> Totals {
        self.cases.iter().fold(Totals::default(), |mut totals, case| {
            match case.outcome {
                Outcome::Equal => totals.equal += 1,
                Outcome::Differs { .. } | Outcome::Error { .. } => totals.failed += 1,
                Outcome::Missing { .. } => totals.missing += 1,
                Outcome::Skipped { .. } => totals.skipped += 1,
            }
            totals.steps += case.compared.steps;
            totals.values += case.compared.values;
            totals
        })
    }

    /// Runs with caches saved, loaded and copied midway, by family and key-value mode.
    pub fn resumed(&self) -> BTreeMap<(&str, &str), ResumedTotals> {
        let mut totals: BTreeMap<(&str, &str), ResumedTotals> = BTreeMap::new();
        for case in &self.cases {
            let Some(resumed) = &case.resumed else { continue };
            let here = totals.entry((&case.family, &resumed.kv)).or_default();
            here.runs += resumed.runs;
            if resumed.equal {
                here.equal += 1;
            } else {
                here.differing += 1;
            }
        }
        totals
    }

    /// Runs with the prompt cache, by family and key-value mode.
    pub fn cached(&self) -> BTreeMap<(&str, &str), ResumedTotals> {
        let mut totals: BTreeMap<(&str, &str), ResumedTotals> = BTreeMap::new();
        for case in &self.cases {
            let Some(cached) = &case.cached else { continue };
            let here = totals.entry((&case.family, &cached.kv)).or_default();
            here.runs += cached.runs;
            if cached.equal {
                here.equal += 1;
            } else {
                here.differing += 1;
            }
        }
        totals
    }

    /// Why runs with the prompt cache were left out, and of how many cases.
    pub fn not_cached(&self) -> BTreeMap<&str, usize> {
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        let skips = self.cases.iter().filter_map(|case| case.cached.as_ref()?.skipped.as_deref());
        for reason in skips {
            *reasons.entry(reason).or_default() += 1;
        }
        reasons
    }

    /// Runs with an adapter mounted on a running engine: how many were equal, and all.
    pub fn hot(&self) -> (usize, usize) {
        let runs = || self.cases.iter().filter_map(|case| case.hot);
        (runs().filter(|run| run.equal).count(), runs().count())
    }

    /// Versions that the goldens name, by tool; more than one value means that they are mixed.
    pub fn versions(&self) -> BTreeMap<String, Vec<String>> {
        let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut add = |tool: &str, version: &str| {
            let known = versions.entry(tool.to_owned()).or_default();
            if !known.iter().any(|v| v == version) {
                known.push(version.to_owned());
            }
        };
        for golden in self.cases.iter().filter_map(|c| c.golden.as_ref()) {
            add("libmlx", &golden.provenance.libmlx_sha256);
            add("platform", &golden.provenance.platform);
            for (tool, version) in &golden.provenance.versions {
                add(tool, version);
            }
        }
        versions
    }

    /// Writes `parity.json`, `junit.xml` and `parity.html` into `folder`, and a run over the whole
    /// matrix into its history.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write(&self, folder: &Path) -> Result<()> {
        let json = folder.join("parity.json");
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::file(&json, e))? + "\n";
        write_whole(&json, text.as_bytes())?;
        let xml = folder.join("junit.xml");
        write_whole(&xml, junit::render(self).map_err(|e| Error::file(&xml, e))?.as_bytes())?;
        let runs = if self.setting.selection.is_none() {
            history::append(folder, HistoryEntry::of(self))?
        } else {
            history::read(folder)?
        };
        write_whole(&folder.join("parity.html"), html::render(self, &runs).as_bytes())
    }

    /// A few lines for a terminal.
    pub fn summary(&self) -> String {
        text::render(self)
    }
}
