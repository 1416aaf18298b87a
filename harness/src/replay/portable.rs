//! Traces that no machine influences (`golden/any`), on the engine's text stack. The formats are
//! described in `golden/any/README.md`.

mod samplers;
mod templates;
mod tokens;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use verbatim_engine::text::Tokenizer;

use crate::{
    golden::ANY_MACHINE,
    report::{PortableOutcome, PortableReport},
};

/// Largest table, in bytes.
const MAX_TABLE_BYTES: u64 = 16 << 20;
/// The tokenizer that is no file of `golden/any`.
const DEMO: &str = "demo";

/// Rows of one table.
#[derive(Debug, Default)]
struct Tally {
    rows: usize,
    wrong: usize,
    first: Option<String>,
}

impl Tally {
    /// Counts a row; `difference` says how it differs.
    fn row(&mut self, difference: Option<String>) {
        self.rows += 1;
        if let Some(difference) = difference {
            self.wrong += 1;
            self.first.get_or_insert(difference);
        }
    }
}

/// Why a table was not compared.
enum Stop {
    /// It cannot be, here.
    Skip(String),
    /// Something is wrong with it.
    Fail(String),
}

impl<E: std::fmt::Display> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Fail(error.to_string())
    }
}

/// Folders that tables and what they need lie in.
struct Places<'a> {
    any: PathBuf,
    root: &'a Path,
}

impl Places<'_> {
    fn tokenizer(&self, name: &str) -> Result<Tokenizer, Stop> {
        let folder = if name == DEMO {
            self.root.join("demo/model")
        } else {
            self.any.join("tokenizers").join(name)
        };
        Ok(Tokenizer::load(&folder)?)
    }

    fn table<T: DeserializeOwned>(&self, relative: &str) -> Result<T, Stop> {
        let path = self.any.join(relative);
        let size = fs::metadata(&path)?.len();
        if size > MAX_TABLE_BYTES {
            return Err(Stop::Fail(format!("{relative} is larger than {MAX_TABLE_BYTES} bytes")));
        }
        serde_json::from_slice(&fs::read(&path)?)
            .map_err(|e| Stop::Fail(format!("{relative}: {e}")))
    }
}

/// Replays every table of the wanted kinds; a kind without tables is missing.
pub(super) fn replay(golden: &Path, root: &Path, kinds: &[String]) -> Vec<PortableReport> {
    let places = Places { any: golden.join(ANY_MACHINE), root };
    let mut reports = Vec::new();
    for kind in kinds {
        let names = table_names(&places.any.join(kind));
        if names.is_empty() {
            reports.push(PortableReport {
                kind: kind.clone(),
                path: format!("{ANY_MACHINE}/{kind}"),
                rows: 0,
                outcome: PortableOutcome::Missing,
            });
        }
        for name in names {
            // Rendered by the other tables of its folder.
            if kind == "templates" && name == templates::CONVERSATIONS {
                continue;
            }
            let mut tally = Tally::default();
            let stopped = match kind.as_str() {
                "tokens" => tokens::ids(&places, &name, &mut tally),
                "detokenizers" => tokens::streams(&places, &name, &mut tally),
                "templates" => templates::table(&places, &name, &mut tally),
                "samplers" => samplers::table(&places, &name, &mut tally),
                _ => Err(Stop::Fail(format!("nothing here replays {kind}"))),
            };
            reports.push(PortableReport {
                kind: kind.clone(),
                path: format!("{ANY_MACHINE}/{kind}/{name}.json"),
                rows: tally.rows,
                outcome: outcome(tally, stopped),
            });
        }
    }
    reports
}

fn outcome(tally: Tally, stopped: Result<(), Stop>) -> PortableOutcome {
    match (stopped, tally.first) {
        (Err(Stop::Skip(reason)), _) => PortableOutcome::Skipped { reason },
        (Err(Stop::Fail(message)), _) => PortableOutcome::Error { message },
        (Ok(()), Some(first)) => PortableOutcome::Differs { rows: tally.wrong, first },
        (Ok(()), None) if tally.rows == 0 => PortableOutcome::Missing,
        (Ok(()), None) => PortableOutcome::Equal,
    }
}

/// Names of the tables in a folder, in order.
fn table_names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".json")?.to_owned()))
        .collect();
    names.sort();
    names
}

/// `found` against `expected`, in words, when they differ.
fn differs<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Option<String> {
    (found != expected).then(|| format!("{what}: {found:?} instead of {expected:?}"))
}
