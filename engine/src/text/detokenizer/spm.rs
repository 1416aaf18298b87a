//! Sentencepiece with byte fallback (`SPMStreamingDetokenizer`).

use std::sync::Arc;

use tokenizers::Tokenizer as HfTokenizer;

use super::{Released, utf8::Utf8Stream};

#[derive(Debug)]
pub(super) struct Spm {
    tokenizer: Arc<HfTokenizer>,
    trim_space: bool,
    decoded: Utf8Stream,
    pub released: Released,
}

impl Spm {
    pub fn new(tokenizer: Arc<HfTokenizer>, trim_space: bool) -> Self {
        let (decoded, released) = (Utf8Stream::default(), Released::default());
        Self { tokenizer, trim_space, decoded, released }
    }

    pub fn add_token(&mut self, id: u32) {
        // The reference fails on an id beyond the vocabulary; here it reads as nothing.
        let piece = self.tokenizer.id_to_token(id).unwrap_or_default();
        match byte_of(&piece) {
            Some(byte) => self.decoded.push(&[byte]),
            None => self.decoded.push(piece.as_bytes()),
        }
        if !self.decoded.ends_in_replacement() {
            self.flush();
        }
    }

    pub fn finalize(&mut self) {
        self.flush();
    }

    fn flush(&mut self) {
        let text = self.decoded.take().replace('▁', " ");
        self.released.push(&text, self.trim_space);
    }
}

/// The bytes that a piece stands for.
pub(in crate::text) fn bytes_of(piece: &str) -> Vec<u8> {
    byte_of(piece).map_or_else(|| piece.replace('▁', " ").into_bytes(), |byte| vec![byte])
}

/// The byte of a piece such as `<0x0A>`: two hexadecimal digits after `<0x`, whatever follows.
fn byte_of(piece: &str) -> Option<u8> {
    let digits: String = piece.strip_prefix("<0x")?.chars().take(2).collect();
    digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u8::from_str_radix(&digits, 16).ok())?
}
