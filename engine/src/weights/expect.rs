//! Holds a checkpoint against what its configuration asks for, as mlx-lm's strict loading does.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Dtype, TensorInfo,
    quant::{ModuleQuantization, QuantMode, QuantizationSpec},
};
use crate::{Error, Result};

/// Names that one error message lists per kind of problem.
const SHOWN: usize = 5;

/// Dtype and shape of a stored tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorMeta {
    /// Element type.
    pub dtype: Dtype,
    /// Row-major shape.
    pub shape: Vec<usize>,
}

impl From<&TensorInfo> for TensorMeta {
    fn from(info: &TensorInfo) -> Self {
        Self { dtype: info.dtype, shape: info.shape.clone() }
    }
}

/// A checkpoint's tensors under the names and shapes that the family's model uses.
pub type TensorTable = BTreeMap<String, TensorMeta>;

/// What a module does with its weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ModuleKind {
    /// `[out, in]`.
    Linear,
    /// `[rows, dims]`; perhaps the output head too.
    Embedding,
    /// `[experts, out, in]`.
    Experts,
}

/// A module whose weight may be quantized: a linear layer, an embedding, a stack of experts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedModule {
    /// What it is.
    pub kind: ModuleKind,
    /// Module path, `.weight` not included.
    pub path: String,
    /// Shape of the dense weight; the last dimension is the one that groups divide.
    pub weight: Vec<usize>,
    /// Shape of the bias, where the module has one.
    pub bias: Option<Vec<usize>>,
}

/// Every tensor that a model needs, as its configuration implies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    modules: Vec<ExpectedModule>,
    tensors: Vec<(String, Vec<usize>)>,
}

impl Expected {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A linear layer: `path.weight: [out, in]` and, perhaps, `path.bias: [out]`.
    pub fn linear(&mut self, path: impl Into<String>, out: usize, dims: usize, bias: bool) {
        self.matrix(ModuleKind::Linear, path.into(), [out, dims], bias);
    }

    /// An embedding: `path.weight: [rows, dims]`.
    pub fn embedding(&mut self, path: impl Into<String>, rows: usize, dims: usize) {
        self.matrix(ModuleKind::Embedding, path.into(), [rows, dims], false);
    }

    fn matrix(&mut self, kind: ModuleKind, path: String, weight: [usize; 2], bias: bool) {
        let bias = bias.then(|| vec![weight[0]]);
        self.modules.push(ExpectedModule { kind, path, weight: weight.to_vec(), bias });
    }

    /// A module of any rank.
    pub fn module(&mut self, module: ExpectedModule) {
        self.modules.push(module);
    }

    /// A tensor that is never quantized.
    pub fn tensor(&mut self, name: impl Into<String>, shape: &[usize]) {
        self.tensors.push((name.into(), shape.to_vec()));
    }

    /// The modules.
    pub fn modules(&self) -> &[ExpectedModule] {
        &self.modules
    }

    /// Names and shapes of the other tensors.
    pub fn tensors(&self) -> &[(String, Vec<usize>)] {
        &self.tensors
    }

    /// Logical parameters: packed weights count as what they stand for.
    pub fn parameters(&self) -> u64 {
        let modules = self.modules.iter().flat_map(|m| m.bias.iter().chain([&m.weight]));
        modules
            .chain(self.tensors.iter().map(|(_, shape)| shape))
            .map(|s| product(s))
            .fold(0, u64::saturating_add)
    }
}

/// Elements of a shape; saturates instead of overflowing.
pub(super) fn product(shape: &[usize]) -> u64 {
    shape.iter().fold(1, |n, &d| n.saturating_mul(d as u64))
}

/// A checked checkpoint: which of its modules are quantized, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WeightPlan {
    quantized: BTreeMap<String, ModuleQuantization>,
}

impl WeightPlan {
    /// How the module at `path` is quantized; `None` when it is dense.
    pub fn module(&self, path: &str) -> Option<ModuleQuantization> {
        self.quantized.get(path).copied()
    }

    /// The quantized modules, by path.
    pub fn quantized(&self) -> &BTreeMap<String, ModuleQuantization> {
        &self.quantized
    }
}

/// Compares a sanitized checkpoint with what the model expects.
///
/// # Errors
/// [`Error::Weights`] for tensors that are missing, in excess or of another shape (the first few
/// by name, with a count), for dtypes that cannot be computed with, and for weights that groups do
/// not divide; [`Error::Config`] when the configuration quantizes something that cannot be.
pub fn check_weights(
    expected: &Expected,
    found: &TensorTable,
    quantization: Option<&QuantizationSpec>,
) -> Result<WeightPlan> {
    let mut check = Check { found, wanted: BTreeSet::new(), problems: Problems::default() };
    let mut plan = WeightPlan::default();
    for (name, shape) in expected.tensors() {
        if let (Some(path), Some(spec)) = (name.strip_suffix(".weight"), quantization)
            && spec.overrides().any(|(p, q)| p == path && q.is_some())
        {
            return Err(Error::Config(format!("quantization names {path}, which stays dense")));
        }
        check.tensor(name, shape, DtypeRule::Float);
    }
    for module in expected.modules() {
        let scheme = match quantization {
            Some(spec) => check.scheme(spec, module)?,
            None => None,
        };
        match scheme {
            Some(scheme) => {
                check.quantized(module, scheme)?;
                plan.quantized.insert(module.path.clone(), scheme);
            }
            None => {
                check.tensor(&format!("{}.weight", module.path), &module.weight, DtypeRule::Float);
            }
        }
        if let Some(bias) = &module.bias {
            check.tensor(&format!("{}.bias", module.path), bias, DtypeRule::Float);
        }
    }
    check.finish(quantization.is_some())?;
    Ok(plan)
}

#[derive(Debug, Clone, Copy)]
enum DtypeRule {
    Float,
    Exactly(Dtype),
}

struct Check<'a> {
    found: &'a TensorTable,
    wanted: BTreeSet<String>,
    problems: Problems,
}

#[derive(Default)]
struct Problems {
    missing: Vec<String>,
    shapes: Vec<String>,
    dtypes: Vec<String>,
}

impl Check<'_> {
    fn scheme(
        &self,
        spec: &QuantizationSpec,
        module: &ExpectedModule,
    ) -> Result<Option<ModuleQuantization>> {
        let path = &module.path;
        let weight = self.found.get(&format!("{path}.weight"));
        let scales = self.found.get(&format!("{path}.scales"));
        let in_dims = module.weight.last().copied().unwrap_or(0);
        spec.module(
            path,
            in_dims,
            weight.map(|t| t.shape.as_slice()),
            scales.map(|t| (t.dtype, t.shape.as_slice())),
        )
    }

    fn quantized(&mut self, module: &ExpectedModule, scheme: ModuleQuantization) -> Result<()> {
        let ExpectedModule { path, weight, .. } = module;
        let in_dims = weight.last().copied().unwrap_or(0);
        let packed = scheme.packed_dims(in_dims).ok_or_else(|| {
            Error::Weights(format!(
                "{path} has rows of {in_dims} weights, which groups of {} do not divide",
                scheme.group_size
            ))
        })?;
        let with_last = |last: usize| {
            let mut shape = weight.clone();
            if let Some(dim) = shape.last_mut() {
                *dim = last;
            }
            shape
        };
        self.tensor(&format!("{path}.weight"), &with_last(packed), DtypeRule::Exactly(Dtype::U32));
        let groups = with_last(in_dims / scheme.group_size);
        let scales = match scheme.mode {
            QuantMode::Affine => DtypeRule::Float,
            // Exponents or 8-bit floats, as bytes.
            QuantMode::Mxfp4 | QuantMode::Mxfp8 | QuantMode::Nvfp4 => DtypeRule::Exactly(Dtype::U8),
        };
        self.tensor(&format!("{path}.scales"), &groups, scales);
        if scheme.has_biases() {
            self.tensor(&format!("{path}.biases"), &groups, DtypeRule::Float);
        }
        Ok(())
    }

    fn tensor(&mut self, name: &str, shape: &[usize], rule: DtypeRule) {
        self.wanted.insert(name.to_owned());
        let Some(found) = self.found.get(name) else {
            self.problems.missing.push(name.to_owned());
            return;
        };
        if found.shape != shape {
            self.problems
                .shapes
                .push(format!("{name} is {:?}, the configuration asks for {shape:?}", found.shape));
        }
        let accepted = match rule {
            DtypeRule::Float => found.dtype.is_float(),
            DtypeRule::Exactly(dtype) => found.dtype == dtype,
        };
        if !accepted {
            let wanted = match rule {
                DtypeRule::Float => "BF16, F16 or F32",
                DtypeRule::Exactly(dtype) => dtype.name(),
            };
            self.problems.dtypes.push(format!("{name} is {}; expected {wanted}", found.dtype));
        }
    }

    fn finish(self, quantized: bool) -> Result<()> {
        let unexpected: Vec<String> =
            self.found.keys().filter(|name| !self.wanted.contains(*name)).cloned().collect();
        let packed = !quantized && unexpected.iter().any(|name| name.ends_with(".scales"));
        let mut parts = Vec::new();
        let Problems { missing, shapes, dtypes } = self.problems;
        for (what, names) in [
            ("missing", missing),
            ("unexpected", unexpected),
            ("with another shape", shapes),
            ("with a dtype that cannot be used", dtypes),
        ] {
            if !names.is_empty() {
                parts.push(format!("{} {what}: {}", names.len(), first_few(&names)));
            }
        }
        if parts.is_empty() {
            return Ok(());
        }
        let hint = if packed {
            "; the weights are quantized, but config.json has no \"quantization\""
        } else {
            ""
        };
        Err(Error::Weights(format!(
            "the tensors do not fit config.json: {}{hint}",
            parts.join("; ")
        )))
    }
}

pub(crate) fn first_few(names: &[String]) -> String {
    let mut text = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(", …");
    }
    text
}
