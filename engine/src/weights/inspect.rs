//! What a model directory holds, what it needs, and whether the engine runs it.

use std::{collections::BTreeMap, path::Path};

use serde::Serialize;
use serde_json::Value;

use super::{
    Dtype, ModelDir, TensorInfo,
    dir::clean,
    expect::{Expected, WeightPlan, product},
    facts::ModelFacts,
    quant::{ModuleQuantization, QuantMode, QuantizationSpec},
};
use crate::{
    Result,
    kv::KvQuantization,
    limits,
    memory::{Demand, MemoryModel},
    models,
};

mod count;
mod display;

use count::Count;

/// Contexts for which memory is stated, in tokens.
const CONTEXTS: [u64; 3] = [1 << 10, 8 << 10, 32 << 10];

/// A report on a model directory. `Display` renders it for a terminal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// The directory's own name.
    pub name: String,
    /// `model_type` of `config.json`.
    pub model_type: String,
    /// Whether the engine runs the model as it lies there.
    pub supported: bool,
    /// Why it does not, each with what to do.
    pub problems: Vec<String>,
    /// What is worth knowing all the same.
    pub warnings: Vec<String>,
    /// Transformer layers, for a supported family.
    pub layers: Option<usize>,
    /// Positions the model was trained for.
    pub context_length: Option<usize>,
    /// Parameters that the configuration implies, for a supported family.
    pub config_parameters: Option<u64>,
    /// The stored weights; where none are there, what the configuration implies.
    pub weights: WeightSummary,
    /// How the weights are quantized; absent for a dense model.
    pub quantization: Option<QuantizationSummary>,
    /// Dtype of activations and key-value cache.
    pub activation_dtype: Option<Dtype>,
    /// Cache bytes per token of one sequence, for a supported family.
    pub cache_bytes_per_token: Option<u64>,
    /// Memory at a few context lengths, for a supported family.
    pub memory: Vec<ContextCost>,
    /// The tokenizer's files.
    pub tokenizer: TokenizerSummary,
    /// Token ids that end a generation.
    pub eos_token_ids: Vec<u32>,
}

/// Counts over all tensors.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct WeightSummary {
    /// Safetensors files; 0 when the numbers come from the configuration alone.
    pub files: usize,
    /// Tensors.
    pub tensors: usize,
    /// Logical parameters: a packed weight counts as what it stands for, its scales as nothing.
    pub parameters: u64,
    /// Bytes of tensor data.
    pub bytes: u64,
    /// Bytes by stored dtype.
    pub bytes_by_dtype: BTreeMap<String, u64>,
    /// Bytes and parameters by part of the model, largest first.
    pub components: Vec<Component>,
}

/// A part of the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Component {
    /// `embedding`, `attention`, `mlp`, `experts`, `norm`, `head`, `vision`, `audio` or `other`.
    pub name: &'static str,
    /// Logical parameters.
    pub parameters: u64,
    /// Stored bytes.
    pub bytes: u64,
}

/// How the weights are quantized.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QuantizationSummary {
    /// Settings of the top level.
    pub default: ModuleQuantization,
    /// Quantized modules by their settings, e.g. `affine 4-bit, group 64`.
    pub modules: BTreeMap<String, usize>,
    /// Stored bits per logical parameter, over the whole model.
    pub bits_per_weight: f64,
}

/// Memory for one sequence of a given length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ContextCost {
    /// Tokens in the context.
    pub tokens: u64,
    /// Bytes of cache.
    pub cache_bytes: u64,
    /// Bytes of intermediate results, at most.
    pub working_bytes: u64,
    /// Weights, cache and intermediate results together.
    pub total_bytes: u64,
}

/// Which tokenizer files there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TokenizerSummary {
    /// `tokenizer.json`, which the engine needs.
    pub tokenizer_json: bool,
    /// `tokenizer_config.json`.
    pub tokenizer_config: bool,
    /// A chat template, in a file of its own or in `tokenizer_config.json`.
    pub chat_template: bool,
}

/// Reports on the model directory at `path`. Reads headers only.
///
/// # Errors
/// [`crate::Error`] when there is no readable `config.json` with a `model_type`; everything else
/// becomes one of the report's problems.
pub fn inspect(path: impl AsRef<Path>) -> Result<Inspection> {
    let mut dir = ModelDir::open_config(path.as_ref())?;
    let mut problems = Vec::new();
    let mut note = |error: crate::Error| problems.push(error.to_string());
    dir.refuse_code().unwrap_or_else(&mut note);
    let facts =
        models::family(&dir).and_then(|family| (family.facts)(&dir)).map_err(&mut note).ok();
    let quantization = dir.quantization().map_err(&mut note).ok().flatten();
    dir.read_tensors().unwrap_or_else(&mut note);
    let plan = match &facts {
        Some(facts) if !dir.tensors().is_empty() => facts.check(&dir).map_err(&mut note).ok(),
        _ => None,
    };
    let eos_token_ids = dir.eos_token_ids().map_err(&mut note).unwrap_or_default();
    let chat_template =
        dir.tokenizer_files().has_chat_template().map_err(&mut note).unwrap_or(true);
    problems.extend(tokenizer_problem(&dir));

    let expected = facts.as_ref().map(|f| f.expected());
    let activation_dtype = activation_dtype(&dir, quantization.as_ref());
    let count = if dir.tensors().is_empty() {
        let dtype = activation_dtype.unwrap_or(Dtype::Bf16);
        expected.as_ref().map(|e| Count::of_expected(e, quantization.as_ref(), dtype))
    } else {
        Some(Count::of_tensors(dir.tensors(), quantization.as_ref(), plan.as_ref()))
    }
    .unwrap_or_default();
    let warnings = warnings(&dir, facts.as_deref(), chat_template, &eos_token_ids);
    let weights = count.summary(dir.weight_files().len());
    let model = facts.as_ref().map(|f| memory_model(f.as_ref(), weights.bytes, activation_dtype));
    Ok(Inspection {
        name: dir.name(),
        model_type: dir.model_type().to_owned(),
        supported: problems.is_empty(),
        problems: problems.iter().map(|p| clean(p)).collect(),
        warnings,
        layers: facts.as_ref().map(|f| f.layers()),
        context_length: facts.as_ref().and_then(|f| f.context_length()),
        config_parameters: expected.as_ref().map(Expected::parameters),
        quantization: quantization.map(|spec| QuantizationSummary {
            default: spec.default(),
            modules: count.schemes(),
            bits_per_weight: weights.bytes as f64 * 8.0 / weights.parameters.max(1) as f64,
        }),
        activation_dtype,
        cache_bytes_per_token: model.as_ref().map(MemoryModel::token_bytes),
        memory: model.map(|m| contexts(&m, facts.as_deref())).unwrap_or_default(),
        weights,
        tokenizer: TokenizerSummary {
            tokenizer_json: dir.tokenizer_files().tokenizer_json.is_some(),
            tokenizer_config: dir.tokenizer_files().tokenizer_config.is_some(),
            chat_template,
        },
        eos_token_ids,
    })
}

/// Bytes of the weights that a configuration implies, with every dense value stored in `dtype`.
pub(crate) fn implied_weight_bytes(
    expected: &Expected,
    quantization: Option<&QuantizationSpec>,
    dtype: Dtype,
) -> u64 {
    Count::of_expected(expected, quantization, dtype).summary(0).bytes
}

/// The arithmetic of a model whose weights take `weights` bytes.
fn memory_model(facts: &dyn ModelFacts, weights: u64, dtype: Option<Dtype>) -> MemoryModel {
    MemoryModel {
        facts: facts.memory(),
        weights,
        adapters: 0,
        dtype: dtype.unwrap_or(Dtype::Bf16),
        kv: KvQuantization::default(),
    }
}

fn tokenizer_problem(dir: &ModelDir) -> Option<String> {
    let files = dir.tokenizer_files();
    if files.tokenizer_json.is_some() {
        return None;
    }
    let advice = if files.sentencepiece.is_some() {
        "tokenizer.model alone is not read; convert it with transformers' \
         AutoTokenizer.save_pretrained"
    } else {
        "copy it from the original model"
    };
    Some(format!("tokenizer: tokenizer.json is missing; {advice}"))
}

/// The dtype in which the model computes: that of its scales, or of most of its dense weights.
pub(crate) fn activation_dtype(
    dir: &ModelDir,
    quantization: Option<&QuantizationSpec>,
) -> Option<Dtype> {
    let mut bytes: BTreeMap<Dtype, u64> = BTreeMap::new();
    for tensor in dir.tensors().values().filter(|t| t.dtype.is_float()) {
        let counts = quantization.is_none() || tensor.name.ends_with(".scales");
        *bytes.entry(tensor.dtype).or_default() += if counts { tensor.len_bytes() } else { 0 };
    }
    if let Some((dtype, _)) = bytes.into_iter().max_by_key(|&(_, n)| n) {
        return Some(dtype);
    }
    let text = dir.config().get("text_config").and_then(Value::as_object);
    let declared = [Some(dir.config()), text].into_iter().flatten().find_map(|config| {
        ["dtype", "torch_dtype"].iter().find_map(|key| config.get(*key)?.as_str())
    })?;
    match declared {
        "bfloat16" => Some(Dtype::Bf16),
        "float16" => Some(Dtype::F16),
        "float32" => Some(Dtype::F32),
        _ => None,
    }
}

fn contexts(model: &MemoryModel, facts: Option<&dyn ModelFacts>) -> Vec<ContextCost> {
    let longest = facts.and_then(ModelFacts::context_length).map_or(u64::MAX, |n| n as u64);
    let contexts = CONTEXTS.into_iter().filter(|&n| n <= longest.max(CONTEXTS[0]));
    contexts
        .map(|tokens| {
            let step = limits::DEFAULT_PREFILL_STEP_SIZE as u64;
            let demand = Demand { prompt: tokens, max_tokens: 0, step };
            let cache_bytes = model.cache_after(demand);
            let working_bytes = model.estimate(demand).peak().saturating_sub(cache_bytes);
            let total_bytes =
                model.weights.saturating_add(cache_bytes).saturating_add(working_bytes);
            ContextCost { tokens, cache_bytes, working_bytes, total_bytes }
        })
        .collect()
}

fn warnings(
    dir: &ModelDir,
    facts: Option<&dyn ModelFacts>,
    chat_template: bool,
    eos_token_ids: &[u32],
) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut warn = |text: &str| warnings.push(text.to_owned());
    if !chat_template {
        warn("there is no chat template: completions work, chats do not");
    }
    if eos_token_ids.is_empty() {
        warn("no eos_token_id: only the tokenizer's own end token ends an answer");
    }
    if facts.is_some_and(|f| f.context_length().is_none()) {
        warn("max_position_embeddings is missing: the context length is unknown");
    }
    let floats = |t: &&TensorInfo| t.dtype.is_float();
    let mut dtypes: Vec<Dtype> = dir.tensors().values().filter(floats).map(|t| t.dtype).collect();
    dtypes.sort();
    dtypes.dedup();
    if dtypes.len() > 1 {
        let names: Vec<_> = dtypes.iter().map(|d| d.name()).collect();
        warn(&format!("weights mix {}: activations take the wider type", names.join(" and ")));
    }
    warnings
}

/// Bits of one packed weight whose module no plan names, judged by its tensors' shapes.
fn likely_bits(spec: &QuantizationSpec, path: &str, words: usize, groups: usize) -> u32 {
    let named = spec.overrides().find(|(p, _)| *p == path).and_then(|(_, q)| q);
    let settings = named.unwrap_or_else(|| spec.default());
    let per_group = words.checked_div(groups).unwrap_or(0) as u64 * 32;
    let group_size = settings.group_size as u64;
    let bits = per_group.checked_div(group_size).unwrap_or(0);
    match ModuleQuantization::new(settings.mode, bits, group_size) {
        Ok(q) => q.bits,
        Err(_) => settings.bits,
    }
}

/// The scheme that [`Count::of_expected`] assumes for a module.
fn assumed(
    spec: Option<&QuantizationSpec>,
    path: &str,
    in_dims: usize,
) -> Option<ModuleQuantization> {
    let spec = spec?;
    let named = spec.overrides().find(|(p, _)| *p == path);
    let scheme = named.map_or_else(|| Some(spec.default()), |(_, q)| q)?;
    scheme.packed_dims(in_dims).map(|_| scheme)
}
