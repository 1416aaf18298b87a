//! The engine with several requests per step: every request gets what it gets alone.

use std::{path::Path, thread, time::Duration};

use rstest::rstest;
use serde_json::{Value, json};
use verbatim_engine::{
    Capture, Engine, EngineOptions, Event, FinishReason, GenerateRequest, Sampling, WorkerState,
    limits,
};
use verbatim_harness::{case::MadeModel, maker::write_model};

const VOCAB: u32 = 96;

fn write_tiny(folder: &Path, dtype: &str) {
    let geometry: Value = json!({
        "model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": VOCAB,
        "rms_norm_eps": 1e-6, "rope_theta": 10000, "tie_word_embeddings": false,
    });
    let model = json!({"geometry": geometry, "seed": 7, "dtype": dtype});
    let model: MadeModel = serde_json::from_value(model).unwrap();
    write_model(&model, folder).unwrap();
}

struct Tiny {
    engine: Engine,
    _folder: tempfile::TempDir,
}

fn tiny(dtype: &str, max_batch: usize) -> Tiny {
    let folder = tempfile::tempdir().unwrap();
    write_tiny(folder.path(), dtype);
    let mut options = EngineOptions::new(folder.path());
    options.max_batch = Some(max_batch);
    Tiny { engine: Engine::load(options).unwrap(), _folder: folder }
}

fn request(row: usize) -> GenerateRequest {
    let prompt = (0..[1, 40, 7, 23, 300, 2][row % 6]).map(|t| (t * 7 + row as u32) % VOCAB);
    let sampling = match row % 4 {
        1 => Sampling { temperature: 1.2, seed: Some(row as u64), ..Sampling::default() },
        2 => Sampling { repetition_penalty: 1.2, ..Sampling::default() },
        _ => Sampling::default(),
    };
    GenerateRequest {
        ignore_eos: true,
        sampling,
        prefill_step_size: Some(64),
        capture: Capture { logits: true, layers: false },
        ..GenerateRequest::new(prompt.collect(), 20 + 9 * row)
    }
}

/// Tokens with the bits of the logits that they were chosen from.
type Chosen = Vec<(u32, Vec<u8>)>;

fn run(engine: &Engine, request: GenerateRequest) -> Chosen {
    let mut generation = engine.submit(request).unwrap();
    let mut chosen = Vec::new();
    while let Some(event) = generation.next_blocking() {
        match event {
            Event::Token(token) => chosen.push((token.id, token.logits.unwrap().data)),
            Event::Finished(end) => assert_eq!(end.reason, FinishReason::Length),
            Event::Failed(e) => panic!("{e}"),
            Event::Started { .. } | Event::Prefill { .. } | Event::Tensor(_) => {}
        }
    }
    chosen
}

fn together(engine: &Engine, rows: usize) -> Vec<Chosen> {
    thread::scope(|scope| {
        let runs: Vec<_> =
            (0..rows).map(|row| scope.spawn(move || run(engine, request(row)))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    })
}

#[rstest]
#[case::bf16("bf16", 8)]
#[case::f16("f16", 8)]
#[case::f32("f32", 8)]
#[case::fewer_places_than_requests("f32", 3)]
fn rows_have_the_bits_of_a_single_stream(#[case] dtype: &str, #[case] max_batch: usize) {
    let (single, batching) = (tiny(dtype, 1), tiny(dtype, max_batch));
    let alone: Vec<Chosen> = (0..6).map(|row| run(&single.engine, request(row))).collect();
    let together = together(&batching.engine, 6);
    for (row, (alone, together)) in alone.iter().zip(&together).enumerate() {
        assert_eq!(alone.len(), 20 + 9 * row);
        assert!(alone == together, "row {row} has other bits");
    }
}

#[test]
fn a_cancelled_row_leaves_the_others_as_they_were() {
    let tiny = tiny("f32", 8);
    let expected = run(&tiny.engine, request(3));
    let endless = GenerateRequest {
        ignore_eos: true,
        ..GenerateRequest::new(vec![1, 2, 3], limits::MAX_GENERATED_TOKENS)
    };
    let mut cancelled = tiny.engine.submit(endless).unwrap();
    let chosen = thread::scope(|scope| {
        let other = scope.spawn(|| run(&tiny.engine, request(3)));
        for _ in 0..12 {
            assert!(cancelled.next_blocking().is_some());
        }
        drop(cancelled);
        other.join().unwrap()
    });
    assert!(chosen == expected);
    let idle = || tiny.engine.health().state == WorkerState::Idle;
    while !idle() {
        thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(tiny.engine.health().active, 0);
}

#[test]
fn a_slow_reader_stalls_nobody_and_misses_nothing() {
    let tiny = tiny("bf16", 8);
    let many = GenerateRequest {
        ignore_eos: true,
        ..GenerateRequest::new(vec![9, 8, 7], limits::EVENT_BUFFER * 2)
    };
    let tokens = |mut generation: verbatim_engine::Generation| {
        let mut ids = Vec::new();
        while let Some(event) = generation.next_blocking() {
            if let Event::Token(token) = event {
                ids.push(token.id);
            }
        }
        ids
    };
    let expected = tokens(tiny.engine.submit(many.clone()).unwrap());
    let slow = tiny.engine.submit(many.clone()).unwrap();
    // Its buffer fills while the others run to their ends.
    let (a, b) = (tiny.engine.submit(many.clone()).unwrap(), tiny.engine.submit(many).unwrap());
    let (a, b) = thread::scope(|scope| {
        let (a, b) = (scope.spawn(|| tokens(a)), scope.spawn(|| tokens(b)));
        (a.join().unwrap(), b.join().unwrap())
    });
    assert_eq!((&a, &b), (&expected, &expected));
    assert_eq!(tokens(slow), expected);
}

#[test]
fn one_that_comes_late_is_served_while_others_run() {
    let tiny = tiny("bf16", 4);
    let endless = || {
        let request = GenerateRequest {
            ignore_eos: true,
            ..GenerateRequest::new(vec![4, 5], limits::MAX_GENERATED_TOKENS)
        };
        tiny.engine.submit(request).unwrap()
    };
    let (mut first, mut second) = (endless(), endless());
    thread::scope(|scope| {
        let late = scope.spawn(|| run(&tiny.engine, request(4)));
        let drain =
            |generation: &mut verbatim_engine::Generation| generation.next_blocking().is_some();
        while !late.is_finished() {
            assert!(drain(&mut first) && drain(&mut second));
        }
        assert_eq!(late.join().unwrap().len(), 56);
    });
}

#[test]
fn batches_beyond_the_limit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_tiny(folder.path(), "bf16");
    let mut options = EngineOptions::new(folder.path());
    options.max_batch = Some(limits::MAX_BATCH + 1);
    let refused = Engine::load(options).unwrap_err().to_string();
    assert!(refused.contains("max_batch"), "{refused}");
}
