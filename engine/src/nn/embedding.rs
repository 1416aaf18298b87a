//! Dense and quantized embeddings (`mlx/nn/layers/embedding.py`, `quantized.py`).

use mlx_rs::{Array, Dtype, ops};

use super::{LowRank, Params, Patch, Site, linear::QuantizedWeight};
use crate::Result;

/// A table of `[vocab, hidden]` rows, also usable as the output head.
pub struct Embedding {
    kind: Kind,
    site: Site,
}

enum Kind {
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
        let kind = if let Some(spec) = params.quantization(path) {
            Kind::Quantized(QuantizedWeight::take(params, path, spec)?)
        } else {
            let table = params.take(&format!("{path}.weight"))?;
            let table_t = table.transpose()?;
            Kind::Dense { table, table_t }
        };
        Ok(Self { kind, site: params.site(path) })
    }

    /// Rows of `ids: [B, S]` as `[B, S, hidden]`, with the adapters that are selected.
    pub fn forward(&self, ids: &Array) -> Result<Array> {
        let y = match &self.kind {
            Kind::Dense { table, .. } => ops::indexing::take_axis(table, ids, 0)?,
            Kind::Quantized(q) => q.rows(ids)?,
        };
        if let Some(dora) = self.site.dora().as_deref().and_then(Patch::dora) {
            return dora.rows(&y, ids);
        }
        self.site.add_products(y, ids, LowRank::rows)
    }

    /// Logits of `x: [B, S, hidden]` against the table: `[B, S, vocab]`, with the adapters that
    /// are selected.
    pub fn as_linear(&self, x: &Array) -> Result<Array> {
        let y = match &self.kind {
            Kind::Dense { table_t, .. } => ops::matmul(x, table_t)?,
            Kind::Quantized(q) => q.matmul(x)?,
        };
        if let Kind::Dense { table, .. } = &self.kind
            && let Some(dora) = self.site.dora().as_deref().and_then(Patch::dora)
        {
            return dora.head(&y, x, table);
        }
        self.site.add_products(y, x, LowRank::head)
    }

    /// The dtype of the rows, which sets that of the activations.
    pub fn dtype(&self) -> Dtype {
        match &self.kind {
            Kind::Dense { table, .. } => table.dtype(),
            Kind::Quantized(q) => q.dtype(),
        }
    }

    /// Every array that the layer holds.
    pub fn arrays<'a>(&'a self, out: &mut Vec<&'a Array>) {
        match &self.kind {
            Kind::Dense { table, table_t } => out.extend([table, table_t]),
            Kind::Quantized(q) => q.arrays(out),
        }
    }
}
