//! The forward pass; op order as in `mlx_lm/models/gemma4_text.py`.

use mlx_rs::{Array, Dtype, ops};

use super::{
    attention::{KvSource, LayerKv},
    config::{Gemma4Config, LayerType},
    inputs::LayerInputs,
    layer::{Common, Layer},
};
use crate::{
    Error, Result,
    cache::{KvCache, LayerCache, RotatingKvCache},
    models::{Checkpoint, Model, Mutation, Probe},
    nn::{Adapters, Embedding, Linear, Mask, Params, RmsNorm, WeakScalar},
    weights::{ModelDir, ModelFacts, load_lazy},
};

struct Gemma4 {
    adapters: Adapters,
    config: Gemma4Config,
    embed_tokens: Embedding,
    embed_scale: WeakScalar,
    inputs: Option<LayerInputs>,
    layers: Vec<Layer>,
    /// The layer whose keys and values each layer attends to.
    kv_sources: Vec<usize>,
    norm: RmsNorm,
    /// Absent when the embedding doubles as the head.
    lm_head: Option<Linear>,
    softcap: Option<WeakScalar>,
    dtype: Dtype,
    mutation: Mutation,
}

/// Sanitized tensors and what is expected of them.
pub fn checkpoint(dir: &ModelDir) -> Result<Checkpoint> {
    let config = Gemma4Config::from_dir(dir)?;
    config.checked(dir)?;
    Ok(Checkpoint {
        tensors: config.sanitize_arrays(load_lazy(dir)?)?,
        expected: config.expected(),
        layers: config.layers(),
    })
}

/// Builds the model from its checkpoint; weights stay unread until used.
pub fn build(dir: &ModelDir, mutation: Mutation) -> Result<Box<dyn Model>> {
    let config = Gemma4Config::from_dir(dir)?;
    let plan = config.check(dir)?;
    let mut p = Params::new(dir, config.sanitize_arrays(load_lazy(dir)?)?, plan)?;
    let eps = super::norm_eps(&config, mutation);
    let root = format!("{}model", config.prefix());
    let embed_tokens = Embedding::take(&mut p, &format!("{root}.embed_tokens"))?;
    let dtype = embed_tokens.dtype();
    let inputs = match config.per_layer_input {
        None => None,
        Some(input) => {
            let mut inputs = LayerInputs::take(&mut p, &root, &config, input, eps, dtype)?;
            inputs.unscaled = mutation == Mutation::LayerInputsUnscaled;
            Some(inputs)
        }
    };
    let common = Common::new(&config, dtype, mutation)?;
    let layers = (0..config.layers())
        .map(|i| Layer::take(&mut p, &format!("{root}.layers.{i}"), &config, i, &common, mutation))
        .collect::<Result<Vec<_>>>()?;
    let norm = RmsNorm::take(&mut p, &format!("{root}.norm"), eps)?;
    let lm_head = if config.tie_word_embeddings {
        None
    } else {
        Some(Linear::take(&mut p, &format!("{}lm_head", config.prefix()), false)?)
    };
    let adapters = p.finish()?;
    let first_of_type = mutation == Mutation::SharedKeysOfFirst;
    let kv_source = |i: usize| match config.kv_source(i) {
        Some(donor) if donor != i && first_of_type => {
            config.layer_types.iter().position(|kind| *kind == config.layer_types[i]).unwrap_or(i)
        }
        donor => donor.unwrap_or(i),
    };
    let kv_sources = (0..config.layers()).map(kv_source).collect();
    let softcap = config.final_logit_softcapping.map(|cap| WeakScalar::new(cap, dtype));
    Ok(Box::new(Gemma4 {
        adapters,
        embed_scale: WeakScalar::new((config.hidden_size as f64).powf(0.5), dtype)?,
        softcap: softcap.transpose()?,
        config,
        embed_tokens,
        inputs,
        layers,
        kv_sources,
        norm,
        lm_head,
        dtype,
        mutation,
    }))
}

/// The masks of both types of layer, made from the first cache of each.
struct Masks {
    full: Mask,
    sliding: Mask,
}

impl Gemma4 {
    fn masks(&self, new: usize, caches: &[LayerCache]) -> Result<Masks> {
        let first = |kind: LayerType, window: Option<usize>| -> Result<Mask> {
            let at = self.config.layer_types.iter().position(|&k| k == kind);
            // A type without a layer needs no mask.
            at.and_then(|i| caches.get(i)).map_or(Ok(Mask::None), |c| c.mask(new, window))
        };
        Ok(Masks {
            full: first(LayerType::Full, None)?,
            sliding: first(LayerType::Sliding, Some(self.window()))?,
        })
    }

    fn window(&self) -> usize {
        self.config.sliding_window + usize::from(self.mutation == Mutation::WindowOffByOne)
    }

    /// `embedded * √hidden`.
    fn scaled(&self, embedded: &Array) -> Result<Array> {
        if self.mutation == Mutation::EmbeddingUnscaled {
            return Ok(embedded.clone());
        }
        if self.mutation == Mutation::ScalarsInF32 {
            let scale = Array::from_f32((self.config.hidden_size as f32).sqrt());
            return Ok(ops::multiply(embedded, scale)?.as_dtype(embedded.dtype())?);
        }
        self.embed_scale.multiply(embedded)
    }

    fn head(&self, hidden: &Array) -> Result<Array> {
        match &self.lm_head {
            Some(head) => head.forward(hidden),
            None => self.embed_tokens.as_linear(hidden),
        }
    }
}

impl Model for Gemma4 {
    fn hidden(&self, ids: &Array, caches: &mut [LayerCache], probe: &mut Probe) -> Result<Array> {
        let own = self.config.caching_layers();
        if caches.len() != own {
            return Err(Error::Request(format!("{own} caches expected, got {}", caches.len())));
        }
        let root = self.config.prefix();
        let embedded = self.embed_tokens.forward(ids)?;
        probe.see(|| format!("{root}model.embed_tokens"), &embedded);
        let mut h = self.scaled(&embedded)?;
        let inputs = self.inputs.as_ref().map(|i| i.forward(ids, &h)).transpose()?;
        let masks = self.masks(ids.dim(1) as usize, caches)?;
        // Only what a later layer asks for is kept.
        let mut shared: Vec<Option<LayerKv>> = vec![None; own];
        for (i, layer) in self.layers.iter().enumerate() {
            let mask = match self.config.layer_types[i] {
                LayerType::Full => &masks.full,
                LayerType::Sliding => &masks.sliding,
            };
            let input = inputs.as_ref().map(|all| LayerInputs::part(all, i)).transpose()?;
            let from = self.kv_sources[i];
            let source = match (caches.get_mut(i), &shared[from]) {
                (Some(cache), _) => KvSource::Own(cache),
                (None, Some(kv)) => KvSource::Shared(kv),
                (None, None) => return Err(Error::Request(format!("layer {i} has no keys"))),
            };
            let (out, kv) = layer.forward(&h, mask, source, input.as_ref())?;
            if i < own && self.kv_sources[own..].contains(&i) {
                shared[i] = Some(kv);
            }
            h = out;
            probe.see(|| format!("{root}model.layers.{i}"), &h);
        }
        let h = self.norm.forward(&h)?;
        probe.see(|| format!("{root}model.norm"), &h);
        Ok(h)
    }

    fn logits(&self, hidden: &Array) -> Result<Array> {
        let logits = self.head(hidden)?;
        match &self.softcap {
            None => Ok(logits),
            Some(_) if self.mutation == Mutation::SoftcapMissing => Ok(logits),
            Some(cap) => cap.multiply(&ops::tanh(cap.divide(&logits)?)?),
        }
    }

    fn new_caches(&self) -> Vec<LayerCache> {
        let kinds = &self.config.layer_types[..self.config.caching_layers()];
        let make = |kind: &LayerType| match kind {
            LayerType::Full => LayerCache::Kv(KvCache::default()),
            LayerType::Sliding => {
                let ring = RotatingKvCache::new(self.window(), 0);
                let wrong = self.mutation == Mutation::RingInTemporalOrder;
                LayerCache::Rotating(if wrong { ring.reordered() } else { ring })
            }
        };
        kinds.iter().map(make).collect()
    }

    fn head_dims(&self) -> Vec<Option<usize>> {
        (0..self.config.caching_layers()).map(|layer| Some(self.config.head_dim(layer))).collect()
    }

    fn weights(&self) -> Vec<&Array> {
        let mut out = Vec::new();
        self.embed_tokens.arrays(&mut out);
        if let Some(inputs) = &self.inputs {
            inputs.arrays(&mut out);
        }
        for layer in &self.layers {
            layer.arrays(&mut out);
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
        self.config.vocab_size
    }

    fn layers(&self) -> usize {
        self.config.layers()
    }
}
