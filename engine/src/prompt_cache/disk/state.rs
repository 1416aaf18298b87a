//! States as bytes, and what a state of this model looks like.

use std::collections::{BTreeMap, HashMap};

use mlx_rs::{Array, Dtype};

use super::{
    super::snapshot::Snapshot,
    format::{ArrayEntry, Description, Head, read_arrays},
};
use crate::{
    Error, Result,
    cache::{
        LayerCache,
        file::{Apart, put_together, take_apart},
    },
    kv::KvQuantization,
    limits,
    memory::{CacheFacts, Heads, MemoryModel},
    mlx,
    models::Mutation,
};

/// A state's arrays and how to describe them.
pub struct Taken {
    pub arrays: Vec<Array>,
    pub entries: Vec<ArrayEntry>,
    pub texts: BTreeMap<String, String>,
}

/// Takes a state apart.
///
/// # Errors
/// [`Error::Mlx`] for a state that no file holds.
pub fn take(state: &Snapshot) -> Result<Taken> {
    let Apart { arrays, texts } = take_apart(state.layers())
        .ok_or_else(|| Error::Mlx("a batch's state is not written to disk".into()))?;
    let mut entries = Vec::with_capacity(arrays.len());
    for (name, array) in &arrays {
        let shape = array.shape().iter().map(|&n| n as usize).collect();
        let dtype = mlx::dtype_name(array.dtype())?.to_owned();
        let entry = ArrayEntry { name: name.clone(), dtype, shape };
        // MLX counts values with 32 bits.
        if entry.bytes().is_none_or(|n| i32::try_from(n).is_err()) {
            return Err(Error::Mlx("a layer's state is too large to be written to disk".into()));
        }
        entries.push(entry);
    }
    let arrays = arrays.into_iter().map(|(_, array)| array).collect();
    Ok(Taken { arrays, entries, texts: texts.into_iter().collect() })
}

/// Arrays' bytes, a piece at a time.
pub struct Pieces {
    arrays: std::vec::IntoIter<Array>,
    /// An array as bytes, how many there are, and how many of them were handed out.
    current: Option<(Array, usize, usize)>,
}

impl Pieces {
    pub fn new(arrays: Vec<Array>) -> Self {
        Self { arrays: arrays.into_iter(), current: None }
    }

    /// At most [`limits::CACHE_PIECE_BYTES`] more; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some((bytes, len, at)) = self.current.take() {
                let to = len.min(at + limits::CACHE_PIECE_BYTES);
                let piece = mlx::bytes_between(&bytes, at, to)?;
                self.current = (to < len).then_some((bytes, len, to));
                return Ok(Some(piece));
            }
            let Some(array) = self.arrays.next() else { return Ok(None) };
            let len = array.nbytes();
            if len > 0 {
                self.current = Some((mlx::as_bytes(&array)?, len, 0));
            }
        }
    }
}

/// Reads the state behind `head`, which has to be one of this model.
///
/// # Errors
/// Why it is none, or not the one that was written.
pub fn read(file: &mut impl std::io::Read, head: &Head, shape: &Shape) -> Result<Snapshot, String> {
    let make = |entry: &ArrayEntry, bytes: &[u8]| {
        mlx::state_from_bytes(&entry.dtype, &entry.shape, bytes).map_err(|e| e.to_string())
    };
    let arrays = read_arrays(file, head, make)?;
    let texts: HashMap<String, String> =
        head.description.texts.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    let mut caches = put_together(arrays, &texts)?;
    shape.check(&caches, &head.description)?;
    if shape.mutation != Mutation::LoadedReadAsStock {
        shape.kv.adopt(&mut caches);
    }
    Snapshot::take(caches).map_err(|e| e.to_string())
}

/// What states of a model look like.
#[derive(Debug, Clone)]
pub struct Shape {
    /// The state that each layer keeps.
    layers: Vec<CacheFacts>,
    /// The dtype of what is not packed.
    dtype: Dtype,
    kv: KvQuantization,
    /// A new sequence's caches.
    empty: Vec<LayerCache>,
    mutation: Mutation,
}

impl Shape {
    /// Of a model whose new sequences have the caches `empty` and activations of `dtype`.
    pub fn new(
        model: &MemoryModel,
        dtype: Dtype,
        empty: Vec<LayerCache>,
        mutation: Mutation,
    ) -> Self {
        Self { layers: model.facts.caches.clone(), dtype, kv: model.kv.clone(), empty, mutation }
    }

    /// Whether these can be the caches behind the tokens that `description` names.
    fn check(&self, caches: &[LayerCache], description: &Description) -> Result<(), String> {
        if caches.len() != self.empty.len() || self.layers.len() != self.empty.len() {
            return Err(format!("holds {} caches, not {}", caches.len(), self.empty.len()));
        }
        let tokens = description.tokens.len();
        for (i, ((cache, facts), empty)) in
            caches.iter().zip(&self.layers).zip(&self.empty).enumerate()
        {
            if !empty.is_like(cache) || !self.fits(i, cache, *facts, tokens) {
                return Err(format!("cache {i} is not one of this model"));
            }
        }
        let trimmable = caches.iter().all(LayerCache::is_trimmable);
        if trimmable != description.trimmable {
            return Err("is described as another kind of state".into());
        }
        Ok(())
    }

    fn fits(&self, layer: usize, cache: &LayerCache, facts: CacheFacts, tokens: usize) -> bool {
        match facts {
            CacheFacts::Growing(heads) | CacheFacts::Window(heads, _) => {
                cache.offset() == tokens && self.rows_fit(layer, cache, heads)
            }
            CacheFacts::Recurrent { narrow, wide } => {
                let [conv, delta] = cache.state()[..] else { return false };
                [(conv, narrow, self.dtype), (delta, wide, Dtype::Float32)].into_iter().all(
                    |(array, size, dtype)| {
                        array.size() as u64 == size
                            && array.dtype() == dtype
                            && array.ndim() > 1
                            && array.dim(0) == 1
                    },
                )
            }
        }
    }

    fn rows_fit(&self, layer: usize, cache: &LayerCache, heads: Heads) -> bool {
        let format = cache.format();
        let expected = self.kv.format(layer);
        let known = |format| expected.is_some_and(|own| own.packs_like(format));
        if !format.is_none_or(known) {
            return false;
        }
        cache.state().into_iter().all(|array| {
            let width = match format {
                None => heads.width,
                Some(format) if array.dtype() == Dtype::Uint32 => {
                    heads.width * u64::from(format.bits()) / 32
                }
                Some(format) => heads.width / format.group_size() as u64,
            };
            let dtype = array.dtype() == self.dtype || array.dtype() == Dtype::Uint32;
            array.ndim() == 4
                && array.dim(0) == 1
                && array.dim(1) as u64 == heads.count
                && array.dim(3) as u64 == width
                && dtype
        })
    }
}
