//! Adds up tensors by dtype and by part of the model.

use std::collections::BTreeMap;

use super::{
    Component, Dtype, Expected, ModuleQuantization, QuantMode, QuantizationSpec, TensorInfo,
    WeightPlan, WeightSummary, assumed, likely_bits, product,
};

/// Running totals.
#[derive(Debug, Default)]
pub(super) struct Count {
    tensors: usize,
    bytes_by_dtype: BTreeMap<String, u64>,
    parts: BTreeMap<&'static str, (u64, u64)>,
    schemes: BTreeMap<String, usize>,
}

impl Count {
    /// Totals of stored tensors; `plan` says how they are packed, else their shapes do.
    pub(super) fn of_tensors(
        tensors: &BTreeMap<String, TensorInfo>,
        spec: Option<&QuantizationSpec>,
        plan: Option<&WeightPlan>,
    ) -> Self {
        let mut count = Self::default();
        for (name, tensor) in tensors {
            let (path, suffix) = name.rsplit_once('.').unwrap_or((name, ""));
            let scales = tensors.get(&format!("{path}.scales"));
            let packed = scales.is_some() && tensor.dtype == Dtype::U32 && suffix == "weight";
            let parameters = match (packed, scales) {
                (true, Some(scales)) => {
                    let last = |t: &TensorInfo| t.shape.last().copied().unwrap_or(0);
                    let known = plan.and_then(|p| p.module(path));
                    let bits = known
                        .map(|q| q.bits)
                        .or_else(|| Some(likely_bits(spec?, path, last(tensor), last(scales))));
                    if let Some(scheme) = known {
                        count.scheme(scheme);
                    }
                    tensor.elements().saturating_mul(32) / u64::from(bits.unwrap_or(32))
                }
                (false, Some(_)) if matches!(suffix, "scales" | "biases") => 0,
                _ => tensor.elements(),
            };
            count.add(name, tensor.dtype, parameters, tensor.len_bytes());
        }
        count
    }

    /// Totals that a configuration implies, with every dense value stored in `dtype`.
    pub(super) fn of_expected(
        expected: &Expected,
        spec: Option<&QuantizationSpec>,
        dtype: Dtype,
    ) -> Self {
        let mut count = Self::default();
        let dense = |count: &mut Self, name: &str, shape: &[usize]| {
            let elements = product(shape);
            count.add(name, dtype, elements, elements.saturating_mul(dtype.bytes()));
        };
        for module in expected.modules() {
            let path = &module.path;
            let weight = format!("{path}.weight");
            let in_dims = module.weight.last().copied().unwrap_or(0);
            match assumed(spec, path, in_dims) {
                None => dense(&mut count, &weight, &module.weight),
                Some(scheme) => {
                    let elements = product(&module.weight);
                    let groups = elements / scheme.group_size as u64;
                    count.scheme(scheme);
                    count.add(&weight, Dtype::U32, elements, elements / 8 * u64::from(scheme.bits));
                    let scale = if scheme.mode == QuantMode::Affine { dtype } else { Dtype::U8 };
                    count.add(&format!("{path}.scales"), scale, 0, groups * scale.bytes());
                    if scheme.has_biases() {
                        count.add(&format!("{path}.biases"), scale, 0, groups * scale.bytes());
                    }
                }
            }
            if let Some(bias) = &module.bias {
                dense(&mut count, &format!("{path}.bias"), bias);
            }
        }
        for (name, shape) in expected.tensors() {
            dense(&mut count, name, shape);
        }
        count
    }

    fn add(&mut self, name: &str, dtype: Dtype, parameters: u64, bytes: u64) {
        self.tensors += 1;
        let by_dtype = self.bytes_by_dtype.entry(dtype.name().to_owned()).or_default();
        *by_dtype = by_dtype.saturating_add(bytes);
        let part = self.parts.entry(part(name)).or_default();
        part.0 = part.0.saturating_add(parameters);
        part.1 = part.1.saturating_add(bytes);
    }

    fn scheme(&mut self, q: ModuleQuantization) {
        let name = format!("{} {}-bit, group {}", q.mode.name(), q.bits, q.group_size);
        *self.schemes.entry(name).or_default() += 1;
    }

    /// Quantized modules by their settings.
    pub(super) fn schemes(&self) -> BTreeMap<String, usize> {
        self.schemes.clone()
    }

    /// The totals, for a model of `files` files.
    pub(super) fn summary(&self, files: usize) -> WeightSummary {
        let mut components: Vec<Component> = self
            .parts
            .iter()
            .map(|(&name, &(parameters, bytes))| Component { name, parameters, bytes })
            .collect();
        components.sort_by_key(|c| (std::cmp::Reverse(c.bytes), c.name));
        let sum = |f: fn(&Component) -> u64| components.iter().map(f).fold(0, u64::saturating_add);
        WeightSummary {
            files,
            tensors: self.tensors,
            parameters: sum(|c| c.parameters),
            bytes: sum(|c| c.bytes),
            bytes_by_dtype: self.bytes_by_dtype.clone(),
            components,
        }
    }
}

/// The part of the model that a tensor's name puts it in.
fn part(name: &str) -> &'static str {
    const PARTS: [(&str, &[&str]); 8] = [
        ("vision", &["vision", "visual", "multi_modal_projector"]),
        ("audio", &["audio"]),
        ("norm", &["norm"]),
        ("experts", &["experts", "switch_mlp", "router"]),
        ("attention", &["attn", "attention"]),
        ("mlp", &["mlp", "feed_forward"]),
        ("head", &["lm_head"]),
        ("embedding", &["embed"]),
    ];
    let found = PARTS.iter().find(|(_, marks)| {
        name.split('.').any(|segment| marks.iter().any(|mark| segment.contains(mark)))
    });
    found.map_or("other", |(part, _)| part)
}
