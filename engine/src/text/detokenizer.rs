//! Streaming detokenizers that release the same text after the same token as mlx-lm's
//! (`mlx_lm/tokenizer_utils.py`), in linear time and without keeping the text already released.

mod bpe;
mod naive;
mod spm;
mod utf8;

use std::sync::Arc;

use serde_json::{Value, json};
use tokenizers::Tokenizer as HfTokenizer;

pub(super) use bpe::bytes_of as bpe_bytes;
pub(super) use naive::{CleanUp, decode};
pub(super) use spm::bytes_of as spm_bytes;

/// Which detokenizer a tokenizer needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Byte-level BPE.
    Bpe,
    /// Sentencepiece with byte fallback.
    Spm {
        /// Drop one leading space of the text.
        trim_space: bool,
    },
    /// Anything else.
    Naive,
}

impl Kind {
    /// Chosen by the `decoder` of `tokenizer.json`, compared as a whole.
    pub fn of(decoder: Option<&Value>) -> Self {
        let replace = json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "});
        let (fallback, fuse) = (json!({"type": "ByteFallback"}), json!({"type": "Fuse"}));
        let strip = json!({"type": "Strip", "content": " ", "start": 1, "stop": 0});
        let trimming = json!({"type": "Sequence", "decoders": [replace, fallback, fuse, strip]});
        let plain = json!({"type": "Sequence", "decoders": [replace, fallback, fuse]});
        match decoder {
            Some(d) if *d == trimming => Self::Spm { trim_space: true },
            Some(d) if *d == plain => Self::Spm { trim_space: false },
            Some(d) if d["type"] == "ByteLevel" => Self::Bpe,
            _ => Self::Naive,
        }
    }
}

/// Turns token ids into text as they come.
///
/// ```text
/// loop { detokenizer.add_token(id); show(detokenizer.take_segment()); }
/// detokenizer.finalize(); show(detokenizer.take_segment());
/// ```
#[derive(Debug)]
pub struct Detokenizer(Inner);

#[derive(Debug)]
enum Inner {
    Bpe(bpe::Bpe),
    Spm(spm::Spm),
    Naive(naive::Naive),
}

impl Detokenizer {
    pub(super) fn new(kind: Kind, tokenizer: Arc<HfTokenizer>, clean_up: CleanUp) -> Self {
        Self(match kind {
            Kind::Bpe => Inner::Bpe(bpe::Bpe::new(tokenizer)),
            Kind::Spm { trim_space } => Inner::Spm(spm::Spm::new(tokenizer, trim_space)),
            Kind::Naive => Inner::Naive(naive::Naive::new(tokenizer, clean_up)),
        })
    }

    /// Reads what follows as the middle of a text: its leading space stays. Call it first.
    pub fn keep_leading_space(&mut self) {
        match &mut self.0 {
            Inner::Bpe(d) => d.released.begun = true,
            Inner::Spm(d) => d.released.begun = true,
            Inner::Naive(_) => {}
        }
    }

    /// Reads one token.
    pub fn add_token(&mut self, id: u32) {
        match &mut self.0 {
            Inner::Bpe(d) => d.add_token(id),
            Inner::Spm(d) => d.add_token(id),
            Inner::Naive(d) => d.add_token(id),
        }
    }

    /// Releases what waits for more tokens; incomplete characters become U+FFFD.
    pub fn finalize(&mut self) {
        match &mut self.0 {
            Inner::Bpe(d) => d.finalize(),
            Inner::Spm(d) => d.finalize(),
            Inner::Naive(d) => d.finalize(),
        }
    }

    /// Text released since the last call.
    pub fn take_segment(&mut self) -> String {
        match &mut self.0 {
            Inner::Bpe(d) => d.released.take(),
            Inner::Spm(d) => d.released.take(),
            Inner::Naive(d) => d.take_segment(),
        }
    }
}

/// Released text and whether there was any yet: one leading space of the whole text is dropped.
#[derive(Debug, Default)]
struct Released {
    text: String,
    begun: bool,
}

impl Released {
    fn push(&mut self, text: &str, trim_space: bool) {
        let text = match text.strip_prefix(' ') {
            Some(rest) if trim_space && !self.begun => rest,
            _ => text,
        };
        self.begun |= !text.is_empty();
        self.text.push_str(text);
    }

    fn take(&mut self) -> String {
        std::mem::take(&mut self.text)
    }
}
