//! The prompt cache: what it gives has the bits of a run from the first token.

mod random;
mod suite_support;

use std::path::{Path, PathBuf};

use random::Random;
use rstest::rstest;
use suite_support::{quantization, suite, write};
use verbatim_engine::{
    Capture, Engine, EngineOptions, Event, GenerateRequest, Sampling, Stats,
    quantize::{QuantizeSpec, quantize_model},
    weights::QuantMode,
};

const CAP: usize = 64 << 20;

struct Made {
    engine: Engine,
    options: EngineOptions,
    folder: tempfile::TempDir,
}

impl Made {
    /// Ends the engine and starts it again.
    fn restarted(self, change: impl FnOnce(&mut EngineOptions)) -> Self {
        let Self { engine, mut options, folder } = self;
        drop(engine);
        change(&mut options);
        Self { engine: Engine::load(options.clone()).unwrap(), options, folder }
    }
}

/// A suite's model with a prompt cache: `weights` are `bf16`, `f32` or `q4`; `kv` is one of the
/// suite's settings or `none`.
fn made(family: &str, weights: &str, kv: &str, change: impl FnOnce(&mut EngineOptions)) -> Made {
    let suite = suite(family);
    let folder = tempfile::tempdir().unwrap();
    let dense = folder.path().join("dense");
    std::fs::create_dir(&dense).unwrap();
    write(&suite, if weights == "q4" { "bf16" } else { weights }, &dense);
    let mut model = dense;
    if weights == "q4" {
        let spec = QuantizeSpec::Uniform { bits: 4, group_size: 32, mode: QuantMode::Affine };
        let quantized = folder.path().join("quantized");
        quantize_model(&model, &quantized, spec).unwrap();
        model = quantized;
    }
    let mut options = EngineOptions::new(&model);
    options.prompt_cache_bytes = CAP;
    if kv != "none" {
        options.kv = quantization(&suite, kv);
    }
    change(&mut options);
    Made { engine: Engine::load(options.clone()).unwrap(), options, folder }
}

#[derive(Debug, PartialEq)]
struct Told {
    tokens: Vec<u32>,
    logits: Vec<Vec<u8>>,
}

fn run(engine: &Engine, request: GenerateRequest) -> (Told, Stats) {
    let mut generation = engine.submit(request).unwrap();
    let mut told = Told { tokens: Vec::new(), logits: Vec::new() };
    let mut announced = 0;
    loop {
        match generation.next_blocking().unwrap() {
            Event::Started { cached_tokens, .. } => announced = cached_tokens,
            Event::Token(token) => {
                told.tokens.push(token.id);
                told.logits.push(token.logits.unwrap().data);
            }
            Event::Finished(end) => {
                assert_eq!(end.stats.cached_tokens, announced);
                assert!(announced < end.stats.prompt_tokens);
                return (told, end.stats);
            }
            Event::Failed(e) => panic!("{e}"),
            Event::Prefill { .. } | Event::Tensor(_) => {}
        }
    }
}

fn request(prompt: &[u32], steps: usize) -> GenerateRequest {
    let mut request = GenerateRequest::new(prompt.to_vec(), steps);
    request.ignore_eos = true;
    request.capture = Capture { logits: true, layers: false };
    request
}

/// The request with the cache, which has to tell what it tells without; returns its tokens and how
/// many of the prompt's came from the cache.
fn same(engine: &Engine, request: &GenerateRequest) -> (Vec<u32>, usize) {
    let (cold, stats) = run(engine, request.clone());
    assert_eq!(stats.cached_tokens, 0);
    let (warm, stats) = run(engine, GenerateRequest { use_cache: true, ..request.clone() });
    let cached = stats.cached_tokens;
    assert_eq!(warm.tokens, cold.tokens, "after {cached} cached tokens");
    let differing = warm.logits.iter().zip(&cold.logits).position(|(warm, cold)| warm != cold);
    assert_eq!(differing, None, "first step with other logits, after {cached} cached tokens");
    (cold.tokens, cached)
}

/// Conversations that grow, part and repeat, cut into all sorts of calls.
#[rstest]
fn reuse_changes_no_bit(
    #[values("minicpm5", "qwen3_5", "gemma4-e2b", "gemma4-e4b", "gemma4-12b", "gemma4-26b-a4b")]
    family: &str,
    #[values("none", "seq", "fused", "uniform-8-from-30")] kv: &str,
    #[values("half", "f32")] weights: &str,
) {
    // mlx-lm packs no ring; what single precision shows, it shows without packing.
    let uniform_ring = family.starts_with("gemma4") && kv.starts_with("uniform");
    if uniform_ring || (kv != "none" && weights == "f32") {
        return;
    }
    let weights = match (family, weights) {
        // MLX's CPU backend has no experts in bf16.
        ("gemma4-26b-a4b", "half") => "q4",
        (_, "half") => "bf16",
        (_, other) => other,
    };
    let made = made(family, weights, kv, |_| ());
    let vocab = made.engine.model().vocab_size;
    let mut draw = Random(family.len() as u64 * 31 + kv.len() as u64);
    let mut told: Vec<Vec<u32>> = vec![Vec::new()];
    let mut reused = 0;
    for round in 0..20 {
        let from = &told[draw.below(told.len())];
        let kept = if draw.below(2) == 0 { from.len() } else { draw.below(from.len() + 1) };
        let most = [4, 40][draw.below(2)];
        let fresh = 1 + draw.below(most);
        let mut prompt = from[..kept.min(130)].to_vec();
        prompt.extend((0..fresh).map(|_| draw.below(vocab) as u32));
        let mut request = request(&prompt, 1 + draw.below(6));
        request.prefill_step_size = Some([1, 5, 16, 17, 64, 2048][draw.below(6)]);
        // Marks where conversations begin alike: the same for all, and the end.
        request.cache_marks = match draw.below(3) {
            0 => vec![],
            1 => vec![20.min(prompt.len())],
            _ => vec![20.min(prompt.len()), prompt.len() - draw.below(prompt.len().min(4))],
        };
        if round % 7 == 6 {
            request.sampling = Sampling { repetition_penalty: 1.3, ..Sampling::default() };
        }
        let (tokens, cached) = same(&made.engine, &request);
        reused += cached;
        prompt.extend(tokens);
        told.push(prompt);
    }
    assert!(reused > 10, "only {reused} tokens were reused");
    let cache = made.engine.health().cache;
    assert!(cache.bytes <= CAP && cache.bytes > 0 && cache.hits > 0, "{cache:?}");
}

/// A conversation as servers see it: a marked head, a marked end, the answer, the next turn.
#[rstest]
#[case::grows("minicpm5", "none", 120, Some(128))]
#[case::grows_packed("minicpm5", "seq", 120, Some(128))]
#[case::recurrent("qwen3_5", "none", 120, Some(128))]
#[case::recurrent_packed("qwen3_5", "fused", 120, Some(128))]
#[case::past_the_window("gemma4-12b", "none", 120, Some(116))]
#[case::past_the_window_packed("gemma4-12b", "seq", 120, Some(116))]
// Tiles take a window's layers or leave them by the length of a call: only the head is sure.
#[case::past_the_window_in_tiles("gemma4-12b", "fused", 120, Some(40))]
fn the_next_turn_goes_on(
    #[case] family: &str,
    #[case] kv: &str,
    #[case] length: usize,
    #[case] expected: Option<usize>,
) {
    let made = made(family, "bf16", kv, |_| ());
    let mut prompt: Vec<u32> = (0..length as u32).map(|t| (t * t + 5 * t) % 64).collect();
    let mut first = request(&prompt, 8);
    // The last tokens open the answer.
    first.cache_marks = vec![40, length - 4];
    let (answer, cached) = same(&made.engine, &first);
    assert_eq!(cached, 0);
    let (_, again) = same(&made.engine, &first);
    assert!(again >= length - 4, "the same prompt again found {again}");
    prompt.extend(&answer);
    prompt.extend((0..50).map(|t| (t * 7 + 1) % 64));
    let mut second = request(&prompt, 4);
    second.cache_marks = vec![40, prompt.len() - 4];
    let (_, cached) = same(&made.engine, &second);
    assert_eq!(Some(cached), expected);
    // Another conversation with the same head.
    let mut other = prompt[..40].to_vec();
    other.extend((0..60).map(|t| (t * 11 + 2) % 64));
    let mut third = request(&other, 4);
    third.cache_marks = vec![40, 96];
    assert_eq!(same(&made.engine, &third).1, 40);
    // Neither harmed the first.
    assert!(same(&made.engine, &second).1 >= cached);
}

/// A long prompt leaves copies of recurrent state behind while it is still being read.
#[test]
fn what_is_kept_on_the_way_makes_room_for_what_runs() {
    let prompt: Vec<u32> = (0..400).map(|t| t * 7 % 50).collect();
    let ask = GenerateRequest { use_cache: true, ..request(&prompt, 4) };
    let roomy = made("qwen3_5", "bf16", "none", |options| options.prefill_step_size = 8);
    let budget = roomy.engine.health().memory.reserved.max(roomy.engine.model().weight_bytes)
        + roomy.engine.estimate(&ask).unwrap().peak();
    let expected = run(&roomy.engine, ask.clone()).0;
    let cache = roomy.engine.health().cache;
    let entry = (cache.bytes / cache.entries) as u64;
    let slack = 2 * entry + budget / 10;
    assert!(cache.bytes as u64 > 2 * slack, "{cache:?} of {budget}");
    // MLX counts the whole process.
    drop(roomy);

    let tight = made("qwen3_5", "bf16", "none", |options| {
        options.prefill_step_size = 8;
        options.memory_budget = Some(budget);
    });
    assert_eq!(run(&tight.engine, ask).0, expected);
    let health = tight.engine.health();
    assert!(health.cache.evictions > 0, "{health:?}");
    assert!(health.memory.peak <= budget + slack, "{health:?}");
}

/// mlx-lm's server dies of a prompt that is cached as a whole and cannot be cut back.
#[test]
fn a_prompt_that_is_cached_as_a_whole_is_read_again_from_a_shorter_part() {
    let made = made("qwen3_5", "bf16", "none", |_| ());
    let prompt: Vec<u32> = (0..60).map(|t| t % 50).collect();
    let (answer, _) = same(&made.engine, &request(&prompt, 3));
    // The state behind this prompt and its answer is there, and nothing is left to be read.
    let whole = [prompt, answer].concat();
    let (_, cached) = same(&made.engine, &request(&whole, 3));
    assert_eq!(cached, 59, "what was kept before the prompt's last token");
    assert_eq!(same(&made.engine, &request(&whole, 3)).1, 59, "nothing new was worth keeping");
}

#[test]
fn the_cap_holds_and_zero_keeps_nothing() {
    let roomy = made("qwen3_5", "bf16", "none", |_| ());
    run(&roomy.engine, GenerateRequest { use_cache: true, ..request(&[1; 60], 2) });
    let cap = roomy.engine.health().cache.bytes * 5 / 2;
    let tight = made("qwen3_5", "bf16", "none", |options| options.prompt_cache_bytes = cap);
    let off = made("minicpm5", "bf16", "none", |options| options.prompt_cache_bytes = 0);
    for i in 0..12 {
        let prompt: Vec<u32> = (0..40 + i).map(|t| (t * (i + 2)) % 50).collect();
        let request = GenerateRequest { use_cache: true, ..request(&prompt, 2) };
        run(&tight.engine, request.clone());
        let cache = tight.engine.health().cache;
        assert!(cache.bytes <= cap, "{cache:?}");
        run(&off.engine, request);
    }
    assert!(tight.engine.health().cache.evictions > 0, "{:?}", tight.engine.health().cache);
    let off = off.engine.health().cache;
    assert_eq!((off.entries, off.bytes, off.lookups), (0, 0, 0));
}

/// Rows of a batch leave their state behind and go on from others'.
#[test]
fn rows_of_a_batch_use_the_cache() {
    let made = made("qwen3_5", "bf16", "none", |options| options.max_batch = Some(4));
    let engine = &made.engine;
    let head: Vec<u32> = (0..50).map(|t| (t * 3) % 50).collect();
    let prompts: Vec<Vec<u32>> = (0..4)
        .map(|i| head.iter().copied().chain((0..20).map(|t| (t * (i + 2)) % 50)).collect())
        .collect();
    let asked =
        |prompt: &Vec<u32>| GenerateRequest { cache_marks: vec![50], ..request(prompt, 12) };
    let cold: Vec<Told> = prompts.iter().map(|prompt| run(engine, asked(prompt)).0).collect();
    for round in 0..2 {
        let warm: Vec<(Told, Stats)> = std::thread::scope(|scope| {
            let rows: Vec<_> = prompts
                .iter()
                .map(|prompt| {
                    let request = GenerateRequest { use_cache: true, ..asked(prompt) };
                    scope.spawn(move || run(engine, request))
                })
                .collect();
            rows.into_iter().map(|row| row.join().unwrap()).collect()
        });
        for (cold, (warm, stats)) in cold.iter().zip(&warm) {
            assert!(warm == cold, "after {} cached tokens", stats.cached_tokens);
            assert!(round == 0 || stats.cached_tokens >= 50, "{stats:?}");
        }
    }
    // Their ends are there too.
    let longer = [prompts[1].clone(), cold[1].tokens.clone(), vec![1, 2, 3]].concat();
    assert_eq!(same(engine, &asked(&longer)).1, 82);
}

#[test]
fn requests_that_the_cache_cannot_serve_are_refused() {
    let made = made("minicpm5", "bf16", "none", |_| ());
    let refused = |change: fn(&mut GenerateRequest)| {
        let mut request = request(&[1, 2, 3], 2);
        change(&mut request);
        made.engine.submit(request).unwrap_err().to_string()
    };
    let traced = refused(|r| (r.use_cache, r.forced) = (true, vec![1]));
    assert!(traced.contains("prompt cache"), "{traced}");
    assert!(refused(|r| r.cache_marks = vec![4]).contains("cache mark 4"));
    assert!(refused(|r| r.cache_marks = vec![1; 9]).contains("at most 8 cache_marks"));
}

fn on_disk(family: &str, kv: &str, dir: &Path) -> Made {
    made(family, "bf16", kv, |options| options.prompt_cache_dir = Some(dir.to_owned()))
}

/// Files of states in a folder.
fn states(dir: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let mut states: Vec<PathBuf> =
        all.filter(|path| path.extension().is_some_and(|e| e == "state")).collect();
    states.sort();
    states
}

/// A prompt, another for every `i`.
fn prompt(i: u32, len: u32) -> Vec<u32> {
    (0..len).map(|t| (t * (i + 2) + i) % 60).collect()
}

#[rstest]
fn state_on_disk_survives_a_restart(
    #[values("minicpm5", "qwen3_5", "gemma4-e2b", "gemma4-e4b", "gemma4-12b")] family: &str,
    #[values("none", "seq", "fused", "uniform-8-from-30")] kv: &str,
) {
    if family.starts_with("gemma4") && kv.starts_with("uniform") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut made = on_disk(family, kv, dir.path());
    let mut request = request(&prompt(1, 110), 5);
    request.cache_marks = vec![40, 106];
    assert_eq!(same(&made.engine, &request).1, 0);
    for _ in 0..2 {
        made = made.restarted(|_| ());
        let cache = made.engine.health().cache;
        assert!(cache.entries == 0 && cache.disk.entries > 0 && cache.disk.bytes > 0, "{cache:?}");
        let (_, cached) = same(&made.engine, &request);
        assert!(cached >= 106, "{cached}");
        let disk = made.engine.health().cache.disk;
        assert_eq!((disk.restored, disk.restored_tokens), (1, cached as u64));
        assert_eq!((disk.rejected, disk.failed), (0, 0));
    }
    // Branches off what is on disk.
    made = made.restarted(|_| ());
    let mut other = prompt(1, 60);
    other.extend(prompt(7, 30));
    request.prompt = other;
    request.cache_marks = vec![40, 86];
    assert!(same(&made.engine, &request).1 >= 40);
}

#[test]
fn damaged_states_on_disk_are_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let made = on_disk("minicpm5", "none", dir.path());
    let ask = |i| request(&prompt(i, 50), 3);
    for i in 0..4 {
        same(&made.engine, &ask(i));
    }
    let made = made.restarted(|options| options.prompt_cache_dir = None);
    let states = states(dir.path());
    assert_eq!(states.len(), 4);
    let spoil = |path: &Path, change: fn(&mut Vec<u8>)| {
        let mut bytes = std::fs::read(path).unwrap();
        change(&mut bytes);
        std::fs::write(path, bytes).unwrap();
    };
    spoil(&states[0], |bytes| *bytes.last_mut().unwrap() ^= 1);
    spoil(&states[1], |bytes| bytes.truncate(bytes.len() / 2));
    spoil(&states[2], |bytes| bytes[60] ^= 1);

    let own = dir.path().to_owned();
    let made = made.restarted(|options| options.prompt_cache_dir = Some(own));
    let disk = made.engine.health().cache.disk;
    assert_eq!((disk.entries, disk.rejected), (2, 2), "lengths and descriptions are checked");
    for i in 0..4 {
        same(&made.engine, &ask(i));
    }
    let cache = made.engine.health().cache;
    assert_eq!((cache.hits, cache.disk.restored, cache.disk.rejected), (1, 1, 3));
}

#[test]
fn state_on_disk_is_of_use_to_the_same_model_and_setting_alone() {
    let dir = tempfile::tempdir().unwrap();
    let made = on_disk("minicpm5", "none", dir.path());
    same(&made.engine, &request(&prompt(1, 50), 3));
    let second = Engine::load(made.options.clone()).unwrap_err().to_string();
    assert!(second.contains("another process"), "{second}");
    let packed = made.restarted(|options| options.kv = quantization(&suite("minicpm5"), "seq"));
    let disk = packed.engine.health().cache.disk;
    assert_eq!((disk.entries, disk.rejected, states(dir.path()).len()), (0, 1, 0));
    same(&packed.engine, &request(&prompt(1, 50), 3));

    // One weight is another: the sizes are the same.
    let weights = packed.options.model_dir.join("model.safetensors");
    let made = packed.restarted(|options| {
        let mut bytes = std::fs::read(&weights).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        // Another file: the old one is still mapped.
        std::fs::remove_file(&weights).unwrap();
        std::fs::write(options.model_dir.join("model.safetensors"), bytes).unwrap();
    });
    assert_eq!(made.engine.health().cache.disk.rejected, 1);
    assert!(made.folder.path().exists());
}

#[test]
fn the_cap_on_disk_holds() {
    let dir = tempfile::tempdir().unwrap();
    let mut made = on_disk("qwen3_5", "none", dir.path());
    let ask = |i| request(&prompt(i, 50), 3);
    same(&made.engine, &ask(0));
    made = made.restarted(|_| ());
    let cap = made.engine.health().cache.disk.bytes * 2;
    made = made.restarted(|options| options.prompt_cache_disk_bytes = cap);
    for i in 1..8 {
        same(&made.engine, &ask(i));
    }
    made = made.restarted(|_| ());
    let told = made.engine.health().cache.disk.bytes;
    let real: u64 = states(dir.path()).iter().map(|p| std::fs::metadata(p).unwrap().len()).sum();
    assert_eq!(told, real);
    assert!(real <= cap && real > 0, "{real} of {cap}");
}

/// State from disk needs memory like any other: where running requests leave none, it stays there.
#[test]
fn state_on_disk_comes_back_within_the_memory_budget() {
    let dir = tempfile::tempdir().unwrap();
    let made = on_disk("minicpm5", "none", dir.path());
    let request = request(&prompt(1, 120), 3);
    same(&made.engine, &request);
    let made = made.restarted(|_| ());
    let state = made.engine.health().cache.disk.bytes;
    let estimate = made.engine.estimate(&request).unwrap();
    let needed = made.engine.model().weight_bytes + estimate.peak();
    let tight = made.restarted(|options| options.memory_budget = Some(needed + state / 2));
    assert_eq!(same(&tight.engine, &request).1, 0);
    assert_eq!(tight.engine.health().cache.disk.restored, 0);
    let roomy = tight.restarted(|options| options.memory_budget = Some(needed + 2 * state));
    assert!(same(&roomy.engine, &request).1 > 0);
    assert_eq!(roomy.engine.health().cache.disk.restored, 1);
}

#[test]
fn folders_that_cannot_serve_are_refused() {
    let made = made("minicpm5", "bf16", "none", |_| ());
    let refused = |change: &dyn Fn(&mut EngineOptions)| {
        let mut options = made.options.clone();
        change(&mut options);
        Engine::load(options).unwrap_err().to_string()
    };
    let file = made.folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let no_folder = refused(&|options| options.prompt_cache_dir = Some(file.clone()));
    assert!(no_folder.contains("file"), "{no_folder}");
    let off = refused(&|options| {
        options.prompt_cache_dir = Some(made.folder.path().join("states"));
        options.prompt_cache_bytes = 0;
    });
    assert!(off.contains("prompt_cache_bytes is 0"), "{off}");
}
