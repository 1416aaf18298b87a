//! mlx-lm's folders: which modules its loader converts, and what it loads into them
//! (`mlx_lm/tuner/utils.py`, `linear_to_lora_layers` and `load_adapters`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{
    AdapterDir, AdapterKind, AdapterPlan,
    fit::{Misfits, ModelSide, PlannedModule, in_layer, shapes},
};
use crate::{
    Error, Result, limits,
    weights::{ExpectedModule, Fields, FloatRange},
};

/// What to do about an adapter that does not fit.
const ADVICE: &str = "use the model it was trained on, and num_layers and lora_parameters as then";

/// The keys of `adapter_config.json` that mlx-lm's loader reads; the others describe the training.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MlxConfig {
    kind: AdapterKind,
    /// Absent for [`AdapterKind::Full`], which has no products.
    products: Option<Products>,
}

#[derive(Debug, Clone, PartialEq)]
struct Products {
    /// Layers to convert, from the last; all for zero and below.
    num_layers: i64,
    rank: usize,
    scale: f64,
    /// Paths inside a layer, or whole paths; every module of the layers where absent.
    keys: Option<Vec<String>>,
}

impl MlxConfig {
    pub(super) fn read(config: &Map<String, Value>) -> Result<Self> {
        let fields = Fields::new(config);
        let kind = match fields.opt_str("fine_tune_type")? {
            None | Some("lora") => AdapterKind::Lora,
            Some("dora") => AdapterKind::Dora,
            Some("full") => AdapterKind::Full,
            Some(other) => {
                let value = Value::from(other);
                return Err(fields.wrong("fine_tune_type", &value, "lora, dora or full"));
            }
        };
        if kind == AdapterKind::Full {
            return Ok(Self { kind, products: None });
        }
        let Some(parameters) = fields.object("lora_parameters")? else {
            let peft = config.get("peft_type").is_some_and(|v| !v.is_null());
            let hint = if peft {
                "; this is PEFT's configuration, whose weights are called adapter_model.safetensors"
            } else {
                ""
            };
            return Err(Error::Config(format!("lora_parameters is missing{hint}")));
        };
        Ok(Self { kind, products: Some(Products::read(&fields, &parameters)?) })
    }
}

impl Products {
    fn read(fields: &Fields<'_>, parameters: &Fields<'_>) -> Result<Self> {
        let num_layers = match fields.raw("num_layers") {
            Some(value) => {
                value.as_i64().ok_or_else(|| fields.wrong("num_layers", value, "an integer"))?
            }
            None => return Err(Error::Config("num_layers is missing; expected an integer".into())),
        };
        if parameters.raw("scale").is_none() && parameters.raw("alpha").is_some() {
            return Err(Error::Config(
                "lora_parameters.scale is missing, and alpha is not read; write scale as the factor \
                 of the product (alpha over rank, elsewhere)"
                    .into(),
            ));
        }
        let dropout = parameters.float_or("dropout", FloatRange::Finite, 0.0)?;
        if !(0.0..1.0).contains(&dropout) {
            let value = Value::from(dropout);
            return Err(parameters.wrong("dropout", &value, "a number from 0 to below 1"));
        }
        let keys = parameters.opt_strings("keys")?;
        if keys.as_ref().is_some_and(|keys| keys.len() > limits::MAX_ADAPTER_KEYS) {
            let limit = limits::MAX_ADAPTER_KEYS;
            return Err(Error::Config(format!("lora_parameters.keys has over {limit} entries")));
        }
        Ok(Self {
            num_layers,
            rank: parameters.size("rank", 1..=limits::MAX_DIMENSION)?,
            scale: parameters.float("scale", FloatRange::Finite)?,
            keys: keys.map(|keys| keys.into_iter().map(str::to_owned).collect()),
        })
    }

    /// The modules that mlx-lm converts, with what is wrong with the keys.
    fn converted<'a>(
        &self,
        model: &'a ModelSide<'_>,
        misfits: &mut Misfits,
    ) -> BTreeMap<&'a str, &'a ExpectedModule> {
        let modules = model.expected.modules();
        let inside = |m: &'a ExpectedModule| in_layer(&m.path).map(|(_, key)| key);
        let keys: BTreeSet<&str> = match &self.keys {
            None => modules.iter().filter_map(inside).collect(),
            Some(keys) => keys.iter().map(String::as_str).collect(),
        };
        let first = match usize::try_from(self.num_layers) {
            Ok(n) if n > 0 => model.facts.layers().saturating_sub(n),
            _ => 0,
        };
        let mut converted = BTreeMap::new();
        let mut used = BTreeSet::new();
        for module in modules {
            let local =
                in_layer(&module.path).filter(|(layer, key)| *layer >= first && keys.contains(key));
            let whole = keys.get(module.path.as_str());
            if local.is_some() && whole.is_some() {
                misfits.modules.push(format!("keys name {} twice", module.path));
            }
            used.extend(inside(module).filter(|key| keys.contains(key)));
            used.extend(whole);
            if local.is_some() || whole.is_some() {
                converted.insert(module.path.as_str(), module);
            }
        }
        let paths = model.paths();
        for key in keys.difference(&used) {
            if let Some(path) = names_something_else(key, &paths) {
                misfits.modules.push(format!("key {key} names {path}, which takes no product"));
            }
        }
        converted
    }
}

/// mlx-lm passes over a key that names nothing, but fails over one that names another module.
fn names_something_else<'a>(key: &str, paths: &BTreeSet<&'a str>) -> Option<&'a str> {
    let inside = |outer: &str, inner: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let related = |path: &str| inside(key, path) || inside(path, key);
    let names = |path: &&&str| related(path) || in_layer(path).is_some_and(|(_, l)| related(l));
    paths.iter().find(names).copied()
}

/// Holds the adapter's tensors against the modules that mlx-lm would convert.
pub(super) fn fit(
    adapter: &AdapterDir,
    config: &MlxConfig,
    model: &ModelSide<'_>,
) -> Result<AdapterPlan> {
    let Some(products) = &config.products else { return fit_full(adapter, model) };
    let mut misfits = Misfits::default();
    let converted = products.converted(model, &mut misfits);
    let dora = config.kind == AdapterKind::Dora;
    let mut claimed = BTreeSet::new();
    let mut planned = Vec::new();
    for (path, module) in &converted {
        if let Some(obstacle) = model.dora_obstacle(module).filter(|_| dora) {
            let text = format!("{path} {obstacle}, which mlx-lm's DoRA does not take");
            misfits.modules.push(text);
        }
        let [a, b, m] = shapes(module, products.rank);
        let parts = [("lora_a", a), ("lora_b", b), ("m", m)];
        let parts = &parts[..if dora { 3 } else { 2 }];
        let names: Vec<String> = parts.iter().map(|(part, _)| format!("{path}.{part}")).collect();
        let there = names.iter().filter(|name| adapter.tensors.contains_key(*name)).count();
        // A product that was never trained is zero.
        if there == 0 && !dora {
            continue;
        }
        for (name, (_, shape)) in names.iter().zip(parts) {
            match adapter.tensors.get(name) {
                Some(tensor) => misfits.check(tensor, shape),
                None => misfits.missing.push(name.clone()),
            }
        }
        claimed.extend(names.iter().cloned());
        let mut names = names.into_iter();
        if let (Some(a), Some(b)) = (names.next(), names.next()) {
            planned.push(PlannedModule {
                path: (*path).to_owned(),
                kind: module.kind,
                factors: [a, b],
                magnitude: names.next(),
                transposed: false,
            });
        }
    }
    let strangers = adapter.tensors.keys().filter(|name| !claimed.contains(*name));
    misfits.strangers.extend(strangers.cloned());
    misfits.finish(ADVICE)?;
    adapter.plan(config.kind, products.rank, products.scale, planned)
}

/// Fully fine-tuned weights stand in for the model's own, each in its shape and dtype.
fn fit_full(adapter: &AdapterDir, model: &ModelSide<'_>) -> Result<AdapterPlan> {
    let table = model.table();
    let mut misfits = Misfits::default();
    for (name, tensor) in &adapter.tensors {
        let Some(own) = table.get(name) else {
            misfits.strangers.push(name.clone());
            continue;
        };
        if tensor.shape != own.shape {
            let (found, wanted) = (&tensor.shape, &own.shape);
            misfits.shapes.push(format!("{name} is {found:?}, the model has {wanted:?}"));
        }
        if tensor.dtype != own.dtype {
            misfits.dtypes.push(format!("{name} is {}; the model has {}", tensor.dtype, own.dtype));
        }
    }
    misfits.finish("use the model it was trained on, quantized alike")?;
    if adapter.tensors.is_empty() {
        return Err(Error::Adapter("replaces nothing: its file holds no tensors".into()));
    }
    Ok(adapter.replacement())
}
