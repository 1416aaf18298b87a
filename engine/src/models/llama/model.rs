//! The forward pass; op order as in `mlx_lm/models/llama.py`.

use mlx_rs::{Array, Dtype, ops};

use crate::{
    Error, Result,
    cache::{KvCache, LayerCache},
    mlx::ops::add,
    models::{Checkpoint, Model, Mutation, Probe},
    nn::{Adapters, Embedding, Linear, Mask, Params, RmsNorm, Rope, Silu, attend},
    weights::{LlamaConfig, ModelDir, load_lazy},
};

struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    rope: Rope,
    heads: i32,
    kv_heads: i32,
    head_dim: i32,
    scale: f32,
    offset_shift: i32,
}

impl Attention {
    fn take(
        p: &mut Params,
        path: &str,
        c: &LlamaConfig,
        rope: &Rope,
        mutation: Mutation,
    ) -> Result<Self> {
        let mut linear = |name: &str| Linear::take(p, &format!("{path}.{name}"), c.attention_bias);
        let mut scale = (c.head_dim as f64).powf(-0.5) as f32;
        if mutation == Mutation::AttentionScaleOff {
            scale = f32::from_bits(scale.to_bits() - 1);
        }
        Ok(Self {
            q_proj: linear("q_proj")?,
            k_proj: linear("k_proj")?,
            v_proj: linear("v_proj")?,
            o_proj: linear("o_proj")?,
            rope: rope.clone(),
            heads: c.num_attention_heads as i32,
            kv_heads: c.num_key_value_heads as i32,
            head_dim: c.head_dim as i32,
            scale,
            offset_shift: i32::from(mutation == Mutation::OffsetByOne),
        })
    }

    /// `x: [B, S, hidden]` to `[B, S, hidden]`.
    fn forward(&self, x: &Array, mask: &Mask, cache: &mut LayerCache) -> Result<Array> {
        let (b, s) = (x.dim(0), x.dim(1));
        let heads = |y: Array, n: i32| -> Result<Array> {
            Ok(y.reshape(&[b, s, n, self.head_dim])?.transpose_axes(&[0, 2, 1, 3])?)
        };
        let q = self.q_proj.forward(x)?;
        let k = self.k_proj.forward(x)?;
        let v = self.v_proj.forward(x)?;
        let (q, k, v) = (heads(q, self.heads)?, heads(k, self.kv_heads)?, heads(v, self.kv_heads)?);

        let position = cache.position(self.offset_shift);
        let q = self.rope.forward(&q, &position)?;
        let k = self.rope.forward(&k, &position)?;
        let (k, v) = cache.update_and_fetch(&k, &v)?;

        let out = attend(&q, &k, &v, self.scale, mask)?;
        let out =
            out.transpose_axes(&[0, 2, 1, 3])?.reshape(&[b, s, self.heads * self.head_dim])?;
        self.o_proj.forward(&out)
    }

    fn arrays<'a>(&'a self, out: &mut Vec<&'a Array>) {
        for linear in [&self.q_proj, &self.k_proj, &self.v_proj, &self.o_proj] {
            linear.arrays(out);
        }
    }
}

struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
    silu: Silu,
    swapped: bool,
}

impl Mlp {
    fn take(
        p: &mut Params,
        path: &str,
        c: &LlamaConfig,
        silu: &Silu,
        mutation: Mutation,
    ) -> Result<Self> {
        let mut linear = |name: &str| Linear::take(p, &format!("{path}.{name}"), c.mlp_bias);
        Ok(Self {
            gate_proj: linear("gate_proj")?,
            up_proj: linear("up_proj")?,
            down_proj: linear("down_proj")?,
            silu: silu.clone(),
            swapped: mutation == Mutation::SwigluSwapped,
        })
    }

    /// `down(silu(gate(x)) * up(x))`.
    fn forward(&self, x: &Array) -> Result<Array> {
        let gate = self.gate_proj.forward(x)?;
        let up = self.up_proj.forward(x)?;
        let (gate, up) = if self.swapped { (up, gate) } else { (gate, up) };
        self.down_proj.forward(&self.silu.gated(&gate, &up)?)
    }

    fn arrays<'a>(&'a self, out: &mut Vec<&'a Array>) {
        for linear in [&self.gate_proj, &self.up_proj, &self.down_proj] {
            linear.arrays(out);
        }
    }
}

/// What all layers share.
struct Common {
    rope: Rope,
    silu: Silu,
}

impl Common {
    fn new(c: &LlamaConfig, dtype: Dtype, mutation: Mutation) -> Result<Self> {
        let theta = mutation.rope_theta(c.rope_theta);
        Ok(Self {
            rope: Rope::new(c.head_dim, theta, c.rope_traditional, &c.rope_scaling)?,
            silu: Silu::new(dtype)?,
        })
    }
}

struct Block {
    input_layernorm: RmsNorm,
    self_attn: Attention,
    post_attention_layernorm: RmsNorm,
    mlp: Mlp,
    residual_in_f32: bool,
}

impl Block {
    fn take(
        p: &mut Params,
        path: &str,
        c: &LlamaConfig,
        common: &Common,
        mutation: Mutation,
    ) -> Result<Self> {
        let eps = norm_eps(c, mutation);
        Ok(Self {
            input_layernorm: RmsNorm::take(p, &format!("{path}.input_layernorm"), eps)?,
            self_attn: Attention::take(p, &format!("{path}.self_attn"), c, &common.rope, mutation)?,
            post_attention_layernorm: RmsNorm::take(
                p,
                &format!("{path}.post_attention_layernorm"),
                eps,
            )?,
            mlp: Mlp::take(p, &format!("{path}.mlp"), c, &common.silu, mutation)?,
            residual_in_f32: mutation == Mutation::ResidualInF32,
        })
    }

    fn forward(&self, x: &Array, mask: &Mask, cache: &mut LayerCache) -> Result<Array> {
        let h = add(x, &self.self_attn.forward(&self.input_layernorm.forward(x)?, mask, cache)?)?;
        let r = self.mlp.forward(&self.post_attention_layernorm.forward(&h)?)?;
        if self.residual_in_f32 {
            let wide = |a: &Array| a.as_dtype(Dtype::Float32);
            let nudged = ops::multiply(wide(&r)?, Array::from_f32(1.0 + 1e-2))?;
            return Ok(ops::add(wide(&h)?, nudged)?.as_dtype(x.dtype())?);
        }
        add(&h, &r)
    }

    fn arrays<'a>(&'a self, out: &mut Vec<&'a Array>) {
        self.input_layernorm.arrays(out);
        self.self_attn.arrays(out);
        self.post_attention_layernorm.arrays(out);
        self.mlp.arrays(out);
    }
}

fn norm_eps(c: &LlamaConfig, mutation: Mutation) -> f64 {
    if mutation == Mutation::NormEpsDoubled { c.rms_norm_eps * 2.0 } else { c.rms_norm_eps }
}

struct Llama {
    adapters: Adapters,
    embed_tokens: Embedding,
    blocks: Vec<Block>,
    norm: RmsNorm,
    /// Absent when the embedding doubles as the head.
    lm_head: Option<Linear>,
    vocab_size: usize,
    dtype: Dtype,
}

/// Sanitized tensors and what is expected of them.
pub fn checkpoint(dir: &ModelDir) -> Result<Checkpoint> {
    let config = LlamaConfig::from_dir(dir)?;
    config.check(dir)?;
    Ok(Checkpoint {
        tensors: config.sanitize(load_lazy(dir)?),
        expected: config.expected(),
        layers: config.num_hidden_layers,
    })
}

/// Builds the model from its checkpoint; weights stay unread until used.
pub fn build(dir: &ModelDir, mutation: Mutation) -> Result<Box<dyn Model>> {
    let config = LlamaConfig::from_dir(dir)?;
    let plan = config.check(dir)?;
    let mut p = Params::new(dir, config.sanitize(load_lazy(dir)?), plan)?;
    let norm = RmsNorm::take(&mut p, "model.norm", norm_eps(&config, mutation))?;
    let embed_tokens = Embedding::take(&mut p, "model.embed_tokens")?;
    let dtype = embed_tokens.dtype();
    let common = Common::new(&config, dtype, mutation)?;
    let blocks = (0..config.num_hidden_layers)
        .map(|i| Block::take(&mut p, &format!("model.layers.{i}"), &config, &common, mutation))
        .collect::<Result<Vec<_>>>()?;
    let lm_head = if config.tie_word_embeddings {
        None
    } else {
        Some(Linear::take(&mut p, "lm_head", false)?)
    };
    let adapters = p.finish()?;
    Ok(Box::new(Llama {
        adapters,
        embed_tokens,
        blocks,
        norm,
        lm_head,
        vocab_size: config.vocab_size,
        dtype,
    }))
}

impl Model for Llama {
    fn hidden(&self, ids: &Array, caches: &mut [LayerCache], probe: &mut Probe) -> Result<Array> {
        let Some(first) = caches.first() else {
            return Err(Error::Request("the sequence has no cache".into()));
        };
        let mask = first.mask(ids.dim(1) as usize, None)?;
        let mut h = self.embed_tokens.forward(ids)?;
        probe.see(|| "model.embed_tokens".into(), &h);
        for (i, (block, cache)) in self.blocks.iter().zip(caches).enumerate() {
            h = block.forward(&h, &mask, cache)?;
            probe.see(|| format!("model.layers.{i}"), &h);
        }
        let h = self.norm.forward(&h)?;
        probe.see(|| "model.norm".into(), &h);
        Ok(h)
    }

    fn logits(&self, hidden: &Array) -> Result<Array> {
        match &self.lm_head {
            Some(head) => head.forward(hidden),
            None => self.embed_tokens.as_linear(hidden),
        }
    }

    fn new_caches(&self) -> Vec<LayerCache> {
        self.blocks.iter().map(|_| LayerCache::Kv(KvCache::default())).collect()
    }

    fn head_dims(&self) -> Vec<Option<usize>> {
        self.blocks.iter().map(|block| Some(block.self_attn.head_dim as usize)).collect()
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
