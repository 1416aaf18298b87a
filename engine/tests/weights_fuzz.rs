//! Malformed inputs by the thousand: every one gives an error or a value, none a panic, and what
//! is accepted keeps the promises of the check.

mod weights_support;

use std::{
    io::Cursor,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use verbatim_engine::weights::{
    Dtype, Fields, LlamaConfig, ModelDir, QuantizationSpec, TensorInfo, check_header, inspect,
    load_lazy, parse_object,
};
use weights_support::{
    Random, Tensor, config, config_with, dir_of, model_tensors, put, raw_safetensors, safetensors,
    text,
};

/// Malformed safetensors files that [`hostile_headers_never_panic`] makes.
const HEADERS: u64 = 6_000;
/// Malformed configurations that [`hostile_configs_never_panic`] makes.
const CONFIGS: u64 = 6_000;

/// Values that break programs.
const HOSTILE: &[&str] = &[
    "0",
    "-1",
    "-0",
    "1",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e400",
    "-1e400",
    "1e308",
    "1e-400",
    "0.5",
    "null",
    "true",
    "false",
    "\"\"",
    "\"x\"",
    "\"\\u0000\"",
    "[]",
    "{}",
    "[[[[]]]]",
    "[0,0]",
    "{\"a\":{\"a\":{}}}",
    "NaN",
    "Infinity",
    "-",
    "\"\\ud800\"",
];

#[derive(Default)]
struct Tally {
    accepted: u64,
    refused: u64,
}

/// What must hold of tensors that the check lets through.
fn assert_promises(tensors: &[TensorInfo], file_len: u64) {
    let mut spans: Vec<_> = tensors.iter().map(|t| t.bytes.clone()).collect();
    spans.sort_by_key(|s| (s.start, s.end));
    assert!(spans.windows(2).all(|w| w[0].end == w[1].start), "{spans:?}");
    if let Some(last) = spans.last() {
        assert_eq!(last.end, file_len);
    }
    for t in tensors {
        let elements: u64 = t.shape.iter().map(|&d| d as u64).product();
        assert_eq!(elements * t.dtype.bytes(), t.len_bytes(), "{t:?}");
    }
}

fn check(file: &[u8]) -> verbatim_engine::Result<Vec<TensorInfo>> {
    let path: Arc<Path> = Path::new("model.safetensors").into();
    check_header(&mut Cursor::new(file), file.len() as u64, &path)
}

fn valid_file() -> Vec<u8> {
    safetensors(&[
        Tensor::new("model.embed_tokens.weight", Dtype::Bf16, &[6, 4]),
        Tensor::new("model.layers.0.mlp.up_proj.weight", Dtype::U32, &[4, 1]),
        Tensor::new("model.layers.0.mlp.up_proj.scales", Dtype::F16, &[4, 1]),
        Tensor::new("model.norm.weight", Dtype::F32, &[4]),
        Tensor::new("scalar", Dtype::U8, &[]),
        Tensor::new("empty", Dtype::I64, &[0, 3]),
    ])
}

/// Replaces the number or string that starts at or after a random place.
fn replace_token(text: &mut Vec<u8>, random: &mut Random) {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let from = random.below(text.len());
    let Some(start) = (from..text.len()).find(|&i| is_token(text[i])) else { return };
    let end = (start..text.len()).find(|&i| !is_token(text[i])).unwrap_or(text.len());
    // A quoted token loses its quotes half of the time.
    let quoted = start > 0 && text[start - 1] == b'"' && text.get(end) == Some(&b'"');
    let (start, end) =
        if quoted && random.below(2) == 0 { (start - 1, end + 1) } else { (start, end) };
    let with = random.pick(HOSTILE).bytes();
    text.splice(start..end, with);
}

/// One to three random edits of JSON text.
fn mangle(text: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        if text.is_empty() {
            return;
        }
        let at = random.below(text.len());
        match random.below(10) {
            0 => text.truncate(at),
            1 => text[at] ^= 1 << random.below(8),
            2 => text[at] = random.next() as u8,
            3 => {
                text.remove(at);
            }
            4 => {
                let piece = text[at..(at + 1 + random.below(40)).min(text.len())].to_vec();
                text.splice(at..at, piece);
            }
            5 => {
                let deep = vec![*random.pick(b"[{\""); 1 + random.below(400)];
                text.splice(at..at, deep);
            }
            _ => replace_token(text, random),
        }
    }
}

/// A malformed (now and then still valid) safetensors file.
fn hostile_file(base: &[u8], random: &mut Random) -> Vec<u8> {
    let header_len = u64::from_le_bytes(base[..8].try_into().unwrap()) as usize;
    let (header, data) = (&base[8..8 + header_len], &base[8 + header_len..]);
    match random.below(8) {
        0 => base[..random.below(base.len())].to_vec(),
        1 => {
            let mut file = base.to_vec();
            let at = random.below(8 + header_len);
            file[at] ^= 1 << random.below(8);
            file
        }
        2 => {
            let mut file = base.to_vec();
            let lengths = [0, 1, header_len as u64 - 1, header_len as u64 + 1, 1 << 26, 1 << 63];
            let length = *random.pick(&lengths);
            let length = if random.below(4) == 0 { random.next() } else { length };
            file[..8].copy_from_slice(&length.to_le_bytes());
            file
        }
        3 => {
            let mut data = data.to_vec();
            data.resize(random.below(2 * data.len()), 0);
            raw_safetensors(header, &data)
        }
        _ => {
            let mut header = header.to_vec();
            mangle(&mut header, random);
            raw_safetensors(&header, data)
        }
    }
}

#[test]
fn hostile_headers_never_panic() {
    let base = valid_file();
    assert_promises(&check(&base).unwrap(), base.len() as u64);
    let mut tally = Tally::default();
    for seed in 0..HEADERS {
        let file = hostile_file(&base, &mut Random::new(seed));
        let run = || match check(&file) {
            Ok(tensors) => {
                assert_promises(&tensors, file.len() as u64);
                true
            }
            Err(_) => false,
        };
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(true) => tally.accepted += 1,
            Ok(false) => tally.refused += 1,
            Err(_) => panic!("seed {seed}: {}", String::from_utf8_lossy(&file)),
        }
    }
    report("safetensors headers", &tally, HEADERS);
}

#[test]
fn mlx_takes_whatever_the_check_accepts() {
    let base = valid_file();
    let dir = dir_of(&[("config.json", &text(&config()))]);
    let mut loaded = 0;
    for seed in 0..HEADERS {
        let file = hostile_file(&base, &mut Random::new(seed));
        if check(&file).is_ok() {
            put(dir.path(), "model.safetensors", &file);
            let opened = ModelDir::open(dir.path()).unwrap();
            let arrays = load_lazy(&opened).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            mlx_rs::transforms::eval(arrays.values()).unwrap();
            loaded += 1;
        }
    }
    assert!(loaded >= 100, "only {loaded} files reached MLX");
}

/// Valid configurations to start from.
fn seeds() -> Vec<Map<String, Value>> {
    let mut quantized = config_with(
        "quantization",
        json!({"group_size": 32, "bits": 4, "mode": "affine", "lm_head": {"bits": 8, "group_size": 64}}),
    );
    quantized.insert("quantization_config".into(), quantized["quantization"].clone());
    let scaling = json!({
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192
    });
    vec![
        config(),
        quantized,
        config_with("rope_scaling", scaling),
        config_with("quantization_config", json!({"quant_method": "gptq", "bits": 4})),
        config_with("layer_types", json!(["full_attention", "full_attention"])),
    ]
}

/// One to three values exchanged for others, added or taken away; the text stays valid JSON.
fn retype(config: &mut Map<String, Value>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let keys: Vec<String> = config.keys().cloned().collect();
        let key = random.pick(&keys).clone();
        let value = serde_json::from_str(random.pick::<&str>(HOSTILE))
            .unwrap_or_else(|_| json!(random.below(200)));
        match (random.below(6), config.get_mut(&key)) {
            (0, _) => {
                config.shift_remove(&key);
            }
            (1, _) => {
                config.insert(format!("_{key}"), value);
            }
            (2 | 3, Some(Value::Object(inner))) if !inner.is_empty() => {
                let keys: Vec<String> = inner.keys().cloned().collect();
                inner.insert(random.pick(&keys).clone(), value);
            }
            _ => {
                config.insert(key, value);
            }
        }
    }
}

#[test]
fn hostile_configs_never_panic() {
    let seeds = seeds();
    let weights = {
        let llama = LlamaConfig::from_fields(&Fields::new(&seeds[0])).unwrap();
        safetensors(&model_tensors(&llama.expected(), None))
    };
    let dir = dir_of(&[("model.safetensors", &weights), ("tokenizer.json", b"{}")]);
    let mut tally = Tally::default();
    for seed in 0..CONFIGS {
        let mut random = Random::new(seed);
        let mut config = random.pick(&seeds).clone();
        let bytes = if random.below(2) == 0 {
            retype(&mut config, &mut random);
            text(&config)
        } else {
            let mut bytes = text(&config);
            mangle(&mut bytes, &mut random);
            bytes
        };
        let run = || {
            // The whole report takes longer, so it sees one in eight.
            if seed % 8 == 0 {
                put(dir.path(), "config.json", &bytes);
                let _ = inspect(dir.path()).map(|report| report.to_string());
            }
            let config = parse_object(&bytes).ok()?;
            let llama = LlamaConfig::from_fields(&Fields::new(&config)).ok()?;
            QuantizationSpec::from_config(&config).ok()?;
            Some(llama)
        };
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Some(_)) => tally.accepted += 1,
            Ok(None) => tally.refused += 1,
            Err(_) => panic!("seed {seed}: {}", String::from_utf8_lossy(&bytes)),
        }
    }
    report("configurations", &tally, CONFIGS);
}

/// Shows the counts (`cargo nextest run --no-capture`), and fails when a side is empty: a fuzzer
/// whose inputs are all refused at the first byte tests nothing.
#[expect(clippy::print_stdout, reason = "the counts are evidence that a reader asks for")]
fn report(what: &str, tally: &Tally, total: u64) {
    let Tally { accepted, refused } = *tally;
    println!("{total} hostile {what}: {refused} refused, {accepted} accepted, 0 panics");
    assert_eq!(accepted + refused, total);
    assert!(accepted * 50 > total, "only {accepted} of {total} were accepted");
    assert!(refused * 2 > total, "only {refused} of {total} were refused");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0u64..200).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "(affine|mxfp4|llama3|linear|default|full_attention|silu)".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("(bits|group_size|mode|factor|type|[a-z.]{1,6})", inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_value_in_any_place_is_taken_or_refused(
        key in prop::sample::select(config().keys().cloned().chain([
            "quantization".into(), "quantization_config".into(), "rope_parameters".into(),
            "layer_types".into(), "sliding_window".into(), "mlp_bias".into(),
        ]).collect::<Vec<String>>()),
        value in any_json(),
    ) {
        let mut config = config();
        config.insert(key, value);
        if let Ok(llama) = LlamaConfig::from_fields(&Fields::new(&config)) {
            prop_assert!(llama.num_attention_heads % llama.num_key_value_heads == 0);
            prop_assert!(llama.head_dim % 2 == 0 && llama.head_dim > 0);
            prop_assert!(llama.expected().parameters() > 0);
        }
        if let Ok(Some(spec)) = QuantizationSpec::from_config(&config) {
            for (_, scheme) in spec.overrides() {
                let scheme = scheme.unwrap_or(spec.default());
                prop_assert!(scheme.bits > 0 && scheme.group_size > 0);
            }
        }
    }

    #[test]
    fn what_is_written_is_read(
        value in any_json(),
    ) {
        let mut map = Map::new();
        map.insert("k".into(), value);
        prop_assert_eq!(parse_object(&text(&map)).unwrap(), map);
    }

    #[test]
    fn valid_files_are_described_exactly(
        shapes in prop::collection::btree_map(
            "[a-z.]{1,12}",
            (prop::sample::select(Dtype::ALL.to_vec()), prop::collection::vec(0usize..5, 0..4)),
            0..8,
        ),
    ) {
        let tensors: Vec<Tensor> =
            shapes.iter().map(|(name, (dtype, shape))| Tensor::new(name, *dtype, shape)).collect();
        let file = safetensors(&tensors);
        let read = check(&file).unwrap();
        assert_promises(&read, file.len() as u64);
        prop_assert_eq!(read.len(), tensors.len());
        for (read, written) in read.iter().zip(&tensors) {
            prop_assert_eq!(&read.name, &written.name);
            prop_assert_eq!(read.dtype, written.dtype);
            prop_assert_eq!(&read.shape, &written.shape);
        }
    }
}
