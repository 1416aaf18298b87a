//! Dense and expert feed-forward parts of a layer.

use mlx_rs::{Array, ops};

use super::config::{Experts as ExpertsConfig, Gemma4Config};
use crate::{
    Result,
    mlx::ops::{scalar_like, slice},
    models::Mutation,
    nn::{GeluApprox, Linear, Params, SwitchGlu},
};

/// `down(gelu(gate(x)) * up(x))`.
pub struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
    gelu: GeluApprox,
    swapped: bool,
}

impl Mlp {
    /// Takes `path.{gate,up,down}_proj`.
    pub fn take(p: &mut Params, path: &str, gelu: &GeluApprox, mutation: Mutation) -> Result<Self> {
        let mut linear = |name: &str| Linear::take(p, &format!("{path}.{name}"), false);
        Ok(Self {
            gate_proj: linear("gate_proj")?,
            up_proj: linear("up_proj")?,
            down_proj: linear("down_proj")?,
            gelu: gelu.clone(),
            swapped: mutation == Mutation::SwigluSwapped,
        })
    }

    /// `x: [B, S, hidden]` to `[B, S, hidden]`.
    pub fn forward(&self, x: &Array) -> Result<Array> {
        let gate = self.gate_proj.forward(x)?;
        let up = self.up_proj.forward(x)?;
        let (gate, up) = if self.swapped { (up, gate) } else { (gate, up) };
        self.down_proj.forward(&self.gelu.gated(&gate, &up)?)
    }

    /// Every array that the layer holds.
    pub fn arrays<'a>(&'a self, out: &mut Vec<&'a Array>) {
        for linear in [&self.gate_proj, &self.up_proj, &self.down_proj] {
            linear.arrays(out);
        }
    }
}

/// Chooses each token's experts and their weights.
pub struct Router {
    proj: Linear,
    /// `scale * hidden^-0.5`, in the scale's dtype: `[hidden]`.
    scale: Array,
    /// `[experts]`.
    per_expert_scale: Array,
    top_k: i32,
    eps: f32,
    reversed: bool,
    unscaled: bool,
}

impl Router {
    /// Takes `path.{proj,scale,per_expert_scale}`.
    pub fn take(
        p: &mut Params,
        path: &str,
        c: &Gemma4Config,
        experts: ExpertsConfig,
        mutation: Mutation,
    ) -> Result<Self> {
        let scale = p.take(&format!("{path}.scale"))?;
        let root = scalar_like((c.hidden_size as f64).powf(-0.5), &scale)?;
        Ok(Self {
            proj: Linear::take(p, &format!("{path}.proj"), false)?,
            scale: ops::multiply(&scale, root)?,
            per_expert_scale: p.take(&format!("{path}.per_expert_scale"))?,
            top_k: experts.top_k as i32,
            eps: super::norm_eps(c, mutation) as f32,
            reversed: mutation == Mutation::ExpertsReversed,
            unscaled: mutation == Mutation::RouterUnscaled,
        })
    }

    /// The experts of `x: [B, S, hidden]`, in the order in which their outputs are summed, and
    /// their weights: `[B, S, top_k]` u32 and activations' dtype.
    pub fn forward(&self, x: &Array) -> Result<(Array, Array)> {
        let x = mlx_rs::fast::rms_norm(x, Some(&self.scale), self.eps)?;
        let scores = self.proj.forward(&x)?;
        let order = ops::argpartition_axis(&scores, -self.top_k, -1)?;
        let [b, s, n] = [order.dim(0), order.dim(1), order.dim(2)];
        let mut chosen = slice(&order, &[0, 0, n - self.top_k], &[b, s, n])?;
        if self.reversed {
            let backwards: Vec<u32> = (0..self.top_k as u32).rev().collect();
            chosen = chosen.take_axis(Array::from_slice(&backwards, &[self.top_k]), -1)?;
        }
        let weights = ops::indexing::take_along_axis(&scores, &chosen, -1)?;
        let weights = ops::softmax_axis(&weights, -1, false)?;
        if self.unscaled {
            return Ok((chosen, weights));
        }
        let weights = ops::multiply(&weights, self.per_expert_scale.take_axis(&chosen, 0)?)?;
        Ok((chosen, weights))
    }

    /// Every array that the layer holds.
    pub fn arrays<'a>(&'a self, out: &mut Vec<&'a Array>) {
        self.proj.arrays(out);
        out.extend([&self.scale, &self.per_expert_scale]);
    }
}

/// The experts, each like [`Mlp`].
pub struct Experts {
    switch_glu: SwitchGlu,
    gelu: GeluApprox,
}

impl Experts {
    /// Takes `path.switch_glu`.
    pub fn take(p: &mut Params, path: &str, gelu: &GeluApprox, mutation: Mutation) -> Result<Self> {
        let switch_glu = SwitchGlu::take(p, &format!("{path}.switch_glu"), mutation)?;
        Ok(Self { switch_glu, gelu: gelu.clone() })
    }

    /// The weighted sum of the `chosen` experts' outputs for `x: [B, S, hidden]`.
    pub fn forward(&self, x: &Array, chosen: &Array, weights: &Array) -> Result<Array> {
        let weights = ops::expand_dims(weights, -1)?;
        let y = self.switch_glu.forward(x, chosen, |gate, up| self.gelu.gated(gate, up))?;
        Ok(ops::sum_axis(&ops::multiply(&weights, y)?, -2, false)?)
    }

    /// Every array that the layer holds.
    pub fn arrays<'a>(&'a self, out: &mut Vec<&'a Array>) {
        self.switch_glu.arrays(out);
    }
}
