//! Adapters mounted, chosen and taken away while the engine serves.

use std::{
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rstest::rstest;
use serde_json::{Value, json};
use verbatim_engine::{
    Capture, Engine, EngineOptions, Error, Event, FinishReason, GenerateRequest, Generation,
    Sampling, adapter::AdapterSource, limits,
};
use verbatim_harness::{
    case::MadeModel,
    maker::{write_adapter, write_model},
};

const VOCAB: u32 = 96;

fn llama(dtype: &str, tied: bool) -> MadeModel {
    let geometry = json!({
        "model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": VOCAB,
        "rms_norm_eps": 1e-6, "rope_theta": 10000, "tie_word_embeddings": tied,
    });
    made(geometry, dtype)
}

fn qwen3_5(dtype: &str) -> MadeModel {
    let geometry = json!({
        "model_type": "qwen3_5_text", "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 32,
        "linear_value_head_dim": 16, "linear_conv_kernel_dim": 4, "full_attention_interval": 4,
        "vocab_size": VOCAB, "rms_norm_eps": 1e-6, "tie_word_embeddings": true,
        "max_position_embeddings": 4096,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
    });
    made(geometry, dtype)
}

fn made(geometry: Value, dtype: &str) -> MadeModel {
    serde_json::from_value(json!({"geometry": geometry, "seed": 7, "dtype": dtype})).unwrap()
}

/// A model and adapters for it, on disk.
struct Disk {
    folder: tempfile::TempDir,
    model: MadeModel,
}

impl Disk {
    fn new(model: MadeModel) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("model")).unwrap();
        write_model(&model, &folder.path().join("model")).unwrap();
        let disk = Self { folder, model };
        disk.write("a", json!({"format": "mlx_lm", "seed": 1, "rank": 4, "scale": 2.0}));
        disk.write("b", json!({"format": "peft", "seed": 2, "rank": 3, "scale": 6.0}));
        disk
    }

    fn write(&self, name: &str, adapter: Value) -> PathBuf {
        let path = self.path(name);
        let adapter = serde_json::from_value(adapter).unwrap();
        write_adapter(&self.model, &adapter, &path).unwrap();
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn options(&self) -> EngineOptions {
        EngineOptions::new(self.path("model"))
    }

    /// An engine without adapters whose requests share calls.
    fn batching(&self) -> Engine {
        let mut options = self.options();
        options.max_batch = Some(8);
        Engine::load(options).unwrap()
    }

    /// What an engine gives that has nothing but these adapters, mounted from the start.
    fn alone(&self, names: &[&str], request: GenerateRequest) -> Chosen {
        let mut options = self.options();
        options.adapters = names.iter().map(|name| AdapterSource::at(self.path(name))).collect();
        options.default_adapters = names.iter().map(ToString::to_string).collect();
        run(&Engine::load(options).unwrap(), request)
    }
}

/// Tokens with the bits of the logits that they were chosen from.
type Chosen = Vec<(u32, Vec<u8>)>;

fn run(engine: &Engine, request: GenerateRequest) -> Chosen {
    read(engine.submit(request).unwrap())
}

fn read(mut generation: Generation) -> Chosen {
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

/// Rows that run together have the bits of `alone`.
fn assert_bits_alone(engine: &Engine, rows: &[&[&str]], alone: &[Chosen]) {
    let running: Vec<Generation> = rows
        .iter()
        .enumerate()
        .map(|(row, names)| engine.submit(with(names, request(row))).unwrap())
        .collect();
    for (row, (generation, alone)) in running.into_iter().zip(alone).enumerate() {
        assert!(&read(generation) == alone, "row {row} has other bits");
    }
}

fn request(row: usize) -> GenerateRequest {
    let prompt = (0..[1, 40, 7, 23, 90, 2][row % 6]).map(|t| (t * 7 + row as u32) % VOCAB);
    let sampling = match row % 4 {
        1 => Sampling { temperature: 1.2, seed: Some(row as u64), ..Sampling::default() },
        2 => Sampling { repetition_penalty: 1.2, ..Sampling::default() },
        _ => Sampling::default(),
    };
    GenerateRequest {
        ignore_eos: true,
        sampling,
        prefill_step_size: Some(32),
        capture: Capture { logits: true, layers: false },
        ..GenerateRequest::new(prompt.collect(), 12 + 3 * row)
    }
}

fn with(names: &[&str], request: GenerateRequest) -> GenerateRequest {
    let adapters = Some(names.iter().map(ToString::to_string).collect());
    GenerateRequest { adapters, ..request }
}

fn endless(names: &[&str]) -> GenerateRequest {
    let request = GenerateRequest::new(vec![1, 2, 3], limits::MAX_GENERATED_TOKENS);
    with(names, GenerateRequest { ignore_eos: true, ..request })
}

fn wait_for(what: &str, done: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if done() {
            return;
        }
        thread::sleep(Duration::from_millis(2));
    }
    panic!("never: {what}");
}

fn mount(engine: &Engine, name: &str, path: &Path) {
    let mounted = engine.mount_adapter(name, path).unwrap();
    assert_eq!((mounted.info.name.as_str(), mounted.is_default), (name, false));
}

#[rstest]
#[case::llama_bf16(llama("bf16", false))]
#[case::llama_f32(llama("f32", true))]
#[case::llama_f16(llama("f16", true))]
#[case::qwen3_5_bf16(qwen3_5("bf16"))]
#[case::qwen3_5_f32(qwen3_5("f32"))]
fn rows_with_different_adapters_have_the_bits_of_a_single_stream(#[case] model: MadeModel) {
    let disk = Disk::new(model);
    let embeds = ["model.embed_tokens", "language_model.model.embed_tokens", "mlp.up_proj"];
    let more = json!({"format": "mlx_lm", "seed": 3, "rank": 2, "scale": 3.0, "keys": embeds});
    disk.write("embeds", more);
    let rows: [&[&str]; 8] =
        [&[], &["a"], &["b"], &["a", "b"], &["a"], &["b", "a"], &["embeds"], &["b", "embeds"]];
    let alone: Vec<Chosen> =
        rows.iter().enumerate().map(|(row, names)| disk.alone(names, request(row))).collect();
    let engine = disk.batching();
    for name in ["a", "b", "embeds"] {
        mount(&engine, name, &disk.path(name));
    }
    assert_bits_alone(&engine, &rows, &alone);
    assert_ne!(alone[1], disk.alone(&[], request(1)), "the adapter does something");
    assert_ne!(alone[5], disk.alone(&["b"], request(5)), "both do");
}

#[test]
fn dora_shares_calls_with_its_like_and_leaves_the_others_alone() {
    let disk = Disk::new(llama("bf16", false));
    disk.write(
        "dora",
        json!({"format": "mlx_lm", "kind": "dora", "seed": 3, "rank": 2, "scale": 4.0}),
    );
    let rows: [&[&str]; 5] = [&["dora"], &["a"], &["dora"], &[], &["dora"]];
    let alone: Vec<Chosen> =
        rows.iter().enumerate().map(|(row, names)| disk.alone(names, request(row))).collect();
    let engine = disk.batching();
    mount(&engine, "a", &disk.path("a"));
    mount(&engine, "dora", &disk.path("dora"));
    assert_bits_alone(&engine, &rows, &alone);
    let refused = engine.submit(with(&["a", "dora"], request(0))).unwrap_err().to_string();
    assert!(refused.contains("cannot be combined"), "{refused}");
}

#[test]
fn requests_choose_by_name() {
    let disk = Disk::new(llama("bf16", true));
    let mut options = disk.options();
    options.set_adapter(Some(disk.path("a")));
    options.adapters.push(AdapterSource { name: "other".into(), path: disk.path("b") });
    let engine = Engine::load(options).unwrap();
    let names: Vec<_> =
        engine.adapters().into_iter().map(|one| (one.info.name, one.is_default)).collect();
    assert_eq!(names, [("a".to_owned(), true), ("other".to_owned(), false)]);
    assert_eq!(engine.health().adapters, 2);
    let [bare, a, b] = [&[] as &[&str], &["a"], &["b"]].map(|names| disk.alone(names, request(0)));
    assert_eq!(run(&engine, request(0)), a);
    assert_eq!(run(&engine, with(&["a"], request(0))), a);
    assert_eq!(run(&engine, with(&["other"], request(0))), b);
    assert_eq!(run(&engine, with(&[], request(0))), bare);
    assert!(
        matches!(engine.unmount_adapter("a"), Err(Error::Request(text)) if text.contains("stays"))
    );
}

#[rstest]
#[case::unknown(&["c"], "adapter \"c\" is not registered; there are a")]
#[case::twice(&["a", "a"], "named twice")]
#[case::many(&["x"; 9], "at most 8")]
fn selections_that_mean_nothing_are_refused(#[case] names: &[&str], #[case] part: &str) {
    let disk = Disk::new(llama("bf16", true));
    let engine = Engine::load(disk.options()).unwrap();
    mount(&engine, "a", &disk.path("a"));
    match engine.submit(with(names, request(0))) {
        Err(Error::Request(text)) => assert!(text.contains(part), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_name_goes_at_once_and_the_adapter_with_its_last_request() {
    let disk = Disk::new(llama("bf16", true));
    let engine = Engine::load(disk.options()).unwrap();
    mount(&engine, "a", &disk.path("a"));
    let bytes = engine.adapters()[0].info.bytes;
    wait_for("bytes", || engine.health().adapter_bytes == bytes);
    let expected = disk.alone(&["a"], request(5));
    let mut running = engine.submit(endless(&["a"])).unwrap();
    for _ in 0..6 {
        assert!(running.next_blocking().is_some());
    }
    let waiting = engine.submit(with(&["a"], request(5))).unwrap();
    assert_eq!(engine.adapters()[0].users, 2);
    assert_eq!(engine.unmount_adapter("a").unwrap().users, 2);
    assert!(engine.adapters().is_empty());
    assert!(matches!(engine.unmount_adapter("a"), Err(Error::UnknownAdapter(_))));
    assert!(matches!(engine.submit(with(&["a"], request(0))), Err(Error::Request(_))));
    assert_eq!(read(waiting), expected, "it was submitted before");
    assert_eq!(engine.health().adapter_bytes, bytes);
    drop(running);
    wait_for("freed", || engine.health().adapter_bytes == 0);
    mount(&engine, "a", &disk.path("b"));
    assert_eq!(run(&engine, with(&["a"], request(1))), disk.alone(&["b"], request(1)));
}

#[test]
fn a_name_can_be_given_to_another_adapter() {
    let disk = Disk::new(llama("bf16", true));
    let engine = Engine::load(disk.options()).unwrap();
    mount(&engine, "x", &disk.path("a"));
    let before = engine.submit(with(&["x"], request(5))).unwrap();
    assert!(matches!(engine.mount_adapter("x", &disk.path("b")), Err(Error::AdapterExists(_))));
    engine.replace_adapter("x", &disk.path("b")).unwrap();
    let after = engine.submit(with(&["x"], request(5))).unwrap();
    assert_eq!(read(before), disk.alone(&["a"], request(5)));
    assert_eq!(read(after), disk.alone(&["b"], request(5)));
    assert_eq!(engine.adapters().len(), 1);
}

#[test]
fn weights_that_replace_the_models_come_with_the_model_only() {
    let disk = Disk::new(llama("bf16", true));
    let full = disk.write("full", json!({"format": "mlx_lm", "kind": "full", "seed": 5}));
    let engine = Engine::load(disk.options()).unwrap();
    let refused = engine.mount_adapter("full", &full).unwrap_err().to_string();
    assert!(refused.contains("fully fine-tuned"), "{refused}");
    assert!(engine.adapters().is_empty());

    let mut options = disk.options();
    options.set_adapter(Some(&full));
    let engine = Engine::load(options.clone()).unwrap();
    let own = run(&engine, request(0));
    assert_ne!(own, disk.alone(&[], request(0)));
    assert_eq!(run(&engine, with(&["full"], request(0))), own);
    let refused = engine.submit(with(&[], request(0))).unwrap_err().to_string();
    assert!(refused.contains("the base model is not loaded"), "{refused}");
    let refused = engine.mount_adapter("a", &disk.path("a")).unwrap_err().to_string();
    assert!(refused.contains("no adapter can be added"), "{refused}");
    assert!(engine.unmount_adapter("full").is_err());

    options.adapters.push(AdapterSource::at(disk.path("a")));
    let refused = Engine::load(options).unwrap_err().to_string();
    assert!(refused.contains("load it alone"), "{refused}");
}

#[test]
fn what_cannot_be_mounted_says_why_and_changes_nothing() {
    let disk = Disk::new(llama("bf16", true));
    let engine = Engine::load(disk.options()).unwrap();
    let refused = |name: &str, path: &Path| engine.mount_adapter(name, path).unwrap_err();
    assert!(matches!(refused("a/b", &disk.path("a")), Error::Request(_)));
    assert!(matches!(refused("a", &disk.path("nowhere")), Error::File { .. }));
    let other = Disk::new(llama("bf16", false));
    let wide = other.write(
        "head",
        json!({"format": "mlx_lm", "seed": 1, "rank": 2, "scale": 2.0, "keys": ["lm_head"]}),
    );
    assert!(matches!(refused("a", &wide), Error::Adapter(_)));
    assert_eq!((engine.health().adapters, engine.health().adapter_bytes), (0, 0));
    for n in 0..limits::MAX_ADAPTERS {
        mount(&engine, &format!("n{n}"), &disk.path("a"));
    }
    assert!(refused("more", &disk.path("a")).to_string().contains("unmount one first"));
    engine.drain();
    assert_eq!(refused("late", &disk.path("a")), Error::ShuttingDown);
}

#[test]
fn unknown_defaults_are_refused() {
    let disk = Disk::new(llama("bf16", true));
    let mut options = disk.options();
    options.set_adapter(Some(disk.path("a")));
    options.default_adapters = vec!["b".into()];
    let refused = Engine::load(options).unwrap_err().to_string();
    assert!(refused.contains("\"b\" is not registered"), "{refused}");
}

#[test]
fn the_prompt_cache_keeps_adapters_apart_and_forgets_those_that_go() {
    let disk = Disk::new(llama("bf16", true));
    let mut options = disk.options();
    options.prompt_cache_bytes = 64 << 20;
    let engine = Engine::load(options).unwrap();
    mount(&engine, "a", &disk.path("a"));
    mount(&engine, "b", &disk.path("b"));
    let cached = |names: &[&str]| with(names, GenerateRequest { use_cache: true, ..request(4) });
    let hits = || engine.health().cache.hits;
    for (round, names) in
        [&[] as &[&str], &["a"], &["b"], &["a", "b"], &["b", "a"]].iter().enumerate()
    {
        let alone = disk.alone(names, request(4));
        assert_eq!(hits(), round as u64, "nothing fits that others left");
        assert!(run(&engine, cached(names)) == alone);
        assert_eq!(hits(), round as u64);
        assert!(run(&engine, cached(names)) == alone, "from the cache");
        assert_eq!(hits(), round as u64 + 1);
    }
    let before = engine.health().cache;
    engine.unmount_adapter("a").unwrap();
    wait_for("forgotten", || engine.health().cache.bytes < before.bytes);
    engine.unmount_adapter("b").unwrap();
    wait_for("all but the base is forgotten", || engine.health().adapter_bytes == 0);
    mount(&engine, "a", &disk.path("b"));
    assert!(run(&engine, cached(&["a"])) == disk.alone(&["b"], request(4)));
    assert_eq!(hits(), 5, "the name says nothing");
    assert!(run(&engine, cached(&[])) == disk.alone(&[], request(4)));
    assert_eq!(hits(), 6);
}

#[rstest]
#[case::in_turns(1)]
#[case::in_batches(6)]
fn coming_and_going_adapters_disturb_nobody(#[case] max_batch: usize) {
    let disk = Disk::new(llama("bf16", true));
    let mut options = disk.options();
    options.max_batch = Some(max_batch);
    let engine = Engine::load(options).unwrap();
    mount(&engine, "a", &disk.path("a"));
    mount(&engine, "b", &disk.path("b"));
    let kinds: [&[&str]; 4] = [&[], &["a"], &["b"], &["a", "b"]];
    let quiet: Vec<Chosen> = kinds
        .iter()
        .enumerate()
        .map(|(row, names)| run(&engine, with(names, request(row))))
        .collect();
    let passing = disk.alone(&["b"], request(0));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..kinds.len())
            .map(|row| {
                let (engine, quiet, kinds) = (&engine, &quiet, &kinds);
                scope.spawn(move || {
                    for _ in 0..12 {
                        assert!(run(engine, with(kinds[row], request(row))) == quiet[row]);
                    }
                })
            })
            .collect();
        let mut rounds = 0;
        while clients.iter().any(|client| !client.is_finished()) || rounds == 0 {
            mount(&engine, "passing", &disk.path("b"));
            let used = engine.submit(with(&["passing"], request(0))).unwrap();
            engine.unmount_adapter("passing").unwrap();
            if rounds % 2 == 0 {
                assert!(read(used) == passing);
            }
            rounds += 1;
        }
    });
    let kept: u64 = engine.adapters().iter().map(|one| one.info.bytes).sum();
    wait_for("the others' memory is freed", || engine.health().adapter_bytes == kept);
}
