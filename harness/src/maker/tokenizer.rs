//! A byte-level tokenizer of exactly as many entries as the model has rows, so that a made model's
//! folder loads everywhere.

use serde_json::{Map, Value, json};

/// Markers that lead the vocabulary; the rest of it are single bytes.
const SPECIAL: [&str; 6] = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"];

/// GPT-2's printable stand-in for each byte.
fn byte_characters() -> Vec<char> {
    let printable = |b: u32| matches!(b, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut next = 0x100;
    (0..256)
        .map(|b| {
            let code = if printable(b) {
                b
            } else {
                next += 1;
                next - 1
            };
            char::from_u32(code).unwrap_or('\u{FFFD}')
        })
        .collect()
}

fn vocabulary(size: usize) -> Vec<String> {
    let bytes = byte_characters();
    // Space, newline and ASCII come first so that small vocabularies still hold readable text.
    let order = [0x20, 0x0A]
        .into_iter()
        .chain(0x21..0x7F)
        .chain(0x00..0x0A)
        .chain(0x0B..0x20)
        .chain(0x7F..256);
    SPECIAL
        .iter()
        .map(|s| (*s).to_owned())
        .chain(order.map(|b| bytes[b].to_string()))
        .chain((0..).map(|i| format!("<extra_{i}>")))
        .take(size)
        .collect()
}

/// `tokenizer.json` for `size` tokens.
pub(super) fn tokenizer(size: usize) -> Value {
    let words = vocabulary(size);
    let vocab: Map<String, Value> =
        words.iter().enumerate().map(|(id, word)| (word.clone(), json!(id))).collect();
    let added: Vec<Value> = words
        .iter()
        .enumerate()
        .take(SPECIAL.len())
        .map(|(id, word)| {
            json!({
                "id": id, "content": word, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true
            })
        })
        .collect();
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": {
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true
        },
        "post_processor": null,
        "decoder": {
            "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true
        },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": true, "vocab": vocab, "merges": []
        }
    })
}

/// `tokenizer_config.json` beside it.
pub(super) fn tokenizer_config() -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "clean_up_tokenization_spaces": false,
        "model_max_length": 131_072,
        "chat_template": "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_byte_has_its_own_character() {
        assert_eq!(byte_characters().into_iter().collect::<HashSet<_>>().len(), 256);
        assert_eq!(byte_characters()[0x20], 'Ġ');
        assert_eq!(byte_characters()[0x0A], 'Ċ');
    }

    #[test]
    fn vocabularies_have_the_asked_size_and_no_repeats() {
        for size in [1, 6, 97, 160, 262, 300] {
            let words = vocabulary(size);
            assert_eq!(words.len(), size);
            assert_eq!(words.iter().collect::<HashSet<_>>().len(), size);
        }
    }
}
