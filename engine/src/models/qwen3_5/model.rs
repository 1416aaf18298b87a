//! The forward pass; op order as in `mlx_lm/models/qwen3_5.py`.

use mlx_rs::{Array, Dtype, ops};

use super::{attention::Attention, config::Qwen35Config, delta::GatedDeltaNet, norm_eps};
use crate::{
    Error, Result,
    cache::{ArraysCache, KvCache, LayerCache},
    mlx::{ops::add, runs_on_metal},
    models::{Checkpoint, Model, Mutation, Probe},
    nn::{Adapters, Embedding, Linear, Mask, Params, RmsNorm, Rope, Silu},
    weights::{ModelDir, ModelFacts, RopeScaling, load_lazy},
};

/// Threads of a SIMD group on Metal.
const METAL_GROUP: usize = 32;

enum Mixer {
    Linear(Box<GatedDeltaNet>),
    Full(Box<Attention>),
}

struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
    silu: Silu,
    swapped: bool,
}

impl Mlp {
    fn take(p: &mut Params, path: &str, silu: &Silu, mutation: Mutation) -> Result<Self> {
        let mut linear = |name: &str| Linear::take(p, &format!("{path}.{name}"), false);
        Ok(Self {
            gate_proj: linear("gate_proj")?,
            up_proj: linear("up_proj")?,
            down_proj: linear("down_proj")?,
            silu: silu.clone(),
            swapped: mutation == Mutation::SwigluSwapped,
        })
    }

    fn forward(&self, x: &Array) -> Result<Array> {
        let gate = self.gate_proj.forward(x)?;
        let up = self.up_proj.forward(x)?;
        let (gate, up) = if self.swapped { (up, gate) } else { (gate, up) };
        self.down_proj.forward(&self.silu.gated(&gate, &up)?)
    }
}

/// What all layers share.
struct Common {
    rope: Rope,
    silu: Silu,
}

impl Common {
    fn new(c: &Qwen35Config, dtype: Dtype, mutation: Mutation) -> Result<Self> {
        let theta = mutation.rope_theta(c.rope_theta);
        let rotary_dims =
            if mutation == Mutation::RopeOverAllDims { c.head_dim } else { c.rotary_dims };
        Ok(Self {
            rope: Rope::new(rotary_dims, theta, false, &RopeScaling::Default)?,
            silu: Silu::new(dtype)?,
        })
    }
}

struct Block {
    input_layernorm: RmsNorm,
    mixer: Mixer,
    post_attention_layernorm: RmsNorm,
    mlp: Mlp,
    residual_in_f32: bool,
}

impl Block {
    fn take(
        p: &mut Params,
        c: &Qwen35Config,
        layer: usize,
        dtype: Dtype,
        common: &Common,
        mutation: Mutation,
    ) -> Result<Self> {
        let at = format!("language_model.model.layers.{layer}");
        let eps = norm_eps(c, mutation);
        let norm = |p: &mut Params, name: &str| RmsNorm::take(p, &format!("{at}.{name}"), eps);
        let mixer = if c.is_linear(layer) {
            let path = format!("{at}.linear_attn");
            Mixer::Linear(Box::new(GatedDeltaNet::take(
                p,
                &path,
                c,
                (dtype, &common.silu),
                mutation,
            )?))
        } else {
            let path = format!("{at}.self_attn");
            Mixer::Full(Box::new(Attention::take(p, &path, c, &common.rope, mutation)?))
        };
        Ok(Self {
            input_layernorm: norm(p, "input_layernorm")?,
            mixer,
            post_attention_layernorm: norm(p, "post_attention_layernorm")?,
            mlp: Mlp::take(p, &format!("{at}.mlp"), &common.silu, mutation)?,
            residual_in_f32: mutation == Mutation::ResidualInF32,
        })
    }

    fn forward(&self, x: &Array, masks: &Masks, cache: &mut LayerCache) -> Result<Array> {
        let normed = self.input_layernorm.forward(x)?;
        let mixed = match (&self.mixer, cache) {
            (Mixer::Linear(net), LayerCache::Arrays(state)) => {
                net.forward(&normed, &masks.linear, state)?
            }
            (Mixer::Full(attention), cache) => attention.forward(&normed, &masks.full, cache)?,
            (Mixer::Linear(_), _) => {
                return Err(Error::Mlx("a recurrent layer was given a key-value cache".into()));
            }
        };
        if self.residual_in_f32 {
            return self.forward_in_f32(x, &mixed);
        }
        let h = add(x, &mixed)?;
        add(&h, &self.mlp.forward(&self.post_attention_layernorm.forward(&h)?)?)
    }

    /// The mistake that [`Mutation::ResidualInF32`] names: one rounding for two sums.
    fn forward_in_f32(&self, x: &Array, mixed: &Array) -> Result<Array> {
        let wide = |a: &Array| a.as_dtype(Dtype::Float32);
        let h = ops::add(wide(x)?, wide(mixed)?)?;
        let normed = self.post_attention_layernorm.forward(&h.as_dtype(x.dtype())?)?;
        Ok(ops::add(h, wide(&self.mlp.forward(&normed)?)?)?.as_dtype(x.dtype())?)
    }

    fn arrays<'a>(&'a self, out: &mut Vec<&'a Array>) {
        self.input_layernorm.arrays(out);
        match &self.mixer {
            Mixer::Linear(net) => net.arrays(out),
            Mixer::Full(attention) => attention.arrays(out),
        }
        self.post_attention_layernorm.arrays(out);
        for linear in [&self.mlp.gate_proj, &self.mlp.up_proj, &self.mlp.down_proj] {
            linear.arrays(out);
        }
    }
}

/// What the first cache of each type of layer hides.
struct Masks {
    linear: Mask,
    full: Mask,
}

struct Qwen35 {
    adapters: Adapters,
    embed_tokens: Embedding,
    blocks: Vec<Block>,
    norm: RmsNorm,
    /// Absent when the embedding doubles as the head.
    lm_head: Option<Linear>,
    /// The first layer with full attention, whose cache decides the mask of all.
    first_full: usize,
    vocab_size: usize,
    dtype: Dtype,
}

/// Sanitized tensors and what is expected of them.
pub fn checkpoint(dir: &ModelDir) -> Result<Checkpoint> {
    let config = Qwen35Config::from_dir(dir)?;
    config.check(dir)?;
    Ok(Checkpoint {
        tensors: config.sanitize_arrays(load_lazy(dir)?, Mutation::None)?,
        expected: config.expected(),
        layers: config.num_hidden_layers,
    })
}

/// On Metal, mlx-lm computes the recurrence with kernels whose sums round in another order than the
/// operations here; it calls them for key heads of whole SIMD groups (`gated_delta_update`).
fn refuse_metal(c: &Qwen35Config, metal: bool) -> Result<()> {
    if metal && c.linear_key_head_dim.is_multiple_of(METAL_GROUP) {
        return Err(Error::Config(format!(
            "Qwen3.5 with linear_key_head_dim {} runs on MLX's CPU and CUDA backends only: the \
             kernels that mlx-lm uses for it on Metal are not ported yet",
            c.linear_key_head_dim
        )));
    }
    Ok(())
}

/// Builds the model from its checkpoint; weights stay unread until used.
pub fn build(dir: &ModelDir, mutation: Mutation) -> Result<Box<dyn Model>> {
    let c = Qwen35Config::from_dir(dir)?;
    refuse_metal(&c, runs_on_metal()?)?;
    let plan = ModelFacts::check(&c, dir)?;
    let mut p = Params::new(dir, c.sanitize_arrays(load_lazy(dir)?, mutation)?, plan)?;
    let norm = RmsNorm::take(&mut p, "language_model.model.norm", norm_eps(&c, mutation))?;
    let embed_tokens = Embedding::take(&mut p, "language_model.model.embed_tokens")?;
    let dtype = embed_tokens.dtype();
    let common = Common::new(&c, dtype, mutation)?;
    let blocks = (0..c.num_hidden_layers)
        .map(|layer| Block::take(&mut p, &c, layer, dtype, &common, mutation))
        .collect::<Result<Vec<_>>>()?;
    let lm_head = if c.tie_word_embeddings {
        None
    } else {
        Some(Linear::take(&mut p, "language_model.lm_head", false)?)
    };
    let adapters = p.finish()?;
    Ok(Box::new(Qwen35 {
        adapters,
        embed_tokens,
        blocks,
        norm,
        lm_head,
        first_full: c.full_attention_interval - 1,
        vocab_size: c.vocab_size,
        dtype,
    }))
}

impl Model for Qwen35 {
    fn hidden(&self, ids: &Array, caches: &mut [LayerCache], probe: &mut Probe) -> Result<Array> {
        let new = ids.dim(1) as usize;
        let (Some(linear), Some(full)) = (caches.first(), caches.get(self.first_full)) else {
            return Err(Error::Request("the sequence has no cache".into()));
        };
        let masks = Masks { linear: linear.mask(new, None)?, full: full.mask(new, None)? };
        let mut h = self.embed_tokens.forward(ids)?;
        probe.see(|| "language_model.model.embed_tokens".into(), &h);
        for (i, (block, cache)) in self.blocks.iter().zip(caches).enumerate() {
            h = block.forward(&h, &masks, cache)?;
            probe.see(|| format!("language_model.model.layers.{i}"), &h);
        }
        let h = self.norm.forward(&h)?;
        probe.see(|| "language_model.model.norm".into(), &h);
        Ok(h)
    }

    fn logits(&self, hidden: &Array) -> Result<Array> {
        match &self.lm_head {
            Some(head) => head.forward(hidden),
            None => self.embed_tokens.as_linear(hidden),
        }
    }

    fn new_caches(&self) -> Vec<LayerCache> {
        let cache = |block: &Block| match block.mixer {
            Mixer::Linear(_) => LayerCache::Arrays(ArraysCache::default()),
            Mixer::Full(_) => LayerCache::Kv(KvCache::default()),
        };
        self.blocks.iter().map(cache).collect()
    }

    fn head_dims(&self) -> Vec<Option<usize>> {
        let head_dim = |block: &Block| match &block.mixer {
            Mixer::Linear(_) => None,
            Mixer::Full(attention) => Some(attention.head_dim()),
        };
        self.blocks.iter().map(head_dim).collect()
    }

    fn weights(&self) -> Vec<&Array> {
        let mut out = Vec::new();
        self.embed_tokens.arrays(&mut out);
        for block in &self.blocks {
            block.arrays(&mut out);
        }
        self.norm.arrays(&mut out);
        if let Some(head) = &self.lm_head {
            head.arrays(&mut out);
        }
        out
    }

    fn adapters(&self) -> &Adapters {
        &self.adapters
    }

    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn layers(&self) -> usize {
        self.blocks.len()
    }
}

#[cfg(test)]
mod tests;
