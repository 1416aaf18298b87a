//! What the L3 gauge needs of the engine: forced tokens, and memory of keys and values.

use rstest::rstest;
use serde_json::json;
use verbatim_engine::{
    Capture, Engine, EngineOptions, Error, Event, GenerateRequest, Stats,
    kv::{KvFormat, KvLayers, KvQuantization},
};
use verbatim_harness::{case::MadeModel, maker::write_model};

const LAYERS: usize = 4;
const VOCAB: u32 = 96;

fn engine(bits: Option<u64>) -> (Engine, tempfile::TempDir) {
    let geometry = json!({
        "model_type": "llama", "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": LAYERS, "num_attention_heads": 2, "num_key_value_heads": 2,
        "head_dim": 64, "vocab_size": VOCAB, "rms_norm_eps": 1e-6, "rope_theta": 10000,
        "tie_word_embeddings": false,
    });
    let model = json!({"geometry": geometry, "seed": 7, "dtype": "bf16"});
    let model: MadeModel = serde_json::from_value(model).unwrap();
    let folder = tempfile::tempdir().unwrap();
    write_model(&model, folder.path()).unwrap();
    let mut options = EngineOptions::new(folder.path());
    if let Some(bits) = bits {
        let layers = KvLayers::All(KvFormat::new(bits, 32).unwrap());
        options.kv = KvQuantization { layers, ..KvQuantization::default() };
    }
    (Engine::load(options).unwrap(), folder)
}

/// Tokens, the bits of their logits, and what it took.
fn run(engine: &Engine, mut request: GenerateRequest) -> (Vec<u32>, Vec<Vec<u8>>, Stats) {
    request.ignore_eos = true;
    request.capture = Capture { logits: true, layers: false };
    let (mut tokens, mut rows) = (Vec::new(), Vec::new());
    let mut generation = engine.submit(request).unwrap();
    loop {
        match generation.next_blocking().unwrap() {
            Event::Token(token) => {
                tokens.push(token.id);
                rows.push(token.logits.unwrap().data);
            }
            Event::Finished(end) => return (tokens, rows, end.stats),
            Event::Failed(e) => panic!("{e}"),
            Event::Started { .. } | Event::Prefill { .. } | Event::Tensor(_) => {}
        }
    }
}

fn prompt(tokens: u32) -> Vec<u32> {
    (0..tokens).map(|i| (i * 29 + 3) % VOCAB).collect()
}

#[rstest]
fn forced_tokens_are_read_as_if_they_had_been_chosen(#[values(None, Some(4))] bits: Option<u64>) {
    let (engine, _folder) = engine(bits);
    let token_by_token = |prompt, tokens| {
        let request = GenerateRequest::new(prompt, tokens);
        GenerateRequest { prefill_step_size: Some(1), ..request }
    };
    let mut request = token_by_token(prompt(9), 12);
    let (chosen, rows, _) = run(&engine, request.clone());
    request.forced.clone_from(&chosen);
    assert_eq!(run(&engine, request.clone()).1, rows, "the model's own choice changes nothing");

    // Others give what a prompt that goes on with them gives.
    request.forced[3] = (chosen[3] + 1) % VOCAB;
    request.forced.truncate(7);
    let (tokens, forced_rows, _) = run(&engine, request.clone());
    assert_eq!(tokens[..7], request.forced);
    assert_eq!(forced_rows[..4], rows[..4]);
    assert_ne!(forced_rows[4], rows[4]);
    let longer = [prompt(9), tokens[..7].to_vec()].concat();
    let (chosen, rows, _) = run(&engine, token_by_token(longer, 5));
    assert_eq!(tokens[7..], chosen);
    assert_eq!(forced_rows[7..], rows);
}

#[rstest]
#[case::outside(vec![VOCAB], "outside the model's vocabulary")]
#[case::too_many(vec![1, 2, 3], "at most 2 forced tokens")]
fn forced_tokens_that_cannot_be_are_refused(#[case] forced: Vec<u32>, #[case] reason: &str) {
    let (engine, _folder) = engine(None);
    let mut request = GenerateRequest::new(prompt(3), 2);
    request.forced = forced;
    match engine.submit(request) {
        Err(Error::Request(text)) => assert!(text.contains(reason), "{text}"),
        other => panic!("{other:?}"),
    }
}

/// Two buffers of two heads of 64 values, over 256 rows.
const VALUES: u64 = 2 * 2 * 64 * 256;

#[rstest]
#[case::plain(None, VALUES * 2)]
#[case::eight(Some(8), VALUES + VALUES / 32 * 4)]
#[case::four(Some(4), VALUES / 2 + VALUES / 32 * 4)]
fn a_generation_tells_what_its_keys_and_values_take(
    #[case] bits: Option<u64>,
    #[case] layer_bytes: u64,
) {
    let (engine, _folder) = engine(bits);
    let (_, _, stats) = run(&engine, GenerateRequest::new(prompt(9), 3));
    let kv = stats.kv.unwrap();
    assert_eq!((kv.bytes, kv.conversion), (LAYERS as u64 * layer_bytes, None));
}

#[test]
fn packing_never_holds_two_layers_twice() {
    let (engine, _folder) = engine(Some(8));
    let mut request = GenerateRequest::new(prompt(601), 2);
    request.measure_conversion = true;
    let (_, rows, stats) = run(&engine, request.clone());
    let conversion = stats.kv.unwrap().conversion.unwrap();
    let layer = VALUES * 2 * 3;
    assert_eq!((conversion.largest_layer, conversion.plain), (layer, layer * LAYERS as u64));
    // Packed it takes 9/16 of itself, and MLX copies one of its two buffers meanwhile. All layers
    // at once would take more than two of them.
    assert!(conversion.extra_peak > 0, "{conversion:?}");
    assert!(conversion.extra_peak <= layer + layer / 8, "{conversion:?}");
    request.measure_conversion = false;
    assert_eq!(run(&engine, request).1, rows, "measuring changes no bit");
}

#[test]
fn nothing_is_measured_where_nothing_is_packed() {
    let (engine, _folder) = engine(None);
    let mut request = GenerateRequest::new(prompt(9), 2);
    request.measure_conversion = true;
    assert_eq!(run(&engine, request).2.kv.unwrap().conversion, None);
}
