//! Fresh cases: drawn from a seed within each family's space, judged by whoever can run reference
//! and engine, and made smaller when the two disagree.
//!
//! Nothing here runs a model; the oracle is the judge (`oracle fuzz`).

mod adapter;
mod draw;
mod format;
mod gemma4;
mod kv;
mod llama;
mod qwen3_5;
mod record;
mod settings;
mod shrink;
mod space;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::json;

pub use draw::Draw;
pub(crate) use record::drawn;
pub use record::{Counts, RECORD_FILE, Record, append_record, read_records};
pub use shrink::{MAX_SHRINK_RUNS, Shrunk, shrink, weight};
pub use space::{Extent, SPACES, Space, draw_case};

use crate::{Error, Result, case::Case, files::write_whole};

/// Cases of one run at most.
pub const MAX_COUNT: usize = 100_000;
/// Disagreements after which a run stops.
pub const MAX_FAILURES: usize = 5;

/// Folder of `harness/cases` for cases that once failed.
pub const FOLDER: &str = "fuzz";

/// What comparing reference and engine on a case gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every bit is equal.
    Equal,
    /// They disagree, in words.
    Differs(String),
    /// The reference itself cannot run the case, in its words: nothing was compared.
    Refused(String),
}

/// Runs reference and engine on a case.
pub trait Judge {
    /// Its verdict.
    ///
    /// # Errors
    /// When the judge cannot judge: no interpreter, no disk.
    fn judge(&mut self, case: &Case) -> Result<Verdict>;
}

/// What to draw.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Seed of the run.
    pub seed: u64,
    /// Cases in all.
    pub count: usize,
    /// Only this family.
    pub family: Option<String>,
    /// Which key-value modes.
    pub extent: Extent,
}

/// What a family's cases gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Cases that are equal.
    pub equal: usize,
    /// Cases that are not.
    pub differing: usize,
    /// Cases that the reference cannot run.
    pub refused: usize,
    /// Time in reference and engine, shrinking included.
    pub time: Duration,
    /// What the reference said to the cases that it cannot run, and how often.
    pub refusals: BTreeMap<String, usize>,
}

/// A disagreement.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Position in the run.
    pub index: usize,
    /// The case as drawn.
    pub drawn: Case,
    /// The smallest case found that still disagrees.
    pub shrunk: Shrunk,
}

/// What a run found.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// By family.
    pub families: BTreeMap<String, Tally>,
    /// Disagreements, in order.
    pub failures: Vec<Failure>,
}

/// Draws and judges; `progress` hears of each case, how many were judged with it, and its verdict.
/// Families take turns. What changes the reference's process for good is judged last.
///
/// # Errors
/// What the judge returns; a plan that asks for nothing or too much.
pub fn run(
    plan: &Plan,
    judge: &mut dyn Judge,
    mut progress: impl FnMut(usize, &Case, &Verdict),
) -> Result<Findings> {
    let spaces: Vec<&Space> = SPACES
        .iter()
        .filter(|s| plan.family.as_ref().is_none_or(|family| s.family == family))
        .collect();
    if spaces.is_empty() {
        let known: Vec<&str> = SPACES.iter().map(|s| s.family).collect();
        return Err(Error::Model(format!("no space to draw from; families: {}", known.join(", "))));
    }
    if !(1..=MAX_COUNT).contains(&plan.count) {
        return Err(Error::Model(format!("count must be 1 to {MAX_COUNT}")));
    }
    let draw =
        |index: usize| draw_case(spaces[index % spaces.len()], plan.extent, plan.seed, index);
    let mut order: Vec<usize> = (0..plan.count).collect();
    order.sort_by_cached_key(|index| draw(*index).kv.recording_rank());
    let mut findings = Findings::default();
    for (done, index) in order.into_iter().enumerate() {
        let space = spaces[index % spaces.len()];
        let case = draw(index);
        let started = Instant::now();
        let verdict = judge.judge(&case)?;
        progress(done + 1, &case, &verdict);
        let failure = match &verdict {
            Verdict::Differs(how) => {
                Some(shrink(case.clone(), how.clone(), space, &mut |c| judge.judge(c))?)
            }
            _ => None,
        };
        let tally = findings.families.entry(space.family.to_owned()).or_default();
        tally.time += started.elapsed();
        match verdict {
            Verdict::Equal => tally.equal += 1,
            Verdict::Differs(_) => tally.differing += 1,
            Verdict::Refused(why) => {
                tally.refused += 1;
                *tally.refusals.entry(why).or_default() += 1;
            }
        }
        if let Some(shrunk) = failure {
            findings.failures.push(Failure { index, drawn: case, shrunk });
            if findings.failures.len() == MAX_FAILURES {
                break;
            }
        }
    }
    Ok(findings)
}

/// Writes a case as a suite of its own below `cases`, where the next `golden` and `parity` find it.
///
/// # Errors
/// [`Error::File`].
pub fn write_case(cases: &Path, case: &Case, about: &str) -> Result<PathBuf> {
    let id = format!("{}/fuzz/{}", case.family, &case.digest()[..12]);
    let path = cases.join(FOLDER).join(format!("{}.json", id.replace('/', "-")));
    let mut base = serde_json::to_value(case).map_err(|e| Error::file(&path, e))?;
    for field in ["id", "suite"] {
        base.as_object_mut().map(|fields| fields.shift_remove(field));
    }
    let suite = json!({ "about": about, "base": base, "products": [{ "id": id }] });
    write_whole(&path, format!("{suite:#}\n").as_bytes())?;
    Ok(path)
}
