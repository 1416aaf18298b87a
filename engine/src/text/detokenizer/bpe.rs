//! Byte-level BPE (`BPEStreamingDetokenizer`).

use std::sync::Arc;

use tokenizers::Tokenizer as HfTokenizer;

use super::{Released, utf8::Utf8Stream};

/// What an id beyond the vocabulary reads as.
const UNKNOWN: &str = "!";
/// The piece that stands for a single space.
const SPACE: &str = "Ġ";

#[derive(Debug)]
pub(super) struct Bpe {
    tokenizer: Arc<HfTokenizer>,
    vocab_size: usize,
    /// Pieces not released yet, as written in the vocabulary.
    unflushed: String,
    /// The same, decoded.
    decoded: Utf8Stream,
    pub released: Released,
}

impl Bpe {
    pub fn new(tokenizer: Arc<HfTokenizer>) -> Self {
        let vocab_size = tokenizer.get_vocab_size(true);
        let (unflushed, decoded) = (String::new(), Utf8Stream::default());
        Self { tokenizer, vocab_size, unflushed, decoded, released: Released::default() }
    }

    pub fn add_token(&mut self, id: u32) {
        let known =
            if (id as usize) < self.vocab_size { self.tokenizer.id_to_token(id) } else { None };
        let piece = known.as_deref().unwrap_or(UNKNOWN);
        self.unflushed.push_str(piece);
        self.decoded.push(&bytes_of(piece));
        // A lone space waits for the next token; an incomplete character for its rest.
        if piece != SPACE && !self.decoded.ends_in_replacement() {
            self.released.push(&self.decoded.take(), true);
            self.unflushed.clear();
        }
    }

    pub fn finalize(&mut self) {
        let streamed = self.decoded.take();
        let pieces = std::mem::take(&mut self.unflushed);
        // Here the reference decodes the byte 0 as itself. It fails on letters that stand for no
        // byte; they read as they did while streaming.
        let bytes: Option<Vec<u8>> = pieces.chars().map(byte_of).collect();
        let text = match &bytes {
            Some(bytes) => String::from_utf8_lossy(bytes),
            None => streamed.into(),
        };
        self.released.push(&text, true);
    }
}

/// The bytes that a piece stands for; letters that stand for no byte are themselves.
pub(in crate::text) fn bytes_of(piece: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(piece.len());
    for c in piece.chars() {
        match byte_of(c) {
            // The reference takes the byte 0 for "not a byte" and keeps its letter.
            Some(byte) if byte != 0 => bytes.push(byte),
            _ => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// The byte that a letter of the byte-level alphabet stands for: printable Latin-1 letters stand
/// for themselves, the other bytes are numbered from U+0100 on.
fn byte_of(c: char) -> Option<u8> {
    match u32::from(c) {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => Some(code as u8),
        code @ 0x100..=0x120 => Some((code - 0x100) as u8),
        code @ 0x121..=0x142 => Some((code - 0x121 + 0x7f) as u8),
        0x143 => Some(0xad),
        _ => None,
    }
}
