//! Cases whose prompts come from the prompt cache: what a cached, a branched and a restored run tell
//! has to be what a cold one tells.

use verbatim_engine::{Engine, EngineOptions, Event, GenerateRequest, NamedTensor};

use super::case::{follow, request};
use crate::{
    case::Case,
    compare,
    golden::Golden,
    report::{Mismatch, What},
};

/// Room for every state of a case.
const CACHE_BYTES: usize = 256 << 20;
/// Where the head ends that a case's conversations share.
const HEAD: usize = 24;
/// Tokens that open an answer.
const TAIL: usize = 3;
/// Tokens that conversations generate at most.
const MAX_STEPS: usize = 24;
/// Prompt tokens per call of conversations, so that they have several.
const STEP: usize = 48;

/// What running a case with the prompt cache found.
#[derive(Debug, Clone, PartialEq)]
pub struct Cached {
    /// Runs that were compared.
    pub runs: usize,
    /// Those of conversations.
    pub conversations: usize,
    /// Of these, the ones that went on from what was kept.
    pub reused: usize,
    /// Values compared.
    pub values: u64,
    /// The first difference; `None` when every bit of every run is equal.
    pub first: Option<Mismatch>,
    /// Why no run was restored from disk, where none was.
    pub not_restored: Option<&'static str>,
}

/// Why a case's states do not go to disk, if they do not.
fn stays_in_memory(case: &Case) -> Option<&'static str> {
    case.adapter.as_ref().map(|_| "states of adapters stay in memory")
}

/// Runs `case` on an engine with a prompt cache: cold and cached, against its golden; then a longer
/// conversation that goes on from it and one that branches off, each cold, cached, and restored from
/// disk by a second engine. Where it has an adapter, the bare model reads the same prompt first.
///
/// # Errors
/// As [`super::replay`], when there is no room for files, and when nothing came from the cache.
pub fn cached(mut options: EngineOptions, case: &Case, golden: &Golden) -> Result<Cached, String> {
    let scratch = tempfile::tempdir().map_err(|e| e.to_string())?;
    let not_restored = stays_in_memory(case);
    options.prompt_cache_bytes = CACHE_BYTES;
    if not_restored.is_none() {
        options.prompt_cache_dir = Some(scratch.path().to_owned());
    }
    let load = || Engine::load(options.clone()).map_err(|e| e.to_string());
    let mut found = Found { runs: 0, conversations: 0, reused: 0, values: 0, first: None };
    let engine = load()?;
    if case.is_mountable() {
        let bare = GenerateRequest { use_cache: true, ..request(case, golden) };
        ask(&engine, GenerateRequest { adapters: Some(Vec::new()), ..bare })?;
    }
    for name in ["cold", "cached"] {
        found.golden(&engine, case, golden, name)?;
    }
    let conversations = conversations(case, golden);
    let cold = [ask(&engine, conversations[0].clone())?, ask(&engine, conversations[1].clone())?];
    let mut kept = 0;
    for (name, which) in [("cached", 0), ("branched", 1), ("cached beside a branch", 0)] {
        kept += found.conversation(&engine, &conversations[which], &cold[which], name)?;
    }
    drop(engine);
    let mut restored = 0;
    if not_restored.is_none() {
        let engine = load()?;
        for which in [1, 0] {
            let request = &conversations[which];
            found.conversation(&engine, request, &cold[which], "restored from disk")?;
        }
        restored = engine.health().cache.disk.restored_tokens;
    }
    if found.first.is_none() && (kept == 0 || (restored == 0 && not_restored.is_none())) {
        return Err(format!("{kept} tokens came from the cache, {restored} from disk"));
    }
    let Found { runs, conversations, reused, values, first } = found;
    Ok(Cached { runs, conversations, reused, values, first, not_restored })
}

/// A conversation that goes on from the case, and one that leaves it early.
fn conversations(case: &Case, golden: &Golden) -> [GenerateRequest; 2] {
    let told = [golden.prompt.as_slice(), &golden.tokens].concat();
    let back = told.iter().rev().copied();
    let longer: Vec<u32> = told.iter().copied().chain(back.clone()).chain(told.clone()).collect();
    let early = told.len() * 2 / 3;
    let branch: Vec<u32> = told[..early].iter().copied().chain(back).collect();
    [longer, branch].map(|prompt| {
        let mut request = request(case, golden);
        request.prefill_step_size = Some(case.prefill_step_size.min(STEP));
        request.cache_marks = vec![HEAD.min(prompt.len()), prompt.len().saturating_sub(TAIL)];
        request.prompt = prompt;
        request.max_tokens = case.steps.min(MAX_STEPS);
        request
    })
}

struct Found {
    runs: usize,
    conversations: usize,
    reused: usize,
    values: u64,
    first: Option<Mismatch>,
}

impl Found {
    /// The case with the cache, against its golden.
    fn golden(
        &mut self,
        engine: &Engine,
        case: &Case,
        golden: &Golden,
        name: &str,
    ) -> Result<(), String> {
        let request = GenerateRequest { use_cache: true, ..request(case, golden) };
        let generation = engine.submit(request).map_err(|e| e.to_string())?;
        let replayed = follow(generation, case, golden, |_| Ok(()))?;
        self.note(replayed.compared.values, replayed.first, name);
        Ok(())
    }

    /// A conversation with the cache, against what it told without; the tokens that came from there.
    fn conversation(
        &mut self,
        engine: &Engine,
        request: &GenerateRequest,
        cold: &Told,
        name: &str,
    ) -> Result<usize, String> {
        let request = GenerateRequest { use_cache: true, ..request.clone() };
        let warm = ask(engine, request)?;
        self.conversations += 1;
        self.reused += usize::from(warm.cached > 0);
        let values = warm.logits.iter().map(|l| l.shape.iter().product::<usize>() as u64).sum();
        let name = format!("{name} after {} tokens", warm.cached);
        self.note(values, warm.differs_from(cold)?, &name);
        Ok(warm.cached)
    }

    fn note(&mut self, values: u64, first: Option<Mismatch>, name: &str) {
        self.runs += 1;
        self.values += values;
        if self.first.is_none() {
            self.first = first.map(|mut mismatch| {
                mismatch.detail = format!("{name}: {}", mismatch.detail);
                mismatch
            });
        }
    }
}

/// What a generation told.
struct Told {
    cached: usize,
    tokens: Vec<u32>,
    logits: Vec<NamedTensor>,
}

fn ask(engine: &Engine, request: GenerateRequest) -> Result<Told, String> {
    let mut generation = engine.submit(request).map_err(|e| e.to_string())?;
    let mut told = Told { cached: 0, tokens: Vec::new(), logits: Vec::new() };
    while let Some(event) = generation.next_blocking() {
        match event {
            Event::Started { cached_tokens, .. } => told.cached = cached_tokens,
            Event::Token(token) => {
                told.tokens.push(token.id);
                told.logits.extend(token.logits);
            }
            Event::Finished(_) => return Ok(told),
            Event::Failed(e) => return Err(e.to_string()),
            Event::Prefill { .. } | Event::Tensor(_) => {}
        }
    }
    Err("the engine ended the generation without saying how".into())
}

impl Told {
    /// The first step with other bits, or with another token.
    fn differs_from(&self, cold: &Self) -> Result<Option<Mismatch>, String> {
        if self.logits.len() != cold.logits.len() || self.tokens.len() != cold.tokens.len() {
            return Err("the runs have different lengths".into());
        }
        let mismatch = |step, what, difference, detail: &str| {
            Some(Mismatch { step: Some(step), call: step, what, difference, detail: detail.into() })
        };
        for (step, (warm, cold)) in self.logits.iter().zip(&cold.logits).enumerate() {
            let difference = compare::bits(&cold.dtype, &cold.data, &warm.data)?;
            if difference.is_some() {
                return Ok(mismatch(step, What::Logits, difference, "other logits"));
            }
        }
        let step = self.tokens.iter().zip(&cold.tokens).position(|(warm, cold)| warm != cold);
        Ok(step.and_then(|step| mismatch(step, What::Token, None, "another token")))
    }
}
