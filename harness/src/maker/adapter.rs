//! Adapters for made models: mlx-lm's folders and PEFT's, the same bytes on every machine.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};

use super::{Init, TensorPlan, plan, rng::Stream, write};
use crate::{
    Error, Result,
    case::{Adapter, AdapterFormat, AdapterKind, MadeModel},
    tensor::{RawTensor, TensorFile},
};

/// Standard deviation of a product, next to outputs of about one.
const PRODUCT_DEVIATION: f64 = 0.5;

/// A module that an adapter can change.
#[derive(Debug, Clone, PartialEq)]
struct Module {
    /// Path in the written checkpoint.
    stored: String,
    /// Path in mlx-lm's model.
    path: String,
    shape: Vec<usize>,
    init: Init,
}

/// Writes the adapter for `model` into an empty folder.
///
/// # Errors
/// [`Error::Model`] for a model that cannot be planned and an adapter without modules,
/// [`Error::File`] for trouble writing.
pub fn write_adapter(model: &MadeModel, adapter: &Adapter, folder: &Path) -> Result<()> {
    let modules = chosen(model, adapter)?;
    if modules.is_empty() {
        return Err(Error::Model("the adapter's keys choose no module".into()));
    }
    fs::create_dir_all(folder).map_err(|e| Error::file(folder, e))?;
    let (name, config) = match adapter.format {
        AdapterFormat::MlxLm => ("adapters.safetensors", mlx_config(adapter)),
        AdapterFormat::Peft => ("adapter_model.safetensors", peft_config(adapter, &modules)),
    };
    let mut file = TensorFile::default();
    file.metadata.insert("format".into(), "pt".into());
    for tensor in modules.iter().flat_map(|module| tensors(model, adapter, module)) {
        file.tensors.insert(tensor.name.clone(), draw(adapter, &tensor));
    }
    file.write(&folder.join(name))?;
    write::json(&folder.join("adapter_config.json"), &config)
}

fn draw(adapter: &Adapter, tensor: &TensorPlan) -> RawTensor {
    let TensorPlan { name, shape, init, dtype } = tensor;
    let dtype = dtype.unwrap_or(adapter.dtype);
    let stream = Stream::new(adapter.seed, name);
    RawTensor {
        dtype: dtype.safetensors_name().into(),
        shape: shape.clone(),
        data: stream.tensor(tensor.elements(), init.offset, init.scale, dtype),
    }
}

/// The modules that mlx-lm's `linear_to_lora_layers` would convert.
fn chosen(model: &MadeModel, adapter: &Adapter) -> Result<Vec<Module>> {
    let all = modules(model)?;
    let layers = all.iter().filter_map(|m| Some(in_layer(&m.path)?.0 + 1)).max().unwrap_or(0);
    let first = match adapter.num_layers {
        0 => 0,
        n => layers.saturating_sub(n),
    };
    let wanted = |module: &Module| {
        let local = in_layer(&module.path).filter(|(layer, _)| *layer >= first);
        match &adapter.keys {
            None => local.is_some(),
            Some(keys) => keys.iter().any(|key| {
                *key == module.path || local.is_some_and(|(_, inside)| inside == key.as_str())
            }),
        }
    };
    Ok(all.into_iter().filter(wanted).collect())
}

fn in_layer(path: &str) -> Option<(usize, &str)> {
    let (index, inside) = path.split_once("layers.")?.1.split_once('.')?;
    Some((index.parse().ok()?, inside))
}

fn modules(model: &MadeModel) -> Result<Vec<Module>> {
    let mut all = Vec::new();
    for TensorPlan { name, mut shape, init, .. } in plan(model)? {
        let experts = name.contains(".experts.") && shape.len() == 3;
        if !(experts || shape.len() == 2 && name.ends_with(".weight")) {
            continue;
        }
        let stored = name.strip_suffix(".weight").unwrap_or(&name).to_owned();
        let Some(path) = mlx_path(model, &stored) else { continue };
        let mut add = |path: String, shape: &[usize]| {
            all.push(Module { stored: stored.clone(), path, shape: shape.to_vec(), init });
        };
        if let Some(base) = path.strip_suffix(".experts.gate_up_proj") {
            shape[1] /= 2;
            add(format!("{base}.experts.switch_glu.gate_proj"), &shape);
            add(format!("{base}.experts.switch_glu.up_proj"), &shape);
        } else if let Some(base) = path.strip_suffix(".experts.down_proj") {
            add(format!("{base}.experts.switch_glu.down_proj"), &shape);
        } else {
            add(path, &shape);
        }
    }
    Ok(all)
}

/// What mlx-lm calls a module of the checkpoint (each family's `sanitize`); `None` for other
/// modalities' and for what text models leave out.
fn mlx_path(model: &MadeModel, stored: &str) -> Option<String> {
    let others = ["vision", "visual", "audio", "multi_modal", "mtp."];
    if others.iter().any(|part| stored.contains(part)) {
        return None;
    }
    let kind = model.geometry.get("model_type").and_then(Value::as_str).unwrap_or_default();
    if has_shared_keys(model, stored) {
        return None;
    }
    let nested = "model.language_model.";
    Some(match kind {
        "qwen3_5" | "qwen3_5_text" | "gemma4" | "gemma4_unified" => {
            if let Some(rest) = stored.strip_prefix(nested) {
                format!("language_model.model.{rest}")
            } else if stored.starts_with("language_model.") {
                stored.to_owned()
            } else {
                format!("language_model.{stored}")
            }
        }
        _ => stored.to_owned(),
    })
}

/// Whether a module projects keys or values in a layer of Gemma-4 that takes another layer's.
fn has_shared_keys(model: &MadeModel, stored: &str) -> bool {
    let top = &model.geometry;
    let number = |key: &str| {
        let value = top.get("text_config").map_or_else(|| top.get(key), |text| text.get(key));
        value.and_then(Value::as_u64).unwrap_or(0) as usize
    };
    let own = number("num_hidden_layers").saturating_sub(number("num_kv_shared_layers"));
    let projects = |inside: &str| matches!(inside, "self_attn.k_proj" | "self_attn.v_proj");
    in_layer(stored).is_some_and(|(layer, inside)| layer >= own && projects(inside))
}

/// The tensors that the adapter has for a module.
fn tensors(model: &MadeModel, adapter: &Adapter, module: &Module) -> Vec<TensorPlan> {
    let Module { path, shape, .. } = module;
    if adapter.kind == AdapterKind::Full {
        let mut whole = TensorPlan::new(format!("{path}.weight"), shape, module.init);
        whole.dtype = Some(model.dtype);
        return vec![whole];
    }
    let rank = adapter.rank;
    let embedding = path.contains("embed_tokens");
    let first = Init::matrix(shape[shape.len() - 1], 1.0);
    // An embedding's first factor is looked up, not multiplied.
    let first = if embedding { Init::deviation(1.0) } else { first };
    let second = Init::matrix(rank, (PRODUCT_DEVIATION / factor(adapter)) as f32);
    let parts: Vec<(&str, Vec<usize>, Init)> = match (adapter.format, shape.as_slice()) {
        (AdapterFormat::MlxLm, [experts, out, dims]) => vec![
            (".lora_a", vec![*experts, rank, *dims], first),
            (".lora_b", vec![*experts, *out, rank], second),
        ],
        (AdapterFormat::MlxLm, [rows, dims]) if embedding => {
            vec![(".lora_a", vec![*rows, rank], first), (".lora_b", vec![rank, *dims], second)]
        }
        (AdapterFormat::MlxLm, [out, dims]) => {
            vec![(".lora_a", vec![*dims, rank], first), (".lora_b", vec![rank, *out], second)]
        }
        (AdapterFormat::Peft, [rows, dims]) if embedding => vec![
            (".lora_embedding_A", vec![rank, *rows], first),
            (".lora_embedding_B", vec![*dims, rank], second),
        ],
        (AdapterFormat::Peft, [out, dims]) => vec![
            (".lora_A.weight", vec![rank, *dims], first),
            (".lora_B.weight", vec![*out, rank], second),
        ],
        // PEFT adapts stacks of experts in another way, which mlx-lm has nothing for.
        _ => Vec::new(),
    };
    let name = |part: &str| match adapter.format {
        AdapterFormat::MlxLm => format!("{path}{part}"),
        AdapterFormat::Peft => format!("base_model.model.{}{part}", module.stored),
    };
    let mut tensors: Vec<_> =
        parts.iter().map(|(part, shape, init)| TensorPlan::new(name(part), shape, *init)).collect();
    if adapter.kind == AdapterKind::Dora {
        let part = match adapter.format {
            AdapterFormat::MlxLm => ".m",
            AdapterFormat::Peft => ".lora_magnitude_vector.weight",
        };
        // Rows of a made matrix are about this long.
        let length = if embedding { (shape[1] as f32).sqrt() } else { 1.3 };
        let lengths = Init { offset: length, scale: 0.3 * length };
        tensors.push(TensorPlan::new(name(part), &shape[..1], lengths));
    }
    tensors
}

/// What the product is multiplied by.
fn factor(adapter: &Adapter) -> f64 {
    let rank = adapter.rank as f64;
    match adapter.format {
        AdapterFormat::MlxLm => adapter.scale,
        AdapterFormat::Peft if adapter.rank_stabilized => adapter.scale / rank.sqrt(),
        AdapterFormat::Peft => adapter.scale / rank,
    }
}

/// As `mlx_lm.lora` writes it, with some of the training's own settings.
fn mlx_config(adapter: &Adapter) -> Value {
    let kind = match adapter.kind {
        AdapterKind::Lora => "lora",
        AdapterKind::Dora => "dora",
        AdapterKind::Full => "full",
    };
    let mut parameters =
        json!({ "dropout": 0.0, "rank": adapter.rank.max(1), "scale": adapter.scale });
    if let Some(keys) = &adapter.keys {
        parameters["keys"] = json!(keys);
    }
    json!({
        "adapter_path": "adapters",
        "batch_size": 4,
        "fine_tune_type": kind,
        "learning_rate": 1e-5,
        "lora_parameters": parameters,
        "num_layers": adapter.num_layers,
        "seed": 0,
        "train": true,
    })
}

/// As PEFT writes it.
fn peft_config(adapter: &Adapter, modules: &[Module]) -> Value {
    let targets: BTreeSet<&str> =
        modules.iter().map(|m| m.stored.rsplit('.').next().unwrap_or(&m.stored)).collect();
    json!({
        "alpha_pattern": {},
        "auto_mapping": null,
        "base_model_name_or_path": "made/model",
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "layers_pattern": null,
        "layers_to_transform": null,
        "lora_alpha": adapter.scale,
        "lora_dropout": 0.05,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": adapter.rank,
        "rank_pattern": {},
        "revision": null,
        "target_modules": targets,
        "task_type": "CAUSAL_LM",
        "use_dora": adapter.kind == AdapterKind::Dora,
        "use_rslora": adapter.rank_stabilized,
    })
}
