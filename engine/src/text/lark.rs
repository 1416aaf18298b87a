//! Writes grammars in llguidance's variant of Lark.
//!
//! Names of models and of clients reach a grammar only through [`literal`] and JSON, so nothing that
//! they contain is read as grammar.

mod schema;

use std::fmt::Write;

use serde_json::{Map, Value, json};

pub(crate) use schema::{Keeping, Place, constants};

use super::Tokenizer;
use crate::{Error, Result, limits};

/// A grammar in the making.
#[derive(Debug)]
pub(crate) struct Lark<'a> {
    tokenizer: &'a Tokenizer,
    text: String,
    names: usize,
    /// Why it cannot be.
    refusal: Option<Error>,
}

impl<'a> Lark<'a> {
    /// A grammar without rules, for the tokens of `tokenizer`.
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, text: String::new(), names: 0, refusal: None }
    }

    /// The tokenizer that the grammar is for.
    pub fn tokenizer(&self) -> &'a Tokenizer {
        self.tokenizer
    }

    /// The grammar, which begins with `start`.
    ///
    /// # Errors
    /// [`Error::Request`] where one of its schemas cannot be kept.
    pub fn finish(self, start: &str) -> Result<String> {
        match self.refusal {
            None => Ok(format!("start: {start}\n{}", self.text)),
            Some(refusal) => Err(refusal),
        }
    }

    /// Notes why the grammar cannot be; the first reason counts.
    pub fn refuse(&mut self, reason: String) {
        self.refusal.get_or_insert(Error::Request(reason));
    }

    /// Adds a rule; returns its name.
    pub fn rule(&mut self, body: &str) -> String {
        let name = self.reserve();
        self.define(&name, body);
        name
    }

    /// A name for a rule that [`Self::define`] is still to add.
    pub fn reserve(&mut self) -> String {
        self.names += 1;
        format!("r{}", self.names)
    }

    /// Adds the rule of a reserved name.
    pub fn define(&mut self, name: &str, body: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{name}: {body}");
    }

    /// Adds a terminal; returns its name.
    pub fn terminal(&mut self, body: &str) -> String {
        self.names += 1;
        let name = format!("T{}", self.names);
        self.define(&name, body);
        name
    }

    /// JSON that `schema` allows, as far as it can be kept. What is refused is told at the end.
    pub fn json(&mut self, schema: &Value, keeping: Keeping) -> String {
        if let Some(texts) = schema::spelled(schema) {
            let texts: Vec<String> = texts.iter().map(|text| literal(text)).collect();
            return self.rule(&texts.join(" | "));
        }
        let schema = schema::kept(schema, Place::Schema, keeping).unwrap_or_else(|refusal| {
            self.refusal.get_or_insert(refusal);
            Value::Null
        });
        let mut schema = match schema {
            Value::Object(map) => map,
            Value::Bool(false) => Map::from_iter([("enum".to_owned(), Value::Array(Vec::new()))]),
            _ => Map::new(),
        };
        let options = json!({
            "whitespace_pattern": format!(r"[\x20\n\r\t]{{1,{}}}", limits::MAX_JSON_SPACE),
            "lenient": keeping == Keeping::Lenient,
        });
        schema.insert("x-guidance".to_owned(), options);
        self.rule(&format!("%json {}", Value::Object(schema)))
    }

    /// A marker: its token where the vocabulary has one for it or for its beginning, else text.
    pub fn marker(&self, text: &str) -> String {
        let ends = text.match_indices('>').map(|(at, _)| at + 1);
        for (head, rest) in ends.rev().filter_map(|at| text.split_at_checked(at)) {
            if let Some(id) = self.token(head) {
                let rest = if rest.is_empty() { String::new() } else { literal(rest) };
                return format!("<[{id}]> {rest}");
            }
        }
        literal(text)
    }

    /// Text without any of `without`.
    pub fn text(&mut self, text: &Text<'_>) -> String {
        let body = any(text, "") + &excluding(text.without);
        self.terminal(&body)
    }

    /// Text, `before`, and `marker` at its first occurrence.
    pub fn until(&mut self, text: &Text<'_>, before: &str, marker: &str) -> String {
        if self.token(marker).is_some() {
            let without: Vec<&str> = text.without.iter().copied().chain([marker]).collect();
            let body = any(text, before) + &excluding(&without);
            let name = self.terminal(&body);
            return self.rule(&format!("{name} {}", self.marker(marker)));
        }
        let suffix = format!("{before}{marker}");
        // What begins like the marker has to be the marker, and the end. Else a model whose tokens
        // reach over the marker's end could only go on as if it were text.
        let stem = escape(&marker[..marker.char_indices().next_back().map_or(0, |(at, _)| at)]);
        let body =
            any(text, &suffix) + &excluding(text.without) + &format!(" & ~/(?s:.*){stem}(?s:..+)/");
        let name = self.reserve();
        self.define(&format!("{name}[lazy]"), &body);
        name
    }

    fn token(&self, text: &str) -> Option<u32> {
        self.tokenizer.token_id(text).filter(|&id| self.tokenizer.stands_apart(id))
    }
}

/// Free text.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Text<'a> {
    /// Least number of characters.
    pub min: usize,
    /// Greatest number of characters.
    pub max: Option<usize>,
    /// What does not occur in it.
    pub without: &'a [&'a str],
}

/// Exactly this text.
pub(crate) fn literal(text: &str) -> String {
    Value::from(text).to_string()
}

/// A regular expression for as many characters and then `suffix`.
fn any(text: &Text<'_>, suffix: &str) -> String {
    let suffix = escape(suffix);
    match (text.min, text.max) {
        (0, None) => format!("/(?s:.*){suffix}/"),
        (min, None) => format!("/(?s:.{{{min},}}){suffix}/"),
        (min, Some(max)) => format!("/(?s:.{{{min},{max}}}){suffix}/"),
    }
}

fn excluding(texts: &[&str]) -> String {
    if texts.is_empty() {
        return String::new();
    }
    let texts: Vec<String> = texts.iter().map(|text| escape(text)).collect();
    format!(" & ~/(?s:.*)({})(?s:.*)/", texts.join("|"))
}

/// `text` as a part of a regular expression between slashes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            // Escaping any other character can give it a meaning: `\<` is the beginning of a word.
            c if r"\.+*?()|[]{}^$#&-~/".contains(c) => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}
