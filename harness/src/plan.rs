//! Searches for layers' bits: what mlx-optiq's `kv-cache` writes for a model and token ids.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    case::{ModelSpec, Prompt},
    digest,
    files::{read_text, write_whole},
    golden::Provenance,
};

/// Folder of their goldens below a machine's.
pub const FOLDER: &str = "kv-plan";
/// Largest file of searches, and largest golden, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// One search, run once and solved for several targets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanCase {
    /// Names the golden: `kv-plan/<id>.json`.
    pub id: String,
    /// The model.
    pub model: ModelSpec,
    /// Rows of its embedding: ids are drawn below it.
    pub vocab_size: usize,
    /// Calibration sequences.
    pub sequences: Vec<Prompt>,
    /// Bits that a layer may get.
    pub candidate_bits: Vec<u64>,
    /// Values that share a scale.
    pub group_size: u64,
    /// Average bits asked for; each gives an allocation.
    pub target_bits: Vec<f64>,
}

impl PlanCase {
    /// Digest of everything that decides the golden.
    pub fn digest(&self) -> String {
        digest::short(&Self { id: String::new(), ..self.clone() })
    }

    /// The sequences' token ids.
    pub fn ids(&self) -> Vec<Vec<u32>> {
        self.sequences.iter().map(|sequence| sequence.ids(self.vocab_size)).collect()
    }

    /// What filters look at.
    pub fn name(&self) -> String {
        format!("{FOLDER}/{}", self.id)
    }

    /// Path of the golden below `golden/`, with forward slashes.
    pub fn relative_path(&self, machine: &str) -> String {
        format!("{machine}/{}.json", self.name())
    }
}

/// What mlx-optiq wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanGolden {
    /// Where it comes from.
    pub provenance: Provenance,
    /// `kv_sensitivity.json`. Python's floats read back to the bit.
    pub sensitivity: String,
    /// `kv_config.json` of each target, in the case's order.
    pub configs: Vec<String>,
}

impl PlanGolden {
    /// Reads a golden.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn read(path: &Path) -> Result<Self> {
        serde_json::from_str(&read_text(path, MAX_BYTES)?).map_err(|e| Error::file(path, e))
    }

    /// Writes it whole.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::file(path, e))? + "\n";
        write_whole(path, text.as_bytes())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plans {
    #[allow(dead_code, reason = "for those who read the file")]
    about: String,
    plans: Vec<PlanCase>,
}

/// The searches of `folder/kv-plan.json`; none where there is no such file.
///
/// # Errors
/// [`Error::File`] for an unreadable file, [`Error::Case`] for an id that cannot name a file or
/// names two.
pub fn load_plans(folder: &Path) -> Result<Vec<PlanCase>> {
    let path = folder.join("kv-plan.json");
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let Plans { plans, .. } =
        serde_json::from_str(&read_text(&path, MAX_BYTES)?).map_err(|e| Error::file(&path, e))?;
    for (i, plan) in plans.iter().enumerate() {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if plan.id.is_empty() || !plan.id.chars().all(plain) {
            return Err(Error::case(&plan.id, "an id has letters, digits, '-' and '_'"));
        }
        if plans[..i].iter().any(|other| other.id == plan.id) {
            return Err(Error::case(&plan.id, "two searches have this id"));
        }
    }
    Ok(plans)
}
