//! Log-probabilities as mlx-lm's server writes them, completed to OpenAI's shape.
//!
//! Unlike mlx-lm, an entry always describes the token that was chosen; mlx-lm describes the first
//! alternative in its place when alternatives are asked for.

use std::fmt::Debug;

use serde_json::{Map, Value, json};
use verbatim_engine::TokenLogprob;

use super::reply::Kind;

/// Names of tokens.
pub trait Vocabulary: Debug + Send + Sync {
    /// The vocabulary's own piece, e.g. `Ġis`.
    fn piece(&self, id: u32) -> String;
    /// The bytes that the token stands for.
    fn bytes(&self, id: u32) -> Vec<u8>;
}

/// Entries that wait for the next chunk, or for the end of a response.
#[derive(Debug, Default)]
pub struct Entries {
    content: Vec<Value>,
}

impl Entries {
    /// Adds the entry of one token.
    pub fn push(&mut self, vocabulary: &dyn Vocabulary, token: u32, logprob: &TokenLogprob) {
        let top: Vec<Value> =
            logprob.top.iter().map(|(id, lp)| Value::Object(entry(vocabulary, *id, *lp))).collect();
        let mut chosen = entry(vocabulary, token, logprob.logprob);
        chosen.insert("top_logprobs".to_owned(), top.into());
        self.content.push(chosen.into());
    }

    /// The `logprobs` object of a choice; `None` without entries.
    pub fn take(&mut self, kind: Kind) -> Option<Value> {
        if self.content.is_empty() {
            return None;
        }
        let content = std::mem::take(&mut self.content);
        Some(match kind {
            Kind::Chat => json!({"content": content}),
            Kind::Text => legacy(&content),
        })
    }
}

fn entry(vocabulary: &dyn Vocabulary, id: u32, logprob: f32) -> Map<String, Value> {
    let Value::Object(map) = json!({
        "id": id,
        "token": vocabulary.piece(id),
        "logprob": finite(logprob),
        "bytes": vocabulary.bytes(id),
    }) else {
        return Map::new();
    };
    map
}

/// JSON has no infinity; a token that a filter or bias rules out gets the least number instead.
fn finite(logprob: f32) -> f32 {
    logprob.clamp(f32::MIN, f32::MAX)
}

/// OpenAI's older shape beside mlx-lm's.
fn legacy(content: &[Value]) -> Value {
    let column = |key: &str| content.iter().map(|e| e[key].clone()).collect::<Vec<_>>();
    let top: Vec<Value> = content
        .iter()
        .map(|e| {
            let pairs = e["top_logprobs"].as_array().into_iter().flatten();
            pairs
                .filter_map(|t| Some((t["token"].as_str()?.to_owned(), t["logprob"].clone())))
                .collect::<Map<_, _>>()
                .into()
        })
        .collect();
    json!({
        "tokens": column("token"),
        "token_logprobs": column("logprob"),
        "top_logprobs": top,
        "content": content,
    })
}
