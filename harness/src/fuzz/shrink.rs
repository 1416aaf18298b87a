//! From a case that disagrees to the smallest one found that still does.

use super::{Space, Verdict, format, kv};
use crate::{
    Result,
    case::{
        AdapterKind, Case, Companion, Dtype, Layout, MadeModel, ModelSource, Past, Prompt,
        Quantization, Sampling,
    },
    maker::plan,
};

/// Cases judged while shrinking one at most.
pub const MAX_SHRINK_RUNS: usize = 400;

/// Chunk that takes any prompt drawn at once.
const WHOLE: usize = 2_048;

/// The smallest case found.
#[derive(Debug, Clone, PartialEq)]
pub struct Shrunk {
    /// The case.
    pub case: Case,
    /// How it disagrees.
    pub how: String,
    /// Cases judged on the way.
    pub runs: usize,
}

/// Tries simpler cases of the same space as long as one still disagrees.
///
/// # Errors
/// What `judge` returns.
pub fn shrink(
    case: Case,
    how: String,
    space: &Space,
    judge: &mut dyn FnMut(&Case) -> Result<Verdict>,
) -> Result<Shrunk> {
    let mut best = Shrunk { case, how, runs: 0 };
    'again: loop {
        for candidate in candidates(&best.case, space) {
            if best.runs == MAX_SHRINK_RUNS {
                return Ok(best);
            }
            if !is_sound(&candidate, space) || weight(&candidate) >= weight(&best.case) {
                continue;
            }
            best.runs += 1;
            if let Verdict::Differs(how) = judge(&candidate)? {
                best.case = candidate;
                best.how = how;
                continue 'again;
            }
        }
        return Ok(best);
    }
}

/// Whether reference and engine can be asked to run it.
fn is_sound(case: &Case, space: &Space) -> bool {
    let makeable = match &case.model.source {
        ModelSource::Made(made) => plan(made).is_ok(),
        ModelSource::Directory(_) => true,
    };
    makeable && case.validate().is_ok() && kv::is_sound(case, space)
}

/// How much a reader has to take in: what differs from a plain case, then sizes. Every step of
/// shrinking makes it smaller, so shrinking ends.
pub fn weight(case: &Case) -> (usize, u64) {
    let mut oddities = 0;
    let mut size = case.steps as u64 + prompt_len(case) as u64;
    oddities += usize::from(case.sampling.temperature != 0.0);
    oddities += options(&case.sampling);
    oddities += usize::from(case.prefill_step_size < prompt_len(case));
    oddities += match &case.model.quantization {
        None => 0,
        Some(Quantization::Uniform(_)) => 1,
        Some(_) => 2,
    };
    if let ModelSource::Made(made) = &case.model.source {
        oddities += usize::from(made.dtype != Dtype::F32);
        oddities += usize::from(made.layout != Layout::default());
        oddities += usize::from(made.shards > 1) + usize::from(made.logit_deviation.is_some());
        for value in made.geometry.values() {
            size += measure(value, &mut oddities);
        }
    }
    let (odd, more) = around(case);
    oddities += odd;
    size += more;
    size += case.prefill_step_size.min(WHOLE).abs_diff(WHOLE) as u64;
    (oddities, size)
}

/// The same of adapter, past, company and key-value mode.
fn around(case: &Case) -> (usize, u64) {
    let (mut oddities, mut size) = kv::weight(&case.kv);
    oddities += usize::from(case.resumed);
    if let Some(adapter) = &case.adapter {
        oddities += 2 + usize::from(adapter.kind != AdapterKind::Lora);
        oddities += usize::from(adapter.dtype != Dtype::F32) + usize::from(adapter.rank_stabilized);
        size += (adapter.rank + adapter.num_layers) as u64;
        // Fewer modules are simpler, one by name simplest.
        size += adapter.keys.as_ref().map_or(100, Vec::len) as u64;
    }
    if let Some(Past { prompt, steps, trim }) = &case.past {
        oddities += 1;
        size += (prompt.len() + steps + trim) as u64;
    }
    for Companion { prompt, steps, join } in &case.company {
        oddities += 1;
        size += (prompt.len() + steps + join) as u64;
    }
    (oddities, size)
}

/// Sum of the integers in a configuration's value; flags that are set, objects and unusual numbers
/// are oddities.
fn measure(value: &serde_json::Value, oddities: &mut usize) -> u64 {
    match value {
        serde_json::Value::Bool(true) => {
            *oddities += 1;
            0
        }
        serde_json::Value::Object(fields) => {
            *oddities += 2;
            fields.values().map(|v| measure(v, oddities)).sum()
        }
        serde_json::Value::Number(n) => n.as_u64().unwrap_or_else(|| {
            // Bases and epsilons: any other than the usual ones counts a little.
            u64::from(n.as_f64().is_some_and(|f| f != 10_000.0 && f != 1e-6))
        }),
        _ => 0,
    }
}

/// Filters and processors that are on.
fn options(s: &Sampling) -> usize {
    [
        s.top_p != 0.0,
        s.top_k != 0,
        s.min_p != 0.0,
        s.xtc_probability != 0.0,
        !s.logit_bias.is_empty(),
        s.repetition_penalty != 0.0,
        s.presence_penalty != 0.0,
        s.frequency_penalty != 0.0,
    ]
    .into_iter()
    .filter(|on| *on)
    .count()
}

fn prompt_len(case: &Case) -> usize {
    match &case.prompt {
        Prompt::Ids(ids) => ids.len(),
        Prompt::Random { len, .. } => *len,
    }
}

/// Simpler cases, the boldest first.
fn candidates(case: &Case, space: &Space) -> Vec<Case> {
    let mut all = Vec::new();
    let mut push = |change: &dyn Fn(&mut Case)| {
        let mut changed = case.clone();
        change(&mut changed);
        if changed != *case {
            kv::fit(&mut changed, space);
            changed.column = format::column(&changed).into();
            all.push(changed);
        }
    };
    for change in surroundings_changes() {
        push(&|c| change(c));
    }
    for simpler in kv::simpler(&case.kv) {
        push(&|c| c.kv.clone_from(&simpler));
    }
    for at in 0..case.company.len() {
        push(&|c| drop(c.company.remove(at)));
    }
    push(&|c| c.sampling = Sampling::default());
    push(&|c| c.model.quantization = None);
    for change in sampling_changes() {
        push(&|c| change(&mut c.sampling));
    }
    for steps in [1, case.steps / 2, case.steps - 1] {
        push(&|c| c.steps = steps.max(1));
    }
    let len = prompt_len(case);
    for shorter in [1, len / 2, len - 1] {
        push(&|c| {
            if let Prompt::Random { len, .. } = &mut c.prompt {
                *len = shorter.max(1);
            }
        });
    }
    push(&|c| c.prefill_step_size = WHOLE);
    push(&|c| c.prefill_step_size = len);
    push(&|c| c.prefill_step_size = len.saturating_sub(1).max(1));
    for change in made_changes() {
        push(&|c| {
            if let ModelSource::Made(made) = &mut c.model.source {
                change(made);
            }
        });
    }
    if let ModelSource::Made(made) = &case.model.source {
        for geometry in (space.smaller)(&made.geometry) {
            push(&|c| {
                if let ModelSource::Made(made) = &mut c.model.source {
                    made.geometry.clone_from(&geometry);
                }
            });
        }
    }
    all
}

fn surroundings_changes() -> [fn(&mut Case); 15] {
    [
        |c| c.resumed = false,
        |c| c.adapter = None,
        |c| c.past = None,
        |c| c.company.clear(),
        |c| {
            if let Some(adapter) = &mut c.adapter {
                adapter.keys = Some(vec!["mlp.down_proj".into()]);
            }
        },
        |c| {
            if let Some(adapter) = &mut c.adapter
                && adapter.kind == AdapterKind::Dora
            {
                adapter.kind = AdapterKind::Lora;
            }
        },
        |c| {
            if let Some(adapter) = &mut c.adapter {
                (adapter.dtype, adapter.rank_stabilized) = (Dtype::F32, false);
            }
        },
        |c| {
            if let Some(adapter) = &mut c.adapter {
                adapter.num_layers = 0;
            }
        },
        |c| {
            if let Some(adapter) = &mut c.adapter {
                adapter.rank = adapter.rank.min(1);
            }
        },
        |c| {
            if let Some(past) = &mut c.past {
                past.steps = past.steps.div_ceil(2);
            }
        },
        |c| {
            if let Some(past) = &mut c.past {
                past.trim = past.trim.div_ceil(2);
            }
        },
        |c| {
            if let Some(past) = &mut c.past {
                past.prompt = shorter(&past.prompt);
            }
        },
        |c| c.company.iter_mut().for_each(|c| c.prompt = shorter(&c.prompt)),
        |c| c.company.iter_mut().for_each(|c| c.steps = c.steps.div_ceil(2)),
        |c| c.company.iter_mut().for_each(|c| c.join = 0),
    ]
}

fn shorter(prompt: &Prompt) -> Prompt {
    match prompt {
        Prompt::Random { seed, len } => Prompt::Random { seed: *seed, len: len.div_ceil(2) },
        ids @ Prompt::Ids(_) => ids.clone(),
    }
}

fn made_changes() -> [fn(&mut MadeModel); 4] {
    [
        |m| m.shards = 1,
        |m| m.layout = Layout::default(),
        |m| m.logit_deviation = None,
        |m| m.dtype = Dtype::F32,
    ]
}

fn sampling_changes() -> [fn(&mut Sampling); 9] {
    [
        |s| s.top_p = 0.0,
        |s| s.top_k = 0,
        |s| {
            s.min_p = 0.0;
            s.min_tokens_to_keep = 1;
        },
        |s| {
            s.xtc_probability = 0.0;
            s.xtc_special_tokens.clear();
        },
        |s| s.logit_bias.clear(),
        |s| s.repetition_penalty = 0.0,
        |s| s.presence_penalty = 0.0,
        |s| s.frequency_penalty = 0.0,
        |s| {
            s.temperature = 0.0;
            s.seed = None;
        },
    ]
}
