//! Runs models side by side on the same tokens.

use std::{path::Path, time::Instant};

use verbatim_engine::{
    Capture, Conversion, Engine, EngineOptions, Event, GenerateRequest, KvUse, NamedTensor,
    kv::KvQuantization,
};

use super::{
    CandidateReport, ConversionCase, ConversionReport, Gauge, L3Report, L3Setting, Named, POLICY,
    Row, Subject, SubjectReport, divergence, report::FORMAT, widen::widen,
};
use crate::{
    Error, Result,
    case::{Backend, KvMode},
    compare,
    golden::machine_key,
    maker::ModelStore,
    replay::{self, Models, loaded_libmlx_sha256},
};

/// Compares everything that `gauge` names; models come from suites in `cases` and the checkout at
/// `root`. `progress` hears of each line of the report.
///
/// # Errors
/// Models that cannot be made or loaded, and runs that fail: what was not compared is no result.
pub fn run(
    root: &Path,
    cases: &Path,
    gauge: &Gauge,
    mut progress: impl FnMut(Row<'_>),
) -> Result<L3Report> {
    let (started, now) = (Instant::now(), jiff::Timestamp::now());
    let named = Named::load(cases)?;
    let mut models = Models::new(ModelStore::new(root));
    let mut subjects = Vec::new();
    for subject in &gauge.subjects {
        let (folder, _) = models.get(named.get(&subject.model_of)?)?;
        let wide = subject.in_f32.then(|| widen(&folder)).transpose()?;
        let folder = wide.as_ref().map_or(&*folder, |wide| wide.path());
        subjects.push(compare_modes(folder, subject, &mut progress)?);
    }
    let mut conversions = Vec::new();
    for case in &gauge.conversions {
        let (folder, _) = models.get(named.get(&case.model_of)?)?;
        let report = convert(&folder, case)?;
        progress(Row::Conversion(&report));
        conversions.push(report);
    }
    Ok(L3Report {
        format: FORMAT,
        policy: POLICY.into(),
        started: now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        seconds: started.elapsed().as_secs_f64(),
        setting: L3Setting {
            machine: machine_key(Backend::Cpu),
            engine_version: env!("CARGO_PKG_VERSION").into(),
            commit: replay::commit(root),
            libmlx_sha256: loaded_libmlx_sha256(),
        },
        modes: gauge.modes.clone(),
        subjects,
        conversions,
    })
}

fn compare_modes(
    folder: &Path,
    subject: &Subject,
    progress: &mut impl FnMut(Row<'_>),
) -> Result<SubjectReport> {
    let failed = |e: String| Error::Model(format!("{}: {e}", subject.id));
    let (_, reference) = Reading::of(folder, subject, &KvMode::Bf16).map_err(failed)?;
    let tokens = subject.stream.len() as f64;
    let mut report = SubjectReport {
        id: subject.id.clone(),
        label: subject.label.clone(),
        dtype: reference.dtype,
        prompt_tokens: subject.prompt,
        positions: reference.rows.len(),
        plain_bytes_per_token: reference.kv.bytes as f64 / tokens,
        candidates: Vec::new(),
    };
    for candidate in &subject.candidates {
        let failed = |e| failed(format!("{}: {e}", candidate.mode));
        let (kv, read) = Reading::of(folder, subject, &candidate.kv).map_err(failed)?;
        let found = divergence(&reference.rows, &read.rows).map_err(failed)?;
        let line = CandidateReport {
            mode: candidate.mode.clone(),
            kv: kv.to_string(),
            bytes_per_token: read.kv.bytes as f64 / tokens,
            found,
            limits: candidate.limits,
            within: candidate.limits.allow(&found),
        };
        progress(Row::Candidate(&report, &line));
        report.candidates.push(line);
    }
    Ok(report)
}

fn convert(folder: &Path, case: &ConversionCase) -> Result<ConversionReport> {
    let failed = |e: String| Error::Model(format!("{}: {e}", case.label));
    let (kv, engine) = load(folder, &case.kv).map_err(failed)?;
    let prompt = case.prompt.ids(engine.model().vocab_size);
    let tokens = prompt.len() - 1;
    let mut request = GenerateRequest::new(prompt, 1);
    request.prefill_step_size = Some(tokens);
    request.measure_conversion = true;
    let read = Reading::new(&engine, request).map_err(failed)?;
    let Conversion { largest_layer, plain, extra_peak } =
        read.kv.conversion.ok_or_else(|| failed("nothing was packed".into()))?;
    Ok(ConversionReport {
        label: case.label.clone(),
        kv: kv.to_string(),
        tokens,
        plain,
        largest_layer,
        extra_peak,
        within: extra_peak <= largest_layer + largest_layer / 8,
    })
}

fn load(folder: &Path, kv: &KvMode) -> Result<(KvQuantization, Engine), String> {
    let kv = replay::quantization(kv)?;
    let mut options = EngineOptions::new(folder);
    options.kv = kv.clone();
    Ok((kv, Engine::load(options).map_err(|e| e.to_string())?))
}

/// What a model said while it read a text.
struct Reading {
    dtype: String,
    /// Logits at every position from the prompt's last token on.
    rows: Vec<Vec<f32>>,
    kv: KvUse,
}

impl Reading {
    /// Reads the subject's stream: its prompt at once, the rest token by token.
    fn of(folder: &Path, subject: &Subject, kv: &KvMode) -> Result<(KvQuantization, Self), String> {
        let (kv, engine) = load(folder, kv)?;
        let mut prompt = subject.stream.ids(engine.model().vocab_size);
        let rest = prompt.split_off(subject.prompt);
        let mut request = GenerateRequest::new(prompt, rest.len());
        request.forced = rest;
        request.capture = Capture { logits: true, layers: false };
        Ok((kv, Self::new(&engine, request)?))
    }

    fn new(engine: &Engine, mut request: GenerateRequest) -> Result<Self, String> {
        request.ignore_eos = true;
        let (dtype, mut rows) = (engine.model().dtype.clone(), Vec::new());
        let mut generation = engine.submit(request).map_err(|e| e.to_string())?;
        while let Some(event) = generation.next_blocking() {
            match event {
                Event::Token(token) => {
                    rows.extend(token.logits.as_ref().map(floats).transpose()?);
                }
                Event::Finished(end) => {
                    let kv = end.stats.kv.ok_or("the engine tells nothing of its cache")?;
                    return Ok(Self { dtype, rows, kv });
                }
                Event::Failed(e) => return Err(e.to_string()),
                Event::Started { .. } | Event::Prefill { .. } | Event::Tensor(_) => {}
            }
        }
        Err("the engine ended without saying how".into())
    }
}

fn floats(tensor: &NamedTensor) -> Result<Vec<f32>, String> {
    let found = compare::floats(&tensor.dtype, &tensor.data);
    found.ok_or_else(|| format!("logits of dtype {}", tensor.dtype))
}
