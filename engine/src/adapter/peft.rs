//! PEFT's folders: `lora_A [r, in]` and `lora_B [out, r]` by Hugging Face's module names, scaled by
//! `lora_alpha / r` (`peft/tuners/lora`). They become what mlx-lm's layers take: the factors turned
//! round, the names as the family's sanitize rules spell them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    AdapterDir, AdapterKind, AdapterPlan,
    fit::{Misfits, ModelSide, PlannedModule, shapes},
    is_set,
};
use crate::{
    Result, limits,
    weights::{Dtype, ExpectedModule, Fields, FloatRange, ModuleKind, TensorMeta},
};

/// What PEFT puts before the model's own names.
const PREFIX: &str = "base_model.model.";
/// What to do about an adapter that does not fit.
const ADVICE: &str = "use the base model that adapter_config.json names, or merge the adapter into \
                      it with PEFT's merge_and_unload and load the result";

/// Keys without influence on an adapter's answers once its tensors are there.
const INERT: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_dropout",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
];
/// Ways to begin that leave the base model's weights alone.
const PLAIN_STARTS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// What `adapter_config.json` says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PeftConfig {
    rank: usize,
    scale: f64,
    dora: bool,
    /// Ends of the names of the adapted modules, where they are listed.
    targets: Option<Vec<String>>,
}

impl PeftConfig {
    pub(super) fn read(config: &Map<String, Value>) -> Result<Self> {
        let fields = Fields::new(config);
        let kind = fields.str("peft_type")?;
        if kind != "LORA" {
            return Err(fields.wrong("peft_type", &Value::from(kind), "LORA"));
        }
        let rank = fields.size("r", 1..=limits::MAX_DIMENSION)?;
        let alpha = fields.float("lora_alpha", FloatRange::Finite)?;
        let divisor = rank as f64;
        let rank_stabilized = fields.bool_or("use_rslora", false)?;
        let scale = alpha / if rank_stabilized { divisor.sqrt() } else { divisor };
        let dora = fields.bool_or("use_dora", false)?;
        let bias = fields.opt_str("bias")?.unwrap_or("none");
        if bias != "none" {
            let expected = "none: trained biases are not supported";
            return Err(fields.wrong("bias", &Value::from(bias), expected));
        }
        check_start(&fields)?;
        let targets = match fields.raw("target_modules") {
            // A pattern; the tensors say what it found.
            Some(Value::String(_)) => None,
            _ => fields.opt_strings("target_modules")?,
        };
        refuse_the_rest(config, &fields)?;
        let targets = targets.map(|list| list.into_iter().map(str::to_owned).collect());
        Ok(Self { rank, scale, dora, targets })
    }

    fn targets(&self, module: &str) -> bool {
        let ends = |target: &String| {
            module.strip_suffix(target.as_str()).is_some_and(|r| r.is_empty() || r.ends_with('.'))
        };
        self.targets.as_ref().is_none_or(|targets| targets.iter().any(ends))
    }
}

/// Some ways to begin take a part out of the base model's weights, which are not there then.
fn check_start(fields: &Fields<'_>) -> Result<()> {
    match fields.raw("init_lora_weights") {
        None | Some(Value::Null | Value::Bool(_)) => Ok(()),
        Some(Value::String(name)) if PLAIN_STARTS.contains(&name.as_str()) => Ok(()),
        Some(other) => {
            let expected = "true, false, gaussian, eva or orthogonal: others change the base model; \
                            convert the adapter with PEFT first";
            Err(fields.wrong("init_lora_weights", other, expected))
        }
    }
}

/// Refuses every other key that is set: rank_pattern, modules_to_save and the like.
fn refuse_the_rest(config: &Map<String, Value>, fields: &Fields<'_>) -> Result<()> {
    let set: Vec<&str> = fields.unknown(INERT).into_iter().filter(|k| is_set(config, k)).collect();
    match set.first() {
        None => Ok(()),
        Some(key) => {
            let value = config.get(*key).unwrap_or(&Value::Null);
            Err(fields.wrong(key, value, "it unset: this engine does not do what it asks for"))
        }
    }
}

/// A tensor's part in its module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    A,
    B,
    EmbeddingA,
    EmbeddingB,
    Magnitude,
}

const PARTS: [(&str, Part); 6] = [
    (".lora_A.weight", Part::A),
    (".lora_B.weight", Part::B),
    (".lora_embedding_A", Part::EmbeddingA),
    (".lora_embedding_B", Part::EmbeddingB),
    (".lora_magnitude_vector.weight", Part::Magnitude),
    (".lora_magnitude_vector", Part::Magnitude),
];

/// The module and the part that a tensor's name spells.
fn parse(name: &str) -> Option<(&str, Part)> {
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    PARTS.iter().find_map(|(suffix, part)| Some((name.strip_suffix(suffix)?, *part)))
}

/// Holds the adapter's tensors against the model's modules.
pub(super) fn fit(
    adapter: &AdapterDir,
    config: &PeftConfig,
    model: &ModelSide<'_>,
) -> Result<AdapterPlan> {
    let mut misfits = Misfits::default();
    let mut found: BTreeMap<&str, BTreeMap<Part, &str>> = BTreeMap::new();
    for name in adapter.tensors.keys() {
        match parse(name).filter(|(path, _)| config.targets(path)) {
            Some((path, part)) => {
                if found.entry(path).or_default().insert(part, name).is_some() {
                    misfits.strangers.push(format!("{name} (named twice)"));
                }
            }
            None => misfits.strangers.push(name.clone()),
        }
    }
    let mut planned: BTreeMap<String, PlannedModule> = BTreeMap::new();
    for (path, parts) in found {
        let Some(module) = renamed(path, model).and_then(|own| model.module(&own).cloned()) else {
            misfits.strangers.extend(parts.values().map(|name| (*name).to_owned()));
            continue;
        };
        let fitting = Fitting { adapter, config, model, module: &module };
        if let Some(one) = fitting.module(path, &parts, &mut misfits)
            && planned.insert(module.path.clone(), one).is_some()
        {
            misfits.modules.push(format!("two names mean {}", module.path));
        }
    }
    misfits.finish(ADVICE)?;
    let kind = if config.dora { AdapterKind::Dora } else { AdapterKind::Lora };
    adapter.plan(kind, config.rank, config.scale, planned.into_values().collect())
}

/// The model's own path of the module that Hugging Face calls `path`.
fn renamed(path: &str, model: &ModelSide<'_>) -> Option<String> {
    // Any matrix will do: renaming looks at names.
    let meta = TensorMeta { dtype: Dtype::F32, shape: vec![2, 2] };
    let weight = format!("{path}.weight");
    let (name, _) = model.facts.sanitize_table([(weight, meta)].into()).pop_first()?;
    Some(name.strip_suffix(".weight")?.to_owned())
}

struct Fitting<'a> {
    adapter: &'a AdapterDir,
    config: &'a PeftConfig,
    model: &'a ModelSide<'a>,
    module: &'a ExpectedModule,
}

impl Fitting<'_> {
    fn module(
        &self,
        path: &str,
        parts: &BTreeMap<Part, &str>,
        misfits: &mut Misfits,
    ) -> Option<PlannedModule> {
        let Self { config, module, .. } = self;
        if let Some(obstacle) = self.obstacle() {
            misfits.modules.push(format!("{path} {obstacle}"));
            return None;
        }
        let [mut a, mut b, m] = shapes(module, config.rank);
        a.reverse();
        b.reverse();
        let (first, second, suffixes) = match module.kind {
            ModuleKind::Embedding => (Part::EmbeddingA, Part::EmbeddingB, [2, 3]),
            _ => (Part::A, Part::B, [0, 1]),
        };
        let mut take = |part: Part, suffix: usize, shape: &[usize]| {
            let name = parts.get(&part).copied();
            match name.and_then(|name| self.adapter.tensors.get(name)) {
                Some(tensor) => misfits.check(tensor, shape),
                None => misfits.missing.push(format!("{PREFIX}{path}{}", PARTS[suffix].0)),
            }
            name.map(str::to_owned)
        };
        let factors = [take(first, suffixes[0], &a), take(second, suffixes[1], &b)];
        let magnitude = if config.dora { take(Part::Magnitude, 4, &m) } else { None };
        let wanted = |part: &Part| {
            *part == first || *part == second || (config.dora && *part == Part::Magnitude)
        };
        let others = parts.iter().filter(|(part, _)| !wanted(part));
        misfits.strangers.extend(others.map(|(_, name)| (*name).to_owned()));
        let [Some(a), Some(b)] = factors else { return None };
        Some(PlannedModule {
            path: module.path.clone(),
            kind: module.kind,
            factors: [a, b],
            magnitude,
            transposed: true,
        })
    }

    /// What mlx-lm's layers cannot express.
    fn obstacle(&self) -> Option<&'static str> {
        let Self { config, model, module, .. } = self;
        let own_head = |m: &ExpectedModule| m.path.ends_with("lm_head");
        match module.kind {
            ModuleKind::Experts => Some("is a stack of experts, which PEFT adapts otherwise"),
            ModuleKind::Embedding if config.dora => Some("is an embedding, with DoRA"),
            ModuleKind::Embedding if !model.expected.modules().iter().any(own_head) => {
                Some("is the output head too, where PEFT's product would not apply")
            }
            _ if config.dora => model.dora_obstacle(module),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{Part, parse};

    #[rstest]
    #[case("base_model.model.model.layers.0.q.lora_A.weight", Some(("model.layers.0.q", Part::A)))]
    #[case("lm_head.lora_B.weight", Some(("lm_head", Part::B)))]
    #[case("base_model.model.e.lora_embedding_A", Some(("e", Part::EmbeddingA)))]
    #[case("base_model.model.e.lora_magnitude_vector", Some(("e", Part::Magnitude)))]
    #[case("base_model.model.e.lora_A.default.weight", None)]
    #[case("base_model.model.e.weight", None)]
    fn names_are_parsed(#[case] name: &str, #[case] found: Option<(&str, Part)>) {
        assert_eq!(parse(name), found);
    }
}
