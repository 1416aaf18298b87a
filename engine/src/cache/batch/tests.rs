//! Whatever joins, leaves and is appended, a row sees what it would see alone.

use mlx_rs::Array;
use proptest::prelude::*;

use crate::{
    cache::{ArraysCache, KvCache, LayerCache, RotatingKvCache, merge},
    mlx,
    nn::{KvFormat, Mask, Position, Rows},
};

const WINDOW: usize = 6;
/// Features of a key, all of one value: packing keeps it as the group's bias.
const WIDTH: usize = 32;

/// One step of a batch's life.
#[derive(Debug, Clone)]
enum Op {
    /// New sequences with so many tokens each join.
    Join(Vec<usize>),
    /// Every row gets up to so many tokens at once, ragged.
    Append(Vec<usize>),
    /// Every row gets one token.
    Step,
    /// The row at this place (modulo the rows) leaves and is compared with the one alone.
    Leave(usize),
    /// The last tokens are forgotten where that is possible.
    Trim(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        2 => prop::collection::vec(0..9usize, 1..4).prop_map(Op::Join),
        2 => prop::collection::vec(1..8usize, 8).prop_map(Op::Append),
        6 => Just(Op::Step),
        2 => (0..8usize).prop_map(Op::Leave),
        1 => (1..3usize).prop_map(Op::Trim),
    ];
    prop::collection::vec(op, 1..16)
}

/// A sequence alone, and what its tokens are called.
struct Alone {
    name: usize,
    tokens: usize,
    cache: LayerCache,
}

/// `[1, 1, n, WIDTH]`: tokens that tell their sequence and position.
fn tokens(name: usize, first: usize, n: usize) -> Array {
    let values: Vec<f32> =
        (0..n * WIDTH).map(|i| (name * 1000 + first + i / WIDTH + 1) as f32).collect();
    Array::from_slice(&values, &[1, 1, n as i32, WIDTH as i32])
}

fn told(rows: &Rows) -> Vec<usize> {
    let (array, width) = match rows {
        Rows::Plain(array) => (array, WIDTH),
        Rows::Packed([_, _, biases], _) => (biases, 1),
    };
    let values = mlx::to_f32(&array.contiguous().unwrap()).unwrap();
    values.chunks(width).map(|row| row[0] as usize).collect()
}

fn packed(mut cache: LayerCache) -> LayerCache {
    cache.quantize(KvFormat::new(4, WIDTH as u64).unwrap()).unwrap();
    cache
}

/// What each of `new` tokens of a cache of `rows` rows sees, unordered: `[row][token]`.
fn seen(cache: &mut LayerCache, keys: &Array, rows: usize, new: usize) -> Vec<Vec<Vec<usize>>> {
    let mask = cache.mask(new, None).unwrap();
    let (all, values) = cache.update_and_fetch(keys, keys).unwrap();
    assert_eq!(told(&all), told(&values));
    let n = all.len() as usize;
    let held = told(&all);
    let flags = match &mask {
        Mask::Array(mask) | Mask::Padded { mask, .. } => {
            Some(mlx::to_u32(&mask.contiguous().unwrap()).unwrap())
        }
        _ => None,
    };
    let visible = |row: usize, token: usize, at: usize| match (&mask, &flags) {
        (Mask::Array(mask) | Mask::Padded { mask, .. }, Some(flags)) => {
            let per_row = mask.ndim() == 4;
            flags[(if per_row { row * new } else { 0 } + token) * n + at] == 1
        }
        (Mask::Causal, _) => at + new <= n + token,
        _ => true,
    };
    let of = |row: usize, token: usize| {
        let mut seen: Vec<usize> =
            (0..n).filter(|&at| visible(row, token, at)).map(|at| held[row * n + at]).collect();
        seen.sort_unstable();
        seen
    };
    (0..rows).map(|row| (0..new).map(|token| of(row, token)).collect()).collect()
}

fn positions(cache: &LayerCache) -> Vec<usize> {
    match cache.position(0) {
        Position::Same(at) => vec![at as usize],
        Position::Rows(rows) => {
            mlx::to_f32(&rows).unwrap().into_iter().map(|at| at as usize).collect()
        }
    }
}

struct World {
    fresh: fn() -> LayerCache,
    names: usize,
    alone: Vec<Alone>,
    batch: Option<LayerCache>,
}

impl World {
    fn apply(&mut self, op: &Op) {
        match op {
            Op::Join(lengths) => self.join(lengths),
            Op::Append(lengths) if self.batch.is_some() => self.append(lengths),
            Op::Step if self.batch.is_some() => self.append(&vec![1; self.alone.len()]),
            Op::Leave(place) if self.batch.is_some() => self.leave(*place),
            Op::Trim(n) => self.trim(*n),
            _ => {}
        }
        if let Some(batch) = &self.batch {
            let expected: Vec<usize> = self.alone.iter().map(|a| a.tokens).collect();
            assert_eq!(positions(batch), expected);
        }
    }

    fn join(&mut self, lengths: &[usize]) {
        let mut joining = Vec::new();
        for &n in lengths {
            let name = self.names;
            self.names += 1;
            let mut cache = (self.fresh)();
            if n > 0 {
                let keys = tokens(name, 0, n);
                cache.update_and_fetch(&keys, &keys).unwrap();
            }
            joining.push(cache.clone());
            self.alone.push(Alone { name, tokens: n, cache });
        }
        let joining = merge(joining).unwrap();
        match &mut self.batch {
            Some(batch) => batch.extend(joining).unwrap(),
            None => self.batch = Some(joining),
        }
    }

    /// Appends `lengths[i]` tokens to row `i`, shorter rows padded on the right.
    fn append(&mut self, lengths: &[usize]) {
        let rows = self.alone.len();
        let lengths: Vec<usize> = (0..rows).map(|row| lengths[row % lengths.len()]).collect();
        let longest = lengths.iter().copied().max().unwrap();
        if longest > 1
            && let Some(LayerCache::BatchRotating(ring)) = &self.batch
            && ring.has_turned()
        {
            return;
        }
        let parts: Vec<Array> = self
            .alone
            .iter()
            .zip(&lengths)
            .flat_map(|(a, &n)| {
                // Padding that would be noticed.
                let padding = tokens(900, 0, longest - n);
                [tokens(a.name, a.tokens, n), padding]
            })
            .collect();
        let joined: Vec<Array> =
            parts.chunks(2).map(|pair| mlx_rs::ops::concatenate(pair, -2).unwrap()).collect();
        let keys = mlx_rs::ops::concatenate(&joined, 0).unwrap();
        let batch = self.batch.as_mut().unwrap();
        let ragged = lengths.iter().any(|&n| n < longest);
        if ragged {
            let lengths: Vec<i32> = lengths.iter().map(|&n| n as i32).collect();
            let padding: Vec<i32> = lengths.iter().map(|n| longest as i32 - n).collect();
            batch.prepare(&lengths, &padding);
        }
        let together = seen(batch, &keys, rows, longest);
        if ragged {
            batch.finalize().unwrap();
        }
        for (row, (a, &n)) in self.alone.iter_mut().zip(&lengths).enumerate() {
            let own = seen(&mut a.cache, &tokens(a.name, a.tokens, n), 1, n);
            assert_eq!(together[row][..n], own[0], "row {row}");
            a.tokens += n;
        }
    }

    fn leave(&mut self, place: usize) {
        let rows = self.alone.len();
        let row = place % rows;
        let batch = self.batch.as_mut().unwrap();
        let mut gone = batch.extract(row).unwrap();
        let keep: Vec<usize> = (0..rows).filter(|&r| r != row).collect();
        if keep.is_empty() {
            self.batch = None;
        } else {
            batch.filter(&keep).unwrap();
        }
        let mut a = self.alone.remove(row);
        assert_eq!(positions(&gone), [a.tokens]);
        for i in 0..WINDOW + 2 {
            let next = tokens(a.name, a.tokens + i, 1);
            assert_eq!(seen(&mut gone, &next, 1, 1), seen(&mut a.cache, &next, 1, 1));
        }
    }

    /// As the callers may: only what every layer and row has.
    fn trim(&mut self, n: usize) {
        let enough = self.alone.iter().all(|a| a.tokens >= n && a.cache.is_trimmable());
        let Some(batch) = &mut self.batch else { return };
        if !enough || !batch.is_trimmable() {
            return;
        }
        assert_eq!(crate::cache::trim(std::slice::from_mut(batch), n), n);
        for a in &mut self.alone {
            assert_eq!(crate::cache::trim(std::slice::from_mut(&mut a.cache), n), n);
            a.tokens -= n;
        }
    }
}

fn run(fresh: fn() -> LayerCache, ops: &[Op]) {
    let mut world = World { fresh, names: 0, alone: Vec::new(), batch: None };
    for op in ops {
        world.apply(op);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn growing_rows_see_what_they_see_alone(ops in ops()) {
        run(|| LayerCache::Kv(KvCache::default()), &ops);
    }

    #[test]
    fn windowed_rows_see_what_they_see_alone(ops in ops()) {
        run(|| LayerCache::Rotating(RotatingKvCache::new(WINDOW, 0)), &ops);
    }

    #[test]
    fn packed_rows_see_what_they_see_alone(ops in ops()) {
        run(|| packed(LayerCache::Kv(KvCache::default())), &ops);
    }

    #[test]
    fn packed_windowed_rows_see_what_they_see_alone(ops in ops()) {
        run(|| packed(LayerCache::Rotating(RotatingKvCache::new(WINDOW, 0))), &ops);
    }
}

#[test]
fn recurrent_rows_join_and_leave() {
    let row = |value: f32| ArraysCache {
        conv: Some(Array::from_slice(&[value; 4], &[1, 2, 2])),
        delta: Some(Array::from_slice(&[value; 2], &[1, 1, 2])),
        ..ArraysCache::default()
    };
    let mut batch =
        merge(vec![LayerCache::Arrays(row(1.0)), LayerCache::Arrays(row(2.0))]).unwrap();
    batch.extend(merge(vec![LayerCache::Arrays(ArraysCache::default())]).unwrap()).unwrap();
    batch.extend(merge(vec![LayerCache::Arrays(row(3.0))]).unwrap()).unwrap();
    batch.filter(&[3, 2, 0]).unwrap();
    let firsts: Vec<f32> = (0..3)
        .map(|i| {
            let LayerCache::Arrays(row) = batch.extract(i).unwrap() else { panic!("{i}") };
            mlx::to_f32(&row.conv.unwrap()).unwrap()[0]
        })
        .collect();
    assert_eq!(firsts, [3.0, 0.0, 1.0]);
}

#[test]
fn lengths_tell_padding_from_tokens() {
    let empty = || LayerCache::Arrays(ArraysCache::default());
    let mut batch = merge(vec![empty(), empty()]).unwrap();
    batch.prepare(&[3, 1], &[0, 2]);
    let Mask::Array(mask) = batch.mask(2, None).unwrap() else { panic!("a mask is needed") };
    assert_eq!(mlx::to_u32(&mask).unwrap(), [1, 1, 1, 0]);
    let LayerCache::Arrays(cache) = &mut batch else { panic!() };
    assert_eq!(cache.row_ends(2), Some(vec![2, 1]));
    cache.advance(2);
    assert_eq!(cache.row_ends(2), Some(vec![1, 0]));
    batch.finalize().unwrap();
    assert!(matches!(batch.mask(2, None).unwrap(), Mask::None));
}

#[test]
fn batches_of_one_layer_only() {
    let kv = || LayerCache::Kv(KvCache::default());
    assert!(merge(vec![kv(), LayerCache::Arrays(ArraysCache::default())]).is_err());
    assert!(kv().filter(&[0]).is_err());
    assert!(merge(vec![kv()]).unwrap().extend(kv()).is_err());
    assert!(merge(vec![kv(), packed(kv())]).is_err());
    assert!(merge(vec![kv()]).unwrap().extend(merge(vec![packed(kv())]).unwrap()).is_err());
    let rings = [4, 5].map(|n| LayerCache::Rotating(RotatingKvCache::new(n, 0)));
    assert!(merge(rings.into()).is_err());
}
