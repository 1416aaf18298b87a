//! Caches in files, as mlx-lm's `save_prompt_cache` writes and `load_prompt_cache` reads them
//! (`mlx_lm/models/cache.py`): safetensors of all state, numbers as 0-d arrays, classes by name.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use mlx_rs::{Array, Dtype};

use super::{ArraysCache, KvCache, LayerCache, RotatingKvCache};
use crate::{
    Error, Result, limits,
    nn::{KvFormat, Rows},
    weights::read_header,
};

/// One value of a cache's state.
pub(super) enum Item<'a> {
    Array(&'a Array),
    Number(i32),
    None,
}

/// The class and the state, item by item, that mlx-lm knows a cache by.
pub(super) struct Parts<'a> {
    pub(super) class: &'static str,
    pub(super) items: Vec<(&'static str, Item<'a>)>,
}

fn item(array: Option<&Array>) -> Item<'_> {
    array.map_or(Item::None, Item::Array)
}

/// Both buffers, or two items without a value.
pub(super) fn buffer_items(buffers: Option<&(Rows, Rows)>) -> Vec<(&'static str, Item<'_>)> {
    let Some((keys, values)) = buffers else { return vec![("0", Item::None), ("1", Item::None)] };
    let named = |rows: &'_ Rows, names: PartNames| match rows {
        Rows::Plain(_) => vec![names.0],
        Rows::Packed(..) => names.1.to_vec(),
    };
    let names = named(keys, KEY_NAMES).into_iter().chain(named(values, VALUE_NAMES));
    names.zip(keys.arrays().iter().chain(values.arrays()).map(Item::Array)).collect()
}

/// The name of plain rows, and those of packed ones' arrays.
type PartNames = (&'static str, [&'static str; 3]);

const KEY_NAMES: PartNames = ("0", ["0.0", "0.1", "0.2"]);
const VALUE_NAMES: PartNames = ("1", ["1.0", "1.1", "1.2"]);

/// The arrays of caches, by name, and what mlx-lm notes beside them.
pub(crate) struct Apart {
    pub(crate) arrays: Vec<(String, Array)>,
    pub(crate) texts: HashMap<String, String>,
}

/// Takes caches apart as mlx-lm's `save_prompt_cache` does; `None` where one is a batch.
pub(crate) fn take_apart(caches: &[LayerCache]) -> Option<Apart> {
    let mut arrays: Vec<(String, Array)> = Vec::new();
    // mlx-lm's list of what is not an array opens with an empty entry.
    let mut texts = HashMap::from([("2.0".to_owned(), String::new())]);
    let mut marked = 0;
    for (i, cache) in caches.iter().enumerate() {
        let Parts { class, items } = parts(cache)?;
        texts.insert(format!("1.{i}"), class.into());
        for (name, item) in items {
            let name = format!("{i}.{name}");
            let (array, mark) = match item {
                Item::Array(array) => (array.clone(), None),
                Item::Number(n) => (Array::from_int(n), Some("scalar")),
                Item::None => (Array::from_slice::<f32>(&[], &[0]), Some("none")),
            };
            if let Some(mark) = mark {
                marked += 1;
                texts.insert(format!("2.{marked}.0"), name.clone());
                texts.insert(format!("2.{marked}.1"), mark.into());
            }
            arrays.push((name, array));
        }
    }
    Some(Apart { arrays, texts })
}

/// Writes `caches` and, beside them, `metadata`, to the safetensors file `path`.
///
/// # Errors
/// [`Error::File`] when the file cannot be written or a cache is a batch; nothing is left behind
/// then.
pub fn save(path: &Path, caches: &[LayerCache], metadata: &BTreeMap<String, String>) -> Result<()> {
    let Apart { arrays, mut texts } = take_apart(caches)
        .ok_or_else(|| Error::file(path, "a batch is not saved; extract its rows first"))?;
    texts.extend(metadata.iter().map(|(key, value)| (format!("0.{key}"), value.clone())));
    // MLX insists on the extension.
    let staged = path.with_extension(format!("{}.tmp.safetensors", std::process::id()));
    let written =
        Array::save_safetensors(arrays.iter().map(|(n, a)| (n.as_str(), a)), &texts, &staged)
            .map_err(|e| Error::file(path, e))
            .and_then(|()| fs::rename(&staged, path).map_err(|e| Error::file(path, e)));
    if written.is_err() {
        // The first error matters; a leftover file is only untidy.
        let _ = fs::remove_file(&staged);
    }
    written
}

/// `None` for a batch.
fn parts(cache: &LayerCache) -> Option<Parts<'_>> {
    Some(match cache {
        LayerCache::Kv(c) => c.parts(),
        LayerCache::Rotating(c) => c.parts(),
        LayerCache::Arrays(c) => {
            let state = [("0.0", item(c.conv.as_ref())), ("0.1", item(c.delta.as_ref()))];
            let padding = [("1", Item::None), ("2", Item::None)];
            Parts { class: "ArraysCache", items: state.into_iter().chain(padding).collect() }
        }
        LayerCache::BatchKv(_) | LayerCache::BatchRotating(_) => return None,
    })
}

/// Reads what [`save`] or mlx-lm wrote: the caches, and the metadata beside them.
///
/// Arrays stay unread until used.
///
/// # Errors
/// [`Error::File`] when the file is no safetensors file, holds a kind of cache that the engine
/// lacks, or state that no such cache can have.
pub fn load(path: &Path) -> Result<(Vec<LayerCache>, BTreeMap<String, String>)> {
    let fail = |reason: String| Error::file(path, reason);
    read_header(path)?;
    let (arrays, texts) =
        Array::load_safetensors_with_metadata(path).map_err(|e| Error::file(path, e))?;
    let caches = put_together(arrays, &texts).map_err(fail)?;
    let metadata = texts
        .iter()
        .filter_map(|(key, value)| Some((key.strip_prefix("0.")?.to_owned(), value.clone())));
    Ok((caches, metadata.collect()))
}

/// Caches of what [`take_apart`] or mlx-lm made of them.
///
/// # Errors
/// What is no kind of cache that the engine has, or state that no such cache can have.
pub(crate) fn put_together(
    arrays: HashMap<String, Array>,
    texts: &HashMap<String, String>,
) -> Result<Vec<LayerCache>, String> {
    let mut saved = Saved { none: absent(texts), arrays };
    let mut caches = Vec::new();
    while let Some(class) = texts.get(&format!("1.{}", caches.len())) {
        let i = caches.len();
        if i as u64 >= limits::MAX_LAYERS {
            return Err(format!("holds more than {} caches", limits::MAX_LAYERS));
        }
        let cache = match class.as_str() {
            "KVCache" => saved.kv(i, None).map(LayerCache::Kv),
            "QuantizedKVCache" => {
                saved.format(i, ["3", "4"]).and_then(|f| saved.kv(i, Some(f))).map(LayerCache::Kv)
            }
            "RotatingKVCache" => saved.rotating(i, None).map(LayerCache::Rotating),
            "RotatingQuantizedKVCache" => saved
                .format(i, ["6", "7"])
                .and_then(|f| saved.rotating(i, Some(f)))
                .map(LayerCache::Rotating),
            "ArraysCache" => saved.recurrent(i).map(LayerCache::Arrays),
            other => Err(format!("is a {other:.40}, which this engine does not have")),
        };
        caches.push(cache.map_err(|reason| format!("cache {i} {reason}"))?);
    }
    if caches.is_empty() { Err("holds no caches".into()) } else { Ok(caches) }
}

/// Names of the items that hold nothing.
fn absent(texts: &HashMap<String, String>) -> Vec<String> {
    let names = texts.iter().filter(|(_, mark)| *mark == "none").filter_map(|(key, _)| {
        let entry = key.strip_prefix("2.")?.strip_suffix(".1")?;
        texts.get(&format!("2.{entry}.0")).cloned()
    });
    names.collect()
}

/// A file's arrays, taken out cache by cache. Errors are predicates without a subject.
struct Saved {
    arrays: HashMap<String, Array>,
    none: Vec<String>,
}

impl Saved {
    fn kv(&mut self, i: usize, format: Option<KvFormat>) -> Result<KvCache, String> {
        let buffers = self.buffers(i, format)?;
        let offset = self.number(i, "2")?;
        let rows = rows(buffers.as_ref());
        if offset > rows {
            return Err(format!("claims {offset} tokens in {rows} rows"));
        }
        Ok(KvCache::from_parts(buffers, offset, format))
    }

    fn rotating(&mut self, i: usize, format: Option<KvFormat>) -> Result<RotatingKvCache, String> {
        let buffers = self.buffers(i, format)?;
        let [offset, keep, max_size, idx] = [
            self.number(i, "2")?,
            self.number(i, "3")?,
            self.number(i, "4")?,
            self.number(i, "5")?,
        ];
        let rows = rows(buffers.as_ref());
        let unfilled = rows < max_size && offset > rows;
        if max_size < 1 || keep >= max_size || idx > rows || unfilled {
            return Err(format!(
                "has impossible counters: {offset} tokens, {keep} of {max_size} kept, row {idx} of \
                 {rows}"
            ));
        }
        Ok(RotatingKvCache::from_parts(buffers, [offset, keep, max_size, idx], format))
    }

    fn recurrent(&mut self, i: usize) -> Result<ArraysCache, String> {
        if self.optional(i, "1")?.is_some() || self.optional(i, "2")?.is_some() {
            return Err("holds a padded batch, which this engine does not continue".into());
        }
        let (conv, delta) = (self.optional(i, "0.0")?, self.optional(i, "0.1")?);
        Ok(ArraysCache { conv, delta, ..ArraysCache::default() })
    }

    /// The group size and the bits at `names`.
    fn format(&mut self, i: usize, names: [&str; 2]) -> Result<KvFormat, String> {
        let [group_size, bits] = [self.number(i, names[0])?, self.number(i, names[1])?];
        KvFormat::new(bits as u64, group_size as u64)
            .map_err(|_| format!("has {bits} bits in groups of {group_size}"))
    }

    /// Keys and values, or neither.
    fn buffers(
        &mut self,
        i: usize,
        format: Option<KvFormat>,
    ) -> Result<Option<(Rows, Rows)>, String> {
        let Some(format) = format.filter(|_| !self.none.contains(&format!("{i}.0"))) else {
            let plain = self.plain(i)?;
            return Ok(plain.map(|(k, v)| (Rows::Plain(k), Rows::Plain(v))));
        };
        let keys = self.packed(i, KEY_NAMES.1, format)?;
        let values = self.packed(i, VALUE_NAMES.1, format)?;
        let alike = keys.arrays()[0].shape()[..3] == values.arrays()[0].shape()[..3];
        if !alike || keys.arrays()[1].dtype() != values.arrays()[1].dtype() {
            return Err("has keys and values that do not belong together".into());
        }
        Ok(Some((keys, values)))
    }

    /// Packed rows: weights, scales and biases that fit `format` and each other.
    fn packed(&mut self, i: usize, names: [&str; 3], format: KvFormat) -> Result<Rows, String> {
        let [w, s, b] = [self.take(i, names[0])?, self.take(i, names[1])?, self.take(i, names[2])?];
        let packed = w.ndim() == 4 && s.ndim() == 4 && w.size() > 0 && w.dtype() == Dtype::Uint32;
        let alike = packed && w.shape()[..3] == s.shape()[..3] && s.shape() == b.shape();
        let fits = alike
            && w.dim(-1) * 32 == s.dim(-1) * format.group_size() as i32 * format.bits() as i32;
        if !fits || !is_float(&s) || s.dtype() != b.dtype() {
            return Err(format!(
                "has weights {:?}, scales {:?} and biases {:?}",
                w.shape(),
                s.shape(),
                b.shape()
            ));
        }
        Ok(Rows::Packed([w, s, b], format))
    }

    /// Keys and values: both `[B, KV, rows, D]` of one dtype, or neither.
    fn plain(&mut self, i: usize) -> Result<Option<(Array, Array)>, String> {
        let (keys, values) = match (self.optional(i, "0")?, self.optional(i, "1")?) {
            (Some(keys), Some(values)) => (keys, values),
            (None, None) => return Ok(None),
            _ => return Err("has keys or values, not both".into()),
        };
        let alike =
            keys.ndim() == 4 && values.ndim() == 4 && keys.shape()[..3] == values.shape()[..3];
        if !is_float(&keys) || !alike || keys.dtype() != values.dtype() || keys.size() == 0 {
            return Err(format!(
                "has keys {:?} of {:?} and values {:?} of {:?}",
                keys.shape(),
                keys.dtype(),
                values.shape(),
                values.dtype()
            ));
        }
        Ok(Some((keys, values)))
    }

    fn number(&mut self, i: usize, name: &str) -> Result<i32, String> {
        let array = self.take(i, name)?;
        let whole = matches!(array.dtype(), Dtype::Int32 | Dtype::Int64 | Dtype::Uint32);
        if !whole || array.size() != 1 {
            return Err(format!("has no number at {name}"));
        }
        let value = array.as_dtype(Dtype::Int64).and_then(|a| a.reshape(&[1]));
        let value = value.map_err(|e| e.what().to_owned())?.to_vec_exact::<i64>();
        let value = value.map_err(|e| e.to_string())?[0];
        let fits = i32::try_from(value).ok().filter(|v| *v >= 0);
        fits.ok_or_else(|| format!("has {value} at {name}"))
    }

    fn optional(&mut self, i: usize, name: &str) -> Result<Option<Array>, String> {
        let array = self.take(i, name)?;
        let absent = self.none.contains(&format!("{i}.{name}"));
        Ok((!absent).then_some(array))
    }

    fn take(&mut self, i: usize, name: &str) -> Result<Array, String> {
        self.arrays.remove(&format!("{i}.{name}")).ok_or_else(|| format!("lacks its state {name}"))
    }
}

fn is_float(array: &Array) -> bool {
    matches!(array.dtype(), Dtype::Bfloat16 | Dtype::Float16 | Dtype::Float32)
}

fn rows(buffers: Option<&(Rows, Rows)>) -> i32 {
    buffers.map_or(0, |(keys, _)| keys.len())
}

#[cfg(test)]
mod tests;
