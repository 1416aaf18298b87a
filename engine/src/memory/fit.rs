//! `verbatim fit`: a model's memory line by line, against a budget and across machines.

use std::{fmt, path::Path};

use serde::Serialize;

use super::{
    estimate::{Demand, MemoryModel},
    ledger::Sharing,
    size::{bytes, grouped},
    system::share_of,
};
use crate::{
    Result,
    adapter::{self, AdapterDir},
    kv::KvQuantization,
    limits, models,
    scheduler::batch_rows,
    weights::{Dtype, ModelDir, ModelFacts, activation_dtype, implied_weight_bytes},
};

/// Memory of the machines that the table lists, in GiB.
const MACHINES: [u64; 8] = [8, 16, 24, 32, 48, 64, 96, 128];
/// Width of the label column.
const LABEL: usize = 22;

/// What is to be fitted.
#[derive(Debug, Clone)]
pub struct FitOptions {
    /// Tokens of each request, prompt and answer; the model's context length, at most
    /// [`limits::DEFAULT_FIT_CONTEXT`], when `None`.
    pub context: Option<u64>,
    /// Requests of that length which run at once.
    pub requests: u64,
    /// How many of them share the model's calls at most, as [`crate::EngineOptions::max_batch`].
    pub max_batch: Option<usize>,
    /// Prompt tokens per prefill call.
    pub prefill_step_size: u64,
    /// Bytes that everything may take together.
    pub budget: Option<u64>,
}

/// A model's memory, as admission counts it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fit {
    /// The directory's own name.
    pub name: String,
    /// `model_type` of `config.json`.
    pub model_type: String,
    /// Dtype of activations and of plain keys and values.
    pub dtype: Dtype,
    /// How keys and values are kept.
    pub kv_cache: String,
    /// Tokens of each request.
    pub context: u64,
    /// Requests that run at once.
    pub requests: u64,
    /// Prompt tokens per prefill call.
    pub prefill_step_size: u64,
    /// Bytes of the weights that the model keeps.
    pub weights: u64,
    /// Bytes of adapters.
    pub adapters: u64,
    /// Bytes of keys, values and recurrent state that the requests hold at most.
    pub cache: u64,
    /// Bytes that a turn takes at most beside them.
    pub work: u64,
    /// All of it.
    pub total: u64,
    /// Positions the model was trained for, where the configuration says.
    pub context_length: Option<u64>,
    /// The budget that was asked about.
    pub budget: Option<Within>,
    /// The default budget of machines of several sizes.
    pub machines: Vec<Machine>,
}

/// What a budget has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Within {
    /// Bytes that everything may take together.
    pub bytes: u64,
    /// Whether everything does.
    pub fits: bool,
    /// The longest context that fits; 0 when none does.
    pub greatest_context: u64,
}

/// A machine's default budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Its memory, in GiB.
    pub memory_gib: u64,
    /// What its default budget has room for.
    pub budget: Within,
}

impl MemoryModel {
    /// The arithmetic of the model in `dir`, whose weights need not be there.
    ///
    /// # Errors
    /// [`crate::Error::Config`] for a model that the engine does not know or cannot run.
    pub fn of(dir: &ModelDir, kv: KvQuantization) -> Result<Self> {
        let facts = (models::family(dir)?.facts)(dir)?;
        Self::of_facts(dir, facts.as_ref(), kv)
    }

    fn of_facts(dir: &ModelDir, facts: &dyn ModelFacts, kv: KvQuantization) -> Result<Self> {
        let quantization = dir.quantization()?;
        let dtype = activation_dtype(dir, quantization.as_ref()).unwrap_or(Dtype::Bf16);
        let weights = if dir.tensors().is_empty() {
            implied_weight_bytes(&facts.expected(), quantization.as_ref(), dtype)
        } else {
            facts.weight_bytes(dir)
        };
        Ok(Self { facts: facts.memory(), weights, adapters: 0, dtype, kv })
    }

    /// What `requests` requests of `demand` hold, and what their turns take beside it.
    fn together(&self, requests: u64, sharing: Sharing, demand: Demand) -> [u64; 2] {
        let estimate = self.estimate(demand);
        let cache = requests.saturating_mul(estimate.held);
        [cache, sharing.alike(requests, estimate.into()).saturating_sub(cache)]
    }
}

/// Fits the model at `path`, with an adapter where one is named. Reads headers only.
///
/// # Errors
/// [`crate::Error`] when the model or the adapter is not one that the engine runs, or `kv` does not
/// go with the model.
pub fn fit(
    path: &Path,
    adapter: Option<&Path>,
    kv: &KvQuantization,
    options: &FitOptions,
) -> Result<Fit> {
    let mut dir = ModelDir::open_config(path)?;
    if !dir.weight_files().is_empty() {
        dir.read_tensors()?;
    }
    let facts = (models::family(&dir)?.facts)(&dir)?;
    let mut model = MemoryModel::of_facts(&dir, facts.as_ref(), kv.clone())?;
    kv.check(&model.head_dims())?;
    if let Some(adapter) = adapter {
        let plan = AdapterDir::open(adapter)?.fit(&dir)?;
        // What replaces weights does not come on top of them.
        model.adapters = adapter::memory_of(plan.replaced().is_none().then_some(&plan.info));
    }
    let context_length = facts.context_length().map(|n| n as u64);
    let context = options
        .context
        .unwrap_or_else(|| context_length.unwrap_or(u64::MAX).min(limits::DEFAULT_FIT_CONTEXT));
    let step = options.prefill_step_size;
    let sharing = Sharing::of(&model, batch_rows(options.max_batch, limits::DEFAULT_MAX_ACTIVE)?);
    let demand = Demand::of_context(context, step);
    let [cache, work] = model.together(options.requests, sharing, demand);
    let total = model.resident().saturating_add(cache).saturating_add(work);
    let most = context_length.unwrap_or(limits::MAX_PROMPT_TOKENS as u64);
    let within = |budget: u64| Within {
        bytes: budget,
        fits: total <= budget,
        greatest_context: greatest_context(&model, options, sharing, most, budget),
    };
    let machines = MACHINES
        .map(|memory_gib| Machine { memory_gib, budget: within(share_of(memory_gib << 30)) });
    Ok(Fit {
        name: dir.name(),
        model_type: dir.model_type().to_owned(),
        dtype: model.dtype,
        kv_cache: kv.to_string(),
        context,
        requests: options.requests,
        prefill_step_size: step,
        weights: model.weights,
        adapters: model.adapters,
        cache,
        work,
        total,
        context_length,
        budget: options.budget.map(within),
        machines: machines.into(),
    })
}

fn greatest_context(
    model: &MemoryModel,
    options: &FitOptions,
    sharing: Sharing,
    most: u64,
    budget: u64,
) -> u64 {
    let room = budget.saturating_sub(model.resident());
    let fits = |context| {
        let demand = Demand::of_context(context, options.prefill_step_size);
        let [cache, work] = model.together(options.requests, sharing, demand);
        cache.saturating_add(work) <= room
    };
    super::estimate::greatest(2, most, fits).unwrap_or(0)
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} · {} · {}", self.name, self.model_type, self.dtype)?;
        let requests = if self.requests == 1 { "request" } else { "requests" };
        writeln!(
            f,
            "{} {requests} of {} tokens, {} at a time · keys and values {}\n",
            grouped(self.requests),
            grouped(self.context),
            grouped(self.prefill_step_size),
            self.kv_cache,
        )?;
        line(f, "weights", &bytes(self.weights), "")?;
        if self.adapters > 0 {
            line(f, "adapters", &bytes(self.adapters), "")?;
        }
        line(f, "keys and values", &bytes(self.cache), "")?;
        line(f, "intermediate results", &bytes(self.work), "of one turn, at most")?;
        line(f, "total", &bytes(self.total), "")?;
        if let Some(budget) = self.budget {
            let verdict = if budget.fits { "fits" } else { "does not fit" };
            let greatest = self.greatest(budget.greatest_context);
            let note = format!("{verdict}; greatest context {greatest}");
            line(f, "budget", &bytes(budget.bytes), &note)?;
        }
        writeln!(f, "\n  {:<LABEL$}{:>12}  {:<6}greatest context", "machine", "budget", "fits")?;
        for machine in &self.machines {
            let label = format!("{} GB", machine.memory_gib);
            let Within { bytes: budget, fits, greatest_context } = machine.budget;
            let fits = if fits { "yes" } else { "no" };
            let greatest = self.greatest(greatest_context);
            writeln!(f, "  {label:<LABEL$}{:>12}  {fits:<6}{greatest}", bytes(budget))?;
        }
        Ok(())
    }
}

impl Fit {
    fn greatest(&self, context: u64) -> String {
        match context {
            0 => "none".to_owned(),
            n if Some(n) == self.context_length => format!("{} (the model's)", grouped(n)),
            n => grouped(n),
        }
    }
}

fn line(f: &mut fmt::Formatter<'_>, label: &str, value: &str, note: &str) -> fmt::Result {
    let text = format!("  {label:<LABEL$}{value:>12}  {note}");
    writeln!(f, "{}", text.trim_end())
}
