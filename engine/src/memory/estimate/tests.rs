use rstest::rstest;

use super::*;
use crate::{
    kv::KvLayers,
    memory::{Cost, Heads, Phase, WorkFacts},
    nn::{KvAttention, KvFormat},
};

const MIB: u64 = 1 << 20;

/// Two heads of 64: 512 bytes of plain keys and values a token.
const KEYS: Heads = Heads { count: 2, width: 64 };
const TOKEN: u64 = 512;
const GROWING: CacheFacts = CacheFacts::Growing(KEYS);
const WINDOW: CacheFacts = CacheFacts::Window(KEYS, 512);
const RECURRENT: CacheFacts = CacheFacts::Recurrent { narrow: 300, wide: 1000 };
/// Without mask and scores, so that caches can be told from the rest.
const WORK: Phase = Phase { half: 100, single: 50, wide: 0, heads: 0, window: None };

fn model(caches: &[CacheFacts], kv: KvQuantization) -> MemoryModel {
    let work = WorkFacts { phases: vec![WORK], throughout: 0, vocab: 0 };
    let facts = MemoryFacts { caches: caches.to_vec(), work };
    MemoryModel { facts, weights: 0, adapters: 0, dtype: Dtype::Bf16, kv }
}

fn packed(bits: u64, start: usize) -> KvQuantization {
    let layers = KvLayers::All(KvFormat::new(bits, 64).expect("a format"));
    KvQuantization { layers, start, attention: KvAttention::Stock }
}

const fn demand(prompt: u64, max_tokens: u64, step: u64) -> Demand {
    Demand { prompt, max_tokens, step }
}

/// What a request holds at its end, by hand.
#[rstest]
// 99 and 1 and 20 tokens: one step of rows.
#[case::short(&[GROWING; 2], packed(8, usize::MAX), demand(100, 20, 2048), 2 * 256 * TOKEN)]
// 512 and 487 leave 1024 rows, the 1025th token makes it 1280.
#[case::chunks(&[GROWING; 2], packed(8, usize::MAX), demand(1000, 40, 512), 2 * 1280 * TOKEN)]
// 200 rows in one step; 156 more lie in two behind them.
#[case::odd_chunks(&[GROWING], packed(8, usize::MAX), demand(401, 1, 200), (200 + 256) * TOKEN)]
#[case::window(&[WINDOW], packed(8, usize::MAX), demand(3000, 40, 1024), 512 * TOKEN)]
#[case::inside_the_window(&[WINDOW], packed(8, usize::MAX), demand(100, 40, 1024), 256 * TOKEN)]
#[case::recurrent(&[RECURRENT], packed(8, 0), demand(3000, 40, 1024), 300 * 2 + 1000 * 4)]
// Per head and token: 64 bytes and a scale and a bias of two bytes; keys and values, two heads.
#[case::eight_bits(&[GROWING], packed(8, 0), demand(1000, 1, 512), 1024 * 4 * (64 + 4))]
#[case::four_bits(&[GROWING], packed(4, 0), demand(1000, 1, 512), 1024 * 4 * (32 + 4))]
#[case::later(&[GROWING], packed(4, 600), demand(1000, 1, 512), 1024 * 4 * (32 + 4))]
#[case::not_yet(&[GROWING], packed(4, 5000), demand(1000, 1, 512), 1024 * TOKEN)]
fn caches_at_the_end(
    #[case] caches: &[CacheFacts],
    #[case] kv: KvQuantization,
    #[case] demand: Demand,
    #[case] bytes: u64,
) {
    assert_eq!(model(caches, kv).cache_after(demand), bytes);
}

#[test]
fn a_ring_holds_window_and_chunk_while_a_prompt_is_read() {
    let model = model(&[WINDOW], KvQuantization::default());
    let estimate = model.estimate(demand(4097, 1, 2048));
    assert_eq!(estimate.cache, (512 - 1 + 2048) * TOKEN);
    assert_eq!(model.cache_after(demand(4097, 1, 2048)), 512 * TOKEN);
}

#[test]
fn the_first_call_is_plain_and_packed_behind_it() {
    let eight = model(&[GROWING; 3], packed(8, 0));
    let plain = 3 * 2048 * TOKEN;
    assert_eq!(eight.estimate(demand(2049, 1, 2048)).cache, plain);
    // Later chunks are packed on their way in.
    let packed = eight.estimate(demand(8 * 2048 + 1, 1, 2048));
    assert_eq!(packed.cache, 3 * (8 * 2048 + 256) * 4 * (64 + 4));
    // With a late start everything up to it is plain.
    let late = model(&[GROWING; 3], self::packed(8, 8192));
    assert_eq!(late.estimate(demand(8193, 1, 2048)).cache, 4 * plain);
}

#[test]
fn the_layer_that_grows_is_there_twice() {
    let model = model(&[GROWING; 3], KvQuantization::default());
    let once = model.estimate(demand(2049, 1, 2048));
    let twice = model.estimate(demand(4097, 1, 2048));
    assert_eq!(twice.work - once.work, 2048 * TOKEN);
}

#[rstest]
#[case::all_keys(None, 8192)]
#[case::a_window(Some(512), 512 + 2048)]
fn scores_are_counted_in_full(#[case] window: Option<u64>, #[case] keys: u64) {
    let mut model = model(&[RECURRENT], KvQuantization::default());
    let without = model.estimate(demand(8193, 1, 2048)).work;
    model.facts.work.phases[0] = Phase { heads: 8, window, ..WORK };
    let with = model.estimate(demand(8193, 1, 2048)).work;
    // A score per head in bf16, and a byte of mask.
    assert_eq!(with - without, 2048 * keys * (8 * 2 + 1));
}

#[test]
fn what_is_held_and_a_turn_make_the_peak() {
    let model = model(&[GROWING, WINDOW, RECURRENT], packed(4, 300));
    for prompt in [1, 2, 300, 301, 5000] {
        let estimate = model.estimate(demand(prompt, 700, 512));
        let cost = Cost::from(estimate);
        assert!(cost.held + cost.turn >= estimate.peak(), "{prompt}: {estimate:?}");
    }
}

#[test]
fn more_never_takes_less() {
    let plain = KvQuantization::default;
    let models = [model(&[GROWING; 2], plain()), model(&[WINDOW, GROWING], plain())];
    for model in models {
        let peaks = (1..4000).step_by(37).map(|n| model.estimate(demand(n, 1, 512)).peak());
        assert!(peaks.collect::<Vec<_>>().is_sorted());
        let peaks = (1..4000).step_by(37).map(|n| model.estimate(demand(900, n, 512)).peak());
        assert!(peaks.collect::<Vec<_>>().is_sorted());
        let shared = (1..4000).step_by(37).map(|n| model.estimate(demand(n, 1, 512)).shared);
        assert!(shared.collect::<Vec<_>>().is_sorted());
    }
}

#[test]
fn the_most_that_fits_fits_and_one_more_does_not() {
    let model = model(&[GROWING; 8], KvQuantization::default());
    let asked = demand(1000, 100_000, 512);
    let most = model.most_tokens(asked, 16 * MIB).expect("some");
    let peak = |max_tokens| model.estimate(Demand { max_tokens, ..asked }).peak();
    assert!(peak(most) <= 16 * MIB && peak(most + 1) > 16 * MIB);
    assert_eq!(model.most_tokens(asked, MIB), None);
    let longest = model.longest_prompt(512, 100_000, 16 * MIB).expect("some");
    let peak = |prompt| model.estimate(demand(prompt, 1, 512)).peak();
    assert!(peak(longest) <= 16 * MIB && peak(longest + 1) > 16 * MIB);
}
