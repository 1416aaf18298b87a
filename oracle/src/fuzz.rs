//! Fresh cases, live: reference and engine in this process, on one libmlx.

use std::{fs, path::Path, time::Instant};

use anyhow::{Context, Result};
use verbatim_engine::Engine;
use verbatim_harness::{
    Error,
    case::Case,
    fuzz::{self, Failure, Findings, Judge, MAX_FAILURES, Plan, Record, Verdict},
    golden::{Golden, machine_key},
    maker::ModelStore,
    replay::{Models, engine_options, now, replay, resume},
};

use crate::{checkout::Checkout, record, reference::Setting, report};

/// Cases between two lines for the person who watches.
const REPORT_EVERY: usize = 25;

/// Draws, compares, shrinks and writes what disagrees; true when nothing does. `record` notes the
/// run for readers.
///
/// # Errors
/// A plan without cases, a missing environment, trouble with files.
pub fn run(checkout: &Checkout, plan: &Plan, record: bool, verbose: bool) -> Result<bool> {
    let setting = Setting::find(checkout)?;
    let mut about = Record {
        started: now(),
        machine: machine_key(setting.backend),
        versions: setting.versions.clone(),
        ..Record::of(plan, &Findings::default())
    };
    let scratch = tempfile::tempdir().context("making a scratch folder")?;
    let mut live = Live { checkout, setting, scratch: scratch.path() };
    let started = Instant::now();
    let findings = fuzz::run(plan, &mut live, |done, case, verdict| match verdict {
        Verdict::Differs(how) => report(&format!("{} differs, shrinking: {how}", case.id)),
        Verdict::Refused(why) if verbose => report(&format!("{} refused: {why}", case.id)),
        _ if verbose || done % REPORT_EVERY == 0 || done == plan.count => {
            report(&format!("{done}/{} {}", plan.count, case.id));
        }
        _ => {}
    })?;
    for failure in &findings.failures {
        tell(checkout, plan, failure)?;
    }
    summarize(plan, &findings, started);
    if record {
        about.seconds = started.elapsed().as_secs_f64().round();
        let Record { count, families, .. } = Record::of(plan, &findings);
        (about.count, about.families) = (count, families);
        fuzz::append_record(&checkout.root, about)?;
        report("noted; `./just parity --readme` shows it");
    }
    Ok(findings.failures.is_empty())
}

fn tell(checkout: &Checkout, plan: &Plan, failure: &Failure) -> Result<()> {
    let shrunk = &failure.shrunk;
    let about = format!(
        "Found by parity-fuzz --seed {} as case {} and made smaller: {}",
        plan.seed, failure.index, shrunk.how
    );
    let path = fuzz::write_case(&checkout.root.join("harness/cases"), &shrunk.case, &about)?;
    report(&format!(
        "{}: {}; smallest after {} more runs: {}",
        failure.drawn.id,
        shrunk.how,
        shrunk.runs,
        path.display()
    ));
    Ok(())
}

fn summarize(plan: &Plan, findings: &Findings, started: Instant) {
    for (family, tally) in &findings.families {
        report(&format!(
            "{family}: {} equal, {} differ, {} not run by the reference, {:.1?}",
            tally.equal, tally.differing, tally.refused, tally.time
        ));
        for (why, count) in &tally.refusals {
            report(&format!("    {count} times: {why}"));
        }
    }
    let cases: usize = findings.families.values().map(|t| t.equal + t.differing + t.refused).sum();
    let end = if findings.failures.len() == MAX_FAILURES { ", stopped early" } else { "" };
    report(&format!(
        "seed {}, space {}, {cases} of {} cases{end}, {:.1?}: {} disagreements",
        plan.seed,
        plan.extent,
        plan.count,
        started.elapsed(),
        findings.failures.len()
    ));
}

/// Reference and engine, side by side.
struct Live<'a> {
    checkout: &'a Checkout,
    setting: Setting,
    scratch: &'a Path,
}

impl Judge for Live<'_> {
    fn judge(&mut self, case: &Case) -> verbatim_harness::Result<Verdict> {
        let folder = self.scratch.join("models");
        let verdict = match self.reference(case, &folder.join("reference")) {
            Err(error) => Verdict::Refused(last_line(&format!("{error:#}"))),
            Ok(golden) => match self.engine(case, &golden, &folder.join("engine")) {
                Ok(None) => Verdict::Equal,
                Ok(Some(how)) => Verdict::Differs(how),
                Err(message) => Verdict::Differs(format!("the engine: {message}")),
            },
        };
        fs::remove_dir_all(&folder).map_err(|e| Error::file(&folder, e))?;
        Ok(verdict)
    }
}

impl Live<'_> {
    fn reference(&self, case: &Case, cache: &Path) -> Result<Golden> {
        let store = ModelStore::new(&self.checkout.root).with_cache(cache);
        let model = record::model(&store, &case.model)?;
        let adapter = record::adapter(&store, case)?;
        record::golden(case, &model, adapter.as_deref(), &self.setting)
    }

    /// How the engine disagrees, if it does.
    fn engine(&self, case: &Case, golden: &Golden, cache: &Path) -> Result<Option<String>, String> {
        let store = ModelStore::new(&self.checkout.root).with_cache(cache);
        let mut models = Models::new(store);
        let (folder, weights) = models.get(&case.model).map_err(|e| e.to_string())?;
        if weights != golden.provenance.model_sha256 {
            return Ok(Some("the quantized weights differ".into()));
        }
        let adapter = models.adapter(case).map_err(|e| e.to_string())?;
        let options = engine_options(case, &folder, adapter.map(|(folder, _)| folder))?;
        let engine = Engine::load(options).map_err(|e| e.to_string())?;
        let mut first = replay(&engine, case, golden)?.first;
        if case.resumed && first.is_none() {
            first = resume(&engine, case, golden)?.first;
        }
        Ok(first.map(|first| first.to_string()))
    }
}

fn last_line(text: &str) -> String {
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or(text).trim().to_owned()
}
