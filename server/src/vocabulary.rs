//! The tokenizer's names of tokens, for log-probabilities.

use verbatim_engine::Engine;

use crate::wire::openai::logprobs::Vocabulary;

/// Names tokens with the model's tokenizer.
#[derive(Debug, Clone)]
pub struct TokenizerVocabulary {
    engine: Engine,
}

impl TokenizerVocabulary {
    /// The vocabulary of the engine's model.
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

impl Vocabulary for TokenizerVocabulary {
    fn piece(&self, id: u32) -> String {
        self.engine.tokenizer().piece(id).unwrap_or_default()
    }

    /// A token may be a part of a character, which its text cannot show but its piece can.
    fn bytes(&self, id: u32) -> Vec<u8> {
        let text = self.engine.tokenizer().decode(&[id]);
        if text.contains(char::REPLACEMENT_CHARACTER)
            && let Some(bytes) = piece_bytes(&self.piece(id))
        {
            return bytes;
        }
        text.into_bytes()
    }
}

/// The bytes of a byte-fallback piece (`<0xE4>`) or of a byte-level one (`Ġä¸`).
fn piece_bytes(piece: &str) -> Option<Vec<u8>> {
    if let Some(hex) = piece.strip_prefix("<0x").and_then(|p| p.strip_suffix('>')) {
        return u8::from_str_radix(hex, 16).ok().map(|byte| vec![byte]);
    }
    piece.chars().map(byte_of).collect()
}

/// The byte that a character of byte-level BPE stands for: printable Latin-1 is itself, the other
/// bytes follow from U+0100 on, in order.
fn byte_of(c: char) -> Option<u8> {
    let stands_for_itself = |b: &u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    match u32::from(c).checked_sub(0x100) {
        None => u8::try_from(u32::from(c)).ok().filter(stands_for_itself),
        Some(n) => (0..=u8::MAX).filter(|b| !stands_for_itself(b)).nth(n as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("<0xE4>", Some(vec![0xe4]))]
    #[case("Ġa", Some(vec![b' ', b'a']))]
    #[case("ä¸", Some(vec![0xe4, 0xb8]))]
    #[case("Ń", Some(vec![0xad]))]
    #[case("Ā", Some(vec![0]))]
    #[case("ł", Some(vec![0xa0]))]
    #[case("\u{144}", None)]
    #[case("中", None)]
    fn pieces(#[case] piece: &str, #[case] bytes: Option<Vec<u8>>) {
        assert_eq!(piece_bytes(piece), bytes);
    }
}
