//! The bytes that single tokens stand for.

use super::{
    Tokenizer,
    detokenizer::{Kind, bpe_bytes, spm_bytes},
};

impl Tokenizer {
    /// The bytes that a token adds to a text; a token may be a part of a character. Empty for ids
    /// beyond the vocabulary.
    ///
    /// These are the bytes that the streaming detokenizer puts together. Tokenizers that are neither
    /// byte-level nor sentencepiece decode tokens by their context: for those it is the text of the
    /// token alone.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        let Some(piece) = self.piece(id) else { return Vec::new() };
        match self.kind() {
            Kind::Bpe => bpe_bytes(&piece),
            Kind::Spm { .. } => spm_bytes(&piece),
            Kind::Naive => {
                let text = self.decode(&[id]);
                // A part of a character has no text of its own, but its spelling names the byte.
                let part = text.contains(char::REPLACEMENT_CHARACTER);
                if part { spm_bytes(&piece) } else { text.into_bytes() }
            }
        }
    }

    /// Whether a text is its tokens' bytes, one after the other.
    pub(crate) fn joins_bytes(&self) -> bool {
        !matches!(self.kind(), Kind::Naive)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rstest::rstest;

    use super::*;

    fn load(name: &str) -> Tokenizer {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let dir = match name {
            "demo" => root.join("demo/model"),
            name => root.join("golden/any/tokenizers").join(name),
        };
        Tokenizer::load(&dir).unwrap()
    }

    #[rstest]
    #[case("demo")]
    #[case("byte-level")]
    #[case("spm")]
    fn bytes_of_all_tokens_are_the_text(#[case] name: &str) {
        let tokenizer = load(name);
        assert!(tokenizer.joins_bytes());
        let text = "Hi {\"a\": [1, true]} – ü 世界 \u{1f30d}\n\tend";
        let ids = tokenizer.encode(text, false).unwrap();
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| tokenizer.token_bytes(id)).collect();
        // Some normalizers put a space in front.
        assert_eq!(String::from_utf8(bytes).unwrap().trim_start(), text);
        assert!(tokenizer.token_bytes(u32::MAX).is_empty());
    }
}
