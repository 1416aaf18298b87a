//! What an adapter changes in a model, tensor by tensor.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use super::{AdapterDir, AdapterInfo, AdapterKind};
use crate::{
    Error, Result, mlx,
    weights::{
        Dtype, Expected, ExpectedModule, ModelDir, ModelFacts, ModuleKind, ModuleQuantization,
        TensorInfo, TensorMeta, TensorTable, WeightPlan, first_few,
    },
};

/// The weight unpacked, in F32, the product, their sum and its squares, each in F32 at most.
const DORA_BYTES_PER_WEIGHT: u64 = 5 * 4;

/// The tensors of an adapter, each with its place in the model. Nothing is read yet.
#[derive(Debug, Clone)]
pub struct AdapterPlan {
    /// What it is.
    pub info: AdapterInfo,
    /// The adapter's file and all that is in it.
    pub(super) weights: PathBuf,
    pub(super) tensors: BTreeMap<String, TensorInfo>,
    /// Products, by module path.
    pub(super) modules: Vec<PlannedModule>,
    pub(super) scale: f64,
    /// Whether tensors take the place of the model's own instead.
    pub(super) replaces: bool,
}

impl AdapterPlan {
    /// The tensors that take the place of the model's own, by the model's names.
    pub(crate) fn replaced(&self) -> Option<&BTreeMap<String, TensorInfo>> {
        self.replaces.then_some(&self.tensors)
    }
}

/// The tensors of one module.
#[derive(Debug, Clone)]
pub(super) struct PlannedModule {
    pub(super) path: String,
    pub(super) kind: ModuleKind,
    /// Names in the file of the first and second factor.
    pub(super) factors: [String; 2],
    /// Name in the file of the learned row lengths.
    pub(super) magnitude: Option<String>,
    /// Whether the file holds the factors the other way round.
    pub(super) transposed: bool,
}

/// What fitting needs to know of the model.
pub(super) struct ModelSide<'a> {
    pub(super) dir: &'a ModelDir,
    pub(super) facts: &'a dyn ModelFacts,
    pub(super) expected: Expected,
    plan: &'a WeightPlan,
}

impl<'a> ModelSide<'a> {
    pub(super) fn new(dir: &'a ModelDir, facts: &'a dyn ModelFacts, plan: &'a WeightPlan) -> Self {
        Self { dir, facts, expected: facts.expected(), plan }
    }

    /// The model's tensors under its own names.
    pub(super) fn table(&self) -> TensorTable {
        let tensors = self.dir.tensors().iter();
        self.facts.sanitize_table(tensors.map(|(n, t)| (n.clone(), TensorMeta::from(t))).collect())
    }

    /// The module at `path`.
    pub(super) fn module(&self, path: &str) -> Option<&ExpectedModule> {
        self.expected.modules().iter().find(|m| m.path == path)
    }

    /// Paths of every module that holds a tensor.
    pub(super) fn paths(&self) -> BTreeSet<&str> {
        let modules = self.expected.modules().iter().map(|m| m.path.as_str());
        let tensors = self.expected.tensors().iter().filter_map(|(name, _)| name.rsplit_once('.'));
        modules.chain(tensors.map(|(path, _)| path)).collect()
    }

    /// Why mlx-lm's DoRA layers do not take a module.
    pub(super) fn dora_obstacle(&self, module: &ExpectedModule) -> Option<&'static str> {
        match (module.kind, self.plan.module(&module.path)) {
            (ModuleKind::Experts, _) => Some("is a stack of experts"),
            (ModuleKind::Embedding, Some(_)) => Some("is a quantized embedding"),
            (ModuleKind::Linear, Some(ModuleQuantization { bits: 3 | 5 | 6, .. })) => {
                Some("is quantized to 3, 5 or 6 bits")
            }
            _ => None,
        }
    }

    /// MLX's CPU backend multiplies stacks of experts in f32 only, and mlx-lm fails there too.
    pub(super) fn check_backend(&self, plan: &AdapterPlan) -> Result<()> {
        let narrow = |module: &&PlannedModule| {
            let first = plan.tensors.get(&module.factors[0]);
            module.kind == ModuleKind::Experts && first.is_some_and(|t| t.dtype != Dtype::F32)
        };
        let Some(module) = plan.modules.iter().find(narrow) else { return Ok(()) };
        // Activations are as wide as the norms, whether or not the matrices are packed.
        let wide = |name: &str, meta: &TensorMeta| {
            name.ends_with("model.norm.weight") && meta.dtype == Dtype::F32
        };
        if self.table().iter().any(|(name, meta)| wide(name, meta)) || !mlx::runs_on_cpu()? {
            return Ok(());
        }
        Err(Error::Adapter(format!(
            "{} is narrower than F32, as the model is, and MLX's CPU backend multiplies experts in \
             F32 only (GatherMM), for mlx-lm too; convert the adapter to F32",
            module.factors[0]
        )))
    }
}

/// A layer's index and a module's path inside it: `model.layers.3.mlp.up_proj` is `(3, mlp.up_proj)`.
pub(super) fn in_layer(path: &str) -> Option<(usize, &str)> {
    let start = if path.starts_with("layers.") { 0 } else { path.find(".layers.")? + 1 };
    let (index, rest) = path[start + "layers.".len()..].split_once('.')?;
    Some((index.parse().ok()?, rest))
}

/// Shapes of the two factors and of the row lengths of a module, as mlx-lm keeps them.
pub(super) fn shapes(module: &ExpectedModule, rank: usize) -> [Vec<usize>; 3] {
    match (module.kind, module.weight.as_slice()) {
        (ModuleKind::Experts, [experts, out, dims]) => {
            [vec![*experts, rank, *dims], vec![*experts, *out, rank], Vec::new()]
        }
        (ModuleKind::Embedding, [rows, dims]) => {
            [vec![*rows, rank], vec![rank, *dims], vec![*rows]]
        }
        (_, [out, dims]) => [vec![*dims, rank], vec![rank, *out], vec![*out]],
        _ => [Vec::new(), Vec::new(), Vec::new()],
    }
}

/// What is wrong with an adapter's tensors, kind by kind.
#[derive(Debug, Default)]
pub(super) struct Misfits {
    /// Tensors that belong to no module that may be adapted.
    pub(super) strangers: Vec<String>,
    /// Tensors that are not there though their partners are.
    pub(super) missing: Vec<String>,
    pub(super) shapes: Vec<String>,
    pub(super) dtypes: Vec<String>,
    /// Modules that cannot be adapted this way.
    pub(super) modules: Vec<String>,
}

impl Misfits {
    /// Notes a tensor whose shape or dtype is wrong.
    pub(super) fn check(&mut self, tensor: &TensorInfo, shape: &[usize]) {
        let TensorInfo { name, dtype, shape: found, .. } = tensor;
        if found != shape {
            self.shapes.push(format!("{name} is {found:?}, the model asks for {shape:?}"));
        }
        if !dtype.is_float() {
            self.dtypes.push(format!("{name} is {dtype}; expected BF16, F16 or F32"));
        }
    }

    /// An error that lists everything, if there is anything.
    pub(super) fn finish(self, advice: &str) -> Result<()> {
        let Self { strangers, missing, shapes, dtypes, modules } = self;
        let mut parts = Vec::new();
        for (what, names) in [
            ("that belong to no adapted module of the model", strangers),
            ("missing beside their partners", missing),
            ("with another shape", shapes),
            ("with a dtype that cannot be used", dtypes),
        ] {
            if !names.is_empty() {
                let s = if names.len() == 1 { "" } else { "s" };
                parts.push(format!("{} tensor{s} {what}: {}", names.len(), first_few(&names)));
            }
        }
        if !modules.is_empty() {
            parts.push(first_few(&modules));
        }
        if parts.is_empty() {
            return Ok(());
        }
        Err(Error::Adapter(format!("does not fit the model: {}; {advice}", parts.join("; "))))
    }
}

impl AdapterDir {
    /// The plan of products on `modules`.
    pub(super) fn plan(
        &self,
        kind: AdapterKind,
        rank: usize,
        scale: f64,
        modules: Vec<PlannedModule>,
    ) -> Result<AdapterPlan> {
        if modules.is_empty() {
            return Err(Error::Adapter(
                "changes no module of the model; it may be a checkpoint that was never trained"
                    .into(),
            ));
        }
        let info = self.info(kind, Some((rank, scale)), modules.len());
        Ok(AdapterPlan {
            info: AdapterInfo { work_bytes: self.dora_work(&modules, rank), ..info },
            weights: self.weights.clone(),
            tensors: self.tensors.clone(),
            modules,
            scale,
            replaces: false,
        })
    }

    /// The plan of a whole file of replacements.
    pub(super) fn replacement(&self) -> AdapterPlan {
        let modules: BTreeSet<_> =
            self.tensors.keys().map(|n| n.rsplit_once('.').map_or("", |(path, _)| path)).collect();
        AdapterPlan {
            info: self.info(AdapterKind::Full, None, modules.len()),
            weights: self.weights.clone(),
            tensors: self.tensors.clone(),
            modules: Vec::new(),
            scale: 1.0,
            replaces: true,
        }
    }

    fn info(
        &self,
        kind: AdapterKind,
        product: Option<(usize, f64)>,
        modules: usize,
    ) -> AdapterInfo {
        let floats = self.tensors.values().filter(|t| t.dtype != Dtype::U32);
        AdapterInfo {
            name: self.name.clone(),
            format: self.format,
            kind,
            rank: product.map(|(rank, _)| rank),
            scale: product.map(|(_, scale)| scale),
            modules,
            parameters: floats.map(TensorInfo::elements).sum(),
            bytes: self.tensors.values().map(TensorInfo::len_bytes).sum(),
            work_bytes: 0,
        }
    }

    /// Bytes of the largest weight whose rows are measured, and of what is made of it on the way.
    fn dora_work(&self, modules: &[PlannedModule], rank: usize) -> u64 {
        let elements = |name: &String| self.tensors.get(name).map_or(0, TensorInfo::elements);
        let dora = modules.iter().filter(|module| module.magnitude.is_some());
        let largest = dora
            .map(|PlannedModule { factors: [a, b], .. }| {
                let rank = rank.max(1) as u64;
                (elements(a) / rank).saturating_mul(elements(b) / rank)
            })
            .max();
        largest.unwrap_or(0).saturating_mul(DORA_BYTES_PER_WEIGHT)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::in_layer;

    #[rstest]
    #[case("model.layers.3.mlp.up_proj", Some((3, "mlp.up_proj")))]
    #[case("language_model.model.layers.12.router.proj", Some((12, "router.proj")))]
    #[case("layers.0.q", Some((0, "q")))]
    #[case("model.embed_tokens", None)]
    #[case("model.layers.x.q", None)]
    #[case("model.layers.3", None)]
    #[case("xlayers.3.q", None)]
    fn layers_are_found(#[case] path: &str, #[case] found: Option<(usize, &str)>) {
        assert_eq!(in_layer(path), found);
    }
}
