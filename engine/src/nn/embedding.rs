//! Dense and quantized embeddings (`mlx/nn/layers/embedding.py`, `quantized.py`).

use mlx_rs::{Array, Dtype, ops};

use super::{Params, linear::QuantizedWeight};
use crate::Result;

/// A table of `[vocab, hidden]` rows, also usable as the output head.
pub enum Embedding {
    /// The table and its transposed view.
    Dense {
        /// `[vocab, hidden]`.
        table: Array,
        /// `[hidden, vocab]`, for [`Embedding::as_linear`].
        table_t: Array,
    },
    /// Packed rows.
    Quantized(QuantizedWeight),
}

impl Embedding {
    /// Takes `path.weight` (and scales, biases).
    pub fn take(params: &mut Params, path: &str) -> Result<Self> {
        if let Some(spec) = params.quantization(path) {
            return Ok(Self::Quantized(QuantizedWeight::take(params, path, spec)?));
        }
        let table = params.take(&format!("{path}.weight"))?;
        let table_t = table.transpose()?;
        Ok(Self::Dense { table, table_t })
    }

    /// Rows of `ids: [B, S]` as `[B, S, hidden]`.
    pub fn forward(&self, ids: &Array) -> Result<Array> {
        match self {
            Self::Dense { table, .. } => Ok(ops::indexing::take_axis(table, ids, 0)?),
            Self::Quantized(q) => q.rows(ids),
        }
    }

    /// Logits of `x: [B, S, hidden]` against the table: `[B, S, vocab]`.
    pub fn as_linear(&self, x: &Array) -> Result<Array> {
        match self {
            Self::Dense { table_t, .. } => Ok(ops::matmul(x, table_t)?),
            Self::Quantized(q) => q.matmul(x),
        }
    }

    /// The dtype of the rows, which sets that of the activations.
    pub fn dtype(&self) -> Dtype {
        match self {
            Self::Dense { table, .. } => table.dtype(),
            Self::Quantized(q) => q.dtype(),
        }
    }

    /// Every array that the layer holds.
    pub fn arrays<'a>(&'a self, out: &mut Vec<&'a Array>) {
        match self {
            Self::Dense { table, table_t } => out.extend([table, table_t]),
            Self::Quantized(q) => q.arrays(out),
        }
    }
}
