//! Holds the predicted peak of a request against what MLX measures, for the models and runs of
//! `harness/cases/fit.json`.

use std::{collections::BTreeMap, fmt::Write as _, path::Path, thread, time::Duration};

use serde::{Deserialize, Serialize};
use verbatim_engine::{
    Engine, EngineOptions, Event, GenerateRequest, WorkerState,
    kv::{KvAttention, KvFormat, KvLayers, KvQuantization},
};

use crate::{
    Error, Result,
    case::{Backend, MadeModel},
    digest::canonical_json,
    files::{read_text, write_whole},
    golden::machine_key,
    maker::write_model,
    readme::Markers,
};

/// Largest file of models and runs, in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// By how much a prediction may be off, in percent of the measurement.
const TOLERANCE: f64 = 10.0;
/// How long to wait before asking again whether the engine rests.
const POLL: Duration = Duration::from_millis(2);
/// Where the table goes, and between which lines.
const GUIDE: &str = "docs/memory.md";
const MARKERS: Markers = Markers("<!-- fit:begin -->", "<!-- fit:end -->");

/// What is measured: every run of every model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FitCases {
    /// Models, wide and shallow: caches and intermediate results are most of what they take.
    pub models: Vec<FitModel>,
    /// What is asked of each.
    pub runs: Vec<FitRun>,
}

/// A model and its name in the table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FitModel {
    /// What readers see.
    pub label: String,
    /// How to make it.
    pub model: MadeModel,
}

/// One request.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct FitRun {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Prompt tokens per call.
    pub step: usize,
    /// Tokens to generate.
    pub generate: usize,
    /// How keys and values are packed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv: Option<FitKv>,
}

/// One format for every layer.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct FitKv {
    /// Bits per value.
    pub bits: u64,
    /// Values that share a scale.
    pub group_size: u64,
    /// Whether attention reads them in tiles.
    #[serde(default)]
    pub fused: bool,
}

/// One prediction beside its measurement, in bytes.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct FitRow {
    /// The model.
    pub label: String,
    /// Dtype of its weights.
    pub dtype: String,
    /// The request.
    pub run: FitRun,
    /// Weights, as predicted.
    pub weights: u64,
    /// Caches at the predicted peak.
    pub cache: u64,
    /// Intermediate results at the predicted peak.
    pub work: u64,
    /// The predicted peak.
    pub predicted: u64,
    /// The most that MLX's arrays took.
    pub measured: u64,
}

impl FitRow {
    /// The prediction in percent of the measurement, less a hundred.
    pub fn error_percent(&self) -> f64 {
        (self.predicted as f64 / self.measured as f64 - 1.0) * 100.0
    }

    /// One line for a terminal.
    pub fn line(&self) -> String {
        let FitRun { prompt, step, generate, kv } = &self.run;
        let kv = kv.map_or(String::new(), |kv| {
            format!(" · {} bits{}", kv.bits, if kv.fused { " in tiles" } else { "" })
        });
        format!(
            "{} {} · {prompt}+{generate} tokens, {step} at a time{kv} · predicted {} · measured {} · {:+.1} %",
            self.label,
            self.dtype,
            self.predicted,
            self.measured,
            self.error_percent()
        )
    }
}

/// A whole run of the check.
#[derive(Debug, Clone, Serialize)]
pub struct FitReport {
    /// System, architecture and MLX's backend.
    pub machine: String,
    /// Every prediction.
    pub rows: Vec<FitRow>,
}

impl FitCases {
    /// Reads `folder/fit.json`.
    ///
    /// # Errors
    /// [`Error::File`] for a file that is not there or malformed.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join("fit.json");
        let text = read_text(&path, MAX_BYTES)?;
        serde_json::from_str(&text).map_err(|e| Error::file(&path, e))
    }
}

/// Makes each model whose label contains `filter`, runs each request on a fresh engine, and hands
/// every row to `each` as it comes.
///
/// # Errors
/// What making, loading or running a model gives.
pub fn run(
    cases: &FitCases,
    filter: &str,
    mut each: impl FnMut(&FitRow),
) -> anyhow::Result<FitReport> {
    let mut rows = Vec::new();
    for FitModel { label, model } in cases.models.iter().filter(|m| m.label.contains(filter)) {
        let folder = tempfile::tempdir()?;
        write_model(model, folder.path())?;
        for run in &cases.runs {
            let row = measure(label, folder.path(), run)?;
            each(&row);
            rows.push(row);
        }
    }
    Ok(FitReport { machine: machine_key(Backend::Cpu), rows })
}

/// Runs one request on a fresh engine.
///
/// # Errors
/// What loading or running the model gives.
pub fn measure(label: &str, model: &Path, run: &FitRun) -> anyhow::Result<FitRow> {
    let mut options = EngineOptions::new(model);
    options.prefill_step_size = run.step;
    options.kv = quantization(run.kv)?;
    let engine = Engine::load(options)?;
    let vocabulary = engine.model().vocab_size;
    let prompt = (0..run.prompt).map(|i| ((i * 29 + 3) % vocabulary) as u32).collect();
    let request =
        GenerateRequest { ignore_eos: true, ..GenerateRequest::new(prompt, run.generate) };
    let estimate =
        engine.estimate(&request).ok_or_else(|| anyhow::anyhow!("{label} has no estimate"))?;
    let mut generation = engine.submit(request)?;
    while let Some(event) = generation.next_blocking() {
        match event {
            Event::Failed(e) => return Err(e.into()),
            Event::Finished(_) => break,
            _ => {}
        }
    }
    while engine.health().state == WorkerState::Busy {
        thread::sleep(POLL);
    }
    // Nothing runs, so what is reserved is what is there anyway.
    let memory = engine.health().memory;
    Ok(FitRow {
        label: label.to_owned(),
        dtype: engine.model().dtype.clone(),
        run: run.clone(),
        weights: memory.reserved,
        cache: estimate.cache,
        work: estimate.work,
        predicted: memory.reserved + estimate.peak(),
        measured: memory.peak,
    })
}

fn quantization(kv: Option<FitKv>) -> anyhow::Result<KvQuantization> {
    let Some(FitKv { bits, group_size, fused }) = kv else { return Ok(KvQuantization::default()) };
    let format = KvFormat::new(bits, group_size).map_err(anyhow::Error::msg)?;
    let attention = if fused { KvAttention::Fused } else { KvAttention::Stock };
    Ok(KvQuantization { layers: KvLayers::All(format), start: 0, attention })
}

impl FitReport {
    /// Whether every prediction is within the tolerance.
    pub fn is_green(&self) -> bool {
        self.rows.iter().all(|row| row.error_percent().abs() <= TOLERANCE)
    }

    /// Writes `fit.json` into `folder`.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write(&self, folder: &Path) -> Result<()> {
        write_whole(&folder.join("fit.json"), canonical_json(self).as_bytes())
    }

    /// Puts the table into the guide of the checkout at `root`; true when that changed it.
    ///
    /// # Errors
    /// [`Error::File`], also for a guide without the two markers.
    pub fn update_guide(&self, root: &Path) -> Result<bool> {
        MARKERS.put_in(&root.join(GUIDE), &self.table())
    }

    /// A row per model: how far predictions are from measurements.
    pub fn table(&self) -> String {
        let mut models: BTreeMap<(&str, &str), Vec<&FitRow>> = BTreeMap::new();
        for row in &self.rows {
            models.entry((&row.label, &row.dtype)).or_default().push(row);
        }
        let mut out = String::from(
            "| Model | dtype | runs | weights of the measured peak | prediction against measurement |\n\
             |---|---|--:|--:|--:|\n",
        );
        for ((label, dtype), rows) in models {
            let errors = rows.iter().map(|row| row.error_percent());
            let (low, high) =
                errors.fold((f64::MAX, f64::MIN), |(low, high), e| (low.min(e), high.max(e)));
            let share = rows.iter().map(|row| row.weights as f64 / row.measured as f64);
            let share = share.sum::<f64>() / rows.len() as f64 * 100.0;
            let _ = writeln!(
                out,
                "| {label} | {dtype} | {} | {share:.0} % | {low:+.1} % to {high:+.1} % |",
                rows.len()
            );
        }
        let _ = writeln!(out, "\nMeasured on {}.", self.machine);
        out
    }
}
