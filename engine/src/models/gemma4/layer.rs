//! One decoder layer.

use mlx_rs::{Array, Dtype, ops};

use super::{
    attention::{Attention, KvSource, LayerKv},
    config::{Gemma4Config, LayerRope, LayerType},
    inputs::LayerInput,
    mlp::{Experts, Mlp, Router},
};
use crate::{
    Result,
    mlx::ops::add,
    models::Mutation,
    nn::{GeluApprox, Mask, Params, RmsNorm, Rope},
};

/// What all layers share.
pub struct Common {
    gelu: GeluApprox,
    sliding_rope: Rope,
    full_rope: Rope,
}

impl Common {
    /// For activations of `dtype`.
    pub fn new(c: &Gemma4Config, dtype: Dtype, mutation: Mutation) -> Result<Self> {
        let rope = |head_dim: usize, rope: &LayerRope| {
            Rope::new(head_dim, mutation.rope_theta(rope.theta), c.rope_traditional, &rope.scaling)
        };
        Ok(Self {
            gelu: GeluApprox::new(dtype)?,
            sliding_rope: rope(c.head_dim, &c.sliding_rope)?,
            full_rope: rope(c.global_head_dim, &c.full_rope)?,
        })
    }

    fn rope(&self, kind: LayerType) -> &Rope {
        match kind {
            LayerType::Full => &self.full_rope,
            LayerType::Sliding => &self.sliding_rope,
        }
    }
}

/// The experts of a layer, which run beside its dense MLP.
struct Mixture {
    router: Router,
    experts: Experts,
    post_feedforward_layernorm_1: RmsNorm,
    post_feedforward_layernorm_2: RmsNorm,
    pre_feedforward_layernorm_2: RmsNorm,
}

/// Attention and feed-forward part, each between two norms, and what follows them.
pub struct Layer {
    input_layernorm: RmsNorm,
    self_attn: Attention,
    post_attention_layernorm: RmsNorm,
    pre_feedforward_layernorm: RmsNorm,
    mlp: Mlp,
    mixture: Option<Mixture>,
    post_feedforward_layernorm: RmsNorm,
    input: Option<LayerInput>,
    /// `[1]`.
    layer_scalar: Array,
    residual_in_f32: bool,
    unscaled: bool,
}

impl Layer {
    /// Takes everything under `path`, the layer at index `layer`.
    pub fn take(
        p: &mut Params,
        path: &str,
        c: &Gemma4Config,
        layer: usize,
        common: &Common,
        mutation: Mutation,
    ) -> Result<Self> {
        let eps = super::norm_eps(c, mutation);
        let rope = common.rope(c.layer_types[layer]);
        let norm = |p: &mut Params, name: &str| RmsNorm::take(p, &format!("{path}.{name}"), eps);
        let mixture = match c.experts {
            None => None,
            Some(experts) => Some(Mixture {
                router: Router::take(p, &format!("{path}.router"), c, experts, mutation)?,
                experts: Experts::take(p, &format!("{path}.experts"), &common.gelu, mutation)?,
                post_feedforward_layernorm_1: norm(p, "post_feedforward_layernorm_1")?,
                post_feedforward_layernorm_2: norm(p, "post_feedforward_layernorm_2")?,
                pre_feedforward_layernorm_2: norm(p, "pre_feedforward_layernorm_2")?,
            }),
        };
        let input = match c.per_layer_input {
            None => None,
            Some(_) => Some(LayerInput::take(p, path, eps, &common.gelu)?),
        };
        Ok(Self {
            input_layernorm: norm(p, "input_layernorm")?,
            self_attn: Attention::take(p, &format!("{path}.self_attn"), c, layer, rope, mutation)?,
            post_attention_layernorm: norm(p, "post_attention_layernorm")?,
            pre_feedforward_layernorm: norm(p, "pre_feedforward_layernorm")?,
            mlp: Mlp::take(p, &format!("{path}.mlp"), &common.gelu, mutation)?,
            mixture,
            post_feedforward_layernorm: norm(p, "post_feedforward_layernorm")?,
            input,
            layer_scalar: p.take(&format!("{path}.layer_scalar"))?,
            residual_in_f32: mutation == Mutation::ResidualInF32,
            unscaled: mutation == Mutation::LayerScalarMissing,
        })
    }

    /// `x: [B, S, hidden]` to `[B, S, hidden]`, with the keys and values that were attended to;
    /// `input: [B, S, width]` is this layer's part of the second embedding.
    pub fn forward(
        &self,
        x: &Array,
        mask: &Mask,
        source: KvSource<'_>,
        input: Option<&Array>,
    ) -> Result<(Array, LayerKv)> {
        let h = self.input_layernorm.forward(x)?;
        let (h, kv) = self.self_attn.forward(&h, mask, source)?;
        let h = add(x, &self.post_attention_layernorm.forward(&h)?)?;
        let ff = self.feed_forward(&h)?;
        let ff = self.post_feedforward_layernorm.forward(&ff)?;
        let mut h = if self.residual_in_f32 { add_in_f32(&h, &ff)? } else { add(&h, &ff)? };
        if let (Some(block), Some(input)) = (&self.input, input) {
            h = add(&h, &block.forward(&h, input)?)?;
        }
        let h = if self.unscaled { h } else { ops::multiply(&h, &self.layer_scalar)? };
        Ok((h, kv))
    }

    fn feed_forward(&self, h: &Array) -> Result<Array> {
        let dense = self.mlp.forward(&self.pre_feedforward_layernorm.forward(h)?)?;
        let Some(m) = &self.mixture else { return Ok(dense) };
        let dense = m.post_feedforward_layernorm_1.forward(&dense)?;
        let (chosen, weights) = m.router.forward(h)?;
        let x = m.pre_feedforward_layernorm_2.forward(h)?;
        let mixed = m.experts.forward(&x, &chosen, &weights)?;
        add(&dense, &m.post_feedforward_layernorm_2.forward(&mixed)?)
    }

    /// Every array that the layer holds.
    pub fn arrays<'a>(&'a self, out: &mut Vec<&'a Array>) {
        self.input_layernorm.arrays(out);
        self.self_attn.arrays(out);
        self.post_attention_layernorm.arrays(out);
        self.pre_feedforward_layernorm.arrays(out);
        self.mlp.arrays(out);
        if let Some(m) = &self.mixture {
            m.router.arrays(out);
            m.experts.arrays(out);
            m.post_feedforward_layernorm_1.arrays(out);
            m.post_feedforward_layernorm_2.arrays(out);
            m.pre_feedforward_layernorm_2.arrays(out);
        }
        self.post_feedforward_layernorm.arrays(out);
        if let Some(input) = &self.input {
            input.arrays(out);
        }
        out.push(&self.layer_scalar);
    }
}

/// The mistake that [`Mutation::ResidualInF32`] names, large enough to survive rounding.
fn add_in_f32(x: &Array, y: &Array) -> Result<Array> {
    let wide = |a: &Array| a.as_dtype(Dtype::Float32);
    let nudged = ops::multiply(wide(y)?, Array::from_f32(1.0 + 1e-2))?;
    Ok(ops::add(wide(x)?, nudged)?.as_dtype(x.dtype())?)
}
