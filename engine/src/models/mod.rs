//! Model families: a folder each, one line each in [`FAMILIES`].

pub mod gemma4;
pub mod llama;
pub mod qwen3_5;

use std::collections::BTreeMap;

use mlx_rs::Array;

use crate::{
    Error, Result,
    cache::LayerCache,
    nn::Adapters,
    weights::{Expected, ModelDir, ModelFacts},
};

/// A family's forward pass. Models know nothing of scheduling, sampling or text.
pub trait Model {
    /// Hidden states after the final norm for `ids: [B, S]`: `[B, S, hidden]`.
    ///
    /// Reads and extends `caches`, one per caching layer; `probe` sees each layer's output.
    fn hidden(&self, ids: &Array, caches: &mut [LayerCache], probe: &mut Probe) -> Result<Array>;

    /// Logits of `hidden: [B, S, hidden]`: `[B, S, vocab]`.
    fn logits(&self, hidden: &Array) -> Result<Array>;

    /// Empty state for a new sequence.
    fn new_caches(&self) -> Vec<LayerCache>;

    /// The head dimension of each cache's keys and values; `None` for recurrent state.
    fn head_dims(&self) -> Vec<Option<usize>>;

    /// Every weight, in a fixed order.
    fn weights(&self) -> Vec<&Array>;

    /// Where adapters are mounted and selected.
    fn adapters(&self) -> &Adapters;

    /// Safetensors name of the activations' dtype.
    fn dtype(&self) -> mlx_rs::Dtype;

    /// Rows of the embedding table.
    fn vocab_size(&self) -> usize;

    /// Transformer layers.
    fn layers(&self) -> usize;
}

/// Collects named intermediate arrays when it is on; costs nothing when it is off.
#[derive(Debug, Default)]
pub struct Probe {
    seen: Option<Vec<(String, Array)>>,
}

impl Probe {
    /// A probe that records.
    pub fn recording() -> Self {
        Self { seen: Some(Vec::new()) }
    }

    /// Records `array` under a name that is only made when wanted.
    pub fn see(&mut self, name: impl FnOnce() -> String, array: &Array) {
        if let Some(seen) = &mut self.seen {
            seen.push((name(), array.clone()));
        }
    }

    /// What was recorded since the last call.
    pub fn drain(&mut self) -> Vec<(String, Array)> {
        self.seen.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

/// How a family is found and built.
pub struct Family {
    /// Values of `model_type` that belong to it.
    pub model_types: &'static [&'static str],
    /// Reads and validates the configuration.
    pub facts: fn(&ModelDir) -> Result<Box<dyn ModelFacts>>,
    /// Builds the model from a validated directory.
    pub build: fn(&ModelDir, Mutation) -> Result<Box<dyn Model>>,
    /// Reads the sanitized, unread tensors and what the model expects of them.
    pub checkpoint: fn(&ModelDir) -> Result<Checkpoint>,
    /// Settings of the module at a path where every module is to be quantized alike; `None`
    /// follows the others (mlx-lm's `quant_predicate`).
    pub quant_override: fn(&str) -> Option<QuantOverride>,
    /// Whether a conversion leaves the tensor at a path in its own dtype (mlx-lm's
    /// `cast_predicate`, negated).
    pub keeps_dtype: fn(&str) -> bool,
}

/// Affine settings that a family gives one of its modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuantOverride {
    /// Bits per weight.
    pub bits: u32,
    /// Weights that share a scale.
    pub group_size: usize,
}

/// A model's tensors before any layer owns them.
pub struct Checkpoint {
    /// Sanitized and unread, by name.
    pub tensors: BTreeMap<String, Array>,
    /// The modules and tensors that the model has.
    pub expected: Expected,
    /// Transformer layers.
    pub layers: usize,
}

/// Every supported family.
pub const FAMILIES: &[Family] = &[llama::FAMILY, gemma4::FAMILY, qwen3_5::FAMILY];

/// Builds the model of `dir` with the family its `model_type` names.
pub fn build(dir: &ModelDir, mutation: Mutation) -> Result<Box<dyn Model>> {
    (family(dir)?.build)(dir, mutation)
}

/// Reads the checkpoint of `dir` with the family its `model_type` names.
pub fn checkpoint(dir: &ModelDir) -> Result<Checkpoint> {
    (family(dir)?.checkpoint)(dir)
}

/// The family that the `model_type` of `dir` names.
pub fn family(dir: &ModelDir) -> Result<&'static Family> {
    let model_type = dir.model_type();
    FAMILIES.iter().find(|f| f.model_types.contains(&model_type)).ok_or_else(|| {
        let known: Vec<_> = FAMILIES.iter().flat_map(|f| f.model_types).copied().collect();
        Error::Config(format!(
            "model_type \"{model_type}\" is not supported; supported: {}",
            known.join(", ")
        ))
    })
}

/// A deliberate mistake, so that tests can show the parity harness catching it.
///
/// Only the harness sets one; every model honours those that concern it.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mutation {
    /// The faithful engine.
    #[default]
    None,
    /// `gate * silu(up)` instead of `silu(gate) * up`.
    SwigluSwapped,
    /// Every rotary base is one percent off.
    RopeBaseOff,
    /// Every norm's epsilon is doubled.
    NormEpsDoubled,
    /// Greedy decoding takes the argmax of the logits, not of the log-probabilities.
    ArgmaxOverLogits,
    /// A residual sum takes a detour through f32.
    ResidualInF32,
    /// Positions count from one.
    OffsetByOne,
    /// Attention is scaled by the float below the right one.
    AttentionScaleOff,
    /// The embedding is scaled in f32, not in its own dtype.
    ScalarsInF32,
    /// A sliding window's rows are attended to oldest first, not as the ring holds them.
    RingInTemporalOrder,
    /// A sliding window is one token wider.
    WindowOffByOne,
    /// The outputs of a token's experts are summed in reverse order.
    ExpertsReversed,
    /// Rows that were sorted by expert stay sorted, not put back by token.
    ExpertsUnsorted,
    /// Norm weights of the original layout are raised by one twice.
    NormShiftTwice,
    /// A recurrent layer's memory is kept in the model's dtype, not in f32.
    MemoryInModelDtype,
    /// A recurrent layer's decay is computed in the model's dtype, not in f32.
    DecayInModelDtype,
    /// A convolution remembers its inputs up to the last but one.
    ConvStateOneOff,
    /// Value heads take key heads in turn, not each key head for several of them in a row.
    KeyHeadsInTurn,
    /// Queries and keys of the delta rule are normalized with an epsilon for sums, not for means.
    QkEpsUnscaled,
    /// A recurrent layer's output is gated in the model's dtype, not in f32.
    GateInModelDtype,
    /// Attention's output is not gated.
    OutputGateMissing,
    /// All features of a head rotate, not only the leading ones.
    RopeOverAllDims,
    /// Embeddings are not scaled.
    EmbeddingUnscaled,
    /// A layer's output is not scaled.
    LayerScalarMissing,
    /// Logits are not capped.
    SoftcapMissing,
    /// Per-layer inputs are not scaled after the sum.
    LayerInputsUnscaled,
    /// Layers without keys take those of the first layer of their type, not of the last.
    SharedKeysOfFirst,
    /// The weights of experts lack the experts' own scales.
    RouterUnscaled,
    /// Values that are keys are taken behind the keys' norm.
    KeysNormedAsValues,
    /// A trimmed cache forgets one token too few.
    TrimOneShort,
    /// Caches from a file lack their last token.
    LoadedOneShort,
    /// A state from the prompt cache is taken for one token more than it holds.
    CachedOneLate,
    /// States from the prompt cache are used whatever calls they come from.
    CachedWhateverCalls,
    /// States from the prompt cache are used whatever adapters they come from.
    CachedWhateverAdapters,
    /// Packed keys and values from a file are read as mlx-lm reads them, whatever the setting says.
    LoadedReadAsStock,
    /// An adapter's scale is one percent off.
    AdapterScaleOff,
    /// An adapter's product is added without the cast to the input's dtype.
    AdapterNotCast,
    /// Keys and values are packed before the model's first call, not after it.
    KvPackedBeforeFirstCall,
    /// Keys and values are packed after the first call, however few tokens they hold.
    KvStartIgnored,
    /// A packed ring's rows are attended to oldest first, not as they lie.
    PackedRingInTemporalOrder,
    /// Layers that borrow packed keys read them in mlx-optiq's tiles, too.
    BorrowedKeysTiled,
    /// Single tokens read packed keys all at once, not in mlx-optiq's tiles.
    SingleTokensUntiled,
    /// The softmax over packed keys stays in the model's dtype.
    SoftmaxNotPrecise,
    /// The scores of packed keys get the mask as a summand.
    MaskAdded,
    /// The scores of packed keys are scaled, not the queries.
    ScaleAfterProduct,
}

impl Mutation {
    /// The base of a rotation: `theta`, unless it is to be off.
    pub(crate) fn rope_theta(self, theta: f64) -> f64 {
        if self == Self::RopeBaseOff { theta * 1.01 } else { theta }
    }
}
