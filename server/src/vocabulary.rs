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
    fn bytes(&self, id: u32) -> Vec<u8> {
        self.engine.tokenizer().token_bytes(id)
    }
}
