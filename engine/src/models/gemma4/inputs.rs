//! Per-layer inputs: a second embedding of every token, of which each layer reads its own part.

use mlx_rs::{Array, Dtype, ops};

use super::config::{Gemma4Config, PerLayerInput};
use crate::{
    Result,
    mlx::ops::{add, slice},
    nn::{Embedding, GeluApprox, Linear, Params, RmsNorm, WeakScalar},
};

/// Makes the inputs of all layers at once.
pub struct LayerInputs {
    embed_tokens_per_layer: Embedding,
    embed_scale: WeakScalar,
    per_layer_model_projection: Linear,
    projection_scale: WeakScalar,
    per_layer_projection_norm: RmsNorm,
    input_scale: WeakScalar,
    layers: i32,
    width: i32,
    /// Leaves the last scaling out: a deliberate mistake.
    pub unscaled: bool,
}

impl LayerInputs {
    /// Takes `root.{embed_tokens_per_layer,per_layer_model_projection,per_layer_projection_norm}`.
    pub fn take(
        p: &mut Params,
        root: &str,
        c: &Gemma4Config,
        input: PerLayerInput,
        eps: f64,
        dtype: Dtype,
    ) -> Result<Self> {
        let projection = format!("{root}.per_layer_model_projection");
        Ok(Self {
            embed_tokens_per_layer: Embedding::take(p, &format!("{root}.embed_tokens_per_layer"))?,
            embed_scale: WeakScalar::new((input.width as f64).powf(0.5), dtype)?,
            per_layer_model_projection: Linear::take(p, &projection, false)?,
            projection_scale: WeakScalar::new((c.hidden_size as f64).powf(-0.5), dtype)?,
            per_layer_projection_norm: RmsNorm::take(
                p,
                &format!("{root}.per_layer_projection_norm"),
                eps,
            )?,
            input_scale: WeakScalar::new(2.0_f64.powf(-0.5), dtype)?,
            layers: c.layers() as i32,
            width: input.width as i32,
            unscaled: false,
        })
    }

    /// `ids: [B, S]` and their scaled embeddings `h: [B, S, hidden]` to `[B, S, layers, width]`.
    pub fn forward(&self, ids: &Array, h: &Array) -> Result<Array> {
        let shape = [h.dim(0), h.dim(1), self.layers, self.width];
        let embedded = self.embed_tokens_per_layer.forward(ids)?;
        let embedded = self.embed_scale.multiply(&embedded)?.reshape(&shape)?;
        let projected = self.per_layer_model_projection.forward(h)?;
        let projected = self.projection_scale.multiply(&projected)?.reshape(&shape)?;
        let projected = self.per_layer_projection_norm.forward(&projected)?;
        let sum = add(&projected, &embedded)?;
        if self.unscaled { Ok(sum) } else { self.input_scale.multiply(&sum) }
    }

    /// The part of `inputs: [B, S, layers, width]` that `layer` reads: `[B, S, width]`.
    pub fn part(inputs: &Array, layer: usize) -> Result<Array> {
        let [b, s, width] = [inputs.dim(0), inputs.dim(1), inputs.dim(3)];
        let at = layer as i32;
        Ok(slice(inputs, &[0, 0, at, 0], &[b, s, at + 1, width])?.squeeze_axes(&[2])?)
    }

    /// Every array that the layer holds.
    pub fn arrays<'a>(&'a self, out: &mut Vec<&'a Array>) {
        self.embed_tokens_per_layer.arrays(out);
        self.per_layer_model_projection.arrays(out);
        self.per_layer_projection_norm.arrays(out);
    }
}

/// Adds a layer's input to the residual stream, through a gate.
pub struct LayerInput {
    per_layer_input_gate: Linear,
    per_layer_projection: Linear,
    post_per_layer_input_norm: RmsNorm,
    gelu: GeluApprox,
}

impl LayerInput {
    /// Takes `path.{per_layer_input_gate,per_layer_projection,post_per_layer_input_norm}`.
    pub fn take(p: &mut Params, path: &str, eps: f64, gelu: &GeluApprox) -> Result<Self> {
        let mut linear = |name: &str| Linear::take(p, &format!("{path}.{name}"), false);
        Ok(Self {
            per_layer_input_gate: linear("per_layer_input_gate")?,
            per_layer_projection: linear("per_layer_projection")?,
            post_per_layer_input_norm: RmsNorm::take(
                p,
                &format!("{path}.post_per_layer_input_norm"),
                eps,
            )?,
            gelu: gelu.clone(),
        })
    }

    /// `h: [B, S, hidden]`, `input: [B, S, width]` to what is added to `h`.
    pub fn forward(&self, h: &Array, input: &Array) -> Result<Array> {
        let gate = self.gelu.forward(&self.per_layer_input_gate.forward(h)?)?;
        let gate = self.per_layer_projection.forward(&ops::multiply(&gate, input)?)?;
        self.post_per_layer_input_norm.forward(&gate)
    }

    /// Every array that the layer holds.
    pub fn arrays<'a>(&'a self, out: &mut Vec<&'a Array>) {
        self.per_layer_input_gate.arrays(out);
        self.per_layer_projection.arrays(out);
        self.post_per_layer_input_norm.arrays(out);
    }
}
