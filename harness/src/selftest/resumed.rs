//! Mistakes of saving and loading caches show where a case goes on from a file of them, mistakes of
//! the prompt cache where its prompt comes from there.

use verbatim_engine::{Engine, Mutation};

use super::Trial;
use crate::{
    Error, Result,
    case::{Backend, Case, load_suites},
    golden::{Golden, machine_key, relative_path},
    maker::ModelStore,
    replay::{Models, RunOptions, cached, engine_options, resume},
};

/// How a case runs that has to notice.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Its caches are saved, loaded and copied midway.
    Resumed,
    /// With the prompt cache.
    Cached,
}
use Way::{Cached, Resumed};

/// A mistake, how cases run that have to notice, their family and their key-value modes.
type Mistake = (Mutation, Way, &'static str, &'static [&'static str]);

const UNTILED: &[&str] = &["unquantized", "uniform", "seq"];
const TILED: &[&str] = &["fused"];
const PLAIN: &[&str] = &["unquantized"];
const PACKED: &[&str] = &["seq"];

const MISTAKES: [Mistake; 15] = [
    (Mutation::LoadedOneShort, Resumed, "minicpm5", UNTILED),
    (Mutation::LoadedReadAsStock, Resumed, "minicpm5", TILED),
    (Mutation::LoadedReadAsStock, Resumed, "qwen3_5", TILED),
    (Mutation::LoadedReadAsStock, Resumed, "gemma4-e4b", TILED),
    (Mutation::LoadedReadAsStock, Resumed, "gemma4-12b", TILED),
    (Mutation::CachedOneLate, Cached, "minicpm5", PLAIN),
    (Mutation::CachedOneLate, Cached, "qwen3_5", PLAIN),
    (Mutation::CachedOneLate, Cached, "gemma4-12b", PLAIN),
    (Mutation::CachedOneLate, Cached, "gemma4-e2b", PACKED),
    // An answer that was decoded past the window.
    (Mutation::CachedWhateverCalls, Cached, "gemma4-12b", PLAIN),
    // Prompts that were packed elsewhere.
    (Mutation::CachedWhateverCalls, Cached, "minicpm5", PACKED),
    (Mutation::CachedWhateverCalls, Cached, "qwen3_5", PACKED),
    // What the bare model left.
    (Mutation::CachedWhateverAdapters, Cached, "minicpm5", PLAIN),
    // Restored from disk.
    (Mutation::LoadedReadAsStock, Cached, "minicpm5", TILED),
    (Mutation::LoadedReadAsStock, Cached, "qwen3_5", TILED),
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
    (mutation, way, family, modes): &Mistake,
) -> Result<Trial> {
    let fit = |case: &&Case| {
        let runs_so = if *way == Resumed { case.resumed } else { case.cached };
        runs_so
            && case.skip.is_none()
            && case.family == *family
            && modes.contains(&case.kv.name())
            && (*mutation != Mutation::CachedWhateverAdapters || case.adapter.is_some())
    };
    let (to_notice, within) = match way {
        Resumed => ("a run that went on from a file", ""),
        Cached => ("a run with the prompt cache", ", with the prompt cache"),
    };
    let mut last = None;
    for case in cases.iter().filter(fit) {
        let found = mistaken(options, case, models, *mutation, *way)?;
        let trial = Trial {
            mistake: format!("{mutation:?} in {family}{within}"),
            case: case.id.clone(),
            expected: to_notice.into(),
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
    way: Way,
) -> Result<Option<crate::report::Mismatch>> {
    let machine = machine_key(Backend::Cpu);
    let golden = Golden::read(&options.golden.join(relative_path(&machine, case)))?;
    let (folder, _) = models.get(&case.model)?;
    let adapter = models.adapter(case)?.map(|(folder, _)| folder);
    let fail = |reason: String| Error::Golden(format!("{}: {reason}", case.id));
    let mut options = engine_options(case, &folder, adapter).map_err(fail)?;
    options.mutation = mutation;
    if way == Cached {
        return Ok(cached(options, case, &golden).map_err(fail)?.first);
    }
    let engine = Engine::load(options).map_err(|e| fail(e.to_string()))?;
    Ok(resume(&engine, case, &golden).map_err(fail)?.first)
}
