//! Batches with packed keys and values: every request gets what it gets alone.
//!
//! Models and settings are those of the suites that hold the engine against mlx-optiq and mlx-lm.

mod suite_support;

use std::{sync::mpsc, thread};

use rstest::rstest;
use suite_support::{quantization, suite, write};
use verbatim_engine::{
    Capture, Engine, EngineOptions, Event, GenerateRequest, Sampling, kv::KvAttention,
};

/// Ragged: a single token, prompts of one chunk and of several.
const LENGTHS: [u32; 8] = [7, 40, 1, 23, 85, 2, 36, 60];
/// The longest where keys are read in tiles: more than one of them.
const BEYOND_A_TILE: u32 = 520;

fn request(row: usize, engine: &Engine) -> GenerateRequest {
    let vocab = engine.model().vocab_size;
    let tiles = engine.model().kv.attention == KvAttention::Fused;
    let length = if tiles && row == 4 { BEYOND_A_TILE } else { LENGTHS[row] };
    let prompt = (0..length).map(|t| (t * t + 3 * t + 7 * row as u32) % vocab as u32);
    let sampling = match row {
        1 => Sampling { temperature: 1.2, seed: Some(3), ..Sampling::default() },
        3 => Sampling { repetition_penalty: 1.2, ..Sampling::default() },
        _ => Sampling::default(),
    };
    GenerateRequest {
        ignore_eos: true,
        sampling,
        prefill_step_size: Some(32),
        capture: Capture { logits: true, layers: false },
        ..GenerateRequest::new(prompt.collect(), if row == 0 { 32 } else { 10 + row })
    }
}

/// Tokens with the bits of the logits that they were chosen from.
type Chosen = Vec<(u32, Vec<u8>)>;

/// Follows a request until `goes_on`, told how many tokens have come, says no.
fn follow(engine: &Engine, row: usize, mut goes_on: impl FnMut(usize) -> bool) -> Chosen {
    let mut generation = engine.submit(request(row, engine)).unwrap();
    let mut chosen = Vec::new();
    while let Some(event) = generation.next_blocking() {
        match event {
            Event::Token(token) => {
                chosen.push((token.id, token.logits.unwrap().data));
                if !goes_on(chosen.len()) {
                    break;
                }
            }
            Event::Failed(e) => panic!("{e}"),
            Event::Finished(_)
            | Event::Started { .. }
            | Event::Prefill { .. }
            | Event::Tensor(_) => {}
        }
    }
    chosen
}

/// Tokens after which the last request is cancelled.
const CANCELLED_AFTER: usize = 5;

/// Eight requests: the last is cancelled, the last but one comes when the first has spoken.
fn together(engine: &Engine) -> Vec<Chosen> {
    thread::scope(|scope| {
        let (spoke, heard) = mpsc::channel();
        let first = scope.spawn(move || {
            follow(engine, 0, |tokens| {
                if tokens == 3 {
                    spoke.send(()).unwrap();
                }
                true
            })
        });
        let middle = (1..6).map(|row| scope.spawn(move || follow(engine, row, |_| true)));
        let middle: Vec<_> = middle.collect();
        let cancelled = scope.spawn(|| follow(engine, 7, |tokens| tokens < CANCELLED_AFTER));
        heard.recv().unwrap();
        let late = scope.spawn(|| follow(engine, 6, |_| true));
        let runs = std::iter::once(first).chain(middle).chain([late, cancelled]);
        runs.map(|run| run.join().unwrap()).collect()
    })
}

#[rstest]
#[case::minicpm5("minicpm5", "bf16", "seq")]
#[case::minicpm5_f32("minicpm5", "f32", "seq")]
#[case::minicpm5_odd_bits("minicpm5", "bf16", "seq-35")]
#[case::minicpm5_some_layers("minicpm5", "bf16", "seq-some")]
#[case::minicpm5_tiles("minicpm5", "bf16", "fused")]
#[case::minicpm5_uniform("minicpm5", "f32", "uniform-4")]
#[case::minicpm5_uniform_late("minicpm5", "bf16", "uniform-8-from-30")]
#[case::qwen3_5("qwen3_5", "bf16", "seq")]
#[case::qwen3_5_f32("qwen3_5", "f32", "seq")]
#[case::qwen3_5_tiles("qwen3_5", "bf16", "fused")]
#[case::qwen3_5_uniform_late("qwen3_5", "bf16", "uniform-8-from-30")]
#[case::gemma4_e2b("gemma4-e2b", "bf16", "seq")]
#[case::gemma4_e4b("gemma4-e4b", "bf16", "fused")]
#[case::gemma4_12b("gemma4-12b", "bf16", "seq")]
#[case::gemma4_26b("gemma4-26b-a4b", "f32", "seq")]
fn eight_ragged_requests_have_the_bits_of_single_streams(
    #[case] family: &str,
    #[case] dtype: &str,
    #[case] mode: &str,
) {
    let (folder, suite) = (tempfile::tempdir().unwrap(), suite(family));
    write(&suite, dtype, folder.path());
    let engine = |max_batch: usize| {
        let mut options = EngineOptions::new(folder.path());
        options.kv = quantization(&suite, mode);
        options.max_batch = Some(max_batch);
        Engine::load(options).unwrap()
    };
    let single = engine(1);
    let mut alone: Vec<Chosen> = (0..8).map(|row| follow(&single, row, |_| true)).collect();
    alone[7].truncate(CANCELLED_AFTER);
    for (row, (alone, together)) in alone.iter().zip(&together(&engine(8))).enumerate() {
        assert_eq!(alone.len(), together.len(), "row {row}");
        let first = alone.iter().zip(together).position(|(a, t)| a != t);
        assert_eq!(first, None, "row {row} has other bits");
    }
}
