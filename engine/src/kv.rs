//! Which layers keep packed keys and values: `kv_config.json` (`optiq/serve.py`) and mlx-lm's
//! uniform setting (`mlx_lm/generate.py`, `maybe_quantize_kv_cache`).

pub mod plan;

use std::{collections::BTreeMap, fmt, path::Path};

use mlx_rs::{memory, transforms::eval};
use serde_json::Value;

use crate::{
    Conversion, Error, Result,
    cache::LayerCache,
    limits,
    models::Mutation,
    weights::{Fields, kind, read_list},
};

pub use crate::nn::{KvAttention, KvFormat};

/// Largest number that is read before it is judged.
const MAX_NUMBER: u64 = u32::MAX as u64;

/// What the key-value caches of every sequence are to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KvQuantization {
    /// Which layers are packed.
    pub layers: KvLayers,
    /// Tokens that a layer holds at least before it is packed, once the model was called.
    pub start: usize,
    /// How attention is computed on packed layers.
    pub attention: KvAttention,
}

/// Which layers keep packed keys and values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum KvLayers {
    /// None: keys and values keep the model's dtype.
    #[default]
    None,
    /// All that have keys and values, in one format.
    All(KvFormat),
    /// These, counted over the caches: layers that share another's keys have none.
    Listed(BTreeMap<usize, KvFormat>),
}

impl KvQuantization {
    /// Reads a `kv_config.json`: a list of `{"layer_idx", "bits", "group_size"}`, the last 64
    /// where it is absent.
    ///
    /// # Errors
    /// [`Error::File`] when it is no such list, lists a layer twice, or asks for a format that
    /// does not exist.
    pub fn from_file(path: &Path) -> Result<Self> {
        let list = read_list(path, limits::MAX_CONFIG_BYTES)?;
        let layers = listed(&list).map_err(|reason| Error::file(path, reason))?;
        Ok(Self { layers: KvLayers::Listed(layers), ..Self::default() })
    }

    /// Whether every layer keeps the model's dtype.
    pub fn is_none(&self) -> bool {
        match &self.layers {
            KvLayers::None => true,
            KvLayers::All(_) => false,
            KvLayers::Listed(layers) => layers.is_empty(),
        }
    }

    /// How a layer is packed.
    pub(crate) fn format(&self, layer: usize) -> Option<KvFormat> {
        match &self.layers {
            KvLayers::None => None,
            KvLayers::All(format) => Some(*format),
            KvLayers::Listed(layers) => layers.get(&layer).copied(),
        }
    }

    /// How the first packed layer of `layers` is.
    pub(crate) fn first_format(&self, layers: usize) -> Option<KvFormat> {
        (0..layers).find_map(|layer| self.format(layer))
    }

    /// Checks the setting against a model whose caches have these head dimensions, `None` where a
    /// layer keeps recurrent state.
    pub(crate) fn check(&self, head_dims: &[Option<usize>]) -> Result<()> {
        if let KvLayers::Listed(layers) = &self.layers {
            for &layer in layers.keys() {
                let reason = match head_dims.get(layer) {
                    Some(Some(_)) => continue,
                    Some(None) => "it keeps recurrent state, not keys and values".to_owned(),
                    None => format!("the model has {} caches, counted from 0", head_dims.len()),
                };
                return Err(refused(layer, &reason));
            }
        }
        for (layer, head_dim) in head_dims.iter().enumerate() {
            let (Some(format), Some(head_dim)) = (self.format(layer), head_dim) else { continue };
            if head_dim % format.group_size() != 0 {
                let group_size = format.group_size();
                let reason = format!(
                    "groups of {group_size} do not divide its head dimension {head_dim}; choose a \
                     group size that does"
                );
                return Err(refused(layer, &reason));
            }
        }
        Ok(())
    }

    /// Whether no cache of a sequence is still to be packed.
    pub(crate) fn is_settled(&self, caches: &[LayerCache]) -> bool {
        caches.iter().enumerate().all(|(layer, cache)| {
            let keeps_rows = !matches!(cache, LayerCache::Arrays(_));
            !keeps_rows || self.format(layer).is_none() || cache.format().is_some()
        })
    }

    /// Packs the caches that are due, after a call of the model; one layer at a time, so that no
    /// more than one layer is held twice.
    pub(crate) fn apply(&self, caches: &mut [LayerCache], mutation: Mutation) -> Result<()> {
        let start = self.start(mutation);
        for (layer, cache) in caches.iter_mut().enumerate() {
            let Some(format) = self.due(layer, cache, start) else { continue };
            cache.quantize(format.read_by(self.attention).mistaken(mutation))?;
            eval(cache.state())?;
        }
        Ok(())
    }

    /// Has attention read packed layers as this setting says; a file of caches does not tell.
    pub(crate) fn adopt(&self, caches: &mut [LayerCache]) {
        for cache in caches {
            cache.read_by(self.attention);
        }
    }

    /// Does what [`Self::apply`] does and measures it, once everything else is computed. `None`
    /// when no layer was due.
    pub(crate) fn apply_measured(
        &self,
        caches: &mut [LayerCache],
        mutation: Mutation,
    ) -> Result<Option<Conversion>> {
        eval(caches.iter().flat_map(LayerCache::state))?;
        let due = |(layer, cache): (usize, &LayerCache)| {
            self.due(layer, cache, self.start(mutation)).map(|_| cache.nbytes() as u64)
        };
        let plain: Vec<u64> = caches.iter().enumerate().filter_map(due).collect();
        let Some(&largest_layer) = plain.iter().max() else { return Ok(None) };
        let before = memory::active_memory()?;
        memory::reset_peak_memory()?;
        self.apply(caches, mutation)?;
        let extra_peak = memory::peak_memory()?.saturating_sub(before) as u64;
        Ok(Some(Conversion { largest_layer, plain: plain.iter().sum(), extra_peak }))
    }

    /// How a cache is to be packed now, if it is.
    fn due(&self, layer: usize, cache: &LayerCache, start: usize) -> Option<KvFormat> {
        let waits = cache.keeps_rows() && cache.format().is_none();
        self.format(layer).filter(|_| waits && cache.offset() >= start)
    }

    fn start(&self, mutation: Mutation) -> usize {
        if mutation == Mutation::KvStartIgnored { 0 } else { self.start }
    }
}

impl fmt::Display for KvQuantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.layers {
            KvLayers::None => write!(f, "unquantized"),
            KvLayers::All(format) => {
                let (bits, group) = (format.bits(), format.group_size());
                write!(f, "{bits} bits (groups of {group}) in every layer")
            }
            KvLayers::Listed(layers) => {
                let mut counts: BTreeMap<(u32, usize), usize> = BTreeMap::new();
                for format in layers.values() {
                    *counts.entry((format.bits(), format.group_size())).or_default() += 1;
                }
                let parts: Vec<String> = counts
                    .iter()
                    .map(|((bits, group), n)| {
                        format!("{bits} bits (groups of {group}) in {n} layers")
                    })
                    .collect();
                write!(
                    f,
                    "{}",
                    if parts.is_empty() { "unquantized".into() } else { parts.join(", ") }
                )
            }
        }?;
        if self.is_none() {
            return Ok(());
        }
        if self.start > 0 {
            write!(f, ", from {} tokens", self.start)?;
        }
        match self.attention {
            KvAttention::Stock => write!(f, ", stock attention"),
            KvAttention::Fused => write!(f, ", fused attention"),
        }
    }
}

fn refused(layer: usize, reason: &str) -> Error {
    Error::Kv(format!("layer_idx {layer} cannot be quantized: {reason}"))
}

fn listed(list: &[Value]) -> Result<BTreeMap<usize, KvFormat>, String> {
    let mut layers = BTreeMap::new();
    for (i, entry) in list.iter().enumerate() {
        let Value::Object(map) = entry else {
            return Err(format!("entry {i} is {}; expected an object", kind(entry)));
        };
        let fields = Fields::scoped(map, format!("entry {i}"));
        let (layer, format) = listed_layer(&fields).map_err(|e| match e {
            Error::Config(reason) => reason,
            other => other.to_string(),
        })?;
        fields.finish(&[]).map_err(|_| unknown(&fields, i))?;
        if layers.insert(layer, format).is_some() {
            return Err(format!("entry {i} lists layer_idx {layer} a second time"));
        }
    }
    Ok(layers)
}

fn listed_layer(fields: &Fields<'_>) -> Result<(usize, KvFormat)> {
    let layer = fields.size("layer_idx", 0..=limits::MAX_LAYERS)?;
    let bits = fields.int("bits", 0..=MAX_NUMBER)?;
    let group_size = fields.opt_int("group_size", 0..=MAX_NUMBER)?.unwrap_or(64);
    let format = KvFormat::new(bits, group_size)
        .map_err(|reason| Error::Config(format!("layer_idx {layer} asks for {reason}")))?;
    Ok((layer, format))
}

fn unknown(fields: &Fields<'_>, entry: usize) -> String {
    let keys = fields.unknown(&[]).join(", ");
    format!("entry {entry} has keys that this engine does not know: {keys:.80}; remove them")
}

#[cfg(test)]
mod tests;
