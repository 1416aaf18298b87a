//! What the configuration says about weights and memory.

use std::collections::BTreeMap;

use mlx_rs::{Array, ops};

use super::config::{Experts, Gemma4Config, LayerType};
use crate::{
    Error, Result,
    memory::{CacheFacts, Heads, LayerFacts, MemoryFacts, Phase, WorkFacts},
    mlx,
    weights::{
        Dtype, Expected, ExpectedModule, ModelDir, ModelFacts, ModuleKind, TensorMeta, TensorTable,
        WeightPlan, check_weights,
    },
};

/// Beginnings of the names, without `model.`, that belong to other modalities.
const TOWERS: [&str; 6] = [
    "vision_tower",
    "multi_modal_projector",
    "audio_tower",
    "embed_audio",
    "embed_vision",
    "vision_embedder",
];
/// Parts of names that no text model has a use for.
const UNUSED: [&str; 5] =
    ["self_attn.rotary_emb", "input_max", "input_min", "output_max", "output_min"];
/// What a layer without keys of its own has no use for.
const OWN_KV: [&str; 3] = [".self_attn.k_proj", ".self_attn.v_proj", ".self_attn.k_norm"];

impl Gemma4Config {
    /// The checkpoint under the model's names (`Model.sanitize` of both files): towers and unused
    /// tensors dropped, `split` halving fused expert weights along axis -2, gate first.
    pub fn sanitize<T>(
        &self,
        tensors: BTreeMap<String, T>,
        split: impl Fn(T) -> Result<(T, T)>,
    ) -> Result<BTreeMap<String, T>> {
        let mut out = BTreeMap::new();
        for (name, tensor) in tensors {
            let Some(name) = self.renamed(name) else { continue };
            if UNUSED.iter().any(|part| name.contains(part)) || self.is_shared_kv(&name) {
                continue;
            }
            if let Some(base) = name.strip_suffix(".experts.gate_up_proj") {
                let (gate, up) = split(tensor)?;
                out.insert(format!("{base}.experts.switch_glu.gate_proj.weight"), gate);
                out.insert(format!("{base}.experts.switch_glu.up_proj.weight"), up);
            } else if let Some(base) = name.strip_suffix(".experts.down_proj") {
                out.insert(format!("{base}.experts.switch_glu.down_proj.weight"), tensor);
            } else {
                out.insert(name, tensor);
            }
        }
        Ok(out)
    }

    /// [`Gemma4Config::sanitize`] for unread tensors.
    pub fn sanitize_arrays(
        &self,
        tensors: BTreeMap<String, Array>,
    ) -> Result<BTreeMap<String, Array>> {
        self.sanitize(tensors, |fused| {
            let halves = ops::split_equal(&fused, 2, -2)?;
            let [gate, up] = halves.as_slice() else {
                return Err(Error::Weights("a fused expert weight does not split in two".into()));
            };
            Ok((gate.contiguous()?, up.contiguous()?))
        })
    }

    /// The name in a multimodal checkpoint as the model spells it; `None` for another modality's.
    fn renamed(&self, name: String) -> Option<String> {
        if !self.nested {
            return Some(name);
        }
        let inner = name.strip_prefix("model.");
        let bare = inner.unwrap_or(&name);
        if TOWERS.iter().any(|tower| bare.starts_with(tower)) {
            return None;
        }
        match inner {
            None => Some(name),
            Some(bare) if bare.starts_with("language_model") => {
                Some(bare.replace("language_model.", "language_model.model."))
            }
            Some(bare) => Some(bare.to_owned()),
        }
    }

    fn is_shared_kv(&self, name: &str) -> bool {
        if !OWN_KV.iter().any(|part| name.contains(part)) {
            return false;
        }
        let index = name.split("layers.").nth(1).and_then(|rest| rest.split('.').next());
        let index = index.and_then(|text| text.parse::<usize>().ok());
        index.is_some_and(|layer| layer >= self.caching_layers())
    }

    /// Every tensor of the model.
    pub fn expected(&self) -> Expected {
        let mut expected = Expected::new();
        let hidden = self.hidden_size;
        let root = format!("{}model", self.prefix());
        expected.embedding(format!("{root}.embed_tokens"), self.vocab_size, hidden);
        for layer in 0..self.layers() {
            self.expect_layer(&mut expected, &format!("{root}.layers.{layer}"), layer);
        }
        expected.tensor(format!("{root}.norm.weight"), &[hidden]);
        if let Some(input) = self.per_layer_input {
            let width = self.layers() * input.width;
            expected.embedding(format!("{root}.embed_tokens_per_layer"), input.vocab_size, width);
            expected.linear(format!("{root}.per_layer_model_projection"), width, hidden, false);
            expected.tensor(format!("{root}.per_layer_projection_norm.weight"), &[input.width]);
        }
        if !self.tie_word_embeddings {
            let path = format!("{}lm_head", self.prefix());
            expected.linear(path, self.vocab_size, hidden, false);
        }
        expected
    }

    fn expect_layer(&self, expected: &mut Expected, at: &str, layer: usize) {
        let hidden = self.hidden_size;
        self.expect_attention(expected, &format!("{at}.self_attn"), layer);
        let inner = self.intermediate_size(layer);
        for (name, out, dims) in
            [("gate", inner, hidden), ("up", inner, hidden), ("down", hidden, inner)]
        {
            expected.linear(format!("{at}.mlp.{name}_proj"), out, dims, false);
        }
        for norm in [
            "input_layernorm",
            "post_attention_layernorm",
            "pre_feedforward_layernorm",
            "post_feedforward_layernorm",
        ] {
            expected.tensor(format!("{at}.{norm}.weight"), &[hidden]);
        }
        if let Some(experts) = self.experts {
            expect_experts(expected, at, hidden, experts);
        }
        if let Some(input) = self.per_layer_input {
            let width = input.width;
            expected.linear(format!("{at}.per_layer_input_gate"), width, hidden, false);
            expected.linear(format!("{at}.per_layer_projection"), hidden, width, false);
            expected.tensor(format!("{at}.post_per_layer_input_norm.weight"), &[hidden]);
        }
        expected.tensor(format!("{at}.layer_scalar"), &[1]);
    }

    fn expect_attention(&self, expected: &mut Expected, at: &str, layer: usize) {
        let hidden = self.hidden_size;
        let dims = self.head_dim(layer);
        let (q, kv) = (self.num_attention_heads * dims, self.kv_heads(layer) * dims);
        expected.linear(format!("{at}.q_proj"), q, hidden, false);
        if layer < self.caching_layers() {
            expected.linear(format!("{at}.k_proj"), kv, hidden, false);
            if !self.k_eq_v(layer) {
                expected.linear(format!("{at}.v_proj"), kv, hidden, false);
            }
            expected.tensor(format!("{at}.k_norm.weight"), &[dims]);
        }
        expected.linear(format!("{at}.o_proj"), hidden, q, false);
        expected.tensor(format!("{at}.q_norm.weight"), &[dims]);
    }

    /// Checks that the weights of `dir` are exactly this model's, for any backend.
    pub fn checked(&self, dir: &ModelDir) -> Result<(TensorTable, WeightPlan)> {
        let table = dir.tensors().iter().map(|(n, t)| (n.clone(), TensorMeta::from(t))).collect();
        let table = self.sanitize_table(table);
        let plan = check_weights(&self.expected(), &table, dir.quantization()?.as_ref())?;
        Ok((table, plan))
    }

    /// What a call takes beside caches. Of a prompt's chunk only keys and values are asked for, so
    /// the last layer that has any does no more than make them, and those behind it do nothing.
    fn work(&self) -> WorkFacts {
        let at_work = 0..self.caching_layers().saturating_sub(1);
        let mut phases: Vec<Phase> = at_work.flat_map(|layer| self.phases(layer)).collect();
        phases.sort_unstable();
        phases.dedup();
        let inputs = self.per_layer_input.map_or(0, |input| input.width * self.layers());
        WorkFacts { phases, throughout: inputs as u64, vocab: self.vocab_size as u64 }
    }

    fn phases(&self, layer: usize) -> Vec<Phase> {
        let hidden = self.hidden_size as u64;
        let sliding = self.layer_types[layer] == LayerType::Sliding;
        let facts = LayerFacts {
            hidden,
            inner: self.intermediate_size(layer) as u64,
            heads: self.num_attention_heads as u64,
            keys: self.keys(layer),
            window: sliding.then_some(self.sliding_window as u64),
        };
        let mut phases = facts.phases();
        if let Some(Experts { top_k, intermediate_size: inner, .. }) = self.experts {
            let (top_k, inner) = (top_k as u64, inner as u64);
            let row = 4 * hidden + top_k * (2 * hidden + 3 * inner);
            phases.push(Phase { half: row, single: row, ..Phase::default() });
        }
        phases
    }

    /// The shape of a layer's keys.
    fn keys(&self, layer: usize) -> Heads {
        Heads { count: self.kv_heads(layer) as u64, width: self.head_dim(layer) as u64 }
    }

    /// MLX's CPU backend multiplies unpacked experts in f32 only, and mlx-lm fails there too.
    fn check_backend(&self, table: &TensorTable, plan: &WeightPlan) -> Result<()> {
        if self.experts.is_none() || !mlx::runs_on_cpu()? {
            return Ok(());
        }
        let narrow = table.iter().find(|(name, meta)| {
            name.contains(".experts.switch_glu.")
                && name.strip_suffix(".weight").is_some_and(|path| plan.module(path).is_none())
                && meta.dtype != Dtype::F32
        });
        match narrow {
            None => Ok(()),
            Some((name, meta)) => Err(Error::Weights(format!(
                "{name} is {}, and MLX's CPU backend multiplies unquantized experts in F32 only \
                 (GatherMM), for mlx-lm too; use a quantized copy of the model, or F32 weights",
                meta.dtype
            ))),
        }
    }
}

fn expect_experts(expected: &mut Expected, at: &str, hidden: usize, experts: Experts) {
    let Experts { count, intermediate_size: inner, .. } = experts;
    expected.linear(format!("{at}.router.proj"), count, hidden, false);
    expected.tensor(format!("{at}.router.scale"), &[hidden]);
    expected.tensor(format!("{at}.router.per_expert_scale"), &[count]);
    for (name, out, dims) in
        [("gate", inner, hidden), ("up", inner, hidden), ("down", hidden, inner)]
    {
        expected.module(ExpectedModule {
            kind: ModuleKind::Experts,
            path: format!("{at}.experts.switch_glu.{name}_proj"),
            weight: vec![count, out, dims],
            bias: None,
        });
    }
    for norm in [
        "post_feedforward_layernorm_1",
        "post_feedforward_layernorm_2",
        "pre_feedforward_layernorm_2",
    ] {
        expected.tensor(format!("{at}.{norm}.weight"), &[hidden]);
    }
}

impl ModelFacts for Gemma4Config {
    fn expected(&self) -> Expected {
        self.expected()
    }

    fn sanitize_table(&self, tensors: TensorTable) -> TensorTable {
        let halves = |mut fused: TensorMeta| {
            // What cannot be halved keeps its shape, which the comparison will find wrong.
            if let [.., rows, _] = fused.shape.as_mut_slice()
                && rows.is_multiple_of(2)
            {
                *rows /= 2;
            }
            Ok((fused.clone(), fused))
        };
        // The closure never fails, so neither does this.
        self.sanitize(tensors, halves).unwrap_or_default()
    }

    fn context_length(&self) -> Option<usize> {
        Some(self.max_position_embeddings)
    }

    fn layers(&self) -> usize {
        self.layers()
    }

    fn memory(&self) -> MemoryFacts {
        let cache = |layer: usize| {
            let keys = self.keys(layer);
            match self.layer_types[layer] {
                LayerType::Full => CacheFacts::Growing(keys),
                LayerType::Sliding => CacheFacts::Window(keys, self.sliding_window as u64),
            }
        };
        MemoryFacts { caches: (0..self.caching_layers()).map(cache).collect(), work: self.work() }
    }

    fn check(&self, dir: &ModelDir) -> Result<WeightPlan> {
        let (table, plan) = self.checked(dir)?;
        self.check_backend(&table, &plan)?;
        Ok(plan)
    }
}
