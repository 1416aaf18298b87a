//! The vocabulary as llguidance wants it.

use std::sync::Arc;

use llguidance::toktrie::{ApproximateTokEnv, INVALID_TOKEN, TokEnv, TokRxInfo, TokTrie};

use crate::{Error, Result, text::Tokenizer};

/// The bytes of every token of a model with `vocab_size` logits.
///
/// Tokens that stand apart from text get a byte in front that no text has; ids beyond the
/// tokenizer's get no bytes and are never allowed.
///
/// # Errors
/// [`Error::Request`] for tokenizers whose tokens have no bytes of their own.
pub(super) fn environment(tokenizer: &Tokenizer, vocab_size: usize) -> Result<TokEnv> {
    if !tokenizer.joins_bytes() {
        return Err(Error::Request(
            "answers cannot be constrained with this model: its tokenizer is neither byte-level nor \
             sentencepiece"
                .into(),
        ));
    }
    let words: Vec<Vec<u8>> = (0..vocab_size as u32).map(|id| word(tokenizer, id)).collect();
    let mut ends = tokenizer.eos_token_ids();
    ends.retain(|&id| (id as usize) < vocab_size);
    let eos = ends.first().copied().unwrap_or(INVALID_TOKEN);
    let mut trie = TokTrie::from(&TokRxInfo::new(vocab_size as u32, eos), &words);
    if !ends.is_empty() {
        trie = trie.with_eos_tokens(&ends);
    }
    // Without canonical tokens nothing is forced: the model spells forced text as it likes.
    Ok(Arc::new(ApproximateTokEnv::new(trie)))
}

fn word(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    if !tokenizer.stands_apart(id) {
        let bytes = tokenizer.token_bytes(id);
        // No character begins like this, so such a token is a part of no text.
        let marked = bytes.first() == Some(&TokTrie::SPECIAL_TOKEN_MARKER);
        return if marked { Vec::new() } else { bytes };
    }
    let piece = tokenizer.piece(id).unwrap_or_default();
    let mut word = vec![TokTrie::SPECIAL_TOKEN_MARKER];
    word.extend_from_slice(piece.as_bytes());
    word
}
