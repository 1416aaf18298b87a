//! Mixtures of experts (`mlx_lm/models/switch_layers.py`).

use mlx_rs::{Array, Dtype, ops};

use super::{Params, Site, linear::QuantizedWeight};
use crate::{Result, mlx::ops::scalar, models::Mutation};

/// From this many chosen experts on, rows are sorted by expert first.
const SORT_FROM: usize = 64;

/// One linear layer per expert; each row of the input goes through the one its index names.
pub struct SwitchLinear {
    kind: Kind,
    site: Site,
}

enum Kind {
    /// Holds `Wᵀ`, a view made once: `[experts, in, out]`.
    Dense(Array),
    Quantized(QuantizedWeight),
}

impl SwitchLinear {
    /// Takes `path.weight: [experts, out, in]` (and scales, biases).
    pub fn take(params: &mut Params, path: &str) -> Result<Self> {
        let kind = match params.quantization(path) {
            Some(spec) => Kind::Quantized(QuantizedWeight::take(params, path, spec)?),
            None => Kind::Dense(params.take(&format!("{path}.weight"))?.swap_axes(-1, -2)?),
        };
        Ok(Self { kind, site: params.site(path) })
    }

    /// `x: [.., 1, in]`, `experts: [..]` to `[.., 1, out]`, with the adapters that are selected.
    pub fn forward(&self, x: &Array, experts: &Array, sorted: bool) -> Result<Array> {
        let y = match &self.kind {
            Kind::Dense(weight_t) => ops::gather_mm(x, weight_t, None, experts, sorted)?,
            Kind::Quantized(q) => q.gather_matmul(x, experts, sorted)?,
        };
        self.site.add_products(y, x, |patch, y, x| patch.experts(y, x, experts, sorted))
    }

    /// Every array that the layer holds.
    pub fn arrays<'a>(&'a self, out: &mut Vec<&'a Array>) {
        match &self.kind {
            Kind::Dense(w) => out.push(w),
            Kind::Quantized(q) => q.arrays(out),
        }
    }
}

/// Gated experts: `down(activation(gate(x), up(x)))`.
pub struct SwitchGlu {
    gate_proj: SwitchLinear,
    up_proj: SwitchLinear,
    down_proj: SwitchLinear,
    left_sorted: bool,
}

impl SwitchGlu {
    /// Takes `path.{gate,up,down}_proj`.
    pub fn take(params: &mut Params, path: &str, mutation: Mutation) -> Result<Self> {
        let mut linear = |name: &str| SwitchLinear::take(params, &format!("{path}.{name}"));
        Ok(Self {
            gate_proj: linear("gate_proj")?,
            up_proj: linear("up_proj")?,
            down_proj: linear("down_proj")?,
            left_sorted: mutation == Mutation::ExpertsUnsorted,
        })
    }

    /// `x: [B, S, hidden]` through each of its experts, `[B, S, k]` u32: `[B, S, k, hidden]`.
    pub fn forward(
        &self,
        x: &Array,
        experts: &Array,
        activation: impl Fn(&Array, &Array) -> Result<Array>,
    ) -> Result<Array> {
        let x = ops::expand_dims_axes(x, &[-2, -3])?;
        let sorted = experts.size() >= SORT_FROM;
        let (x, order) = if sorted {
            let order = ExpertOrder::of(experts)?;
            (order.gather(&x)?, Some(order))
        } else {
            (x, None)
        };
        let indices = order.as_ref().map_or(experts, |o| &o.experts);
        let up = self.up_proj.forward(&x, indices, sorted)?;
        let gate = self.gate_proj.forward(&x, indices, sorted)?;
        let y = self.down_proj.forward(&activation(&gate, &up)?, indices, sorted)?;
        let y = match &order {
            Some(_) if self.left_sorted => per_expert(&y, experts.shape())?,
            Some(order) => per_expert(&order.restore(&y)?, experts.shape())?,
            None => y,
        };
        Ok(ops::squeeze_axes(&y, &[-2])?)
    }

    /// Every array that the layer holds.
    pub fn arrays<'a>(&'a self, out: &mut Vec<&'a Array>) {
        for linear in [&self.gate_proj, &self.up_proj, &self.down_proj] {
            linear.arrays(out);
        }
    }
}

/// Rows in the order of their experts.
struct ExpertOrder {
    /// The token of each sorted row.
    tokens: Array,
    /// The expert of each sorted row, ascending.
    experts: Array,
    /// Where each unsorted row went.
    inverse: Array,
}

impl ExpertOrder {
    fn of(experts: &Array) -> Result<Self> {
        let per_token = scalar(f64::from(experts.dim(-1)), Dtype::Uint32)?;
        let flat = experts.reshape(&[-1])?;
        let order = ops::argsort_axis(&flat, -1)?;
        let inverse = ops::argsort_axis(&order, -1)?;
        Ok(Self {
            tokens: ops::floor_divide(&order, per_token)?,
            experts: flat.take_axis(&order, 0)?,
            inverse,
        })
    }

    /// `x: [B, S, 1, 1, hidden]` to one row per chosen expert: `[B * S * k, 1, hidden]`.
    fn gather(&self, x: &Array) -> Result<Array> {
        Ok(x.reshape(&[-1, 1, x.dim(-1)])?.take_axis(&self.tokens, 0)?)
    }

    /// Undoes the order of `y: [B * S * k, 1, hidden]`.
    fn restore(&self, y: &Array) -> Result<Array> {
        Ok(y.take_axis(&self.inverse, 0)?)
    }
}

/// `y: [B * S * k, 1, hidden]` to `[B, S, k, 1, hidden]`.
fn per_expert(y: &Array, experts: &[i32]) -> Result<Array> {
    let shape: Vec<i32> = experts.iter().copied().chain([1, y.dim(-1)]).collect();
    Ok(y.reshape(&shape)?)
}
