//! One case on a loaded engine.

use std::collections::{BTreeMap, BTreeSet};

use verbatim_engine::{
    Capture, Detour, Engine, Event, GenerateRequest, Generation, NamedTensor, Past, Sampling,
    TokenEvent,
};

use crate::{
    case::{self, Case},
    compare,
    golden::{Golden, PastRun, parse_layer_name},
    report::{Compared, Mismatch, What},
};

/// What replaying a case found.
#[derive(Debug, Clone, PartialEq)]
pub struct Replayed {
    /// The first difference in the order in which the model computes; `None` when every bit is equal.
    pub first: Option<Mismatch>,
    /// How much was compared.
    pub compared: Compared,
}

impl Replayed {
    /// Takes another sequence's findings in; the first difference of the first sequence counts.
    fn add(&mut self, other: Self, which: &str) {
        self.compared.steps += other.compared.steps;
        self.compared.logits += other.compared.logits;
        self.compared.values += other.compared.values;
        if self.first.is_none() {
            self.first = other.first.map(|mut mismatch| {
                mismatch.detail = format!("{which}: {}", mismatch.detail);
                mismatch
            });
        }
    }
}

/// What running a case with its caches saved, loaded and copied midway found.
#[derive(Debug, Clone, PartialEq)]
pub struct Resumed {
    /// Points at which that was done, each in a run of its own.
    pub runs: usize,
    /// Values compared.
    pub values: u64,
    /// The first difference; `None` when every bit of every run is equal.
    pub first: Option<Mismatch>,
}

/// Runs `case` and compares everything that its golden holds. Stops at the first wrong token: what
/// follows it has another input.
///
/// # Errors
/// A message when the golden does not belong to the case or the engine fails.
pub fn replay(engine: &Engine, case: &Case, golden: &Golden) -> Result<Replayed, String> {
    check(engine, case, golden)?;
    if case.company.is_empty() { single(engine, case, golden) } else { batch(engine, case, golden) }
}

/// Runs `case` once for each point at which its caches are saved, loaded and copied: behind its first
/// call of the model, behind half of them, before its last. Every run is to have the bits of the
/// uninterrupted golden.
///
/// # Errors
/// As [`replay`], and when there is no room for the files.
pub fn resume(engine: &Engine, case: &Case, golden: &Golden) -> Result<Resumed, String> {
    check(engine, case, golden)?;
    let scratch = tempfile::tempdir().map_err(|e| e.to_string())?;
    let first_step = (golden.prompt.len() - 1).div_ceil(case.prefill_step_size);
    let all = first_step + case.steps;
    let points = BTreeSet::from([1, all / 2, all - 1]);
    let mut resumed = Resumed { runs: 0, values: 0, first: None };
    for calls in points.into_iter().filter(|calls| (1..all).contains(calls)) {
        let mut request = request(case, golden);
        let file = scratch.path().join(format!("after-{calls}.safetensors"));
        request.detour = Some(Detour { calls, file: file.clone() });
        let generation = engine.submit(request).map_err(|e| e.to_string())?;
        let replayed = follow(generation, case, golden, |_| Ok(()))?;
        if !file.is_file() {
            return Err(format!("no caches were saved after call {calls}"));
        }
        resumed.runs += 1;
        resumed.values += replayed.compared.values;
        if let Some(mut first) = replayed.first {
            first.detail = format!("caches saved and loaded after call {calls}: {}", first.detail);
            resumed.first = Some(first);
            return Ok(resumed);
        }
    }
    Ok(resumed)
}

pub(super) fn request(case: &Case, golden: &Golden) -> GenerateRequest {
    let mut request = GenerateRequest::new(golden.prompt.clone(), case.steps);
    request.sampling = engine_sampling(&case.sampling);
    request.ignore_eos = true;
    request.prefill_step_size = Some(case.prefill_step_size);
    request.capture = Capture { logits: case.capture.logits(), layers: case.capture.layers() };
    request.past = case.past.as_ref().zip(golden.past.as_ref()).map(|(past, run)| Past {
        prompt: run.prompt.clone(),
        steps: past.steps,
        trim: past.trim,
    });
    request
}

fn single(engine: &Engine, case: &Case, golden: &Golden) -> Result<Replayed, String> {
    let generation = engine.submit(request(case, golden)).map_err(|e| e.to_string())?;
    follow(generation, case, golden, |_| Ok(()))
}

/// Runs the sequences together, then each alone: both are to have the bits of the reference's batch.
fn batch(engine: &Engine, case: &Case, golden: &Golden) -> Result<Replayed, String> {
    let company: Vec<(Case, Golden)> =
        (0..case.company.len()).map(|i| (case.companion(i), golden.companion(i))).collect();
    let mut joined: Vec<Generation> = Vec::new();
    let mut join = |turn: usize| -> Result<(), String> {
        while case.company.get(joined.len()).is_some_and(|next| next.join <= turn) {
            let (case, golden) = &company[joined.len()];
            joined.push(engine.submit(request(case, golden)).map_err(|e| e.to_string())?);
        }
        Ok(())
    };
    let first = engine.submit(request(case, golden)).map_err(|e| e.to_string())?;
    join(0)?;
    let mut found = follow(first, case, golden, &mut join)?;
    join(usize::MAX)?;
    for (row, (generation, (case, golden))) in joined.into_iter().zip(&company).enumerate() {
        let other = follow(generation, case, golden, |_| Ok(()))?;
        found.add(other, &format!("companion {}", row + 1));
    }
    let alone = Case { company: Vec::new(), ..case.clone() };
    found.add(single(engine, &alone, golden)?, "alone");
    for (row, (case, golden)) in company.iter().enumerate() {
        found.add(single(engine, case, golden)?, &format!("companion {} alone", row + 1));
    }
    Ok(found)
}

/// Compares a generation's events; `turn` hears how many tokens have come.
pub(super) fn follow(
    mut generation: Generation,
    case: &Case,
    golden: &Golden,
    mut turn: impl FnMut(usize) -> Result<(), String>,
) -> Result<Replayed, String> {
    let mut comparison = Comparison::new(case, golden);
    while let Some(event) = generation.next_blocking() {
        match event {
            Event::Started { .. } | Event::Prefill { .. } => {}
            Event::Tensor(tensor) if tensor.name.starts_with(PAST) => comparison.past(&tensor)?,
            Event::Tensor(tensor) => comparison.layer(&tensor)?,
            Event::Token(token) => {
                if !comparison.token(&token)? {
                    return Ok(comparison.finish());
                }
                turn(comparison.compared.steps)?;
            }
            Event::Finished(_) => {
                comparison.check_complete()?;
                return Ok(comparison.finish());
            }
            Event::Failed(e) => return Err(e.to_string()),
        }
    }
    Err("the engine ended the generation without saying how".into())
}

fn check(engine: &Engine, case: &Case, golden: &Golden) -> Result<(), String> {
    if golden.provenance.case_digest != case.digest() {
        return Err(
            "the golden was made for another version of this case; run `just golden`".into()
        );
    }
    if golden.prompt != case.prompt_ids(engine.model().vocab_size) {
        return Err("the golden has another prompt".into());
    }
    if golden.tokens.len() != case.steps {
        return Err(format!(
            "the golden has {} tokens for {} steps",
            golden.tokens.len(),
            case.steps
        ));
    }
    let past_run = |past: &case::Past| (past.prompt.ids(engine.model().vocab_size), past.steps);
    if case.past.as_ref().map(past_run)
        != golden.past.as_ref().map(|run| (run.prompt.clone(), run.tokens.len()))
    {
        return Err("the golden has another past".into());
    }
    let companions = golden.company.iter().zip(&case.company);
    if golden.company.len() != case.company.len()
        || companions.into_iter().any(|(row, companion)| {
            row.tokens.len() != companion.steps
                || row.prompt != companion.prompt.ids(engine.model().vocab_size)
        })
    {
        return Err("the golden has another company".into());
    }
    if golden.logits.is_some() != case.capture.logits()
        || golden.layers.is_empty() == case.capture.layers()
    {
        return Err("the golden does not hold what the case captures".into());
    }
    Ok(())
}

/// The engine's form of a case's sampling.
pub(super) fn engine_sampling(sampling: &case::Sampling) -> Sampling {
    Sampling {
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        top_k: sampling.top_k,
        min_p: sampling.min_p,
        min_tokens_to_keep: sampling.min_tokens_to_keep,
        xtc_probability: sampling.xtc_probability,
        xtc_threshold: sampling.xtc_threshold,
        xtc_special_tokens: sampling.xtc_special_tokens.clone(),
        logit_bias: sampling.logit_bias.clone(),
        repetition_penalty: sampling.repetition_penalty,
        repetition_context_size: sampling.repetition_context_size,
        presence_penalty: sampling.presence_penalty,
        presence_context_size: sampling.presence_context_size,
        frequency_penalty: sampling.frequency_penalty,
        frequency_context_size: sampling.frequency_context_size,
        seed: sampling.seed,
    }
}

/// Place in the order of computation: call, then position within it.
type Place = (usize, usize);

/// Begins the names of what ran before on the same caches.
const PAST: &str = "past.";

/// Logits come after every layer of their call, the token after them.
const AT_LOGITS: usize = usize::MAX - 1;
const AT_TOKEN: usize = usize::MAX;

struct Comparison<'a> {
    golden: &'a Golden,
    /// Call that yields the first token.
    first_step: usize,
    steps: usize,
    compared: Compared,
    earliest: Option<(Place, Mismatch)>,
    layers_in_call: BTreeMap<usize, usize>,
    seen: BTreeSet<String>,
}

impl<'a> Comparison<'a> {
    fn new(case: &Case, golden: &'a Golden) -> Self {
        Self {
            golden,
            first_step: (golden.prompt.len() - 1).div_ceil(case.prefill_step_size),
            steps: case.steps,
            compared: Compared::default(),
            earliest: None,
            layers_in_call: BTreeMap::new(),
            seen: BTreeSet::new(),
        }
    }

    fn note(
        &mut self,
        place: Place,
        what: What,
        difference: Option<compare::Difference>,
        detail: String,
    ) {
        if self.earliest.as_ref().is_none_or(|(earliest, _)| place < *earliest) {
            let call = place.0;
            let step = call.checked_sub(self.first_step);
            self.earliest = Some((place, Mismatch { step, call, what, difference, detail }));
        }
    }

    /// Compares one layer's output. The engine dispatches one step more than it yields; the oracle
    /// keeps nothing of that one.
    fn layer(&mut self, tensor: &NamedTensor) -> Result<(), String> {
        let (call, layer) = parse_layer_name(&tensor.name)
            .ok_or_else(|| format!("the engine sent {}", tensor.name))?;
        if call >= self.first_step + self.steps {
            return Ok(());
        }
        let index = self.layers_in_call.entry(call).or_default();
        let place = (call, *index);
        *index += 1;
        let expected =
            self.golden.layers.get(&tensor.name).ok_or_else(|| {
                format!("the golden lacks {}, which the engine reports", tensor.name)
            })?;
        self.seen.insert(tensor.name.clone());
        self.compared.layers += 1;
        self.compared.values += values(tensor);
        let what = What::Layer(layer.to_owned());
        if expected.dtype != tensor.dtype || expected.shape != tensor.shape {
            let detail = shapes(&tensor.dtype, &tensor.shape, &expected.dtype, &expected.shape);
            self.note(place, what, None, detail);
        } else if let Some(d) = compare::bits(&expected.dtype, &expected.data, &tensor.data)? {
            let detail = describe(&d);
            self.note(place, what, Some(d), detail);
        }
        Ok(())
    }

    /// Compares the tokens that ran before, or how many of them the caches forgot.
    fn past(&mut self, tensor: &NamedTensor) -> Result<(), String> {
        let run = self.golden.past.as_ref().map(PastRun::tensors).into_iter().flatten();
        let (_, expected) = run
            .into_iter()
            .find(|(name, _)| *name == tensor.name)
            .ok_or_else(|| format!("the engine sent {}", tensor.name))?;
        self.seen.insert(tensor.name.clone());
        self.compared.values += values(tensor);
        if (&expected.dtype, &expected.shape, &expected.data)
            != (&tensor.dtype, &tensor.shape, &tensor.data)
        {
            let detail = format!("{} differs", tensor.name);
            let mismatch =
                Mismatch { step: None, call: 0, what: What::Past, difference: None, detail };
            // Nothing is computed before it.
            self.earliest = Some(((0, 0), mismatch));
        }
        Ok(())
    }

    /// Compares one step's logits and token; false when the token is wrong.
    fn token(&mut self, token: &TokenEvent) -> Result<bool, String> {
        let step = self.compared.steps;
        let call = self.first_step + step;
        let expected =
            *self.golden.tokens.get(step).ok_or("the engine sent more tokens than it should")?;
        self.compared.steps += 1;
        if let Some(logits) = &self.golden.logits {
            let found = token.logits.as_ref().ok_or("the engine sent a token without logits")?;
            self.compared.logits += 1;
            self.compared.values += values(found);
            let row = logits.shape[1];
            if logits.dtype != found.dtype || found.shape != [row] {
                let detail = shapes(&found.dtype, &found.shape, &logits.dtype, &[row]);
                self.note((call, AT_LOGITS), What::Logits, None, detail);
            } else {
                let size = logits.data.len() / logits.shape[0];
                let wanted = &logits.data[step * size..(step + 1) * size];
                if let Some(d) = compare::bits(&logits.dtype, wanted, &found.data)? {
                    let detail = describe(&d);
                    self.note((call, AT_LOGITS), What::Logits, Some(d), detail);
                }
            }
        }
        if token.id != expected {
            let detail = format!("{} instead of {expected}", token.id);
            self.note((call, AT_TOKEN), What::Token, None, detail);
        }
        Ok(token.id == expected)
    }

    fn check_complete(&self) -> Result<(), String> {
        if self.compared.steps != self.steps {
            return Err(format!(
                "the engine ended after {} of {} steps",
                self.compared.steps, self.steps
            ));
        }
        let past = self.golden.past.iter().flat_map(|_| PastRun::COMPARED);
        let mut names = self.golden.layers.keys().map(String::as_str).chain(past);
        match names.find(|name| !self.seen.contains(*name)) {
            Some(name) => Err(format!("the engine did not report {name}")),
            None => Ok(()),
        }
    }

    fn finish(self) -> Replayed {
        Replayed { first: self.earliest.map(|(_, mismatch)| mismatch), compared: self.compared }
    }
}

fn values(tensor: &NamedTensor) -> u64 {
    tensor.shape.iter().product::<usize>() as u64
}

fn shapes(dtype: &str, shape: &[usize], expected_dtype: &str, expected: &[usize]) -> String {
    format!("{dtype} {shape:?} instead of {expected_dtype} {expected:?}")
}

fn describe(d: &compare::Difference) -> String {
    let far = d.max_ulp.map_or_else(|| "NaNs among them".into(), |ulp| format!("up to {ulp} ulp"));
    format!(
        "{} of {} values differ, {far}; first at {}: {} instead of {}",
        d.differing, d.of, d.index, d.found, d.expected
    )
}
