//! Keys or values of consecutive tokens, plain or packed.

use mlx_rs::{Array, ops};

use crate::{
    Result,
    mlx::{
        ops::{slice_rows, slice_update_rows, zero_rows},
        quantized::{Packed, pack},
    },
    models::Mutation,
    weights::{ModuleQuantization, QuantMode},
};

/// How attention is computed on packed keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KvAttention {
    /// All scores at once, as mlx-lm does it.
    #[default]
    Stock,
    /// In tiles of 512 keys wherever mlx-optiq does so: 4 and 8 bits, half-precision activations,
    /// no window mask, no layer that borrows another's keys.
    Fused,
}

/// How keys and values are packed: affine, in groups along the head dimension; and read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvFormat {
    packing: ModuleQuantization,
    attention: KvAttention,
    mistake: Mutation,
}

impl KvFormat {
    /// Checks the combination: bits 2, 3, 4, 5, 6 or 8, groups of 32, 64 or 128 values. The error
    /// says what would be accepted.
    pub fn new(bits: u64, group_size: u64) -> Result<Self, String> {
        let packing = ModuleQuantization::new(QuantMode::Affine, bits, group_size)?;
        Ok(Self { packing, attention: KvAttention::Stock, mistake: Mutation::None })
    }

    /// The same packing, read in another way.
    #[must_use]
    pub fn read_by(self, attention: KvAttention) -> Self {
        Self { attention, ..self }
    }

    /// The same packing, read with a deliberate mistake.
    #[must_use]
    pub(crate) fn mistaken(self, mistake: Mutation) -> Self {
        Self { mistake, ..self }
    }

    /// The deliberate mistake, if any.
    pub(crate) fn mistake(self) -> Mutation {
        self.mistake
    }

    /// How attention is computed.
    pub fn attention(self) -> KvAttention {
        self.attention
    }

    /// Bits per value.
    pub fn bits(self) -> u32 {
        self.packing.bits
    }

    /// Whether both pack values alike, however they are read.
    pub(crate) fn packs_like(self, other: Self) -> bool {
        self.packing == other.packing
    }

    /// Values that share a scale and a bias.
    pub fn group_size(self) -> usize {
        self.packing.group_size
    }
}

/// Keys or values, one row per token along axis -2 of every array.
#[derive(Debug, Clone)]
pub enum Rows {
    /// `[B, KV, N, D]`.
    Plain(Array),
    /// Weights `[B, KV, N, D * bits / 32]` u32, scales and biases `[B, KV, N, D / group_size]`.
    Packed([Array; 3], KvFormat),
}

impl Rows {
    /// Packs plain rows `[B, KV, N, D]`.
    pub fn pack(rows: &Array, format: KvFormat) -> Result<Self> {
        let parts = pack(rows, format.packing)?;
        let parts = <[Array; 3]>::try_from(parts)
            .map_err(|_| crate::Error::Mlx("affine packing gives three arrays".into()))?;
        Ok(Self::Packed(parts, format))
    }

    /// The rows as `format` wants them; packed rows stay as they are.
    pub fn packed(self, format: Option<KvFormat>) -> Result<Self> {
        match (self, format) {
            (Self::Plain(rows), Some(format)) => Self::pack(&rows, format),
            (rows, _) => Ok(rows),
        }
    }

    /// The number of rows.
    pub fn len(&self) -> i32 {
        self.arrays()[0].dim(-2)
    }

    /// The arrays, in the order of their documentation.
    pub fn arrays(&self) -> &[Array] {
        match self {
            Self::Plain(rows) => std::slice::from_ref(rows),
            Self::Packed(parts, _) => parts,
        }
    }

    /// Rows `start..stop`.
    pub fn slice(&self, start: i32, stop: i32) -> Result<Self> {
        self.each(|_, rows| slice_rows(rows, start, stop))
    }

    /// `self` with the rows of `new`, of the same format, from `start` on.
    pub fn written(&self, new: &Self, start: i32) -> Result<Self> {
        self.each(|i, rows| slice_update_rows(rows, &new.arrays()[i], start))
    }

    /// `rows` rows of zeros of this kind.
    pub fn zeros(&self, rows: i32) -> Result<Self> {
        self.each(|_, like| zero_rows(like, rows))
    }

    /// All of `parts`, of one format and at least one, one after the other.
    pub fn concatenate(parts: &[Self]) -> Result<Self> {
        Self::join(parts, -2)
    }

    /// The sequences of all `parts`, of one format, length and at least one: along axis 0.
    pub fn stacked(parts: &[Self]) -> Result<Self> {
        Self::join(parts, 0)
    }

    fn join(parts: &[Self], axis: i32) -> Result<Self> {
        if parts.iter().any(|part| part.format() != parts[0].format()) {
            return Err(crate::Error::Mlx("rows of one kind only can be joined".into()));
        }
        parts[0].each(|i, _| {
            let arrays: Vec<&Array> = parts.iter().map(|part| &part.arrays()[i]).collect();
            Ok(ops::concatenate(&arrays, axis)?)
        })
    }

    /// How the rows are packed.
    pub fn format(&self) -> Option<KvFormat> {
        if let Self::Packed(_, format) = self { Some(*format) } else { None }
    }

    /// The same change to every array, which keeps what lies in a row.
    pub fn map(&self, change: impl Fn(&Array) -> Result<Array>) -> Result<Self> {
        self.each(|_, array| change(array))
    }

    /// The same rows for attention that reads them as `attention` says.
    #[must_use]
    pub fn read_by(self, attention: KvAttention) -> Self {
        match self {
            Self::Packed(parts, format) => Self::Packed(parts, format.read_by(attention)),
            plain @ Self::Plain(_) => plain,
        }
    }

    /// Room for the query heads that share a key head: `[B, KV, 1, N, ..]`.
    pub(super) fn for_groups(&self) -> Result<Self> {
        self.each(|_, rows| Ok(rows.expand_dims(-3)?))
    }

    /// `q Kᵀ` of packed keys: `[.., S, D]` to `[.., S, N]`.
    pub(super) fn dot(&self, q: &Array) -> Result<Array> {
        self.view()?.matmul(q)
    }

    /// `weights V` of packed values: `[.., S, N]` to `[.., S, D]`.
    pub(super) fn weigh(&self, weights: &Array) -> Result<Array> {
        self.view()?.matmul_untransposed(weights)
    }

    fn view(&self) -> Result<Packed<'_>> {
        match self {
            Self::Packed([weight, scales, biases], format) => {
                Ok(Packed { weight, scales, biases: Some(biases), spec: format.packing })
            }
            Self::Plain(_) => Err(crate::Error::Mlx("the rows are not packed".into())),
        }
    }

    fn each(&self, f: impl Fn(usize, &Array) -> Result<Array>) -> Result<Self> {
        Ok(match self {
            Self::Plain(rows) => Self::Plain(f(0, rows)?),
            Self::Packed([w, s, b], format) => {
                Self::Packed([f(0, w)?, f(1, s)?, f(2, b)?], *format)
            }
        })
    }
}
