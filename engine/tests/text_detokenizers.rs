//! Tokenizer and streaming detokenizers against mlx-lm's
//! (`oracle/python/text/detokenizers.py` writes the expectations).

use std::{fs, sync::LazyLock};

use proptest::prelude::*;
use serde_json::Value;
use verbatim_engine::text::{Detokenizer, Tokenizer};

static DATA: LazyLock<Value> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/detokenizers.json");
    serde_json::from_str(&fs::read_to_string(path).expect("readable data")).expect("JSON")
});

fn load(files: &Value) -> Tokenizer {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, content) in files.as_object().expect("files") {
        fs::write(dir.path().join(name), content.to_string()).expect("writable");
    }
    Tokenizer::load(dir.path()).expect("a tokenizer")
}

fn models() -> impl Iterator<Item = (&'static str, &'static Value, Tokenizer)> {
    let models = DATA.as_object().expect("models").iter();
    models.map(|(name, model)| (name.as_str(), model, load(&model["files"])))
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().expect("ids").iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().expect("texts").iter().map(|t| t.as_str().expect("a text")).collect()
}

fn segments(mut detokenizer: Detokenizer, ids: &[u32]) -> Vec<String> {
    let mut segments = Vec::new();
    for &id in ids {
        detokenizer.add_token(id);
        segments.push(detokenizer.take_segment());
    }
    detokenizer.finalize();
    segments.push(detokenizer.take_segment());
    segments
}

#[test]
fn streams_release_the_same_text_after_every_token() {
    for (name, model, tokenizer) in models() {
        for case in model["streams"].as_array().expect("streams") {
            let ids = ids(&case[0]);
            let actual = segments(tokenizer.detokenizer(), &ids);
            assert_eq!(actual, texts(&case[1]), "{name}: {ids:?}");
        }
    }
}

#[test]
fn texts_encode_as_in_the_reference() {
    for (name, model, tokenizer) in models() {
        for case in model["texts"].as_array().expect("texts") {
            let text = case[0].as_str().expect("a text");
            assert_eq!(tokenizer.encode(text, true).unwrap(), ids(&case[1]), "{name}: {text:?}");
            assert_eq!(tokenizer.encode(text, false).unwrap(), ids(&case[2]), "{name}: {text:?}");
        }
        let decoded = texts(&model["decoded"]);
        for (case, text) in model["streams"].as_array().expect("streams").iter().zip(decoded) {
            assert_eq!(tokenizer.decode(&ids(&case[0])), text, "{name}");
        }
    }
}

#[test]
fn the_model_directory_reads_as_in_the_reference() {
    for (name, model, tokenizer) in models() {
        assert_eq!(tokenizer.eos_token_ids(), ids(&model["eos"]), "{name}");
        assert_eq!(tokenizer.vocab_size() as u64, model["vocab_size"].as_u64().unwrap(), "{name}");
        let thinking = tokenizer.thinking().expect("markers");
        assert_eq!(vec![thinking.start, thinking.end], texts(&model["thinking"]), "{name}");
        let pieces: Vec<Option<String>> =
            (0..tokenizer.vocab_size() as u32).step_by(7).map(|id| tokenizer.piece(id)).collect();
        let expected = texts(&model["pieces"]);
        assert!(pieces.iter().map(|p| p.as_deref().unwrap_or_default()).eq(expected), "{name}");
    }
}

#[test]
fn a_prompt_that_begins_with_bos_gets_no_second_one() {
    let tokenizer = load(&DATA["byte_level"]["files"]);
    let bos = tokenizer.token_id("<s>").unwrap();
    assert_eq!(tokenizer.encode_prompt("ab").unwrap()[0], bos);
    let given = tokenizer.encode_prompt("<s>ab").unwrap();
    assert_eq!(given.iter().filter(|&&id| id == bos).count(), 1);
}

#[test]
fn generation_starts_where_the_prompt_ends() {
    use verbatim_engine::text::Channel::{Content, Reasoning};
    let tokenizer = load(&DATA["byte_level"]["files"]);
    for (prompt, channel) in [
        ("hi", Content),
        ("hi<think>\n", Reasoning),
        ("<think>a</think>b", Content),
        ("<think>a</think>b<think>", Reasoning),
        ("a</think>", Content),
        ("", Content),
    ] {
        let ids = tokenizer.encode(prompt, false).unwrap();
        assert_eq!(tokenizer.start_channel(&ids), channel, "{prompt:?}");
    }
}

/// Tokens of single bytes, by byte.
fn byte_tokens(tokenizer: &Tokenizer) -> Vec<u32> {
    (0..=255u8).map(|b| tokenizer.token_id(&format!("<0x{b:02X}>")).expect("a byte")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Bytes, valid or not, read as Python and the standard library read them.
    #[test]
    fn bytes_decode_as_a_whole_would(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let tokenizer = load(&DATA["byte_fallback_keep_space"]["files"]);
        let table = byte_tokens(&tokenizer);
        let ids: Vec<u32> = bytes.iter().map(|b| table[*b as usize]).collect();
        let text = segments(tokenizer.detokenizer(), &ids).concat();
        prop_assert_eq!(text, String::from_utf8_lossy(&bytes).replace('▁', " "));
    }

    /// Any text survives encoding and streaming, but for leading spaces: the reference drops one
    /// for every token until the text has begun.
    #[test]
    fn texts_survive(text in "\\PC{0,40}|[ \\n\\t]{0,5}[a-z \\n]{0,20}|[一-龥あ-ん😀-😎\u{300}-\u{36f}]{0,20}") {
        let tokenizer = load(&DATA["byte_level"]["files"]);
        let ids = tokenizer.encode(&text, false).unwrap();
        let streamed = segments(tokenizer.detokenizer(), &ids).concat();
        prop_assert!(text.ends_with(&streamed), "{streamed:?}");
        prop_assert_eq!(streamed.trim_start_matches(' '), text.trim_start_matches(' '));
    }

    /// Whatever the ids, nothing panics, and when the text is read does not change it. (Detokenizers
    /// that decode line by line depend on when they are read, as in the reference.)
    #[test]
    fn any_ids_stream(ids in prop::collection::vec(0u32..400, 0..40)) {
        for (_, model, tokenizer) in models() {
            let streamed = segments(tokenizer.detokenizer(), &ids).concat();
            if model["detokenizer"] == "NaiveStreamingDetokenizer" {
                continue;
            }
            let mut at_once = tokenizer.detokenizer();
            for &id in &ids {
                at_once.add_token(id);
            }
            at_once.finalize();
            prop_assert_eq!(streamed, at_once.take_segment());
        }
    }
}

/// The decoder of the tokenizers crate panics where it is to strip a blank on both sides and there is
/// only one (found by fuzzing).
#[test]
fn a_decoder_that_panics_gives_no_text() {
    let mut files = DATA["byte_fallback"]["files"].clone();
    files["tokenizer.json"]["decoder"]["decoders"][3]["stop"] = 1.into();
    let tokenizer = load(&files);
    let blank = tokenizer.token_id("\u{2581}").expect("a blank");
    assert_eq!(tokenizer.decode(&[blank]), "");
    assert_eq!(segments(tokenizer.detokenizer(), &[blank]), ["", ""]);
}
