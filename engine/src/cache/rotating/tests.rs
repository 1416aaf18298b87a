//! Against recorded sequences of mlx-lm's own class, and against what a sliding window means.

use mlx_rs::{Array, Dtype, ops};
use proptest::prelude::*;
use serde_json::Value;

use super::RotatingKvCache;
use crate::{
    mlx,
    nn::{Mask, Rows},
};

/// Recorded by `oracle/python/cache_vectors.py`.
const RECORDED: &str = include_str!("../../../tests/data/rotating_cache.json");

/// Keys and values of `n` tokens at positions from `first` on: `[1, 1, n, 2]`, rows that tell
/// their position plus one.
fn tokens(first: usize, n: usize) -> (Array, Array) {
    let rows = |shift: usize| -> Array {
        let values: Vec<f32> = (0..n).flat_map(|i| [(first + i + shift) as f32; 2]).collect();
        Array::from_slice(&values, &[1, 1, n as i32, 2])
    };
    (rows(1), rows(1001))
}

/// The positions plus one that rows tell; zero for an empty one.
fn told(rows: &Rows) -> Vec<usize> {
    let values = mlx::to_f32(&rows.arrays()[0]).unwrap();
    values.chunks(2).map(|pair| pair[0] as usize).collect()
}

fn append(cache: &mut RotatingKvCache, n: usize) -> Vec<usize> {
    let (k, v) = tokens(cache.offset(), n);
    let (keys, values) = cache.update_and_fetch(&k, &v).unwrap();
    let rows = told(&keys);
    let expected: Vec<usize> = rows.iter().map(|r| r + 1000).collect();
    assert_eq!(told(&values), expected, "values follow keys");
    rows
}

/// A mask's rows, true where a key is seen.
fn seen(mask: &Array) -> Vec<Vec<bool>> {
    let flags = mlx::to_u32(mask).unwrap();
    flags.chunks(mask.dim(-1) as usize).map(|row| row.iter().map(|&f| f == 1).collect()).collect()
}

fn described(mask: &Mask) -> Value {
    match mask {
        Mask::None => Value::Null,
        Mask::Causal => "causal".into(),
        Mask::Array(array) | Mask::Padded { mask: array, .. } => seen(array)
            .iter()
            .map(|row| row.iter().map(|&f| if f { '1' } else { '0' }).collect::<String>())
            .collect::<Vec<_>>()
            .into(),
    }
}

/// `[[first, count], ..]` written out.
fn written_out(runs: &Value) -> Vec<usize> {
    let runs: Vec<(usize, usize)> = serde_json::from_value(runs.clone()).unwrap();
    runs.into_iter().flat_map(|(first, count)| first..first + count).collect()
}

#[test]
fn rows_masks_and_counters_equal_mlx_lms() {
    let cases: Vec<Value> = serde_json::from_str(RECORDED).unwrap();
    assert!(cases.len() > 20, "the recording is there");
    for (i, case) in cases.iter().enumerate() {
        let number = |key: &str| case[key].as_u64().map(|v| v as usize);
        let mut cache = RotatingKvCache::new(number("max_size").unwrap(), number("keep").unwrap());
        for (j, step) in case["steps"].as_array().unwrap().iter().enumerate() {
            let at = format!("case {i}, step {j}: {step}");
            let n = step["n"].as_i64().unwrap();
            if n < 0 {
                assert_eq!(cache.trim(-n as usize) as u64, step["trimmed"], "{at}");
            } else {
                let mask = cache.mask(n as usize, number("window")).unwrap();
                if step["mask"] != "-" {
                    assert_eq!(described(&mask), step["mask"], "{at}");
                }
                assert_eq!(append(&mut cache, n as usize), written_out(&step["rows"]), "{at}");
            }
            assert_eq!(cache.offset() as u64, step["offset"], "{at}");
            assert_eq!(cache.is_trimmable(), step["trimmable"], "{at}");
            let capacity = cache.state()[0].dim(-2);
            assert_eq!(i64::from(capacity), step["capacity"], "{at}");
        }
    }
}

#[test]
fn a_clone_lives_its_own_life() {
    let mut cache = RotatingKvCache::new(4, 0);
    append(&mut cache, 6);
    let mut copy = cache.clone();
    append(&mut cache, 1);
    assert_eq!(append(&mut copy, 2), [4, 5, 6, 7, 8]);
    assert_eq!(append(&mut cache, 1), [7, 8, 5, 6]);
}

#[test]
fn the_mistaken_order_is_temporal() {
    let mut cache = RotatingKvCache::new(4, 0).reordered();
    append(&mut cache, 6);
    assert_eq!(append(&mut cache, 1), [4, 5, 6, 7]);
    assert_eq!(append(&mut cache, 1), [5, 6, 7, 8]);
}

/// Which positions each of `n` queries sees among `rows`, when asked through `mask`.
fn visible(mask: &Mask, rows: &[usize], n: usize) -> Vec<Vec<usize>> {
    let of = |flags: &dyn Fn(usize) -> bool| -> Vec<usize> {
        let mut seen: Vec<usize> =
            rows.iter().enumerate().filter(|(i, _)| flags(*i)).map(|(_, &r)| r).collect();
        seen.sort_unstable();
        seen
    };
    match mask {
        Mask::None => vec![of(&|_| true); n],
        Mask::Causal => (0..n).map(|q| of(&|i| i <= rows.len() - n + q)).collect(),
        Mask::Array(array) | Mask::Padded { mask: array, .. } => {
            seen(array).iter().map(|row| of(&|i| row[i])).collect()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However the tokens arrive, every query sees exactly its window, and the rows lie as the
    /// ring puts them.
    #[test]
    fn every_query_sees_its_window(
        window in 2usize..9,
        sizes in prop::collection::vec(prop_oneof![3 => Just(1usize), 2 => 2usize..13], 1..12),
    ) {
        let mut cache = RotatingKvCache::new(window, 0);
        for n in sizes {
            let mask = cache.mask(n, Some(window)).unwrap();
            let rows = append(&mut cache, n);
            let end = cache.offset();
            for (q, seen) in visible(&mask, &rows, n).into_iter().enumerate() {
                let position = end - n + q;
                let first = (position + 1).saturating_sub(window);
                let expected: Vec<usize> = (first..=position).map(|p| p + 1).collect();
                prop_assert_eq!(seen, expected, "position {}", position);
            }
            let turn = rows.windows(2).position(|pair| pair[0] > pair[1]).map_or(0, |i| i + 1);
            let mut temporal = rows.clone();
            temporal.rotate_left(turn);
            prop_assert!(temporal.windows(2).all(|pair| pair[1] == pair[0] + 1), "{:?}", rows);
            prop_assert!(n == 1 || turn == 0, "several tokens leave temporal order: {:?}", rows);
        }
    }

    /// What is trimmed before the window is full might never have been there.
    #[test]
    fn trimming_undoes(first in 1usize..6, n in 1usize..5, back in 1usize..5, next in 1usize..7) {
        let (mut cache, mut short) = (RotatingKvCache::new(12, 0), RotatingKvCache::new(12, 0));
        append(&mut cache, first);
        append(&mut cache, n);
        prop_assume!(cache.is_trimmable());
        let trimmed = cache.trim(back);
        prop_assert_eq!(trimmed, back.min(first + n));
        let kept = first + n - trimmed;
        if kept > 0 {
            append(&mut short, kept);
        }
        prop_assert_eq!(append(&mut cache, next), append(&mut short, next));
    }
}

#[test]
fn other_dtypes_stay_what_they_are() {
    let (k, v) = tokens(0, 3);
    let half = |a: &Array| a.as_dtype(Dtype::Bfloat16).unwrap();
    let mut cache = RotatingKvCache::new(2, 0);
    for _ in 0..3 {
        let (keys, _) = cache.update_and_fetch(&half(&k), &half(&v)).unwrap();
        assert_eq!(keys.arrays()[0].dtype(), Dtype::Bfloat16);
        let one = ops::zeros_dtype(&[1, 1, 1, 2], Dtype::Bfloat16).unwrap();
        let (keys, _) = cache.update_and_fetch(&one, &one).unwrap();
        assert_eq!(keys.arrays()[0].dtype(), Dtype::Bfloat16);
    }
}
