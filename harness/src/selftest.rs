//! Shows that the harness notices: one flipped bit of a golden, one wrong operation in the engine.

mod kv;
mod resumed;

use verbatim_engine::{Engine, EngineOptions, Mutation};

use crate::{
    Error, Result,
    case::{Backend, Case, KvMode, load_suites},
    golden::{Golden, PastRun, layer_name, machine_key, relative_path},
    maker::ModelStore,
    replay::{Models, RunOptions, quantization, replay},
    report::{Mismatch, What},
};

/// One deliberate mistake and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// The mistake.
    pub mistake: String,
    /// Case that noticed it where it is, or the last that did not.
    pub case: String,
    /// Where it should show.
    pub expected: String,
    /// Where it showed.
    pub found: Option<Mismatch>,
    /// Whether the two agree.
    pub caught: bool,
}

/// Where a mistake shows first.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Layer {
        call: usize,
        layer: String,
    },
    Logits {
        step: usize,
    },
    Token {
        step: usize,
    },
    /// What ran before on the same caches.
    Past,
    /// Some token, whichever step comes first.
    AnyToken,
    /// This layer of some call behind the first, whichever comes first.
    LaterLayer {
        layer: String,
    },
}

/// Whether `found` is `layer`, perhaps inside a multimodal model.
fn is_layer(found: &What, layer: &str) -> bool {
    let What::Layer(found) = found else { return false };
    found.strip_suffix(layer).is_some_and(|root| root.is_empty() || root.ends_with('.'))
}

impl Place {
    fn matches(&self, found: &Mismatch) -> bool {
        match self {
            Self::Layer { call, layer } => found.call == *call && is_layer(&found.what, layer),
            Self::Logits { step } => found.step == Some(*step) && found.what == What::Logits,
            Self::Token { step } => found.step == Some(*step) && found.what == What::Token,
            Self::Past => found.what == What::Past,
            Self::AnyToken => found.what == What::Token,
            Self::LaterLayer { layer } => found.call > 0 && is_layer(&found.what, layer),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Layer { call, layer } => write!(f, "call {call}, {layer}"),
            Self::Logits { step } => write!(f, "step {step}, logits"),
            Self::Token { step } => write!(f, "step {step}, token"),
            Self::Past => f.write_str("what ran before"),
            Self::AnyToken => f.write_str("a token"),
            Self::LaterLayer { layer } => write!(f, "a later call, {layer}"),
        }
    }
}

/// A mistake that the engine can make on purpose.
#[derive(Clone, Copy)]
struct Mistake {
    mutation: Mutation,
    /// Family whose cases must notice.
    family: &'static str,
    symptom: Symptom,
}

/// Where it shows.
#[derive(Clone, Copy)]
enum Symptom {
    /// The first layer of the first call.
    FirstLayer,
    /// A layer of a call.
    Layer { call: usize, layer: &'static str },
    /// A token, though the logits are right.
    Token,
    /// The first layer, once more than a window was read.
    PastWindow,
    /// The logits, though every layer is right.
    Logits,
}

const fn mistake(mutation: Mutation, family: &'static str, symptom: Symptom) -> Mistake {
    Mistake { mutation, family, symptom }
}

/// Mistakes that one family must notice.
const MISTAKES: &[Mistake] = &[
    mistake(Mutation::SwigluSwapped, "minicpm5", Symptom::FirstLayer),
    mistake(Mutation::RopeBaseOff, "minicpm5", Symptom::FirstLayer),
    mistake(Mutation::NormEpsDoubled, "minicpm5", Symptom::FirstLayer),
    mistake(Mutation::ArgmaxOverLogits, "minicpm5", Symptom::Token),
    mistake(Mutation::ResidualInF32, "minicpm5", Symptom::FirstLayer),
    mistake(Mutation::OffsetByOne, "minicpm5", Symptom::FirstLayer),
    mistake(Mutation::AttentionScaleOff, "minicpm5", Symptom::FirstLayer),
    mistake(Mutation::SwigluSwapped, "qwen3_5", QWEN_RECURRENT),
    mistake(Mutation::NormEpsDoubled, "qwen3_5", QWEN_RECURRENT),
    mistake(Mutation::ResidualInF32, "qwen3_5", QWEN_RECURRENT),
    mistake(Mutation::NormShiftTwice, "qwen3_5", QWEN_RECURRENT),
    mistake(Mutation::MemoryInModelDtype, "qwen3_5", QWEN_RECURRENT),
    mistake(Mutation::DecayInModelDtype, "qwen3_5", QWEN_RECURRENT),
    mistake(Mutation::KeyHeadsInTurn, "qwen3_5", QWEN_RECURRENT),
    mistake(Mutation::QkEpsUnscaled, "qwen3_5", QWEN_RECURRENT),
    mistake(Mutation::GateInModelDtype, "qwen3_5", QWEN_RECURRENT),
    mistake(Mutation::ConvStateOneOff, "qwen3_5", QWEN_SECOND_CALL),
    mistake(Mutation::RopeBaseOff, "qwen3_5", QWEN_ATTENTION),
    mistake(Mutation::RopeOverAllDims, "qwen3_5", QWEN_ATTENTION),
    mistake(Mutation::OffsetByOne, "qwen3_5", QWEN_ATTENTION),
    mistake(Mutation::AttentionScaleOff, "qwen3_5", QWEN_ATTENTION),
    mistake(Mutation::OutputGateMissing, "qwen3_5", QWEN_ATTENTION),
    mistake(Mutation::ArgmaxOverLogits, "qwen3_5", Symptom::Token),
    mistake(Mutation::LayerInputsUnscaled, "gemma4-e2b", Symptom::FirstLayer),
    mistake(Mutation::LayerInputsUnscaled, "gemma4-e4b", Symptom::FirstLayer),
    mistake(
        Mutation::SharedKeysOfFirst,
        "gemma4-e2b",
        Symptom::Layer { call: 0, layer: "model.layers.3" },
    ),
    mistake(
        Mutation::SharedKeysOfFirst,
        "gemma4-e4b",
        Symptom::Layer { call: 0, layer: "model.layers.4" },
    ),
    mistake(Mutation::ExpertsReversed, "gemma4-26b-a4b", Symptom::FirstLayer),
    // Caught from 64 chosen experts in a call on. Not sorting at all would go unnoticed: MLX's CPU
    // backend multiplies each row by itself, and the bits are equal with f32, 4-bit and mxfp4.
    mistake(Mutation::ExpertsUnsorted, "gemma4-26b-a4b", Symptom::FirstLayer),
    mistake(Mutation::RouterUnscaled, "gemma4-26b-a4b", Symptom::FirstLayer),
    mistake(
        Mutation::KeysNormedAsValues,
        "gemma4-12b",
        Symptom::Layer { call: 0, layer: "model.layers.2" },
    ),
    mistake(
        Mutation::KeysNormedAsValues,
        "gemma4-26b-a4b",
        Symptom::Layer { call: 0, layer: "model.layers.2" },
    ),
    mistake(Mutation::TrimOneShort, "minicpm5", Symptom::FirstLayer),
    mistake(Mutation::TrimOneShort, "gemma4-e4b", Symptom::FirstLayer),
    mistake(Mutation::TrimOneShort, "gemma4-26b-a4b", Symptom::FirstLayer),
    mistake(Mutation::AdapterScaleOff, "minicpm5", Symptom::FirstLayer),
    mistake(Mutation::AdapterNotCast, "minicpm5", Symptom::FirstLayer),
    // Their recorded adapters change per-layer inputs alone, and experts alone.
    mistake(Mutation::AdapterScaleOff, "gemma4-e2b", Symptom::FirstLayer),
    mistake(Mutation::AdapterNotCast, "gemma4-e2b", Symptom::FirstLayer),
    mistake(Mutation::AdapterScaleOff, "gemma4-26b-a4b", Symptom::FirstLayer),
    mistake(Mutation::AdapterNotCast, "gemma4-26b-a4b", Symptom::FirstLayer),
];

/// The sizes that must each notice every one of [`GEMMA_MISTAKES`].
const GEMMA_SIZES: [&str; 4] = ["gemma4-e2b", "gemma4-e4b", "gemma4-12b", "gemma4-26b-a4b"];
const GEMMA_MISTAKES: &[(Mutation, Symptom)] = &[
    (Mutation::SwigluSwapped, Symptom::FirstLayer),
    (Mutation::RopeBaseOff, Symptom::FirstLayer),
    (Mutation::NormEpsDoubled, Symptom::FirstLayer),
    (Mutation::OffsetByOne, Symptom::FirstLayer),
    (Mutation::AttentionScaleOff, Symptom::FirstLayer),
    (Mutation::ResidualInF32, Symptom::FirstLayer),
    (Mutation::ArgmaxOverLogits, Symptom::Token),
    (Mutation::ScalarsInF32, Symptom::FirstLayer),
    (Mutation::EmbeddingUnscaled, Symptom::FirstLayer),
    (Mutation::LayerScalarMissing, Symptom::FirstLayer),
    (Mutation::RingInTemporalOrder, Symptom::PastWindow),
    (Mutation::WindowOffByOne, Symptom::PastWindow),
    (Mutation::SoftcapMissing, Symptom::Logits),
];

/// Every mistake with the family that must notice it.
fn mistakes() -> impl Iterator<Item = Mistake> {
    let of_sizes = GEMMA_SIZES.into_iter().flat_map(|family| {
        GEMMA_MISTAKES.iter().map(move |&(mutation, symptom)| mistake(mutation, family, symptom))
    });
    MISTAKES.iter().copied().chain(of_sizes)
}

/// The first layer of the recorded Qwen3.5 model is recurrent, the fourth has attention.
const QWEN_RECURRENT: Symptom = Symptom::Layer { call: 0, layer: "language_model.model.layers.0" };
const QWEN_SECOND_CALL: Symptom =
    Symptom::Layer { call: 1, layer: "language_model.model.layers.0" };
const QWEN_ATTENTION: Symptom = Symptom::Layer { call: 0, layer: "language_model.model.layers.3" };

impl Mistake {
    /// Mistakes of adapters show where one is mounted, those of trimming where something ran
    /// before, the others elsewhere.
    fn concerns(&self, subject: &Subject) -> bool {
        let of_adapters =
            matches!(self.mutation, Mutation::AdapterScaleOff | Mutation::AdapterNotCast);
        let of_trimming = self.mutation == Mutation::TrimOneShort;
        subject.case.family == self.family
            && subject.case.kv == KvMode::Bf16
            && subject.adapter.is_some() == of_adapters
            && subject.case.past.is_some() == of_trimming
    }

    fn place(&self) -> Place {
        match self.symptom {
            Symptom::FirstLayer => Place::Layer { call: 0, layer: "model.layers.0".into() },
            Symptom::Layer { call, layer } => Place::Layer { call, layer: layer.into() },
            Symptom::Token => Place::AnyToken,
            Symptom::PastWindow => Place::LaterLayer { layer: "model.layers.0".into() },
            Symptom::Logits => Place::Logits { step: 0 },
        }
    }
}

/// Cases whose goldens hold every layer, those whose choices hang on a rounding, and those that
/// notice mistakes with packed keys.
fn is_subject(case: &Case) -> bool {
    let tells = case.capture.layers() || case.path == "near ties" || kv::notices(&case.id);
    case.skip.is_none() && tells
}

/// Makes every mistake in turn; `progress` hears of each.
///
/// # Errors
/// When goldens or models are missing, and when the faithful engine does not pass.
pub fn self_test(options: &RunOptions, mut progress: impl FnMut(&Trial)) -> Result<Vec<Trial>> {
    let subjects = Subjects::load(options)?;
    let mut trials = Vec::new();
    for trial in subjects.spoiled_goldens()? {
        progress(&trial);
        trials.push(trial);
    }
    for mistake in mistakes() {
        let trial = subjects.mutated_engine(&mistake)?;
        progress(&trial);
        trials.push(trial);
    }
    for mistake in kv::mistakes() {
        let trial = subjects.mutated_kv(&mistake)?;
        progress(&trial);
        trials.push(trial);
    }
    for trial in resumed::trials(options)? {
        progress(&trial);
        trials.push(trial);
    }
    Ok(trials)
}

struct Subject {
    case: Case,
    golden: Golden,
    folder: std::path::PathBuf,
    adapter: Option<std::path::PathBuf>,
}

struct Subjects(Vec<Subject>);

type Spoil = fn(&mut PastRun);

impl Subjects {
    fn load(options: &RunOptions) -> Result<Self> {
        let machine = machine_key(Backend::Cpu);
        let mut models = Models::new(ModelStore::new(&options.root));
        let mut subjects = Vec::new();
        for case in load_suites(&options.cases)?.into_iter().filter(is_subject) {
            let golden = Golden::read(&options.golden.join(relative_path(&machine, &case)))?;
            let (folder, _) = models.get(&case.model)?;
            let adapter = models.adapter(&case)?.map(|(folder, _)| folder);
            subjects.push(Subject { case, golden, folder, adapter });
        }
        // Layer traces name the place, those in f32 before rounding hides it; the others are for
        // mistakes that change no layer.
        subjects.sort_by_key(|s: &Subject| (!s.case.capture.layers(), s.case.column != "f32"));
        if subjects.is_empty() {
            return Err(Error::Golden("no case is fit for the self test".into()));
        }
        Ok(Self(subjects))
    }

    /// Flips single bits of the first subject's golden, everywhere that a golden holds something.
    fn spoiled_goldens(&self) -> Result<Vec<Trial>> {
        let subject = self
            .0
            .iter()
            .find(|s| {
                s.adapter.is_none()
                    && s.case.past.is_none()
                    && !s.golden.layers.is_empty()
                    && s.golden.logits.is_some()
            })
            .ok_or_else(|| Error::Golden("no golden holds layers and logits".into()))?;
        let engine = load(subject, Mutation::None)?;
        let faithful = run(&engine, subject, &subject.golden)?;
        if let Some(first) = faithful {
            return Err(Error::Golden(format!(
                "{} is not equal to begin with: {first}",
                subject.case.id
            )));
        }
        spoilings(subject)
            .into_iter()
            .map(|(mistake, place, golden)| {
                let found = run(&engine, subject, &golden)?;
                Ok(trial(mistake, subject, &place, found))
            })
            .chain(self.spoiled_pasts())
            .collect()
    }

    /// Spoils what a golden holds of what ran before.
    fn spoiled_pasts(&self) -> Vec<Result<Trial>> {
        let Some(subject) = self.0.iter().find(|s| s.golden.past.is_some()) else {
            return vec![Err(Error::Golden("no golden holds what ran before".into()))];
        };
        let spoilings: [(&str, Spoil); 2] = [
            ("lowest bit of a token that ran before", |past| past.tokens[0] ^= 1),
            ("lowest bit of how many tokens were trimmed", |past| past.trimmed ^= 1),
        ];
        spoilings
            .into_iter()
            .map(|(mistake, spoil)| {
                let mut golden = subject.golden.clone();
                golden.past.iter_mut().for_each(spoil);
                let found = run(&load(subject, Mutation::None)?, subject, &golden)?;
                Ok(trial(mistake.into(), subject, &Place::Past, found))
            })
            .collect()
    }

    /// Runs subjects on a mistaken engine until one notices where the mistake is.
    fn mutated_engine(&self, mistake: &Mistake) -> Result<Trial> {
        let place = mistake.place();
        let name = format!("{:?} in {}", mistake.mutation, mistake.family);
        let mut last = None;
        for subject in self.0.iter().filter(|s| mistake.concerns(s)) {
            let found = run(&load(subject, mistake.mutation)?, subject, &subject.golden)?;
            let trial = trial(name.clone(), subject, &place, found);
            let caught = trial.caught;
            last = Some(trial);
            if caught {
                break;
            }
        }
        last.ok_or_else(|| Error::Golden(format!("no case is fit to notice {name}")))
    }

    /// Runs the case that must notice a mistake with packed keys.
    fn mutated_kv(&self, mistake: &kv::Mistake) -> Result<Trial> {
        let kv::Mistake { mutation, case, step } = mistake;
        let subject = self.0.iter().find(|s| s.case.id == *case);
        let subject = subject.ok_or_else(|| Error::Golden(format!("there is no case {case}")))?;
        let found = run(&load(subject, *mutation)?, subject, &subject.golden)?;
        Ok(trial(format!("{mutation:?}"), subject, &Place::Logits { step: *step }, found))
    }
}

fn load(subject: &Subject, mutation: Mutation) -> Result<Engine> {
    let mut options = EngineOptions::new(&subject.folder);
    options.mutation = mutation;
    options.set_adapter(subject.adapter.as_ref());
    options.kv = quantization(&subject.case.kv).map_err(Error::Golden)?;
    Engine::load(options).map_err(|e| Error::Model(e.to_string()))
}

fn run(engine: &Engine, subject: &Subject, golden: &Golden) -> Result<Option<Mismatch>> {
    let replayed = replay(engine, &subject.case, golden)
        .map_err(|e| Error::Golden(format!("{}: {e}", subject.case.id)))?;
    Ok(replayed.first)
}

fn trial(mistake: String, subject: &Subject, place: &Place, found: Option<Mismatch>) -> Trial {
    Trial {
        mistake,
        case: subject.case.id.clone(),
        expected: place.to_string(),
        caught: found.as_ref().is_some_and(|f| place.matches(f)),
        found,
    }
}

/// Goldens with one bit flipped, and where that must show.
fn spoilings(subject: &Subject) -> Vec<(String, Place, Golden)> {
    let golden = &subject.golden;
    let first_step = (golden.prompt.len() - 1).div_ceil(subject.case.prefill_step_size);
    let last_step = golden.tokens.len() - 1;
    let mut all = Vec::new();
    for step in [0, last_step] {
        let mut spoiled = golden.clone();
        if let Some(logits) = &mut spoiled.logits {
            let row = logits.data.len() / logits.shape[0];
            logits.data[row * step] ^= 1;
        }
        all.push((
            format!("lowest bit of a logit of step {step}"),
            Place::Logits { step },
            spoiled,
        ));

        let mut spoiled = golden.clone();
        spoiled.tokens[step] ^= 1;
        all.push((format!("lowest bit of token {step}"), Place::Token { step }, spoiled));
    }
    let root = golden.layers.keys().find_map(|name| {
        Some(name.strip_prefix("call0.")?.strip_suffix("model.embed_tokens")?.to_owned())
    });
    let root = root.unwrap_or_default();
    for call in [0, first_step, first_step + last_step] {
        for layer in ["model.embed_tokens", "model.layers.0", "model.layers.1", "model.norm"] {
            let mut spoiled = golden.clone();
            let Some(tensor) = spoiled.layers.get_mut(&layer_name(call, &format!("{root}{layer}")))
            else {
                continue;
            };
            let middle = tensor.data.len() / 2;
            tensor.data[middle] ^= 1;
            let place = Place::Layer { call, layer: layer.into() };
            all.push((format!("one bit of {layer} in call {call}"), place, spoiled));
        }
    }
    all
}
