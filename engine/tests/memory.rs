//! What a request takes, and who is let in beside whom.

use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::{Value, json};
use verbatim_engine::{
    Engine, EngineOptions, Error, Event, FinishReason, GenerateRequest, Generation,
    kv::KvQuantization,
    memory::{FitOptions, fit},
    quantize::{QuantizeSpec, quantize_model},
    weights::QuantMode,
};
use verbatim_harness::{
    case::MadeModel,
    maker::{write_adapter, write_model},
};

const VOCAB: u32 = 96;
/// Prompt tokens per call.
const STEP: usize = 64;

struct Made {
    model: MadeModel,
    folder: tempfile::TempDir,
}

impl Made {
    fn new() -> Self {
        Self::of_width(64)
    }

    /// A model whose weights are large beside everything else.
    fn wide() -> Self {
        Self::of_width(512)
    }

    fn of_width(width: u32) -> Self {
        let model = json!({"seed": 3, "dtype": "bf16", "geometry": {
            "model_type": "llama", "hidden_size": width, "intermediate_size": 2 * width,
            "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
            "head_dim": 32, "vocab_size": VOCAB, "rms_norm_eps": 1e-6, "rope_theta": 10000,
            "tie_word_embeddings": false,
        }});
        let model: MadeModel = serde_json::from_value(model).unwrap();
        let folder = tempfile::tempdir().unwrap();
        write_model(&model, folder.path()).unwrap();
        Self { model, folder }
    }

    /// The folder of an adapter of many bytes for each one of the model's.
    fn adapter(&self, seed: u64) -> tempfile::TempDir {
        self.adapter_of(json!({"format": "mlx_lm", "seed": seed, "rank": 64, "scale": 2.0}))
    }

    fn adapter_of(&self, adapter: Value) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let adapter = serde_json::from_value(adapter).unwrap();
        write_adapter(&self.model, &adapter, &folder.path().join("adapter")).unwrap();
        folder
    }

    /// Packs the weights, which adapters stay for.
    fn quantize(&mut self, bits: u32) {
        let packed = tempfile::tempdir().unwrap();
        let folder = packed.path().join("model");
        let spec = QuantizeSpec::Uniform { bits, group_size: 64, mode: QuantMode::Affine };
        quantize_model(self.folder.path(), &folder, spec).unwrap();
        self.folder = tempfile::tempdir().unwrap();
        for file in folder.read_dir().unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), self.folder.path().join(file.file_name())).unwrap();
        }
    }

    /// An engine whose requests take turns.
    fn load(&self, budget: Option<u64>) -> Result<Engine, Error> {
        self.load_batching(budget, Some(1))
    }

    fn load_batching(&self, budget: Option<u64>, max: Option<usize>) -> Result<Engine, Error> {
        let mut options = EngineOptions::new(self.folder.path());
        options.prefill_step_size = STEP;
        options.memory_budget = budget;
        options.max_batch = max;
        Engine::load(options)
    }
}

fn request(prompt: usize, max_tokens: usize) -> GenerateRequest {
    let prompt = (0..prompt as u32).map(|i| (i * 29 + 3) % VOCAB).collect();
    GenerateRequest { ignore_eos: true, ..GenerateRequest::new(prompt, max_tokens) }
}

/// Tokens that came, and how it ended.
fn finish(generation: &mut Generation) -> (usize, Result<FinishReason, Error>) {
    let mut tokens = 0;
    loop {
        match generation.next_blocking().expect("an end") {
            Event::Token(_) => tokens += 1,
            Event::Finished(end) => return (tokens, Ok(end.reason)),
            Event::Failed(e) => return (tokens, Err(e)),
            _ => {}
        }
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_mins(2), "never {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What weights take, by the books of an engine without a budget.
fn resident(engine: &Engine) -> u64 {
    let memory = || engine.health().memory;
    wait_until("idle", || memory().active > 0 && memory().reserved > 0);
    memory().reserved
}

#[test]
fn an_idle_engine_holds_its_weights() {
    let engine = Made::new().load(None).unwrap();
    let resident = resident(&engine);
    assert_eq!(resident, engine.model().weight_bytes);
    let active = engine.health().memory.active;
    // Scalars, rotations and tables of activations come on top.
    assert!((resident..resident + (512 << 10)).contains(&active), "{active} against {resident}");
}

#[test]
fn weights_that_do_not_fit_are_refused_at_load() {
    let made = Made::new();
    let weights = made.load(None).unwrap().model().weight_bytes;
    let Err(Error::Memory(shortage)) = made.load(Some(weights - 1)) else { panic!("not refused") };
    assert_eq!((shortage.needed(), shortage.budget), (weights, weights - 1));
    let text = shortage.to_string();
    assert!(text.contains("--memory-budget") && text.contains("smaller or quantized"), "{text}");
    assert!(made.load(Some(weights)).is_ok());
}

/// A budget for one request of 200 + 300 tokens, and most of what another would take beside it.
fn budget_for_one(made: &Made) -> u64 {
    let engine = made.load(None).unwrap();
    let estimate = engine.estimate(&request(200, 300)).unwrap();
    resident(&engine) + estimate.peak() + estimate.held / 4 * 3
}

#[test]
fn what_never_fits_is_refused_with_figures() {
    let made = Made::new();
    let budget = budget_for_one(&made);
    let engine = made.load(Some(budget)).unwrap();
    let Err(Error::Memory(shortage)) = engine.submit(request(200, 100_000)) else {
        panic!("not refused")
    };
    assert!(shortage.needed() > budget && shortage.budget == budget);
    let text = shortage.to_string();
    let most: usize = text.rsplit(' ').next().unwrap().parse().expect(&text);
    assert!(text.contains("lower max_tokens to at most"), "{text}");
    let mut generation = engine.submit(request(200, most)).expect("what was advised fits");
    assert!(matches!(engine.submit(request(200, most + 256)), Err(Error::Memory(_))));
    drop(generation.next_blocking());

    let Err(Error::Memory(shortage)) = engine.submit(request(100_000, 1)) else {
        panic!("not refused")
    };
    let text = shortage.to_string();
    assert!(text.contains("shorten the prompt to at most"), "{text}");
}

#[test]
fn a_length_that_nobody_asked_for_is_shortened_to_what_fits() {
    let made = Made::new();
    let engine = made.load(Some(budget_for_one(&made))).unwrap();
    let mut ordinary = request(200, 100_000);
    ordinary.may_shorten = true;
    let mut generation = engine.submit(ordinary).expect("an ordinary request fits");
    let (tokens, reason) = finish(&mut generation);
    assert_eq!(reason, Ok(FinishReason::Length));
    assert!((300..2_000).contains(&tokens), "{tokens}");
}

#[test]
fn requests_beyond_the_budget_wait_in_order_and_all_finish() {
    let made = Made::new();
    let budget = budget_for_one(&made);
    let engine = made.load(Some(budget)).unwrap();
    let mut first = engine.submit(request(200, 300)).unwrap();
    assert!(matches!(first.next_blocking(), Some(Event::Started { .. })));
    let mut large = engine.submit(request(200, 300)).unwrap();
    let mut small = engine.submit(request(5, 3)).unwrap();
    wait_until("a token", || matches!(first.next_blocking(), Some(Event::Token(_))));
    let health = engine.health();
    // The small one would fit, but it came later.
    assert_eq!((health.active, health.queued), (1, 2), "{health:?}");
    assert!(health.memory.reserved <= budget && health.memory.budget == Some(budget));

    assert_eq!(finish(&mut first), (299, Ok(FinishReason::Length)));
    assert_eq!(finish(&mut large), (300, Ok(FinishReason::Length)));
    assert_eq!(finish(&mut small), (3, Ok(FinishReason::Length)));
    wait_until("everything free again", || {
        engine.health().memory.reserved == engine.model().weight_bytes
    });
    let peak = engine.health().memory.peak;
    assert!(peak <= budget, "{peak} bytes were taken of {budget}");
}

/// Requests that run at once, so that their rows share calls: the books, read at the last one's start,
/// bound what MLX's arrays take.
#[rstest]
#[case::alike(&[(60, 80); 12])]
#[case::ragged(&[(3, 90), (500, 60), (130, 200), (64, 90), (90, 10), (7, 120), (300, 60)])]
#[case::long_beside_short(&[(1500, 60), (5, 200), (9, 90), (1100, 30), (20, 60), (33, 70)])]
#[case::joining_as_prompts(&[(120, 20); 16])]
fn side_by_side_requests_stay_within_the_books(#[case] requests: &[(usize, usize)]) {
    let engine = Made::new().load_batching(Some(1 << 30), None).unwrap();
    let mut running: Vec<_> =
        requests.iter().map(|&(prompt, n)| engine.submit(request(prompt, n)).unwrap()).collect();
    wait_until("all taken up", || engine.health().queued == 0);
    let reserved = engine.health().memory.reserved;
    for (generation, &(_, n)) in running.iter_mut().zip(requests) {
        assert_eq!(finish(generation), (n, Ok(FinishReason::Length)));
    }
    let peak = engine.health().memory.peak;
    assert!(peak <= reserved, "{peak} bytes were taken of {reserved} in the books");
}

/// Where prompts are cut depends on marks: the last pieces of long ones are read together too.
#[test]
fn last_pieces_that_are_read_together_are_in_the_books() {
    let made = Made::new();
    let mut options = EngineOptions::new(made.folder.path());
    options.memory_budget = Some(1 << 30);
    let engine = Engine::load(options).unwrap();
    let marked = || GenerateRequest { cache_marks: vec![180], ..request(300, 20) };
    let mut running: Vec<_> = (0..16).map(|_| engine.submit(marked()).unwrap()).collect();
    wait_until("all taken up", || engine.health().queued == 0);
    let reserved = engine.health().memory.reserved;
    for generation in &mut running {
        assert_eq!(finish(generation), (20, Ok(FinishReason::Length)));
    }
    let peak = engine.health().memory.peak;
    assert!(peak <= reserved, "{peak} bytes were taken of {reserved} in the books");
}

#[test]
fn a_waiting_request_that_is_dropped_makes_room_for_the_next() {
    let made = Made::new();
    let engine = made.load(Some(budget_for_one(&made))).unwrap();
    let mut first = engine.submit(request(200, 300)).unwrap();
    assert!(first.next_blocking().is_some());
    let large = engine.submit(request(200, 300)).unwrap();
    let mut small = engine.submit(request(5, 3)).unwrap();
    drop(large);
    assert_eq!(finish(&mut small), (3, Ok(FinishReason::Length)));
    assert_eq!(engine.health().queued, 0);
    assert_eq!(finish(&mut first).1, Ok(FinishReason::Length));
}

#[test]
fn the_engines_end_reaches_those_that_wait() {
    let made = Made::new();
    let engine = made.load(Some(budget_for_one(&made))).unwrap();
    let mut first = engine.submit(request(200, 300)).unwrap();
    assert!(first.next_blocking().is_some());
    let mut waiting = engine.submit(request(200, 300)).unwrap();
    drop(engine);
    assert!(finish(&mut waiting).1.is_err());
}

#[test]
fn adapters_are_mounted_as_far_as_the_budget_goes() {
    let made = Made::new();
    let (a, b) = (made.adapter(1), made.adapter(2));
    let free = made.load(None).unwrap();
    let weights = resident(&free);
    let bytes = free.mount_adapter("a", &a.path().join("adapter")).unwrap().info.bytes;

    // Room for one adapter beside the weights, or for what the prompt cache holds.
    let mut options = EngineOptions::new(made.folder.path());
    options.prefill_step_size = STEP;
    options.memory_budget = Some(weights + bytes + bytes / 2);
    options.prompt_cache_bytes = bytes as usize;
    let engine = Engine::load(options).unwrap();
    let mount = |name: &str, folder: &tempfile::TempDir| {
        engine.mount_adapter(name, &folder.path().join("adapter"))
    };
    let cached = || engine.health().cache.bytes as u64;
    let mut seed = 0;
    while cached() <= bytes / 2 {
        seed += 1;
        let mut request = request(200, 2);
        request.use_cache = true;
        request.prompt[0] = seed % VOCAB;
        assert!(seed < VOCAB, "the cache does not fill: {} of {bytes}", cached());
        finish(&mut engine.submit(request).unwrap()).1.unwrap();
        wait_until("idle", || engine.health().active == 0);
    }
    mount("a", &a).unwrap();
    assert!(cached() <= bytes / 2, "the cache made room");
    match mount("b", &b) {
        Err(Error::Memory(shortage)) => assert_eq!(
            (shortage.resident, shortage.request, shortage.budget),
            (weights + bytes, bytes, weights + bytes + bytes / 2)
        ),
        other => panic!("{other:?}"),
    }
    engine.unmount_adapter("a").unwrap();
    mount("b", &b).unwrap();
}

#[test]
fn memory_is_told_while_nothing_runs() {
    let made = Made::new();
    let adapter = made.adapter(1);
    let engine = made.load(None).unwrap();
    resident(&engine);
    let before = engine.health().memory.active;
    let mounted = engine.mount_adapter("a", &adapter.path().join("adapter")).unwrap();
    wait_until("mounted", || engine.health().memory.active >= before + mounted.info.bytes);
    engine.unmount_adapter("a").unwrap();
    wait_until("freed", || engine.health().memory.active < before + mounted.info.bytes);
}

/// Weights that a DoRA adapter measures are most of the model's here.
#[rstest]
#[case::dense(None)]
#[case::packed(Some(4))]
fn what_dora_measures_is_in_the_estimate(#[case] bits: Option<u32>) {
    let mut made = Made::wide();
    let adapter = json!({"format": "mlx_lm", "kind": "dora", "seed": 1, "rank": 2, "scale": 2.0});
    let adapter = made.adapter_of(adapter);
    if let Some(bits) = bits {
        made.quantize(bits);
    }
    let engine = made.load(None).unwrap();
    let idle = resident(&engine);
    let mounted = engine.mount_adapter("a", &adapter.path().join("adapter")).unwrap();
    wait_until("counted", || engine.health().memory.reserved > idle);
    let options = FitOptions {
        context: None,
        requests: 1,
        max_batch: Some(1),
        prefill_step_size: STEP as u64,
        budget: None,
    };
    let kv = KvQuantization::default();
    let told =
        fit(made.folder.path(), Some(&adapter.path().join("adapter")), &kv, &options).unwrap();
    assert_eq!(told.adapters, engine.health().memory.reserved - idle, "`fit` says the same");
    let mut request = request(20, 2);
    request.adapters = Some(vec!["a".into()]);
    let predicted = engine.health().memory.reserved + engine.estimate(&request).unwrap().peak();
    finish(&mut engine.submit(request).unwrap()).1.unwrap();
    wait_until("idle", || engine.health().active == 0);
    let peak = engine.health().memory.peak;
    assert!(peak <= predicted, "{peak} against {predicted}; {:?}", mounted.info);
}

#[test]
fn adapters_that_came_at_run_time_shorten_what_nobody_asked_for() {
    let made = Made::new();
    let adapter = made.adapter(1);
    let free = made.load(None).unwrap();
    let weights = resident(&free);
    let bytes = free.mount_adapter("a", &adapter.path().join("adapter")).unwrap().info.bytes;
    let asked = request(200, 100_000);
    let some = free.estimate(&request(200, 300)).unwrap().peak();
    drop(free);

    let engine = made.load(Some(weights + bytes + some)).unwrap();
    let length = || {
        let shortened = GenerateRequest { may_shorten: true, ..asked.clone() };
        let (tokens, end) = finish(&mut engine.submit(shortened).unwrap());
        assert_eq!(end, Ok(FinishReason::Length));
        tokens
    };
    let before = length();
    engine.mount_adapter("a", &adapter.path().join("adapter")).unwrap();
    let after = length();
    assert!((300..before).contains(&after), "{before} tokens before, {after} after");
}
