//! What a family says about a model before any of its weights are read.

use super::{
    Dtype, ModelDir, TensorMeta,
    expect::{Expected, TensorTable, WeightPlan, check_weights},
};
use crate::Result;

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

    /// Bytes of key-value cache (or recurrent state) after `tokens` tokens of one sequence.
    fn cache_bytes(&self, tokens: u64, dtype: Dtype) -> u64;

    /// Bytes of intermediate results while `step` prompt tokens are processed and `tokens` are in
    /// the cache: an upper estimate, which counts one layer's attention scores in full.
    fn working_bytes(&self, step: u64, tokens: u64, dtype: Dtype) -> u64;

    /// Checks that the weights of `dir` are exactly this model's, and says which are quantized.
    ///
    /// # Errors
    /// As [`check_weights`] and [`ModelDir::quantization`].
    fn check(&self, dir: &ModelDir) -> Result<WeightPlan> {
        let table = dir.tensors().iter().map(|(n, t)| (n.clone(), TensorMeta::from(t))).collect();
        let table = self.sanitize_table(table);
        check_weights(&self.expected(), &table, dir.quantization()?.as_ref())
    }
}
