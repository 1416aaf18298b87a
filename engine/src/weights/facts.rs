//! What a family says about a model before any of its weights are read.

use super::{
    ModelDir, TensorMeta,
    expect::{Expected, TensorTable, WeightPlan, check_weights},
};
use crate::{Result, memory::MemoryFacts};

/// A validated configuration, as the loader and `verbatim inspect` see it.
pub trait ModelFacts {
    /// Every tensor of the model.
    fn expected(&self) -> Expected;

    /// The checkpoint's tensors under the model's names, without those that it has no use for.
    fn sanitize_table(&self, tensors: TensorTable) -> TensorTable;

    /// Positions the model was trained for, where the configuration says.
    fn context_length(&self) -> Option<usize>;

    /// Transformer layers.
    fn layers(&self) -> usize;

    /// The state that each layer keeps of a sequence, and what a call takes beside it.
    fn memory(&self) -> MemoryFacts;

    /// Bytes of the tensors in `dir` that the model keeps.
    fn weight_bytes(&self, dir: &ModelDir) -> u64 {
        let bytes = |t: &TensorMeta| {
            t.shape.iter().fold(t.dtype.bytes(), |n, &dim| n.saturating_mul(dim as u64))
        };
        self.sanitize_table(table(dir)).values().map(bytes).fold(0, u64::saturating_add)
    }

    /// Checks that the weights of `dir` are exactly this model's, and says which are quantized.
    ///
    /// # Errors
    /// As [`check_weights`] and [`ModelDir::quantization`].
    fn check(&self, dir: &ModelDir) -> Result<WeightPlan> {
        let table = self.sanitize_table(table(dir));
        check_weights(&self.expected(), &table, dir.quantization()?.as_ref())
    }
}

/// The checkpoint's tensors, as its headers tell.
fn table(dir: &ModelDir) -> TensorTable {
    dir.tensors().iter().map(|(name, tensor)| (name.clone(), TensorMeta::from(tensor))).collect()
}
