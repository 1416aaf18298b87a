//! Mistakes of saving and loading caches show where a case goes on from a file of them.

use verbatim_engine::{Engine, Mutation};

use super::Trial;
use crate::{
    Error, Result,
    case::{Backend, Case, KvMode, load_suites},
    golden::{Golden, machine_key, relative_path},
    maker::ModelStore,
    replay::{Models, RunOptions, engine_options, resume},
};

/// A mistake, and the family whose cases must notice.
type Mistake = (Mutation, &'static str);

const MISTAKES: [Mistake; 5] = [
    (Mutation::LoadedOneShort, "minicpm5"),
    (Mutation::LoadedReadAsStock, "minicpm5"),
    (Mutation::LoadedReadAsStock, "qwen3_5"),
    (Mutation::LoadedReadAsStock, "gemma4-e4b"),
    (Mutation::LoadedReadAsStock, "gemma4-12b"),
];

/// Makes each mistake on the family's cases until one notices.
///
/// # Errors
/// When no case is fit, a golden or model is missing, or the engine fails.
pub(super) fn trials(options: &RunOptions) -> Result<Vec<Trial>> {
    let cases = load_suites(&options.cases)?;
    let mut models = Models::new(ModelStore::new(&options.root));
    MISTAKES.iter().map(|mistake| trial(options, &cases, &mut models, mistake)).collect()
}

fn trial(
    options: &RunOptions,
    cases: &[Case],
    models: &mut Models,
    (mutation, family): &Mistake,
) -> Result<Trial> {
    let of_fused = *mutation == Mutation::LoadedReadAsStock;
    let fit = |case: &&Case| {
        case.resumed
            && case.skip.is_none()
            && case.family == *family
            && matches!(case.kv, KvMode::Fused(_)) == of_fused
    };
    let mut last = None;
    for case in cases.iter().filter(fit) {
        let found = mistaken(options, case, models, *mutation)?;
        let trial = Trial {
            mistake: format!("{mutation:?} in {family}"),
            case: case.id.clone(),
            expected: "a run that went on from a file".into(),
            caught: found.is_some(),
            found,
        };
        let caught = trial.caught;
        last = Some(trial);
        if caught {
            break;
        }
    }
    last.ok_or_else(|| Error::Golden(format!("no case is fit to notice {mutation:?} in {family}")))
}

fn mistaken(
    options: &RunOptions,
    case: &Case,
    models: &mut Models,
    mutation: Mutation,
) -> Result<Option<crate::report::Mismatch>> {
    let machine = machine_key(Backend::Cpu);
    let golden = Golden::read(&options.golden.join(relative_path(&machine, case)))?;
    let (folder, _) = models.get(&case.model)?;
    let adapter = models.adapter(case)?.map(|(folder, _)| folder);
    let fail = |reason: String| Error::Golden(format!("{}: {reason}", case.id));
    let mut options = engine_options(case, &folder, adapter).map_err(fail)?;
    options.mutation = mutation;
    let engine = Engine::load(options).map_err(|e| fail(e.to_string()))?;
    Ok(resume(&engine, case, &golden).map_err(fail)?.first)
}
