//! Writing goldens: every case through the reference, then the manifest.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::{Path, PathBuf},
    str::FromStr,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use verbatim_harness::{
    Error,
    case::{Case, KvMode, ModelSpec, load_suites},
    files::write_whole,
    golden::{Golden, Manifest, PastRun, Provenance, Row, machine_key, relative_path},
    maker::ModelStore,
    plan::{PlanCase, load_plans},
    tensor::{TensorFile, adapter_sha256, weight_files, weights_sha256},
};

use crate::{
    checkout::Checkout,
    plans, portable,
    reference::{self, Setting},
    report,
};

/// Digests of the tensors of every converted model, below the machine's folder.
pub const CONVERTED_FILE: &str = "converted.json";

/// One generation of goldens.
#[derive(Debug)]
pub struct Recording {
    /// Cases and environment.
    pub checkout: Checkout,
    /// Folder to write below.
    pub golden: PathBuf,
    /// Folder for made models.
    pub models: PathBuf,
    /// Part of the ids of the cases to run.
    pub filter: Option<String>,
    /// The part of all to record; everything when there is none.
    pub part: Option<Part>,
}

/// One of several parts of all that is recorded, which have no model in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// From 1.
    pub index: usize,
    /// How many there are.
    pub count: usize,
}

impl Part {
    /// Whether the thing with this number, from 0, belongs to it.
    fn has(self, number: usize) -> bool {
        number % self.count == self.index - 1
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split_once('/')
            .and_then(|(index, count)| {
                Some(Self { index: index.parse().ok()?, count: count.parse().ok()? })
            })
            .filter(|part| (1..=part.count).contains(&part.index))
            .ok_or_else(|| format!("{text} is no part such as 1/2"))
    }
}

/// A model's tensors: dtype, shape and digest by name.
pub type Tensors = BTreeMap<String, String>;

/// Digest of all tensors by model digest.
pub type Converted = BTreeMap<String, String>;

impl Recording {
    /// Runs the cases, writes what does not depend on a machine, then the manifest.
    ///
    /// # Errors
    /// The first case that fails, by id.
    pub fn run(&self) -> Result<()> {
        let setting = Setting::find(&self.checkout)?;
        let machine = machine_key(setting.backend);
        let cases = load_suites(&self.checkout.root.join("harness/cases"))?;
        let wanted = self.wanted(&cases, &setting);
        let mut converted = self.converted_so_far(&machine)?;
        for (number, case) in wanted.iter().enumerate() {
            let started = Instant::now();
            self.record(case, &setting, &machine, &mut converted)
                .with_context(|| case.id.clone())?;
            report(&format!(
                "{}/{} {} {:.1?}",
                number + 1,
                wanted.len(),
                case.id,
                started.elapsed()
            ));
        }
        write_converted(&self.golden.join(&machine).join(CONVERTED_FILE), &converted)?;
        let plans = load_plans(&self.checkout.root.join("harness/cases"))?;
        let wanted_plans = self.wanted_plans(&plans);
        plans::write(&wanted_plans, &self.store(), &self.golden, &setting, &machine)?;
        if self.filter.is_none() && self.part.is_none() {
            self.remove_stale(&machine, &wanted, &plans)?;
        }
        if self.filter.is_none() && self.part.is_none_or(|part| part.index == part.count) {
            portable::write(&self.checkout, &self.golden)?;
        }
        let manifest = Manifest::scan(&self.golden)?;
        manifest.write(&self.golden)?;
        let bytes: u64 = manifest.files.values().map(|f| f.bytes).sum();
        report(&format!(
            "{} cases recorded, {} of {} left out; {} files, {:.2} MB",
            wanted.len(),
            cases.len() - wanted.len(),
            cases.len(),
            manifest.files.len(),
            bytes as f64 / 1e6
        ));
        Ok(())
    }

    /// What is recorded of converted models that this run leaves out.
    fn converted_so_far(&self, machine: &str) -> Result<Converted> {
        let path = self.golden.join(machine).join(CONVERTED_FILE);
        if self.filter.is_none() || !path.is_file() {
            return Ok(Converted::new());
        }
        read_converted(&path)
    }

    fn wanted<'a>(&self, cases: &'a [Case], setting: &Setting) -> Vec<&'a Case> {
        let mut wanted: Vec<&Case> = cases
            .iter()
            .filter(|case| case.skip.is_none() && case.backend == setting.backend)
            .filter(|case| self.filter.as_ref().is_none_or(|part| case.id.contains(part)))
            .collect();
        if let Some(part) = self.part {
            let mut models = Vec::new();
            wanted.retain(|case| {
                let digest = case.model.digest();
                let known = models.iter().position(|model| *model == digest);
                part.has(known.unwrap_or_else(|| {
                    models.push(digest);
                    models.len() - 1
                }))
            });
        }
        wanted.sort_by_key(|case| case.kv.recording_rank());
        wanted
    }

    fn wanted_plans<'a>(&self, plans: &'a [PlanCase]) -> Vec<&'a PlanCase> {
        let mut plans: Vec<&PlanCase> = plans
            .iter()
            .filter(|plan| self.filter.as_ref().is_none_or(|part| plan.name().contains(part)))
            .collect();
        if self.part.is_some_and(|part| part.index != 1) {
            plans.clear();
        }
        plans
    }

    fn record(
        &self,
        case: &Case,
        setting: &Setting,
        machine: &str,
        converted: &mut Converted,
    ) -> Result<()> {
        let model = self.model(&case.model)?;
        if case.model.quantization.is_some() {
            converted.entry(case.model.digest()).or_insert(digest(&tensor_digests(&model)?)?);
        }
        let adapter = adapter(&self.store(), case)?;
        golden(case, &model, adapter.as_deref(), setting)?.write(&self.golden, machine, case)?;
        Ok(())
    }

    /// The case's model, made and converted if need be.
    fn model(&self, spec: &ModelSpec) -> Result<PathBuf> {
        model(&self.store(), spec)
    }

    fn store(&self) -> ModelStore {
        ModelStore::new(&self.checkout.root).with_cache(&self.models)
    }

    /// A golden whose case is gone would keep its cell green.
    fn remove_stale(&self, machine: &str, wanted: &[&Case], plans: &[PlanCase]) -> Result<()> {
        let mut keep: BTreeSet<String> =
            wanted.iter().map(|case| relative_path(machine, case)).collect();
        keep.insert(format!("{machine}/{CONVERTED_FILE}"));
        keep.extend(plans.iter().map(|plan| plan.relative_path(machine)));
        let prefix = format!("{machine}/");
        for name in Manifest::scan(&self.golden)?.files.keys() {
            if name.starts_with(&prefix) && !keep.contains(name) {
                fs::remove_file(self.golden.join(name)).with_context(|| name.clone())?;
                report(&format!("removed {name}, which no case describes"));
            }
        }
        Ok(())
    }
}

/// Reads the digests of converted models.
///
/// # Errors
/// Trouble reading, and what is no such list.
pub fn read_converted(path: &Path) -> Result<Converted> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

/// Writes the digests of converted models.
///
/// # Errors
/// Trouble writing.
pub fn write_converted(path: &Path, converted: &Converted) -> Result<()> {
    let text = serde_json::to_string_pretty(converted)? + "\n";
    Ok(write_whole(path, text.as_bytes())?)
}

/// What the reference computes for a case on its model with its adapter.
///
/// # Errors
/// The reference's exception; an unreadable model.
pub fn golden(
    case: &Case,
    model: &Path,
    adapter: Option<&Path>,
    setting: &Setting,
) -> Result<Golden> {
    let vocab_size = vocab_size(model)?;
    let prompt = case.prompt_ids(vocab_size);
    let provenance = Provenance {
        case_digest: case.digest(),
        model_sha256: weights_sha256(model)?,
        adapter_sha256: adapter.map(adapter_sha256).transpose()?,
        platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
        backend: case.backend.name().into(),
        libmlx_sha256: setting.libmlx_sha256.clone(),
        versions: setting.versions.clone(),
    };
    if !case.company.is_empty() {
        return together(case, model, vocab_size, provenance);
    }
    let past = case.past.as_ref().map(|past| past.prompt.ids(vocab_size));
    let mut trace = reference::trace(case, model, adapter, &prompt, past.as_deref())?;
    Ok(Golden {
        logits: trace.tensors.remove("logits"),
        layers: trace.tensors,
        tokens: trace.tokens,
        prompt,
        past: past.zip(trace.past).map(|(prompt, (tokens, trimmed))| PastRun {
            prompt,
            tokens,
            trimmed,
        }),
        company: Vec::new(),
        provenance,
    })
}

/// The golden of a batch.
fn together(
    case: &Case,
    model: &Path,
    vocab_size: usize,
    provenance: Provenance,
) -> Result<Golden> {
    let own = case.prompt_ids(vocab_size);
    let others = case.company.iter().map(|companion| companion.prompt.ids(vocab_size));
    let prompts: Vec<Vec<u32>> = std::iter::once(own).chain(others).collect();
    let rows = match case.kv {
        KvMode::Bf16 => batched(case, model, prompts)?,
        _ => one_by_one(case, model, prompts)?,
    };
    let mut rows = rows.into_iter();
    let Row { prompt, tokens, logits } = rows.next().context("no row came back")?;
    Ok(Golden {
        prompt,
        tokens,
        logits: Some(logits),
        layers: BTreeMap::new(),
        past: None,
        company: rows.collect(),
        provenance,
    })
}

/// The rows of the reference's batch.
fn batched(case: &Case, model: &Path, prompts: Vec<Vec<u32>>) -> Result<Vec<Row>> {
    let (tokens, mut logits) = reference::batch(case, model, &prompts)?;
    let rows = prompts.into_iter().zip(tokens).enumerate();
    rows.map(|(i, (prompt, tokens))| {
        let logits = logits.remove(&format!("row{i}.logits")).context("a row without logits")?;
        Ok(Row { prompt, tokens, logits })
    })
    .collect()
}

/// The same rows, each by itself.
fn one_by_one(case: &Case, model: &Path, prompts: Vec<Vec<u32>>) -> Result<Vec<Row>> {
    let own = Case { company: Vec::new(), ..case.clone() };
    let others = (0..case.company.len()).map(|i| case.companion(i));
    let rows = std::iter::once(own).chain(others).zip(prompts);
    rows.map(|(row, prompt)| {
        let mut trace = reference::trace(&row, model, None, &prompt, None)?;
        let logits = trace.tensors.remove("logits").context("a row without logits")?;
        Ok(Row { prompt, tokens: trace.tokens, logits })
    })
    .collect()
}

/// The case's adapter in `store`, made if it has one.
///
/// # Errors
/// What the maker reports.
pub fn adapter(store: &ModelStore, case: &Case) -> Result<Option<PathBuf>> {
    Ok(case.adapter.as_ref().map(|adapter| store.adapter(&case.model, adapter)).transpose()?)
}

/// The model of a specification in `store`, made with the maker and `mlx_lm.convert`.
///
/// # Errors
/// What either reports.
pub fn model(store: &ModelStore, spec: &ModelSpec) -> Result<PathBuf> {
    let dense = store.dense(spec)?;
    let Some(quantization) = &spec.quantization else { return Ok(dense) };
    let make = |folder: &Path| {
        reference::convert(&dense, folder, quantization)
            .map_err(|error| Error::Model(format!("{error:#}")))
    };
    Ok(store.cached(spec, make)?)
}

/// A model's tensors, each as `BF16 [128, 16] 0123456789abcdef`.
///
/// # Errors
/// Unreadable weights.
pub fn tensor_digests(folder: &Path) -> Result<Tensors> {
    let mut digests = Tensors::new();
    for file in weight_files(folder)? {
        for (name, tensor) in TensorFile::read(&file)?.tensors {
            let sha256 = verbatim_harness::sha256(&tensor.data);
            digests.insert(name, format!("{} {:?} {}", tensor.dtype, tensor.shape, &sha256[..16]));
        }
    }
    Ok(digests)
}

/// One digest of all of a model's tensors, names included.
///
/// # Errors
/// None in practice: texts always become JSON.
pub fn digest(tensors: &Tensors) -> Result<String> {
    Ok(verbatim_harness::sha256(serde_json::to_string(tensors)?.as_bytes()))
}

fn vocab_size(model: &Path) -> Result<usize> {
    let path = model.join("config.json");
    let config: serde_json::Value = serde_json::from_str(
        &fs::read_to_string(&path).with_context(|| path.display().to_string())?,
    )?;
    let size = [&config["vocab_size"], &config["text_config"]["vocab_size"]]
        .into_iter()
        .find_map(serde_json::Value::as_u64)
        .unwrap_or(0);
    ensure!(size > 0, "{} has no vocab_size", path.display());
    Ok(size as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_and_read_alike() {
        let part: Part = "2/3".parse().unwrap();
        assert_eq!(part, Part { index: 2, count: 3 });
        assert_eq!(part.to_string(), "2/3");
        assert_eq!((0..7).filter(|&n| part.has(n)).collect::<Vec<_>>(), [1, 4]);
        for wrong in ["", "2", "0/2", "3/2", "1/0", "a/b", "1/2/3"] {
            assert!(wrong.parse::<Part>().is_err(), "{wrong}");
        }
    }
}
