//! Cases that share a model, run one after the other on one engine.

use std::{path::Path, time::Instant};

use verbatim_engine::{Engine, EngineOptions};

use super::{
    Models, RunOptions, cached, engine_options, hot::Hot, loaded_libmlx_sha256, replay, resume,
};
use crate::{
    Result,
    case::{Backend, Case, Prompt},
    golden::{Golden, MANIFEST_FILE, Manifest, machine_key, relative_path},
    maker::ModelStore,
    report::{
        CachedRuns, CaseFacts, CaseReport, Compared, GoldenFacts, HotRun, Mismatch, Outcome,
        ResumedRuns,
    },
    sha256,
};

/// Indices of cases that share a model, an adapter, a cache and a way to run, in order of first appearance.
pub(super) fn by_model(cases: &[Case]) -> Vec<Vec<usize>> {
    let mut groups: Vec<(_, Vec<usize>)> = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let digest = (case.model.digest(), &case.adapter, &case.kv, case.company.is_empty());
        match groups.iter_mut().find(|(known, _)| *known == digest) {
            Some((_, group)) => group.push(index),
            None => groups.push((digest, vec![index])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

pub(super) struct Runner<'a> {
    options: &'a RunOptions,
    pub machine: String,
    pub models: Models,
    manifest: Result<Manifest, String>,
    pub libmlx_sha256: Option<String>,
}

/// A loaded model with the digests of its weights and its adapter's, or why there is none.
type Loaded = Result<(Engine, String, Option<String>), String>;

/// What cases that share a model share, once the first of them needs it.
#[derive(Default)]
struct Shared {
    engine: Option<Loaded>,
    hot: Option<Result<Hot, String>>,
}

impl<'a> Runner<'a> {
    pub fn new(options: &'a RunOptions) -> Self {
        Self {
            options,
            machine: machine_key(Backend::Cpu),
            models: Models::new(ModelStore::new(&options.root)),
            manifest: Manifest::read(&options.golden).map_err(|e| e.to_string()),
            libmlx_sha256: loaded_libmlx_sha256(),
        }
    }

    /// Runs cases that share a model, which is loaded when the first of them needs it; `tell` hears
    /// of each.
    ///
    /// # Errors
    /// Those of `tell`. What goes wrong with one case is part of its report.
    pub fn group(
        &mut self,
        cases: &[Case],
        group: &[usize],
        mut tell: impl FnMut(usize, CaseReport) -> Result<()>,
    ) -> Result<()> {
        let mut shared = Shared::default();
        for &index in group {
            let case = &cases[index];
            let started = Instant::now();
            let mut report = blank(case);
            report.outcome = self.case(case, &mut shared, &mut report);
            report.seconds = started.elapsed().as_secs_f64();
            tell(index, report)?;
        }
        Ok(())
    }

    fn case(&mut self, case: &Case, shared: &mut Shared, report: &mut CaseReport) -> Outcome {
        if let Some(reason) = &case.skip {
            return Outcome::Skipped { reason: reason.clone() };
        }
        let relative = relative_path(&self.machine, case);
        let path = self.options.golden.join(&relative);
        if !path.is_file() {
            return Outcome::Missing { path: relative };
        }
        let compared = Golden::read(&path).map_err(|e| e.to_string()).and_then(|golden| {
            report.golden =
                Some(GoldenFacts { path: relative.clone(), provenance: golden.provenance.clone() });
            self.check_library(&golden.provenance.libmlx_sha256)?;
            let (engine, weights, adapter) = shared
                .engine
                .get_or_insert_with(|| self.load(case))
                .as_ref()
                .map_err(Clone::clone)?;
            if *weights != golden.provenance.model_sha256 {
                return Err("the model's weights are not those that the oracle used".into());
            }
            if *adapter != golden.provenance.adapter_sha256 {
                return Err("the adapter is not the one that the oracle used".into());
            }
            let mut replayed = replay(engine, case, &golden)?;
            if case.resumed && replayed.first.is_none() {
                let resumed = resume(engine, case, &golden)?;
                report.resumed = Some(ResumedRuns {
                    kv: case.kv.name().into(),
                    runs: resumed.runs,
                    values: resumed.values,
                    equal: resumed.first.is_none(),
                });
                replayed.first = resumed.first;
            }
            if case.cached && replayed.first.is_none() {
                let (runs, first) = self.cached(case, &golden)?;
                report.cached = Some(runs);
                replayed.first = first;
            }
            if case.is_mountable() && replayed.first.is_none() {
                let load = || Hot::load(case, &mut self.models, self.options.mutation);
                let hot = shared.hot.get_or_insert_with(load).as_ref().map_err(Clone::clone)?;
                let hot = hot.run(case, &golden)?;
                report.hot =
                    Some(HotRun { values: hot.compared.values, equal: hot.first.is_none() });
                replayed.first = hot.first.map(|mut first| {
                    first.detail = format!("mounted while the engine ran: {}", first.detail);
                    first
                });
            }
            Ok(replayed)
        });
        match compared {
            Err(message) => Outcome::Error { message },
            Ok(replayed) => {
                report.compared = replayed.compared;
                match (replayed.first, self.check_listed(&relative, &path)) {
                    (Some(first), listed) => {
                        report.notes.extend(listed.err());
                        Outcome::Differs { first }
                    }
                    (None, Err(message)) => Outcome::Error { message },
                    (None, Ok(())) => Outcome::Equal,
                }
            }
        }
    }

    /// The case with the prompt cache.
    fn cached(
        &mut self,
        case: &Case,
        golden: &Golden,
    ) -> std::result::Result<(CachedRuns, Option<Mismatch>), String> {
        let found = cached(self.options(case)?, case, golden)?;
        let runs = CachedRuns {
            kv: case.kv.name().into(),
            runs: found.runs,
            conversations: found.conversations,
            reused: found.reused,
            values: found.values,
            equal: found.first.is_none(),
            skipped: found.not_restored.map(|reason| format!("restored from disk: {reason}")),
        };
        Ok((runs, found.first))
    }

    fn load(&mut self, case: &Case) -> Loaded {
        let options = self.options(case)?;
        let (_, weights) = self.models.get(&case.model).map_err(|e| e.to_string())?;
        let adapter = self.models.adapter(case).map_err(|e| e.to_string())?;
        let engine = Engine::load(options).map_err(|e| e.to_string())?;
        Ok((engine, weights, adapter.map(|(_, digest)| digest)))
    }

    fn options(&mut self, case: &Case) -> std::result::Result<EngineOptions, String> {
        let (folder, _) = self.models.get(&case.model).map_err(|e| e.to_string())?;
        let adapter = self.models.adapter(case).map_err(|e| e.to_string())?;
        let mut options = engine_options(case, &folder, adapter.map(|(folder, _)| folder))?;
        options.mutation = self.options.mutation;
        Ok(options)
    }

    /// Other libraries have other kernels: a difference would say nothing about the engine, and
    /// equality nothing about this library.
    fn check_library(&self, golden: &str) -> Result<(), String> {
        match &self.libmlx_sha256 {
            Some(here) if here != golden => Err(format!(
                "the golden is from libmlx {}, this run uses {}; install the wheel that made it \
                 (`just setup`) or record with this one (`just golden`)",
                short(golden),
                short(here)
            )),
            _ => Ok(()),
        }
    }

    /// A golden must be the one that the manifest lists.
    fn check_listed(&self, relative: &str, path: &Path) -> Result<(), String> {
        let manifest = self.manifest.as_ref().map_err(Clone::clone)?;
        let record = manifest
            .files
            .get(relative)
            .ok_or_else(|| format!("the golden is not listed in {MANIFEST_FILE}"))?;
        let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
        if sha256(&bytes) == record.sha256 {
            Ok(())
        } else {
            Err(format!("the golden is not the file that {MANIFEST_FILE} lists"))
        }
    }
}

/// Enough of a digest to tell it from others.
fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// The report of a case that was not run.
pub(super) fn blank(case: &Case) -> CaseReport {
    let prompt_tokens = match &case.prompt {
        Prompt::Ids(ids) => ids.len(),
        Prompt::Random { len, .. } => *len,
    };
    CaseReport {
        id: case.id.clone(),
        suite: case.suite.clone(),
        family: case.family.clone(),
        column: case.column.clone(),
        path: case.path.clone(),
        required: case.required,
        facts: CaseFacts {
            prompt_tokens,
            steps: case.steps,
            prefill_step_size: case.prefill_step_size,
            sampling: (case.sampling != crate::case::Sampling::default())
                .then(|| case.sampling.clone()),
            capture: case.capture,
            model_digest: case.model.digest(),
            adapter: case.adapter.clone(),
        },
        outcome: Outcome::Error { message: "not run".into() },
        compared: Compared::default(),
        resumed: None,
        cached: None,
        hot: None,
        seconds: 0.0,
        golden: None,
        notes: Vec::new(),
    }
}
