//! Round trips, a file that mlx-lm wrote, and files that nobody should have written.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use mlx_rs::{Array, Dtype};
use rstest::rstest;

use super::{load, save};
use crate::{
    cache::{ArraysCache, KvCache, LayerCache, RotatingKvCache, trim},
    mlx,
    nn::KvFormat,
};

/// Keys and values of `n` tokens from position `first` on: `[1, 2, n, 4]`, their numbers in order.
fn tokens(first: usize, n: usize) -> (Array, Array) {
    let rows = |shift: f32| {
        let values: Vec<f32> = (0..2 * n * 4)
            .map(|i| shift + ((first + i / 4 % n) * 4 + i % 4) as f32 + (i / (4 * n)) as f32 * 1e4)
            .collect();
        Array::from_slice(&values, &[1, 2, n as i32, 4]).as_dtype(Dtype::Float16).unwrap()
    };
    (rows(0.0), rows(0.5))
}

fn append(cache: &mut LayerCache, n: usize) -> Vec<u8> {
    let (k, v) = tokens(cache.offset(), n);
    let (keys, values) = cache.update_and_fetch(&k, &v).unwrap();
    let bytes = |a| mlx::to_named_tensor("", a).unwrap().data;
    keys.arrays().iter().chain(values.arrays()).flat_map(bytes).collect()
}

/// A growing cache, one that has wrapped around, one that has not, an empty one.
fn caches() -> Vec<LayerCache> {
    let mut caches = vec![
        LayerCache::Kv(KvCache::default()),
        LayerCache::Rotating(RotatingKvCache::new(4, 0)),
        LayerCache::Rotating(RotatingKvCache::new(300, 0)),
    ];
    for cache in &mut caches {
        for n in [3, 1, 2, 1, 1] {
            append(cache, n);
        }
    }
    caches.push(LayerCache::Kv(KvCache::default()));
    caches
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.safetensors");
    (folder, path)
}

#[test]
fn what_was_saved_goes_on_as_if_nothing_had_happened() {
    let (folder, path) = file();
    let metadata = BTreeMap::from([("model".to_owned(), "a, b".to_owned())]);
    let mut original = caches();
    save(&path, &original, &metadata).unwrap();
    let (mut copy, read) = load(&path).unwrap();
    assert_eq!(read, metadata);
    assert_eq!(copy.len(), original.len());
    for (a, b) in original.iter_mut().zip(&mut copy) {
        assert_eq!(a.offset(), b.offset());
        assert_eq!(a.nbytes(), b.nbytes());
        for n in [1, 2, 1] {
            assert_eq!(append(a, n), append(b, n));
        }
    }
    let files = folder.path().read_dir().unwrap().count();
    assert_eq!(files, 1, "no temporary file is left");
}

#[test]
fn recurrent_state_is_kept() {
    let (_folder, path) = file();
    let mut kv = LayerCache::Kv(KvCache::default());
    append(&mut kv, 5);
    let delta = Array::from_slice(&[1.5f32, -2.0], &[1, 1, 1, 2]);
    let arrays = ArraysCache { delta: Some(delta), ..ArraysCache::default() };
    save(&path, &[LayerCache::Arrays(arrays), kv], &BTreeMap::new()).unwrap();
    let (copy, _) = load(&path).unwrap();
    assert_eq!(copy[1].offset(), 5);
    let LayerCache::Arrays(arrays) = &copy[0] else { panic!("another kind: {copy:?}") };
    assert!(arrays.conv.is_none());
    assert_eq!(mlx::to_f32(arrays.delta.as_ref().unwrap()).unwrap(), [1.5, -2.0]);
}

/// Written by mlx-lm: `oracle/python/cache_vectors.py --file`.
#[test]
fn mlx_lms_own_file_is_understood() {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/cache.safetensors");
    let (mut recorded, metadata) = load(&recorded).unwrap();
    assert_eq!(metadata, BTreeMap::from([("model".to_owned(), "tiny".to_owned())]));
    let mut own = caches();
    assert_eq!(recorded.len(), own.len());
    for (a, b) in recorded.iter_mut().zip(&mut own) {
        assert_eq!(a.offset(), b.offset());
        for n in [1, 3, 1] {
            assert_eq!(append(a, n), append(b, n));
        }
    }
}

#[test]
fn trimming_takes_every_layer_or_none() {
    let mut caches = caches();
    assert_eq!(trim(&mut caches, 2), 0, "one window is full");
    assert!(caches.iter().take(3).all(|c| c.offset() == 8));
    caches.remove(1);
    assert_eq!(trim(&mut caches[..2], 3), 3);
    assert_eq!(trim(&mut caches[..2], 9), 5);
    assert_eq!(caches[0].offset(), 0);
}

type Arrays = HashMap<String, Array>;
type Texts = HashMap<String, String>;
type Change = Box<dyn Fn(&mut Arrays, &mut Texts)>;

fn edit(change: impl Fn(&mut Arrays, &mut Texts) + 'static) -> Change {
    Box::new(change)
}

#[rstest]
#[case::no_caches(edit(|_, t| t.retain(|k, _| !k.starts_with("1."))), "holds no caches")]
#[case::other_kind(edit(|_, t| { t.insert("1.1".into(), "ChunkedKVCache".into()); }), "cache 1 is a ChunkedKVCache")]
#[case::missing(edit(|a, _| { a.remove("1.5"); }), "cache 1 lacks its state 5")]
#[case::too_long(edit(|a, _| { a.insert("0.2".into(), Array::from_int(257)); }), "claims 257 tokens in 256 rows")]
#[case::negative(edit(|a, _| { a.insert("0.2".into(), Array::from_int(-1)); }), "cache 0 has -1 at 2")]
#[case::not_a_number(edit(|a, _| { a.insert("0.2".into(), Array::from_f32(1.0)); }), "has no number at 2")]
#[case::row(edit(|a, _| { a.insert("1.5".into(), Array::from_int(9)); }), "impossible counters")]
#[case::window(edit(|a, _| { a.insert("1.4".into(), Array::from_int(0)); }), "impossible counters")]
#[case::kept(edit(|a, _| { a.insert("1.3".into(), Array::from_int(4)); }), "impossible counters")]
#[case::unfilled(edit(|a, _| { a.insert("2.2".into(), Array::from_int(280)); }), "impossible counters")]
#[case::flat_keys(edit(|a, _| { a.insert("0.0".into(), Array::from_int(1)); }), "cache 0 has keys []")]
#[case::one_sided(edit(|_, t| { t.insert("2.1.0".into(), "0.0".into()); t.insert("2.1.1".into(), "none".into()); }), "keys or values, not both")]
#[case::other_rows(edit(|a, _| { let (k, _) = tokens(0, 2); a.insert("0.0".into(), k); }), "cache 0 has keys [1, 2, 2, 4]")]
fn impossible_files_are_refused(#[case] change: Change, #[case] says: &str) {
    let (_folder, path) = file();
    save(&path, &caches(), &BTreeMap::new()).unwrap();
    let (mut arrays, mut texts) = Array::load_safetensors_with_metadata(&path).unwrap();
    mlx_rs::transforms::eval(arrays.values()).unwrap();
    change(&mut arrays, &mut texts);
    let changed = path.with_file_name("changed.safetensors");
    Array::save_safetensors(&arrays, &texts, &changed).unwrap();
    let error = load(&changed).unwrap_err().to_string();
    assert!(error.contains(says), "{error}\nshould contain: {says}");
}

#[test]
fn other_files_are_refused() {
    let (_folder, path) = file();
    assert!(load(&path).unwrap_err().to_string().contains("cache.safetensors"));
    std::fs::write(&path, b"not a safetensors file").unwrap();
    assert!(load(&path).is_err());
    assert!(save(Path::new("/nowhere/cache.safetensors"), &caches(), &BTreeMap::new()).is_err());
}

/// Appends `n` tokens of width 64, returns what attention would get.
fn append_wide(cache: &mut LayerCache, n: usize) -> Vec<u8> {
    let first = cache.offset();
    let values: Vec<f32> =
        (0..2 * n * 64).map(|i| ((first * 128 + i) as f32 * 0.37).sin()).collect();
    let rows = Array::from_slice(&values, &[1, 2, n as i32, 64]).as_dtype(Dtype::Bfloat16).unwrap();
    let (keys, values) = cache.update_and_fetch(&rows, &rows).unwrap();
    let bytes = |a| mlx::to_named_tensor("", a).unwrap().data;
    keys.arrays().iter().chain(values.arrays()).flat_map(bytes).collect()
}

/// Bytes of a row of 64 values for two heads, keys and values.
fn packed_row_bytes(format: KvFormat) -> usize {
    let weights = 64 * format.bits() as usize / 8;
    let scales_and_biases = 64 / format.group_size() * 2 * 2;
    2 * 2 * (weights + scales_and_biases)
}

#[rstest]
#[case::growing(LayerCache::Kv(KvCache::default()), 256)]
#[case::ring(LayerCache::Rotating(RotatingKvCache::new(8, 0)), 8)]
#[case::young_ring(LayerCache::Rotating(RotatingKvCache::new(300, 0)), 265)]
fn packed_caches_are_saved_branched_and_go_on(
    #[case] cache: LayerCache,
    #[case] rows: usize,
    #[values((4, 32), (8, 64), (3, 32), (6, 64))] (bits, group): (u64, u64),
) {
    let (_folder, path) = file();
    let format = KvFormat::new(bits, group).unwrap();
    let mut original = cache;
    append_wide(&mut original, 5);
    original.quantize(format).unwrap();
    for n in [1, 3, 1] {
        append_wide(&mut original, n);
    }
    if !matches!(original, LayerCache::Kv(_)) {
        // A chunk leaves no room behind itself; the next single token makes some.
        append_wide(&mut original, 1);
    }
    save(&path, std::slice::from_ref(&original), &BTreeMap::new()).unwrap();
    let (mut copies, _) = load(&path).unwrap();
    let mut branch = original.clone();
    let mut copy = copies.pop().unwrap();
    assert_eq!(copy.format(), Some(format));
    assert_eq!(original.nbytes(), rows * packed_row_bytes(format));
    assert_eq!(copy.nbytes(), original.nbytes());
    for n in [1, 4, 1] {
        let expected = append_wide(&mut original, n);
        assert_eq!(append_wide(&mut branch, n), expected);
        assert_eq!(append_wide(&mut copy, n), expected);
    }
}

#[test]
fn a_trimmed_packed_cache_goes_on_as_if_it_had_not_gone_further() {
    let mut short = LayerCache::Kv(KvCache::default());
    append_wide(&mut short, 7);
    short.quantize(KvFormat::new(4, 64).unwrap()).unwrap();
    let mut long = short.clone();
    append_wide(&mut long, 9);
    assert_eq!(trim(std::slice::from_mut(&mut long), 9), 9);
    assert_eq!(append_wide(&mut long, 2), append_wide(&mut short, 2));
}
