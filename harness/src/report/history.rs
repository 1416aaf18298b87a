//! What earlier runs found: one line of JSON a run, kept beside the reports.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::ErrorKind,
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{PortableOutcome, Report};
use crate::{Error, Result, files::write_whole};

/// Name of the file in the folder of reports.
pub const HISTORY_FILE: &str = "history.jsonl";
/// Runs kept; older ones are forgotten.
pub const MAX_HISTORY_RUNS: usize = 200;
/// Largest history read, in bytes.
pub const MAX_HISTORY_BYTES: u64 = 1 << 20;

/// Held while the history is read and written, so that two runs both end up in it.
const LOCK_FILE: &str = ".history.lock";

/// One run over the whole matrix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When it began, RFC 3339.
    pub started: String,
    /// How long it took.
    pub seconds: f64,
    /// The checkout's commit; `-dirty` when files differed from it.
    pub commit: Option<String>,
    /// Folder of the goldens used.
    pub machine: String,
    /// Version of the engine.
    pub engine: String,
    /// Versions that the goldens name, by tool; several of one tool are joined by a comma.
    pub versions: BTreeMap<String, String>,
    /// SHA-256 of the MLX library in the process.
    pub libmlx_sha256: Option<String>,
    /// Whether it was green.
    pub green: bool,
    /// Cases that were equal.
    pub equal: usize,
    /// Cases that differed or could not be compared.
    pub failed: usize,
    /// Cases without a golden.
    pub missing: usize,
    /// Cases that were skipped.
    pub skipped: usize,
    /// Portable tables that were equal, and all of them.
    pub tables: (usize, usize),
    /// Tokens compared.
    pub steps: usize,
    /// Values compared.
    pub values: u64,
}

impl HistoryEntry {
    /// The line of a run.
    pub fn of(report: &Report) -> Self {
        let totals = report.totals();
        let mut versions = report.versions();
        versions.retain(|tool, _| tool != "libmlx" && tool != "platform");
        let equal = report.portable.iter().filter(|t| t.outcome == PortableOutcome::Equal).count();
        Self {
            started: report.started.clone(),
            seconds: report.seconds,
            commit: report.setting.commit.clone(),
            machine: report.setting.machine.clone(),
            engine: report.setting.engine_version.clone(),
            versions: versions.into_iter().map(|(tool, v)| (tool, v.join(", "))).collect(),
            libmlx_sha256: report.setting.libmlx_sha256.clone(),
            green: report.is_green(),
            equal: totals.equal,
            failed: totals.failed,
            missing: totals.missing,
            skipped: totals.skipped,
            tables: (equal, report.portable.len()),
            steps: totals.steps,
            values: totals.values,
        }
    }
}

/// The runs known in `folder`, oldest first, none when there is no history. Lines that cannot be
/// read, as another version or a crash may leave them, are left out.
///
/// # Errors
/// [`Error::File`] for a history that is unreadable or too large.
pub fn read(folder: &Path) -> Result<Vec<HistoryEntry>> {
    let path = folder.join(HISTORY_FILE);
    let size = match fs::metadata(&path) {
        Ok(metadata) => metadata.len(),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::file(&path, e)),
    };
    if size > MAX_HISTORY_BYTES {
        let reason = format!("larger than {MAX_HISTORY_BYTES} bytes; delete it to start anew");
        return Err(Error::file(&path, reason));
    }
    let bytes = fs::read(&path).map_err(|e| Error::file(&path, e))?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// Adds a run and forgets the oldest beyond [`MAX_HISTORY_RUNS`]; gives what is kept, oldest first.
///
/// # Errors
/// As [`read`], and trouble writing.
pub fn append(folder: &Path, entry: HistoryEntry) -> Result<Vec<HistoryEntry>> {
    fs::create_dir_all(folder).map_err(|e| Error::file(folder, e))?;
    let lock_path = folder.join(LOCK_FILE);
    let lock = File::create(&lock_path).map_err(|e| Error::file(&lock_path, e))?;
    lock.lock().map_err(|e| Error::file(&lock_path, e))?;
    let mut runs = read(folder)?;
    runs.push(entry);
    runs.drain(..runs.len().saturating_sub(MAX_HISTORY_RUNS));
    let path = folder.join(HISTORY_FILE);
    let mut text = String::new();
    for run in &runs {
        text += &serde_json::to_string(run).map_err(|e| Error::file(&path, e))?;
        text.push('\n');
    }
    write_whole(&path, text.as_bytes())?;
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(equal: usize) -> HistoryEntry {
        HistoryEntry {
            started: "2026-01-01T00:00:00Z".into(),
            seconds: 1.5,
            commit: Some("abc".into()),
            machine: "m".into(),
            engine: "0.1.0".into(),
            versions: BTreeMap::new(),
            libmlx_sha256: None,
            green: true,
            equal,
            failed: 0,
            missing: 0,
            skipped: 0,
            tables: (1, 1),
            steps: 9,
            values: 99,
        }
    }

    #[test]
    fn the_latest_runs_are_kept_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for n in 0..MAX_HISTORY_RUNS + 3 {
            append(folder.path(), entry(n)).unwrap();
        }
        let runs = read(folder.path()).unwrap();
        assert_eq!(runs.len(), MAX_HISTORY_RUNS);
        assert_eq!((runs[0].equal, runs.last().unwrap().equal), (3, MAX_HISTORY_RUNS + 2));
    }

    #[test]
    fn lines_of_no_meaning_are_left_out_and_huge_files_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(HISTORY_FILE);
        fs::write(&path, b"{\"started\": 1}\n\xff\xfe\n\n{\"half").unwrap();
        assert_eq!(append(folder.path(), entry(1)).unwrap(), [entry(1)]);
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
        fs::write(&path, vec![b' '; MAX_HISTORY_BYTES as usize + 1]).unwrap();
        assert!(read(folder.path()).unwrap_err().to_string().contains("delete it"));
    }

    #[test]
    fn runs_at_the_same_time_are_both_remembered() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for n in 0..8 {
                let folder = folder.path();
                scope.spawn(move || append(folder, entry(n)).unwrap());
            }
        });
        assert_eq!(read(folder.path()).unwrap().len(), 8);
    }
}
