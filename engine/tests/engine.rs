//! The engine as its callers see it, on a tiny made model.

use std::{
    collections::BTreeMap,
    path::Path,
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use rstest::rstest;
use serde_json::json;
use verbatim_engine::{
    Capture, Engine, EngineOptions, Error, Event, FinishReason, GenerateRequest, Generation,
    Sampling, TokenEvent, WorkerState, limits,
};
use verbatim_harness::{case::MadeModel, maker::write_model};

const VOCAB: u32 = 96;
/// Patience with the MLX thread before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

fn write_tiny(folder: &Path) {
    let geometry = json!({
        "model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": VOCAB,
        "rms_norm_eps": 1e-6, "rope_theta": 10000, "tie_word_embeddings": false,
    });
    // A geometry and a seed are a whole model; the rest has defaults.
    let model = json!({"geometry": geometry, "seed": 7, "dtype": "bf16"});
    let model: MadeModel = serde_json::from_value(model).unwrap();
    write_model(&model, folder).unwrap();
}

struct Tiny {
    engine: Engine,
    folder: tempfile::TempDir,
}

fn tiny_with(change: impl FnOnce(&mut EngineOptions)) -> Tiny {
    let folder = tempfile::tempdir().unwrap();
    write_tiny(folder.path());
    let mut options = EngineOptions::new(folder.path());
    change(&mut options);
    Tiny { engine: Engine::load(options).unwrap(), folder }
}

fn tiny() -> Tiny {
    tiny_with(|_| ())
}

fn endless(prompt: &[u32], max_tokens: usize) -> GenerateRequest {
    GenerateRequest { ignore_eos: true, ..GenerateRequest::new(prompt.to_vec(), max_tokens) }
}

struct Outcome {
    tokens: Vec<TokenEvent>,
    text: String,
    reason: Result<FinishReason, Error>,
    tensors: Vec<String>,
}

fn run(engine: &Engine, request: GenerateRequest) -> Outcome {
    let mut generation = engine.submit(request).unwrap();
    let mut out = Outcome {
        tokens: Vec::new(),
        text: String::new(),
        reason: Err(Error::ShuttingDown),
        tensors: Vec::new(),
    };
    while let Some(event) = generation.next_blocking() {
        match event {
            Event::Started { prompt_tokens, cached_tokens } => {
                assert!(cached_tokens < prompt_tokens);
            }
            Event::Prefill { done, total } => assert!(done <= total),
            Event::Tensor(tensor) => out.tensors.push(tensor.name),
            Event::Token(token) => {
                out.text.extend(token.pieces.iter().map(|p| p.text.as_str()));
                out.tokens.push(token);
            }
            Event::Finished(end) => {
                out.text.extend(end.pieces.iter().map(|p| p.text.as_str()));
                assert_eq!(end.stats.generated_tokens, out.tokens.len());
                out.reason = Ok(end.reason);
            }
            Event::Failed(e) => out.reason = Err(e),
        }
    }
    out
}

fn ids(outcome: &Outcome) -> Vec<u32> {
    outcome.tokens.iter().map(|t| t.id).collect()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what} did not happen");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn taking_turns_changes_no_token() {
    let tiny = tiny();
    let prompts: Vec<Vec<u32>> =
        (0..4).map(|i| (0..5 + i * 9).map(|t| t % VOCAB).collect()).collect();
    let alone: Vec<_> = prompts.iter().map(|p| ids(&run(&tiny.engine, endless(p, 24)))).collect();
    let together: Vec<_> = thread::scope(|scope| {
        let runs: Vec<_> = prompts
            .iter()
            .map(|p| scope.spawn(|| ids(&run(&tiny.engine, endless(p, 24)))))
            .collect();
        runs.into_iter().map(|r| r.join().unwrap()).collect()
    });
    assert_eq!(alone, together);
    assert!(alone.iter().all(|t| t.len() == 24));
}

#[rstest]
#[case::one(1)]
#[case::odd(7)]
#[case::whole(2048)]
fn chunks_change_no_token(#[case] step: usize) {
    let tiny = tiny();
    let prompt: Vec<u32> = (0..40).map(|t| t * 5 % VOCAB).collect();
    let whole = ids(&run(&tiny.engine, endless(&prompt, 12)));
    let request = GenerateRequest { prefill_step_size: Some(step), ..endless(&prompt, 12) };
    assert_eq!(ids(&run(&tiny.engine, request)), whole);
}

#[test]
fn dropping_a_generation_frees_the_thread() {
    let tiny = tiny();
    let mut generation =
        tiny.engine.submit(endless(&[1, 2, 3], limits::MAX_GENERATED_TOKENS)).unwrap();
    for _ in 0..3 {
        assert!(generation.next_blocking().is_some());
    }
    drop(generation);
    wait_until("the cancellation", || {
        let health = tiny.engine.health();
        health.active == 0 && health.state == WorkerState::Idle
    });
    assert_eq!(run(&tiny.engine, endless(&[4], 3)).tokens.len(), 3);
}

/// An engine whose only place to run is taken for as long as the generation is kept.
fn busy(queue_limit: usize) -> (Tiny, Generation) {
    let tiny = tiny_with(|o| {
        o.queue_limit = queue_limit;
        o.max_active = 1;
    });
    let mut running = tiny.engine.submit(endless(&[1], limits::MAX_GENERATED_TOKENS)).unwrap();
    assert!(running.next_blocking().is_some());
    (tiny, running)
}

#[test]
fn a_full_queue_refuses_and_recovers() {
    let (tiny, running) = busy(1);
    let waiting = tiny.engine.submit(endless(&[2], 4)).unwrap();
    let refused = tiny.engine.submit(endless(&[3], 4));
    assert!(matches!(refused, Err(Error::QueueFull { limit: 1 })), "{refused:?}");
    assert_eq!(tiny.engine.health().queued, 1);
    drop(waiting);
    drop(running);
    wait_until("room in the queue", || tiny.engine.health().queued == 0);
    assert_eq!(run(&tiny.engine, endless(&[3], 4)).tokens.len(), 4);
}

#[test]
fn cancelled_requests_give_their_places_in_the_queue_back() {
    let (tiny, mut running) = busy(2);
    let waiting = [2, 3].map(|token| tiny.engine.submit(endless(&[token], 4)).unwrap());
    assert!(matches!(tiny.engine.submit(endless(&[4], 4)), Err(Error::QueueFull { limit: 2 })));
    drop(waiting);
    wait_until("their places", || tiny.engine.health().queued == 0);
    assert_eq!(tiny.engine.health().active, 1);
    let waiting = tiny.engine.submit(endless(&[5], 4));
    assert!(waiting.is_ok() && running.next_blocking().is_some());
}

#[test]
fn a_free_place_to_run_needs_none_in_the_queue() {
    let tiny = tiny_with(|o| {
        o.queue_limit = 1;
        o.max_active = 2;
    });
    wait_until("idle", || tiny.engine.health().state == WorkerState::Idle);
    let all = [1, 2, 3].map(|token| tiny.engine.submit(endless(&[token], 4)));
    assert!(all.iter().all(Result::is_ok), "{all:?}");
}

#[test]
fn several_requests_are_queued_all_or_none() {
    let tiny = tiny_with(|o| {
        o.queue_limit = 1;
        o.max_active = 2;
    });
    let some = |n: u32| (1..=n).map(|id| endless(&[id], 4)).collect::<Vec<_>>();
    assert_eq!(tiny.engine.capacity(), 3);
    let refused = tiny.engine.submit_all(some(4));
    assert!(matches!(refused, Err(Error::Request(_))), "{refused:?}");
    // The queue alone has one place.
    for generation in tiny.engine.submit_all(some(3)).unwrap() {
        let mut generation = generation;
        let events = std::iter::from_fn(|| generation.next_blocking());
        assert!(events.into_iter().any(|event| matches!(event, Event::Finished(_))));
    }
    wait_until("idle", || tiny.engine.health().active == 0);

    let mut running = tiny.engine.submit(endless(&[1], limits::MAX_GENERATED_TOKENS)).unwrap();
    assert!(running.next_blocking().is_some());
    let refused = tiny.engine.submit_all(some(3));
    assert!(matches!(refused, Err(Error::QueueFull { limit: 1 })), "{refused:?}");
    assert_eq!(tiny.engine.health().queued, 0, "nothing of it lingers");
    assert_eq!(tiny.engine.submit_all(some(2)).unwrap().len(), 2);
}

#[test]
fn a_reader_that_lags_holds_up_nobody() {
    let tiny = tiny();
    let many = limits::EVENT_BUFFER * 2;
    let mut lagging = tiny.engine.submit(endless(&[9, 8, 7], many)).unwrap();
    // The buffer fills while nobody reads; others still get their turns.
    assert_eq!(
        run(&tiny.engine, endless(&[5], limits::EVENT_BUFFER + 50)).tokens.len(),
        limits::EVENT_BUFFER + 50
    );
    let mut tokens = 0;
    while let Some(event) = lagging.next_blocking() {
        tokens += usize::from(matches!(event, Event::Token(_)));
    }
    assert_eq!(tokens, many);
}

/// What comes without waiting.
fn drain(generation: &mut Generation) -> Vec<Event> {
    let mut context = Context::from_waker(Waker::noop());
    let mut events = Vec::new();
    while let Poll::Ready(Some(event)) = generation.poll_next(&mut context) {
        events.push(event);
    }
    events
}

/// Of turns, not of time: each round has one chunk of all prompts, and a token for who streams.
#[test]
fn long_prompts_take_one_chunk_per_token_of_a_neighbour_whatever_their_number() {
    const PROMPTS: usize = 4;
    const CHUNKS: usize = 15;
    let tiny = tiny();
    let long: Vec<u32> = (0..=(8 * CHUNKS as u32)).map(|t| t * 5 % VOCAB).collect();
    let long = GenerateRequest { prefill_step_size: Some(8), ..endless(&long, 1) };
    // The stream ends a little before the last prompt is read, so it is done when that one is.
    let tokens = PROMPTS * CHUNKS - 2 * PROMPTS;
    let mut streaming = tiny.engine.submit(endless(&[3, 1, 4], tokens)).unwrap();
    assert!(streaming.next_blocking().is_some());
    let reading: Vec<_> = (0..PROMPTS).map(|_| tiny.engine.submit(long.clone()).unwrap()).collect();
    let mut firsts = Vec::new();
    for mut generation in reading {
        let mut chunks = 0;
        while let Some(event) = generation.next_blocking() {
            chunks += usize::from(matches!(event, Event::Prefill { .. }));
            if let Event::Token(token) = event {
                firsts.push(token.id);
            }
        }
        assert_eq!(chunks, CHUNKS);
    }
    let events = drain(&mut streaming);
    assert!(matches!(events.last(), Some(Event::Finished(_))), "{:?}", events.len());
    assert!(firsts.len() == PROMPTS && firsts.iter().all(|&first| first == firsts[0]));
}

#[test]
fn seeds_decide_the_draws() {
    let tiny = tiny();
    let sampled = |seed| {
        let sampling = Sampling { temperature: 1.5, seed: Some(seed), ..Sampling::default() };
        ids(&run(&tiny.engine, GenerateRequest { sampling, ..endless(&[1, 2], 32) }))
    };
    assert_eq!(sampled(1), sampled(1));
    assert_ne!(sampled(1), sampled(2));
}

#[test]
fn an_end_token_ends_and_says_nothing() {
    let mut tiny = tiny();
    let tokens = ids(&run(&tiny.engine, endless(&[3, 1, 4], 16)));
    let end = tokens[5];
    let first = tokens.iter().position(|&t| t == end).unwrap();
    let path = tiny.folder.path().join("generation_config.json");
    std::fs::write(path, json!({"eos_token_id": [end]}).to_string()).unwrap();
    tiny.engine = Engine::load(EngineOptions::new(tiny.folder.path())).unwrap();
    let outcome = run(&tiny.engine, GenerateRequest::new(vec![3, 1, 4], 16));
    assert_eq!(outcome.reason, Ok(FinishReason::EndOfSequence));
    assert_eq!(ids(&outcome), tokens[..=first]);
    assert!(outcome.tokens[first].pieces.is_empty());
}

#[test]
fn a_stop_string_ends_before_itself() {
    let tiny = tiny();
    let whole = run(&tiny.engine, endless(&[2, 7], 40));
    assert_eq!(whole.reason, Ok(FinishReason::Length));
    let middle: String = whole.text.chars().skip(12).take(4).collect();
    assert!(!middle.is_empty(), "the made tokenizer gave no text: {:?}", whole.text);
    let cut = whole.text.find(&middle).unwrap();
    let request = GenerateRequest { stop: vec![middle.clone()], ..endless(&[2, 7], 40) };
    let outcome = run(&tiny.engine, request);
    assert_eq!(outcome.reason, Ok(FinishReason::StopString(middle)));
    assert_eq!(outcome.text, whole.text[..cut]);
    assert!(outcome.tokens.len() < 40);
}

#[test]
fn captures_hold_what_was_chosen_from() {
    let tiny = tiny();
    let capture = Capture { logits: true, layers: true };
    let request =
        GenerateRequest { capture, top_logprobs: Some(3), ..endless(&[1, 2, 3, 4, 5], 4) };
    let outcome = run(&tiny.engine, request);
    for token in &outcome.tokens {
        let logits = token.logits.as_ref().unwrap();
        assert_eq!((logits.dtype.as_str(), &logits.shape[..]), ("BF16", &[VOCAB as usize][..]));
        assert_eq!(logits.data.len(), 2 * VOCAB as usize);
        let logprob = token.logprob.as_ref().unwrap();
        assert_eq!(logprob.top.len(), 3);
        assert_eq!(logprob.top[0], (token.id, logprob.logprob));
        assert!(logprob.top.is_sorted_by(|a, b| a.1 >= b.1));
    }
    // A chunk of four, the last token, and one step per token, the one past the end included.
    let norms = outcome.tensors.iter().filter(|n| n.ends_with(".model.norm")).count();
    assert_eq!(norms, 2 + 4);
    assert!(outcome.tensors.contains(&"call0.model.layers.1".to_owned()));
}

#[rstest]
#[case::empty(GenerateRequest::new(vec![], 4), "empty")]
#[case::foreign_token(GenerateRequest::new(vec![VOCAB], 4), "vocabulary")]
#[case::no_tokens(GenerateRequest::new(vec![1], 0), "max_tokens")]
#[case::too_many(GenerateRequest::new(vec![1], usize::MAX), "max_tokens")]
#[case::zero_chunk(
    GenerateRequest { prefill_step_size: Some(0), ..GenerateRequest::new(vec![1], 1) },
    "prefill_step_size"
)]
#[case::empty_stop(
    GenerateRequest { stop: vec![String::new()], ..GenerateRequest::new(vec![1], 1) },
    "stop string"
)]
#[case::many_stops(
    GenerateRequest { stop: vec!["x".into(); 99], ..GenerateRequest::new(vec![1], 1) },
    "stop strings"
)]
#[case::alternatives(
    GenerateRequest { top_logprobs: Some(1000), ..GenerateRequest::new(vec![1], 1) },
    "top_logprobs"
)]
fn requests_out_of_range_are_refused(#[case] request: GenerateRequest, #[case] names: &str) {
    let tiny = tiny();
    match tiny.engine.submit(request) {
        Err(Error::Request(text)) => assert!(text.contains(names), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[rstest]
#[case::temperature(Sampling { temperature: -1.0, ..Sampling::default() })]
#[case::nan(Sampling { temperature: f64::NAN, ..Sampling::default() })]
#[case::top_p(Sampling { top_p: 1.5, ..Sampling::default() })]
#[case::min_p(Sampling { min_p: -0.1, ..Sampling::default() })]
#[case::top_k(Sampling { top_k: VOCAB as usize, ..Sampling::default() })]
#[case::keep_none(Sampling { min_tokens_to_keep: 0, ..Sampling::default() })]
#[case::threshold(Sampling { xtc_threshold: 0.9, ..Sampling::default() })]
#[case::bias(Sampling { logit_bias: BTreeMap::from([(VOCAB, 1.0)]), ..Sampling::default() })]
#[case::repetition(Sampling { repetition_penalty: -2.0, ..Sampling::default() })]
#[case::presence(Sampling { presence_penalty: f64::INFINITY, ..Sampling::default() })]
fn sampling_out_of_range_is_refused(#[case] sampling: Sampling) {
    let tiny = tiny();
    let request = GenerateRequest { sampling, ..GenerateRequest::new(vec![1], 1) };
    assert!(matches!(tiny.engine.submit(request), Err(Error::Request(_))));
}

#[test]
fn draining_finishes_what_runs_and_takes_no_more() {
    let tiny = tiny();
    let mut running = tiny.engine.submit(endless(&[1], 64)).unwrap();
    assert!(running.next_blocking().is_some());
    tiny.engine.drain();
    assert!(matches!(tiny.engine.submit(endless(&[1], 1)), Err(Error::ShuttingDown)));
    let mut last = None;
    while let Some(event) = running.next_blocking() {
        last = Some(event);
    }
    assert!(matches!(last, Some(Event::Finished(_))), "{last:?}");
}

#[test]
fn the_thread_ends_with_the_last_handle() {
    let tiny = tiny();
    let mut generation = tiny.engine.submit(endless(&[1], limits::MAX_GENERATED_TOKENS)).unwrap();
    assert!(generation.next_blocking().is_some());
    let other = tiny.engine.clone();
    drop(tiny.engine);
    assert!(generation.next_blocking().is_some());
    drop(other);
    let mut last = None;
    while let Some(event) = generation.next_blocking() {
        last = Some(event);
    }
    assert_eq!(last, Some(Event::Failed(Error::ShuttingDown)));
}
