//! Named special tokens and where they come from, as transformers merges its files
//! (`tokenization_utils_base.py`, `_from_pretrained`).

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use crate::{Error, Result};

/// The names transformers hands to chat templates, in its order.
pub(super) const NAMES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// What the two configuration files say about special tokens.
#[derive(Debug, Default)]
pub(super) struct SpecialTokens {
    /// Name and text, in the order of [`NAMES`].
    pub named: Vec<(&'static str, String)>,
    /// Tokens to be known beside those of `tokenizer.json`.
    pub extra: Vec<AddedToken>,
}

impl SpecialTokens {
    /// Merges `special_tokens_map.json` over `tokenizer_config.json`; the former counts only when
    /// the latter has no `added_tokens_decoder`.
    pub fn read(config: &Map<String, Value>, map: Option<&Map<String, Value>>) -> Result<Self> {
        let map = map.filter(|_| !config.contains_key("added_tokens_decoder"));
        let mut tokens = Self::default();
        for name in NAMES {
            let value = map.and_then(|m| m.get(name)).or_else(|| config.get(name));
            if let Some(text) = value.and_then(content) {
                tokens.named.push((name, text.to_owned()));
            } else if value.is_some_and(|v| !v.is_null()) {
                return Err(Error::Tokenizer(format!("{name} must be a string or an added token")));
            }
        }
        if let Some(Value::Object(decoder)) = config.get("added_tokens_decoder") {
            tokens.extra.extend(decoded(decoder)?);
        }
        for source in map.into_iter().chain([config]) {
            for key in ["extra_special_tokens", "additional_special_tokens"] {
                tokens.extra.extend(listed(source.get(key)));
            }
        }
        Ok(tokens)
    }

    /// Text of a named token.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.named.iter().find(|(n, _)| *n == name).map(|(_, text)| text.as_str())
    }

    /// Every token that `known` does not know, in the order transformers adds them.
    pub fn missing(&self, known: impl Fn(&str) -> bool) -> Vec<AddedToken> {
        let mut missing: Vec<AddedToken> = Vec::new();
        let named = self.named.iter().map(|(_, text)| AddedToken::from(text.clone(), true));
        for token in self.extra.iter().cloned().chain(named) {
            if !known(&token.content) && !missing.iter().any(|m| m.content == token.content) {
                missing.push(token);
            }
        }
        missing
    }
}

/// The text of a token written as a string or as an added token's object.
fn content(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

/// `added_tokens_decoder`: id → token, sorted by id.
fn decoded(decoder: &Map<String, Value>) -> Result<Vec<AddedToken>> {
    let mut tokens = Vec::new();
    for (id, value) in decoder {
        let bad = || Error::Tokenizer(format!("added_tokens_decoder: bad entry `{id}`"));
        let id: u32 = id.parse().map_err(|_| bad())?;
        tokens.push((id, serde_json::from_value::<AddedToken>(value.clone()).map_err(|_| bad())?));
    }
    tokens.sort_by_key(|(id, _)| *id);
    Ok(tokens.into_iter().map(|(_, token)| token).collect())
}

/// A list of tokens, or an object of named ones.
fn listed(value: Option<&Value>) -> Vec<AddedToken> {
    let texts: Vec<&str> = match value {
        Some(Value::Array(list)) => list.iter().filter_map(content).collect(),
        Some(Value::Object(map)) => map.values().filter_map(content).collect(),
        _ => Vec::new(),
    };
    texts.into_iter().map(|text| AddedToken::from(text.to_owned(), true)).collect()
}
