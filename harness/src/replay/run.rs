//! A whole run: cases grouped by model, each model loaded once.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use verbatim_engine::Mutation;

use super::{
    now, plan as searches, portable,
    runner::{Runner, by_model},
    workers::{Workers, spread},
};
use crate::{
    Result,
    case::{Case, load_matrix, load_suites},
    plan::{PlanCase, load_plans},
    report::{CaseReport, FORMAT, FamilyLabel, Outcome, Report, Setting, cells::cells},
};

/// What to run and where things lie.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The checkout.
    pub root: PathBuf,
    /// Folder with `suites/` and `matrix.json`.
    pub cases: PathBuf,
    /// Folder of goldens.
    pub golden: PathBuf,
    /// Only cases whose id contains this.
    pub filter: Option<String>,
    /// Only cases of this family.
    pub family: Option<String>,
    /// Processes that run the cases; this one does where there are none.
    pub workers: Option<Workers>,
    /// A mistake for the engine to make, so that tests see it in the report. Only where there are no
    /// workers.
    #[doc(hidden)]
    pub mutation: Mutation,
}

impl RunOptions {
    /// Everything, in the checkout at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self {
            cases: root.join("harness/cases"),
            golden: root.join("golden"),
            root,
            filter: None,
            family: None,
            workers: None,
            mutation: Mutation::None,
        }
    }

    fn chooses(&self, case: &Case) -> bool {
        self.filter.as_ref().is_none_or(|part| case.id.contains(part))
            && self.family.as_ref().is_none_or(|family| case.family == *family)
    }

    fn chooses_plan(&self, plan: &PlanCase) -> bool {
        self.family.is_none() && self.filter.as_ref().is_none_or(|part| plan.name().contains(part))
    }

    fn selection(&self) -> Option<String> {
        let parts: Vec<String> = [("--filter", &self.filter), ("--family", &self.family)]
            .iter()
            .filter_map(|(flag, value)| Some(format!("{flag} {}", value.as_ref()?)))
            .collect();
        (!parts.is_empty()).then(|| parts.join(" "))
    }
}

/// Runs the chosen cases; `progress` hears of each when it is done.
///
/// # Errors
/// Unreadable suites. What goes wrong with one case is part of its report.
pub fn run(
    options: &RunOptions,
    mut progress: impl FnMut(usize, usize, &CaseReport),
) -> Result<Report> {
    let started = Instant::now();
    let begun = now();
    let commit = commit(&options.root);
    let matrix = load_matrix(&options.cases)?;
    let cases = chosen(options)?;
    let groups = by_model(&cases);
    let mut runner = Runner::new(options);
    let mut reports: Vec<Option<CaseReport>> = vec![None; cases.len()];
    let mut done = 0;
    let mut heard = |index, report| {
        done += 1;
        progress(done, cases.len(), &report);
        reports[index] = Some(report);
    };
    match &options.workers {
        Some(workers) => spread(workers, &cases, &groups, heard),
        None => groups.iter().try_for_each(|group| {
            runner.group(&cases, group, |index, report| {
                heard(index, report);
                Ok(())
            })
        })?,
    }
    let mut cases: Vec<CaseReport> = reports.into_iter().flatten().collect();
    hint_at_layers(&mut cases);
    let selection = options.selection();
    let mut portable = if selection.is_none() {
        portable::replay(&options.golden, &options.root, &matrix.portable)
    } else {
        Vec::new()
    };
    let plans: Vec<_> =
        load_plans(&options.cases)?.into_iter().filter(|case| options.chooses_plan(case)).collect();
    portable.extend(searches::replay(&options.golden, &mut runner.models, &plans));
    Ok(Report {
        format: FORMAT,
        started: begun,
        seconds: started.elapsed().as_secs_f64(),
        setting: Setting {
            machine: runner.machine,
            engine_version: env!("CARGO_PKG_VERSION").into(),
            commit,
            libmlx_sha256: runner.libmlx_sha256,
            selection: selection.clone(),
        },
        cells: cells(&matrix, &cases, selection.is_some()),
        columns: matrix.columns,
        families: matrix
            .families
            .into_iter()
            .map(|f| FamilyLabel { id: f.id, label: f.label })
            .collect(),
        cases,
        portable,
    })
}

/// The cases that the options choose, in the suites' order.
pub(super) fn chosen(options: &RunOptions) -> Result<Vec<Case>> {
    let cases = load_suites(&options.cases)?;
    Ok(cases.into_iter().filter(|case| options.chooses(case)).collect())
}

/// The commit that is checked out at `root`; `-dirty` when files differ from it.
pub(crate) fn commit(root: &Path) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let name = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!name.is_empty()).then_some(name)
}

/// Tells cases whose logits differ what the family's layer trace found.
fn hint_at_layers(cases: &mut [CaseReport]) {
    let hints: Vec<(String, String, String)> = cases
        .iter()
        .filter(|c| c.facts.capture.layers())
        .filter_map(|c| match &c.outcome {
            Outcome::Differs { first } => Some((format!("{} differs first at {first}", c.id), c)),
            Outcome::Equal => Some((format!("every layer of {} is equal", c.id), c)),
            _ => None,
        })
        .map(|(hint, c)| (c.family.clone(), c.column.clone(), hint))
        .collect();
    for case in cases.iter_mut() {
        if !matches!(case.outcome, Outcome::Differs { .. }) || case.facts.capture.layers() {
            continue;
        }
        let in_family = || hints.iter().filter(|(family, ..)| *family == case.family);
        let same_column = in_family().find(|(_, column, _)| *column == case.column);
        if let Some((.., hint)) = same_column.or_else(|| in_family().next()) {
            case.notes.push(format!("layers: {hint}"));
        }
    }
}
