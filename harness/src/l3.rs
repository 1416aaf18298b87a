//! L3: comparisons that no bit decides. Each is held to a policy that has a name, and to limits that
//! are data.
//!
//! The first policy, [`POLICY`], says what a way of keeping keys and values costs: a model that keeps
//! them as they are and one that packs them read the same tokens, and their distributions are compared
//! at every position.

mod divergence;
mod html;
mod markdown;
mod report;
mod run;
mod widen;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use divergence::{Divergence, divergence, kl};
pub use markdown::update_readme;
pub use report::{CandidateReport, ConversionReport, L3Report, L3Setting, Row, SubjectReport};
pub use run::run;

use crate::{
    Error, Result,
    case::{Case, KvMode, ModelSpec, Prompt, load_suites},
    files::read_text,
};

/// The policy's name.
pub const POLICY: &str = "KL(reference ‖ candidate), mean and max over positions, teacher-forced on a fixed token stream";
/// The file in `harness/cases` that says what is compared and what is allowed.
pub const FILE: &str = "l3.json";
/// Caches grow by so many tokens; streams are multiples, so that no room counts as cost.
const WHOLE: usize = 256;
/// Largest such file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// What is compared and what is allowed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gauge {
    /// What the file is for.
    pub about: String,
    /// Ways to keep keys and values, in the order in which reports show them.
    pub modes: Vec<Mode>,
    /// Models and their streams.
    pub subjects: Vec<Subject>,
    /// Prompts whose keys and values are packed while memory is measured.
    pub conversions: Vec<ConversionCase>,
}

/// A way to keep keys and values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mode {
    /// What candidates call it.
    pub id: String,
    /// What readers see.
    pub label: String,
    /// The options that ask for it.
    pub options: String,
}

/// A model and the tokens that it reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// Its name.
    pub id: String,
    /// What readers see.
    pub label: String,
    /// The case whose model it is.
    pub model_of: String,
    /// Runs the model in f32, whatever its weights are stored in.
    #[serde(default)]
    pub in_f32: bool,
    /// All tokens.
    pub stream: Prompt,
    /// How many of them are the prompt, read at once; the others follow one by one.
    pub prompt: usize,
    /// What is held against plain keys and values.
    pub candidates: Vec<Candidate>,
}

/// One mode on one model, with what it may cost there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// The mode.
    pub mode: String,
    /// What it means for this model.
    pub kv: KvMode,
    /// What is allowed.
    pub limits: Limits,
}

/// Largest divergence that a candidate may have, in nats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Of the mean over positions.
    pub mean: f64,
    /// Of the worst position.
    pub max: f64,
}

impl Limits {
    /// Whether `found` keeps to them; what is no number does not.
    pub fn allow(&self, found: &Divergence) -> bool {
        found.mean <= self.mean && found.max <= self.max
    }
}

/// A prompt whose plain keys and values are packed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConversionCase {
    /// What readers see.
    pub label: String,
    /// The case whose model it is.
    pub model_of: String,
    /// The prompt; all but its last token are read at once.
    pub prompt: Prompt,
    /// How they are packed.
    pub kv: KvMode,
}

impl Gauge {
    /// Reads `harness/cases/l3.json` of a checkout's `folder` of cases.
    ///
    /// # Errors
    /// [`Error::File`] for a file that is unreadable or contradicts itself.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let text = read_text(&path, MAX_BYTES)?;
        let gauge: Self = serde_json::from_str(&text).map_err(|e| Error::file(&path, e))?;
        match gauge.problem() {
            Some(problem) => Err(Error::file(path, problem)),
            None => Ok(gauge),
        }
    }

    /// What contradicts itself.
    fn problem(&self) -> Option<String> {
        for subject in &self.subjects {
            let (id, tokens) = (&subject.id, subject.stream.len());
            if subject.prompt == 0 || subject.prompt >= tokens || !tokens.is_multiple_of(WHOLE) {
                return Some(format!(
                    "{id}: a stream has a multiple of {WHOLE} tokens, some of them its prompt"
                ));
            }
            for candidate in &subject.candidates {
                if !self.modes.iter().any(|mode| mode.id == candidate.mode) {
                    return Some(format!("{id}: no mode is called {}", candidate.mode));
                }
            }
        }
        let nothing = self.subjects.iter().all(|subject| subject.candidates.is_empty());
        nothing.then(|| "compares nothing".into())
    }
}

/// Models of the cases that a gauge names.
struct Named(Vec<Case>);

impl Named {
    fn load(folder: &Path) -> Result<Self> {
        Ok(Self(load_suites(folder)?))
    }

    fn get(&self, id: &str) -> Result<&ModelSpec> {
        let found = self.0.iter().find(|case| case.id == id).map(|case| &case.model);
        found.ok_or_else(|| Error::case(id, format!("{FILE} names it, no suite has it")))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn gauge() -> Value {
        json!({
            "about": "a test", "conversions": [],
            "modes": [{ "id": "kv-4", "label": "4 bits", "options": "--kv-bits 4" }],
            "subjects": [{
                "id": "tiny", "label": "Tiny", "model_of": "tiny/bf16/plain", "prompt": 128,
                "stream": { "random": { "seed": 1, "len": 256 } },
                "candidates": [{
                    "mode": "kv-4", "kv": { "uniform": { "bits": 4, "group_size": 32 } },
                    "limits": { "mean": 0.1, "max": 1.0 }
                }]
            }]
        })
    }

    #[rstest]
    #[case::good("/about", json!("another"), None)]
    #[case::room("/subjects/0/stream/random/len", json!(300), Some("multiple of 256"))]
    #[case::nothing_follows("/subjects/0/prompt", json!(256), Some("some of them its prompt"))]
    #[case::no_prompt("/subjects/0/prompt", json!(0), Some("some of them its prompt"))]
    #[case::mode("/subjects/0/candidates/0/mode", json!("kv-5"), Some("no mode is called kv-5"))]
    #[case::nothing("/subjects/0/candidates", json!([]), Some("compares nothing"))]
    #[case::limits("/subjects/0/candidates/0/limits", json!({"mean": 1}), Some("missing field"))]
    fn files_that_contradict_themselves_are_refused(
        #[case] at: &str,
        #[case] value: Value,
        #[case] expected: Option<&str>,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut gauge = gauge();
        *gauge.pointer_mut(at).unwrap() = value;
        std::fs::write(folder.path().join(FILE), gauge.to_string()).unwrap();
        let found = Gauge::load(folder.path()).err().map(|e| e.to_string());
        match expected {
            None => assert_eq!(found, None),
            Some(text) => assert!(found.as_ref().is_some_and(|f| f.contains(text)), "{found:?}"),
        }
    }

    #[test]
    fn what_is_no_number_is_not_allowed() {
        let limits = Limits { mean: 1.0, max: 1.0 };
        let found = |mean, max| Divergence { positions: 1, mean, max, same_top: 1.0 };
        assert!(limits.allow(&found(1.0, 1.0)));
        assert!(!limits.allow(&found(0.1, 1.1)));
        assert!(!limits.allow(&found(1.1, 0.1)));
        assert!(!limits.allow(&found(f64::NAN, 0.0)));
        assert!(!limits.allow(&found(0.0, f64::NAN)));
    }
}
