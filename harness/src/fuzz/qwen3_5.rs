//! `model_type: qwen3_5`: recurrent layers with full attention among them, nested and flat.

use serde_json::{Value, json};

use super::{
    Draw,
    space::{Geometry, Space, number},
};

pub(super) const SPACE: Space = Space {
    family: "qwen3_5",
    draw,
    smaller,
    cannot: |_, _| false,
    head_dims,
    has_rings: false,
    modules: &[
        "self_attn.q_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "linear_attn.in_proj_qkv",
        "linear_attn.in_proj_z",
        "linear_attn.in_proj_a",
        "linear_attn.out_proj",
        "mlp.gate_proj",
    ],
    embedding: "language_model.model.embed_tokens",
};

fn draw(draw: &mut Draw) -> Geometry {
    let kv_heads = draw.pick(&[1, 2, 3]);
    let heads = kv_heads * draw.pick(&[1, 2, 3, 4]);
    let key_heads = draw.pick(&[1, 2, 3, 4]);
    // The reference needs a layer of each kind.
    let interval = draw.between(2, 5);
    let layers = draw.between(interval, 8);
    let tied = draw.chance(50);
    let text = json!({
        "model_type": "qwen3_5_text",
        "hidden_size": heads * draw.multiple(32, 1, (192 / (32 * heads)).max(1)),
        "intermediate_size": draw.multiple(32, 1, 8),
        "num_hidden_layers": layers,
        "full_attention_interval": interval,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": draw.pick(&[16, 32, 48, 64, 128]),
        "attention_bias": draw.chance(25),
        "linear_num_key_heads": key_heads,
        "linear_num_value_heads": key_heads * draw.pick(&[1, 2, 3]),
        "linear_key_head_dim": draw.pick(&[16, 24, 32, 64, 96]),
        "linear_value_head_dim": draw.pick(&[16, 32, 40, 64]),
        "linear_conv_kernel_dim": draw.pick(&[2, 3, 4, 4, 4, 7]),
        "vocab_size": draw.between(64, 200),
        "rms_norm_eps": draw.pick(&[1e-6, 1e-5, 1e-3]),
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": draw.pick(&[10_000.0, 10_000_000.0, 100.0]),
            "partial_rotary_factor": draw.pick(&[0.25, 0.5, 1.0])
        },
        "max_position_embeddings": 262_144,
        "tie_word_embeddings": tied,
        "hidden_act": "silu",
        "eos_token_id": 1
    });
    let geometry = if draw.chance(70) {
        json!({
            "model_type": "qwen3_5",
            "architectures": ["Qwen3_5ForConditionalGeneration"],
            "tie_word_embeddings": tied,
            "image_token_id": 60,
            "eos_token_id": [1, 3],
            "text_config": text
        })
    } else {
        text
    };
    let Value::Object(fields) = geometry else { return Geometry::new() };
    fields.into_iter().collect()
}

fn head_dims(geometry: &Geometry) -> Vec<Option<usize>> {
    let interval = number(geometry, "full_attention_interval").max(1);
    let attends = |layer: usize| (layer + 1).is_multiple_of(interval);
    (0..number(geometry, "num_hidden_layers"))
        .map(|layer| attends(layer).then(|| number(geometry, "head_dim")))
        .collect()
}

/// Each key on its own towards a plain and tiny model.
fn smaller(geometry: &Geometry) -> Vec<Geometry> {
    let text = geometry.get("text_config").unwrap_or(&Value::Null);
    let nested = text.is_object();
    let current = |key: &str| {
        if nested { text.get(key) } else { geometry.get(key) }.cloned().unwrap_or(Value::Null)
    };
    let whole = |key: &str| current(key).as_u64().unwrap_or(0);
    let with = |changes: &[(&str, Value)]| {
        let mut changed = geometry.clone();
        for (key, value) in changes {
            match changed.get_mut("text_config") {
                Some(text) => text[*key] = value.clone(),
                None => drop(changed.insert((*key).into(), value.clone())),
            }
            if nested && *key == "tie_word_embeddings" {
                changed.insert((*key).into(), value.clone());
            }
        }
        changed
    };
    let mut all = vec![
        with(&[("attention_bias", json!(false))]),
        with(&[("tie_word_embeddings", json!(false))]),
        with(&[("rms_norm_eps", json!(1e-6))]),
        with(&[("linear_conv_kernel_dim", json!(2))]),
        with(&[("num_attention_heads", json!(1)), ("num_key_value_heads", json!(1))]),
        with(&[("num_attention_heads", current("num_key_value_heads"))]),
        with(&[("linear_num_key_heads", json!(1)), ("linear_num_value_heads", json!(1))]),
        with(&[("linear_num_value_heads", current("linear_num_key_heads"))]),
        with(&[("hidden_size", json!(32 * whole("num_attention_heads")))]),
    ];
    let layers = whole("num_hidden_layers");
    let interval = whole("full_attention_interval");
    for fewer in [interval, layers / 2, layers.saturating_sub(1)] {
        if fewer >= interval {
            all.push(with(&[("num_hidden_layers", json!(fewer))]));
        }
    }
    all.push(with(&[("full_attention_interval", json!(2))]));
    for (key, least) in [
        ("head_dim", 16),
        ("head_dim", 32),
        ("intermediate_size", 32),
        ("vocab_size", 64),
        ("linear_key_head_dim", 16),
        ("linear_value_head_dim", 16),
    ] {
        all.push(with(&[(key, json!(least))]));
    }
    all.retain(|changed| changed != geometry);
    all
}
