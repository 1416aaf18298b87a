//! `model_type: llama` (MiniCPM5).

use serde_json::{Value, json};

use super::{
    Draw,
    space::{Geometry, Space, number},
};

pub(super) const SPACE: Space = Space {
    family: "minicpm5",
    draw,
    smaller,
    cannot: |_, _| false,
    head_dims,
    has_rings: false,
    modules: &[
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.gate_proj",
        "mlp.up_proj",
    ],
    embedding: "model.embed_tokens",
};

/// Widest residual stream drawn.
const WIDEST: usize = 256;
/// Most values in the heads of a layer.
const WIDEST_HEADS: usize = 512;
const HEAD_DIMS: [usize; 8] = [8, 16, 32, 48, 64, 80, 96, 128];

fn draw(draw: &mut Draw) -> Geometry {
    let kv_heads = draw.pick(&[1, 1, 2, 2, 3, 4]);
    let heads = kv_heads * draw.pick(&[1, 2, 3, 4, 7, 8]);
    let fits = HEAD_DIMS.partition_point(|dim| heads * dim <= WIDEST_HEADS);
    let head_dim = draw.pick(&HEAD_DIMS[..fits]);
    let (hidden, explicit) = match draw.between(0, 3) {
        0 if heads * head_dim <= WIDEST => (heads * head_dim, draw.chance(50)),
        1 => (heads * draw.between(8_usize.div_ceil(heads), 240 / heads), true),
        _ => (groupable(draw, heads), true),
    };
    let inner = if draw.chance(25) { draw.multiple(2, 8, 120) } else { draw.multiple(32, 1, 8) };
    let geometry = json!({
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": draw.small(1, 6),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": if explicit { json!(head_dim) } else { Value::Null },
        "vocab_size": draw.between(64, 200),
        "rms_norm_eps": draw.pick(&[1e-6, 1e-5, 1e-3]),
        "rope_theta": draw.pick(&[10_000.0, 500_000.0, 5_000_000.0, 100.0]),
        "rope_traditional": draw.chance(20),
        "rope_scaling": rope_scaling(draw),
        "max_position_embeddings": 131_072,
        "tie_word_embeddings": draw.chance(50),
        "attention_bias": draw.chance(30),
        "mlp_bias": draw.chance(30),
        "hidden_act": "silu",
        "bos_token_id": 0,
        "eos_token_id": [1, 3],
        "pad_token_id": 1
    });
    let Value::Object(fields) = geometry else { return Geometry::new() };
    fields.into_iter().collect()
}

fn head_dims(geometry: &Geometry) -> Vec<Option<usize>> {
    let of_heads =
        || number(geometry, "hidden_size") / number(geometry, "num_attention_heads").max(1);
    let head_dim = match number(geometry, "head_dim") {
        0 => of_heads(),
        explicit => explicit,
    };
    vec![Some(head_dim); number(geometry, "num_hidden_layers")]
}

/// A width that 32 divides, where one that `heads` divides too is not too wide: transformers'
/// configuration insists on the latter, `mlx_lm.convert` goes through it.
fn groupable(draw: &mut Draw, heads: usize) -> usize {
    let step =
        if heads.is_multiple_of(32) { heads } else { heads * (32 >> heads.trailing_zeros()) };
    if step > WIDEST {
        heads * draw.between(1, WIDEST / heads)
    } else {
        step * draw.between(1, WIDEST / step)
    }
}

fn rope_scaling(draw: &mut Draw) -> Value {
    match draw.between(0, 5) {
        0 => json!({ "type": "linear", "factor": draw.pick(&[0.5, 2.0, 3.7, 8.0]) }),
        1 => json!({
            "rope_type": "llama3",
            "factor": draw.pick(&[2.0, 8.0, 32.0]),
            "low_freq_factor": draw.pick(&[1.0, 1.5]),
            "high_freq_factor": draw.pick(&[4.0, 2.0]),
            "original_max_position_embeddings": draw.pick(&[32, 256, 8192])
        }),
        2 => json!({ "rope_type": "default" }),
        _ => Value::Null,
    }
}

/// Each key on its own towards a plain and tiny model.
fn smaller(geometry: &Geometry) -> Vec<Geometry> {
    let mut all = Vec::new();
    let with = |changes: &[(&str, Value)]| {
        let mut changed = geometry.clone();
        for (key, value) in changes {
            changed.insert((*key).into(), value.clone());
        }
        (changed != *geometry).then_some(changed)
    };
    let whole = |key: &str| geometry.get(key).and_then(Value::as_u64).unwrap_or(0);
    for (key, value) in [
        ("rope_scaling", Value::Null),
        ("rope_traditional", json!(false)),
        ("attention_bias", json!(false)),
        ("mlp_bias", json!(false)),
        ("tie_word_embeddings", json!(false)),
        ("rope_theta", json!(10_000.0)),
        ("rms_norm_eps", json!(1e-6)),
    ] {
        all.extend(with(&[(key, value)]));
    }
    let layers = whole("num_hidden_layers");
    for fewer in [1, layers / 2, layers.saturating_sub(1)] {
        if (1..layers).contains(&fewer) {
            all.extend(with(&[("num_hidden_layers", json!(fewer))]));
        }
    }
    let explicit = geometry.get("head_dim").is_some_and(|v| !v.is_null());
    let heads = whole("num_attention_heads").max(1);
    let head_dim = if explicit { whole("head_dim") } else { whole("hidden_size") / heads };
    let kv_heads = whole("num_key_value_heads").max(1);
    let pinned = ("head_dim", json!(head_dim));
    for (fewer, kv) in [(1, 1), (heads / kv_heads, 1), (kv_heads, kv_heads)] {
        if fewer < heads {
            all.extend(with(&[
                ("num_attention_heads", json!(fewer)),
                ("num_key_value_heads", json!(kv)),
                pinned.clone(),
            ]));
        }
    }
    for least in [8, 32] {
        if head_dim > least {
            all.extend(with(&[("head_dim", json!(least))]));
        }
    }
    for (key, least) in [("hidden_size", 32), ("intermediate_size", 32), ("vocab_size", 64)] {
        if whole(key) > least {
            all.extend(with(&[(key, json!(least)), pinned.clone()]));
        }
    }
    all
}
