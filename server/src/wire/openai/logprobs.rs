//! Log-probabilities as mlx-lm's server writes them, completed to OpenAI's shape.
//!
//! Unlike mlx-lm, an entry always describes the token that was chosen; mlx-lm describes the first
//! alternative in its place when alternatives are asked for. And `token` is the token's text, as
//! OpenAI's clients expect, where mlx-lm has the vocabulary's own piece (`"Ġis"`).

use std::fmt::Debug;

use serde_json::{Map, Value, json};
use verbatim_engine::TokenLogprob;

use super::reply::Kind;

/// What tokens stand for.
pub trait Vocabulary: Debug + Send + Sync {
    /// The bytes of the token's text.
    fn bytes(&self, id: u32) -> Vec<u8>;
}

/// Entries that wait for the next chunk, or for the end of a response.
#[derive(Debug, Default)]
pub struct Entries {
    content: Vec<Value>,
    /// Where each entry's text begins, in characters of all tokens' text.
    offsets: Vec<usize>,
    /// Characters of the tokens so far.
    end: usize,
}

impl Entries {
    /// Adds the entry of one token.
    pub fn push(&mut self, vocabulary: &dyn Vocabulary, token: u32, logprob: &TokenLogprob) {
        let named = |id: u32, logprob| {
            let mut entry = entry(vocabulary, id, logprob);
            entry["id"] = id.into();
            entry
        };
        let top: Vec<Value> = logprob.top.iter().map(|(id, value)| named(*id, *value)).collect();
        let mut chosen = named(token, logprob.logprob);
        chosen["top_logprobs"] = top.into();
        self.content.push(chosen);
        self.offsets.push(self.end);
        self.end += characters(&vocabulary.bytes(token));
    }

    /// The `logprobs` object of a choice; `None` without entries.
    pub fn take(&mut self, kind: Kind) -> Option<Value> {
        if self.content.is_empty() {
            return None;
        }
        let content = std::mem::take(&mut self.content);
        let offsets = std::mem::take(&mut self.offsets);
        Some(match kind {
            Kind::Chat => json!({"content": content}),
            Kind::Text => legacy(&content, &offsets),
        })
    }
}

/// `{"token", "bytes", "logprob"}`. A token that is a part of a character has the replacement
/// character in its text.
pub(in crate::wire) fn entry(vocabulary: &dyn Vocabulary, id: u32, logprob: f32) -> Value {
    let bytes = vocabulary.bytes(id);
    let token = String::from_utf8_lossy(&bytes);
    // JSON has no infinity; a token that a filter or bias rules out gets the least number instead.
    json!({"token": token, "bytes": bytes, "logprob": logprob.clamp(f32::MIN, f32::MAX)})
}

/// Characters of UTF-8 that begin in `bytes`.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

/// OpenAI's older shape beside mlx-lm's.
fn legacy(content: &[Value], offsets: &[usize]) -> Value {
    let column = |key: &str| content.iter().map(|e| e[key].clone()).collect::<Vec<_>>();
    json!({
        "text_offset": offsets,
        "tokens": column("token"),
        "token_logprobs": column("logprob"),
        "top_logprobs": content.iter().map(by_text).collect::<Vec<_>>(),
        "content": content,
    })
}

/// The alternatives by their text, and the token that was chosen. Of several with the same text it is
/// the most probable, which comes first.
fn by_text(entry: &Value) -> Value {
    let mut map = Map::new();
    for one in entry["top_logprobs"].as_array().into_iter().flatten().chain([entry]) {
        let text = one["token"].as_str().unwrap_or_default();
        map.entry(text).or_insert_with(|| one["logprob"].clone());
    }
    map.into()
}
