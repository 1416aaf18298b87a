//! `model_type: llama` (MiniCPM5): names and shapes as in `mlx_lm/models/llama.py`, which are the
//! published checkpoints' too.

use super::plan::{Geometry, Init, TensorPlan};
use crate::Result;

/// Standard deviation of the logits that the head aims at: decided choices with near ties among them.
const LOGIT_DEVIATION: f32 = 2.5;
/// Gain of queries and keys: scores with a standard deviation of about two make attention selective.
const SCORE_GAIN: f32 = 1.4;

pub(super) fn tensors(geometry: &Geometry<'_>) -> Result<Vec<TensorPlan>> {
    let hidden = geometry.count("hidden_size")?;
    let vocab = geometry.count("vocab_size")?;
    let tied = geometry.flag("tie_word_embeddings", true)?;
    let head = geometry.logit_deviation().unwrap_or(LOGIT_DEVIATION) / (hidden as f32).sqrt();
    let embedding = if tied { Init::deviation(head) } else { Init::deviation(1.0) };

    let mut tensors =
        vec![TensorPlan::new("model.embed_tokens.weight", &[vocab, hidden], embedding)];
    for layer in 0..geometry.count("num_hidden_layers")? {
        let prefix = format!("model.layers.{layer}");
        attention(geometry, &prefix, hidden, &mut tensors)?;
        mlp(geometry, &prefix, hidden, &mut tensors)?;
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            tensors.push(TensorPlan::new(
                format!("{prefix}.{norm}.weight"),
                &[hidden],
                Init::norm(),
            ));
        }
    }
    tensors.push(TensorPlan::new("model.norm.weight", &[hidden], Init::norm()));
    if !tied {
        tensors.push(TensorPlan::new("lm_head.weight", &[vocab, hidden], Init::deviation(head)));
    }
    Ok(tensors)
}

fn attention(
    geometry: &Geometry<'_>,
    prefix: &str,
    hidden: usize,
    tensors: &mut Vec<TensorPlan>,
) -> Result<()> {
    let heads = geometry.count("num_attention_heads")?;
    let kv_heads = geometry.optional_count("num_key_value_heads")?.unwrap_or(heads);
    let head_dim = geometry.optional_count("head_dim")?.unwrap_or(hidden / heads);
    let bias = geometry.flag("attention_bias", false)?;
    let (queries, keys) = (heads * head_dim, kv_heads * head_dim);
    for (name, rows, columns, gain) in [
        ("q_proj", queries, hidden, SCORE_GAIN),
        ("k_proj", keys, hidden, SCORE_GAIN),
        ("v_proj", keys, hidden, 1.0),
        ("o_proj", hidden, queries, 1.0),
    ] {
        linear(tensors, &format!("{prefix}.self_attn.{name}"), rows, columns, gain, bias);
    }
    Ok(())
}

fn mlp(
    geometry: &Geometry<'_>,
    prefix: &str,
    hidden: usize,
    tensors: &mut Vec<TensorPlan>,
) -> Result<()> {
    let inner = geometry.count("intermediate_size")?;
    let bias = geometry.flag("mlp_bias", false)?;
    for (name, rows, columns) in
        [("gate_proj", inner, hidden), ("up_proj", inner, hidden), ("down_proj", hidden, inner)]
    {
        linear(tensors, &format!("{prefix}.mlp.{name}"), rows, columns, 1.5, bias);
    }
    Ok(())
}

fn linear(
    tensors: &mut Vec<TensorPlan>,
    path: &str,
    rows: usize,
    columns: usize,
    gain: f32,
    bias: bool,
) {
    tensors.push(TensorPlan::new(
        format!("{path}.weight"),
        &[rows, columns],
        Init::matrix(columns, gain),
    ));
    if bias {
        tensors.push(TensorPlan::new(format!("{path}.bias"), &[rows], Init::deviation(0.3)));
    }
}
