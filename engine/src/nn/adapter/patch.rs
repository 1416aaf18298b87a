//! What an adapter computes at one module; op order as in `mlx_lm/tuner/lora.py` and `dora.py`.

use std::cell::OnceCell;

use mlx_rs::{
    Array, Axes, Dtype,
    linalg::{NormOptions, norm_l2},
    ops,
    transforms::eval,
};

use super::super::WeakScalar;
use crate::{Result, mlx::ops::add, models::Mutation};

/// An adapter's part at one module.
pub enum Patch {
    /// A product beside the module (`LoRALinear`, `LoRAEmbedding`, `LoRASwitchLinear`).
    Lora(LowRank),
    /// The same, and rows scaled to a learned length (`DoRALinear`, `DoRAEmbedding`).
    Dora(Dora),
}

impl Patch {
    /// The product alone.
    pub fn low_rank(&self) -> &LowRank {
        match self {
            Self::Lora(low_rank) => low_rank,
            Self::Dora(dora) => &dora.low_rank,
        }
    }

    /// The patch, if it does more than add a product.
    pub fn dora(&self) -> Option<&Dora> {
        match self {
            Self::Lora(_) => None,
            Self::Dora(dora) => Some(dora),
        }
    }

    /// Whether its rows can be computed apart from others: a plain product, and not of experts,
    /// whose rows are sorted.
    pub fn is_by_row(&self) -> bool {
        matches!(self, Self::Lora(low_rank) if low_rank.a.ndim() == 2)
    }
}

/// `scale · (x A) B`, computed in the wider of the dtypes and cast before it is added.
pub struct LowRank {
    /// `[in, r]`; for experts `[experts, in, r]`; for an embedding `[rows, r]`.
    a: Array,
    /// `[r, out]`; for experts `[experts, r, out]`; for an embedding `[r, dims]`.
    b: Array,
    scale: WeakScalar,
    casts: bool,
}

impl LowRank {
    /// From factors as mlx-lm's layers multiply them.
    pub fn new(a: Array, b: Array, scale: f64, mutation: Mutation) -> Result<Self> {
        let scale = if mutation == Mutation::AdapterScaleOff { scale * 1.01 } else { scale };
        let scale = WeakScalar::new(scale, b.dtype())?;
        Ok(Self { a, b, scale, casts: mutation != Mutation::AdapterNotCast })
    }

    /// `y + scale (x A) B` for a linear layer's output `y`.
    pub fn linear(&self, y: &Array, x: &Array) -> Result<Array> {
        self.add_scaled(y, &self.product(x)?, x.dtype())
    }

    /// `y + scale (x Aₑ) Bₑ` with the expert that `experts` names per row: `x: [.., 1, in]`.
    pub fn experts(&self, y: &Array, x: &Array, experts: &Array, sorted: bool) -> Result<Array> {
        let z = ops::gather_mm(x, &self.a, None, experts, sorted)?;
        let z = ops::gather_mm(z, &self.b, None, experts, sorted)?;
        self.add_scaled(y, &z, x.dtype())
    }

    /// `y + scale A[ids] B` for an embedding's rows `y`.
    pub fn rows(&self, y: &Array, ids: &Array) -> Result<Array> {
        let z = ops::matmul(self.a.take_axis(ids, 0)?, &self.b)?;
        self.add_scaled(y, &z, y.dtype())
    }

    /// `y + scale (x Bᵀ) Aᵀ` for the logits `y` of an embedding that is the output head.
    pub fn head(&self, y: &Array, x: &Array) -> Result<Array> {
        let z = ops::matmul(ops::matmul(x, self.b.transpose()?)?, self.a.transpose()?)?;
        self.add_scaled(y, &z, x.dtype())
    }

    fn product(&self, x: &Array) -> Result<Array> {
        Ok(ops::matmul(ops::matmul(x, &self.a)?, &self.b)?)
    }

    fn add_scaled(&self, y: &Array, z: &Array, dtype: Dtype) -> Result<Array> {
        let z = self.scale.multiply(z)?;
        if self.casts { add(y, &z.as_dtype(dtype)?) } else { add(y, &z) }
    }
}

/// A low-rank product whose sum with the weight has rows of a learned length.
pub struct Dora {
    low_rank: LowRank,
    /// `[out]`, or `[rows]` of an embedding.
    magnitude: Array,
    /// `magnitude` over the lengths of the adapted rows. mlx-lm computes it at every call, from the
    /// same values.
    ratio: OnceCell<Array>,
}

impl Dora {
    /// From the product and the learned lengths.
    pub fn new(low_rank: LowRank, magnitude: Array) -> Self {
        Self { low_rank, magnitude, ratio: OnceCell::new() }
    }

    /// A whole linear layer: `x: [.., in]`, the dense `weight: [out, in]`, unpacked anew at each call.
    pub fn linear(
        &self,
        x: &Array,
        weight: impl Fn() -> Result<Array>,
        bias: Option<&Array>,
    ) -> Result<Array> {
        let ratio = self.ratio(|| {
            let LowRank { a, b, scale, .. } = &self.low_rank;
            let delta = ops::matmul(scale.multiply(&b.transpose()?)?, a.transpose()?)?;
            add(&weight()?, &delta)
        })?;
        let y = ops::matmul(x, weight()?.transpose()?)?;
        let out = self.low_rank.linear(&y, x)?;
        let out = ops::multiply(ratio.as_dtype(x.dtype())?, out)?;
        match bias {
            Some(bias) => add(&out, bias),
            None => Ok(out),
        }
    }

    /// Rows `y` of an embedding, in the dtype of the learned lengths where that is wider.
    pub fn rows(&self, y: &Array, ids: &Array) -> Result<Array> {
        let LowRank { a, b, scale, casts } = &self.low_rank;
        let z = ops::matmul(scale.multiply(&a.take_axis(ids, 0)?)?, b)?;
        let out = if *casts { add(y, &z.as_dtype(y.dtype())?)? } else { add(y, &z)? };
        let lengths = row_lengths(&add(y, &z)?)?;
        let ratio = ops::divide(self.magnitude.take_axis(ids, 0)?, lengths)?;
        Ok(ops::multiply(ops::expand_dims(&ratio, -1)?, out)?)
    }

    /// Logits `y` of an embedding that is the output head; `table: [rows, dims]`.
    pub fn head(&self, y: &Array, x: &Array, table: &Array) -> Result<Array> {
        let out = self.low_rank.head(y, x)?;
        let ratio = self.ratio(|| {
            let LowRank { a, b, scale, .. } = &self.low_rank;
            add(table, &ops::matmul(scale.multiply(a)?, b)?)
        })?;
        Ok(ops::multiply(ratio, out)?)
    }

    fn ratio(&self, adapted: impl FnOnce() -> Result<Array>) -> Result<&Array> {
        if let Some(ratio) = self.ratio.get() {
            return Ok(ratio);
        }
        let ratio = ops::divide(&self.magnitude, row_lengths(&adapted()?)?)?;
        // At once: what it is made of is as large as the weight, and goes before the next module's.
        eval([&ratio])?;
        Ok(self.ratio.get_or_init(|| ratio))
    }
}

/// The Euclidean length of every row.
fn row_lengths(x: &Array) -> Result<Array> {
    let options = NormOptions { axes: Axes::Axis(-1), keep_dims: false };
    Ok(norm_l2(x, options)?)
}
