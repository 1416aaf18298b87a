//! Model directories: configuration, checked safetensors headers, lazy weights.
//!
//! [`ModelDir::open`] reads and checks everything but the weights; a family turns the
//! configuration into its own type with [`Fields`]; [`load_lazy`] hands MLX the files. Nothing of
//! `config.json` or of a safetensors header reaches MLX before it was checked here.

mod dir;
mod dtype;
mod expect;
mod facts;
mod fields;
mod header;
mod inspect;
mod json;
mod load;
mod quant;
mod rope;

pub use crate::models::llama::LlamaConfig;
pub use dir::{ModelDir, TokenizerFiles};
pub use dtype::Dtype;
pub(crate) use expect::first_few;
pub use expect::{
    Expected, ExpectedModule, ModuleKind, TensorMeta, TensorTable, WeightPlan, check_weights,
};
pub use facts::ModelFacts;
pub use fields::{Fields, FloatRange};
pub use header::{TensorInfo, check_header, read_header};
pub use inspect::{
    Component, ContextCost, Inspection, QuantizationSummary, TokenizerSummary, WeightSummary,
    inspect,
};
pub(crate) use inspect::{activation_dtype, implied_weight_bytes};
pub(crate) use json::{kind, read_list};
pub use json::{parse_object, read_bounded, read_object};
pub use load::load_lazy;
pub(crate) use load::load_replaced;
pub use quant::{AFFINE_BITS, AFFINE_GROUP_SIZES, ModuleQuantization, QuantMode, QuantizationSpec};
pub use rope::{Llama3Scaling, RopeScaling};
