//! `model_type: gemma4` in its three shapes: per-layer inputs with shared keys (E2B, E4B), keys that
//! are values (12B, 31B), experts (26B-A4B).

use serde_json::{Value, json};

use super::{
    Draw,
    space::{Geometry, Space, number},
};
use crate::case::{Affine, Dtype, Layout, ModelSource, ModelSpec, Quantization};

pub(super) const E2B: Space = space("gemma4-e2b", |d| draw(d, Kind::PerLayerInputs));
pub(super) const B12: Space = space("gemma4-12b", |d| draw(d, Kind::KeysAreValues));
pub(super) const A4B: Space = space("gemma4-26b-a4b", |d| draw(d, Kind::Experts));

const fn space(family: &'static str, draw: fn(&mut Draw) -> Geometry) -> Space {
    Space {
        family,
        draw,
        smaller,
        cannot,
        head_dims,
        has_rings: true,
        modules: &[
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.o_proj",
            "mlp.gate_proj",
            "mlp.up_proj",
            "per_layer_input_gate",
            "router.proj",
        ],
        embedding: "language_model.model.embed_tokens",
    }
}

/// Width of MLX's groups where a recipe names none.
const DEFAULT_GROUP: usize = 64;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    PerLayerInputs,
    KeysAreValues,
    Experts,
}

fn draw(draw: &mut Draw, kind: Kind) -> Geometry {
    let kv_heads = draw.pick(&[1, 2, 3]);
    let heads = kv_heads * draw.pick(&[1, 2, 3]);
    let own = draw.between(2, 5);
    let shared = if kind == Kind::PerLayerInputs { draw.between(0, 4) } else { 0 };
    let head_dim = draw.pick(&[8, 16, 24, 32, 64]);
    let vocab = draw.between(72, 160);
    let tied = draw.chance(70);
    let experts = draw.between(3, 9);
    let is_moe = kind == Kind::Experts;
    let when_moe = |value: usize| if is_moe { json!(value) } else { Value::Null };
    let text = json!({
        "model_type": "gemma4_text",
        "hidden_size": if is_moe { draw.multiple(64, 1, 2) } else { draw.multiple(32, 1, 5) },
        "intermediate_size": draw.multiple(32, 1, 6),
        "num_hidden_layers": own + shared,
        "layer_types": layer_types(draw, own, shared),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "num_global_key_value_heads": if kind == Kind::PerLayerInputs { Value::Null } else { json!(1) },
        "head_dim": head_dim,
        "global_head_dim": draw.pick(&[16, 32, 48, 64]),
        "attention_k_eq_v": kind != Kind::PerLayerInputs,
        "num_kv_shared_layers": shared,
        "use_double_wide_mlp": kind == Kind::PerLayerInputs,
        "hidden_size_per_layer_input":
            if kind == Kind::PerLayerInputs { draw.multiple(32, 1, 2) } else { 0 },
        "vocab_size": vocab,
        "vocab_size_per_layer_input": vocab,
        "enable_moe_block": is_moe,
        "num_experts": when_moe(experts),
        "top_k_experts": when_moe(draw.between(1, experts.min(4) - 1)),
        "moe_intermediate_size": when_moe(draw.multiple(32, 1, 3)),
        "sliding_window": draw.between(4, 40),
        "max_position_embeddings": 131_072,
        "rms_norm_eps": draw.pick(&[1e-6, 1e-5]),
        "final_logit_softcapping": draw.pick(&[30.0, 5.0]),
        "hidden_activation": "gelu_pytorch_tanh",
        "tie_word_embeddings": tied,
        "rope_parameters": {
            "full_attention": {
                "partial_rotary_factor": draw.pick(&[0.25, 0.5, 1.0]),
                "rope_theta": draw.pick(&[1_000_000.0, 10_000.0]),
                "rope_type": "proportional"
            },
            "sliding_attention": { "rope_theta": 10_000.0, "rope_type": "default" }
        }
    });
    let geometry = json!({
        "model_type": "gemma4",
        "architectures": ["Gemma4ForConditionalGeneration"],
        "vocab_size": vocab,
        "text_config": text,
        "bos_token_id": 2,
        "eos_token_id": [1, 6],
        "pad_token_id": 0,
        "tie_word_embeddings": tied
    });
    let Value::Object(fields) = geometry else { return Geometry::new() };
    fields.into_iter().collect()
}

/// Layers that take another's keys have no cache.
fn head_dims(geometry: &Geometry) -> Vec<Option<usize>> {
    let types = geometry.get("text_config").and_then(|text| text["layer_types"].as_array());
    let own = types.map_or(0, Vec::len).saturating_sub(number(geometry, "num_kv_shared_layers"));
    let dim = |kind: &Value| {
        let key = if *kind == "full_attention" { "global_head_dim" } else { "head_dim" };
        Some(number(geometry, key))
    };
    types.into_iter().flatten().take(own).map(dim).collect()
}

/// Both kinds among the layers with keys of their own: those that share take keys of their kind.
fn layer_types(draw: &mut Draw, own: usize, shared: usize) -> Vec<&'static str> {
    const KINDS: [&str; 2] = ["sliding_attention", "full_attention"];
    let first = draw.between(0, 1);
    let second = draw.between(1, own - 1);
    (0..own + shared)
        .map(|layer| match layer {
            0 => KINDS[first],
            _ if layer == second => KINDS[1 - first],
            _ => draw.pick(&KINDS),
        })
        .collect()
}

/// mlx-lm looks for a head of its own only where it writes one itself, not where Hugging Face does.
/// MLX's CPU backend multiplies unquantized experts in float32 only, and `mlx_lm.convert` gives the
/// router groups of 64, whatever the others have.
fn cannot(geometry: &Geometry, model: &ModelSpec) -> bool {
    let Some(text) = geometry.get("text_config") else { return false };
    if let ModelSource::Made(made) = &model.source
        && text["tie_word_embeddings"] == false
        && made.layout == Layout::Hf
    {
        return true;
    }
    if text["enable_moe_block"] != true {
        return false;
    }
    let ModelSource::Made(made) = &model.source else { return false };
    let group = match &model.quantization {
        None => return made.dtype != Dtype::F32,
        Some(Quantization::Uniform(Affine { group_size, .. })) => *group_size as usize,
        Some(Quantization::Recipe { group_size, .. }) => {
            group_size.map_or(DEFAULT_GROUP, |g| g as usize)
        }
        Some(Quantization::PerModule { .. }) => return true,
    };
    let fits = ["hidden_size", "moe_intermediate_size"]
        .into_iter()
        .all(|key| text[key].as_u64().is_some_and(|n| (n as usize).is_multiple_of(group)));
    made.dtype != Dtype::F32 && !fits
}

/// Each key of the text model on its own towards a plain and tiny one.
fn smaller(geometry: &Geometry) -> Vec<Geometry> {
    let Some(text) = geometry.get("text_config") else { return Vec::new() };
    let with = |changes: &[(&str, Value)]| {
        let mut changed = geometry.clone();
        for (key, value) in changes {
            if let Some(text) = changed.get_mut("text_config") {
                text[*key] = value.clone();
            }
        }
        changed
    };
    let whole = |key: &str| text[key].as_u64().unwrap_or(0);
    let mut all = vec![
        with(&[("rms_norm_eps", json!(1e-6))]),
        with(&[("num_attention_heads", text["num_key_value_heads"].clone())]),
        with(&[("num_attention_heads", json!(1)), ("num_key_value_heads", json!(1))]),
        with(&[
            ("enable_moe_block", json!(false)),
            ("num_experts", Value::Null),
            ("top_k_experts", Value::Null),
            ("moe_intermediate_size", Value::Null),
        ]),
        with(&[("hidden_size_per_layer_input", json!(0))]),
        with(&[("use_double_wide_mlp", json!(false))]),
        with(&[("attention_k_eq_v", json!(false)), ("num_global_key_value_heads", Value::Null)]),
    ];
    let (layers, shared) = (whole("num_hidden_layers"), whole("num_kv_shared_layers"));
    if let Some(types) = text["layer_types"].as_array()
        && layers > 1
    {
        // The last layer goes, and with it a share.
        all.push(with(&[
            ("num_hidden_layers", json!(layers - 1)),
            ("num_kv_shared_layers", json!(shared.saturating_sub(1))),
            ("layer_types", json!(types[..types.len() - 1])),
        ]));
    }
    for (key, least) in [
        ("head_dim", 8),
        ("head_dim", 32),
        ("global_head_dim", 16),
        ("global_head_dim", 32),
        ("hidden_size", 64),
        ("intermediate_size", 32),
        ("sliding_window", 4),
    ] {
        if whole(key) > least {
            all.push(with(&[(key, json!(least))]));
        }
    }
    all.retain(|changed| changed != geometry);
    all
}
