//! Full attention with an output gate (`Qwen3NextAttention` of `mlx_lm/models/qwen3_next.py`).

use mlx_rs::{Array, ops};

use super::{config::Qwen35Config, norm_eps};
use crate::{
    Error, Result,
    cache::LayerCache,
    models::Mutation,
    nn::{Linear, Mask, Params, RmsNorm, Rope, attend},
};

pub struct Attention {
    /// Query and gate of each head, side by side.
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    q_norm: RmsNorm,
    k_norm: RmsNorm,
    rope: Rope,
    heads: i32,
    kv_heads: i32,
    head_dim: i32,
    scale: f32,
    offset_shift: i32,
    gated: bool,
}

impl Attention {
    pub fn take(
        p: &mut Params,
        path: &str,
        c: &Qwen35Config,
        rope: &Rope,
        mutation: Mutation,
    ) -> Result<Self> {
        let eps = norm_eps(c, mutation);
        let q_norm = RmsNorm::take(p, &format!("{path}.q_norm"), eps)?;
        let k_norm = RmsNorm::take(p, &format!("{path}.k_norm"), eps)?;
        let mut linear = |name: &str| Linear::take(p, &format!("{path}.{name}"), c.attention_bias);
        let mut scale = (c.head_dim as f64).powf(-0.5) as f32;
        if mutation == Mutation::AttentionScaleOff {
            scale = f32::from_bits(scale.to_bits() - 1);
        }
        Ok(Self {
            q_proj: linear("q_proj")?,
            k_proj: linear("k_proj")?,
            v_proj: linear("v_proj")?,
            o_proj: linear("o_proj")?,
            q_norm,
            k_norm,
            rope: rope.clone(),
            heads: c.num_attention_heads as i32,
            kv_heads: c.num_key_value_heads as i32,
            head_dim: c.head_dim as i32,
            scale,
            offset_shift: i32::from(mutation == Mutation::OffsetByOne),
            gated: mutation != Mutation::OutputGateMissing,
        })
    }

    /// `x: [B, S, hidden]` to `[B, S, hidden]`.
    pub fn forward(&self, x: &Array, mask: &Mask, cache: &mut LayerCache) -> Result<Array> {
        let (b, s) = (x.dim(0), x.dim(1));
        let q = self.q_proj.forward(x)?.reshape(&[b, s, self.heads, 2 * self.head_dim])?;
        let halves = ops::split_equal(&q, 2, -1)?;
        let [q, gate] = halves.as_slice() else {
            return Err(Error::Mlx("queries and gates do not split in two".into()));
        };
        let gate = gate.reshape(&[b, s, self.heads * self.head_dim])?;
        let k = self.k_proj.forward(x)?.reshape(&[b, s, self.kv_heads, self.head_dim])?;
        let v = self.v_proj.forward(x)?.reshape(&[b, s, self.kv_heads, self.head_dim])?;
        let heads_first = |a: &Array| a.transpose_axes(&[0, 2, 1, 3]);
        let q = heads_first(&self.q_norm.forward(q)?)?;
        let k = heads_first(&self.k_norm.forward(&k)?)?;
        let v = heads_first(&v)?;

        let position = cache.position(self.offset_shift);
        let q = self.rope.forward(&q, &position)?;
        let k = self.rope.forward(&k, &position)?;
        let (k, v) = cache.update_and_fetch(&k, &v)?;

        let out = attend(&q, &k, &v, self.scale, mask)?;
        let out =
            out.transpose_axes(&[0, 2, 1, 3])?.reshape(&[b, s, self.heads * self.head_dim])?;
        if !self.gated {
            return self.o_proj.forward(&out);
        }
        self.o_proj.forward(&ops::multiply(&out, ops::sigmoid(&gate)?)?)
    }

    pub fn head_dim(&self) -> usize {
        self.head_dim as usize
    }

    pub fn arrays<'a>(&'a self, out: &mut Vec<&'a Array>) {
        for linear in [&self.q_proj, &self.k_proj, &self.v_proj, &self.o_proj] {
            linear.arrays(out);
        }
        self.q_norm.arrays(out);
        self.k_norm.arrays(out);
    }
}
