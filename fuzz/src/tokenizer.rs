//! `tokenizer.json`: refused, or usable.

use std::fmt::Write as _;

use verbatim_engine::text::Tokenizer;

use crate::scratch::{self, folder, put};

/// Texts that touch normalizers, patterns and added tokens.
const TEXTS: [&str; 6] = [
    "",
    " ",
    "Hello,  world!\n",
    "é日本\u{1f600}\u{0}\u{301}",
    "<s>x</s><think>",
    "0123 aaaaaaaaaaaa\t\r\n",
];

/// An input is the whole file.
pub fn body(input: &[u8]) -> bool {
    let dir = folder();
    put(&dir, "tokenizer.json", input);
    let Ok(tokenizer) = Tokenizer::load(dir.path()) else { return false };
    for text in TEXTS {
        for special in [false, true] {
            if let Ok(ids) = tokenizer.encode(text, special) {
                read_back(&tokenizer, &ids);
            }
        }
    }
    // Whatever a model predicts, there is text for it.
    let beyond = tokenizer.vocab_size() as u32;
    read_back(&tokenizer, &[0, 1, 2, beyond.wrapping_sub(1), beyond, u32::MAX]);
    true
}

fn read_back(tokenizer: &Tokenizer, ids: &[u32]) {
    let _ = tokenizer.decode(ids);
    let mut streamed = String::new();
    let mut detokenizer = tokenizer.detokenizer();
    for id in ids {
        detokenizer.add_token(*id);
        let _ = write!(streamed, "{}", detokenizer.take_segment());
        let _ = (tokenizer.piece(*id), tokenizer.is_eos(*id));
    }
    detokenizer.finalize();
    streamed.push_str(&detokenizer.take_segment());
    let _ = tokenizer.start_channel(ids);
}

pub fn seeds() -> Vec<Vec<u8>> {
    let recorded = scratch::json("engine/tests/data/detokenizers.json");
    let recorded = recorded.as_object().expect("an object").values();
    recorded.map(|one| one["files"]["tokenizer.json"].to_string().into_bytes()).collect()
}
