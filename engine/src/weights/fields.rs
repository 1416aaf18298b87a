//! Typed, range-checked reading of a JSON object, with an account of what was read.

use std::{cell::RefCell, collections::BTreeSet, ops::RangeInclusive};

use serde_json::{Map, Value};

use super::json::kind;
use crate::{Error, Result};

/// Characters of a value that an error message repeats.
const SHOWN_VALUE: usize = 60;
/// Unknown keys that an error message names.
const SHOWN_KEYS: usize = 8;

/// Which floats a field takes. All must be finite, in `f32` as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloatRange {
    /// Any finite number.
    Finite,
    /// Greater than zero, also once rounded to `f32`.
    Positive,
}

impl FloatRange {
    fn accepts(self, v: f64) -> bool {
        (v as f32).is_finite()
            && match self {
                Self::Finite => true,
                Self::Positive => v as f32 > 0.0,
            }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Finite => "a finite number",
            Self::Positive => "a finite number greater than 0",
        }
    }
}

/// Reads a JSON object key by key.
///
/// Every accessor marks its key as known; [`Fields::finish`] refuses the keys that nobody asked
/// for. `null` counts as absent for the `opt_*` accessors, as `None` does in mlx-lm's `ModelArgs`.
/// Errors name the key, its value and what would be accepted.
#[derive(Debug)]
pub struct Fields<'a> {
    map: &'a Map<String, Value>,
    /// Dotted prefix for messages; empty at the top.
    scope: String,
    known: RefCell<BTreeSet<&'a str>>,
}

impl<'a> Fields<'a> {
    /// A reader of a whole configuration.
    pub fn new(map: &'a Map<String, Value>) -> Self {
        Self::scoped(map, String::new())
    }

    /// A reader whose messages put `scope.` before each key.
    pub fn scoped(map: &'a Map<String, Value>, scope: impl Into<String>) -> Self {
        Self { map, scope: scope.into(), known: RefCell::default() }
    }

    /// The raw value of `key`, `null` included.
    pub fn raw(&self, key: &str) -> Option<&'a Value> {
        let (name, value) = self.map.get_key_value(key)?;
        self.known.borrow_mut().insert(name);
        Some(value)
    }

    /// The object at `key`, as a reader of its own; absent and `null` give `None`.
    pub fn object(&self, key: &str) -> Result<Option<Fields<'a>>> {
        match self.present(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Fields::scoped(map, self.path(key)))),
            Some(other) => Err(self.wrong(key, other, "an object")),
        }
    }

    /// A required integer within `range`.
    pub fn int(&self, key: &str, range: RangeInclusive<u64>) -> Result<u64> {
        self.required(key, self.opt_int(key, range.clone())?, &int_words(&range))
    }

    /// An integer within `range`, unless absent or `null`.
    pub fn opt_int(&self, key: &str, range: RangeInclusive<u64>) -> Result<Option<u64>> {
        let Some(value) = self.present(key) else { return Ok(None) };
        match value.as_u64() {
            Some(v) if range.contains(&v) => Ok(Some(v)),
            _ => Err(self.wrong(key, value, &int_words(&range))),
        }
    }

    /// [`Fields::int`] as `usize`.
    pub fn size(&self, key: &str, range: RangeInclusive<u64>) -> Result<usize> {
        self.int(key, range).map(|v| v as usize)
    }

    /// [`Fields::opt_int`] as `usize`.
    pub fn opt_size(&self, key: &str, range: RangeInclusive<u64>) -> Result<Option<usize>> {
        Ok(self.opt_int(key, range)?.map(|v| v as usize))
    }

    /// [`Fields::size`], `default` when absent. `null` is refused: in Python it would not be the
    /// default.
    pub fn size_or(&self, key: &str, range: RangeInclusive<u64>, default: usize) -> Result<usize> {
        if let Some(value @ Value::Null) = self.raw(key) {
            return Err(self.wrong(key, value, &int_words(&range)));
        }
        Ok(self.opt_size(key, range)?.unwrap_or(default))
    }

    /// A required number.
    pub fn float(&self, key: &str, range: FloatRange) -> Result<f64> {
        self.required(key, self.opt_float(key, range)?, range.words())
    }

    /// A number, unless absent or `null`.
    pub fn opt_float(&self, key: &str, range: FloatRange) -> Result<Option<f64>> {
        let Some(value) = self.present(key) else { return Ok(None) };
        match value.as_f64() {
            Some(v) if range.accepts(v) => Ok(Some(v)),
            _ => Err(self.wrong(key, value, range.words())),
        }
    }

    /// A number, `default` when absent. `null` is refused: in Python it would not be the default.
    pub fn float_or(&self, key: &str, range: FloatRange, default: f64) -> Result<f64> {
        if let Some(value @ Value::Null) = self.raw(key) {
            return Err(self.wrong(key, value, range.words()));
        }
        Ok(self.opt_float(key, range)?.unwrap_or(default))
    }

    /// A boolean: `default` when absent, `false` for `null` (Python's `None` is false).
    pub fn bool_or(&self, key: &str, default: bool) -> Result<bool> {
        match self.raw(key) {
            None => Ok(default),
            Some(Value::Null) => Ok(false),
            Some(Value::Bool(v)) => Ok(*v),
            Some(other) => Err(self.wrong(key, other, "true or false")),
        }
    }

    /// A required string.
    pub fn str(&self, key: &str) -> Result<&'a str> {
        self.required(key, self.opt_str(key)?, "a string")
    }

    /// A string, unless absent or `null`.
    pub fn opt_str(&self, key: &str) -> Result<Option<&'a str>> {
        match self.present(key) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(s)),
            Some(other) => Err(self.wrong(key, other, "a string")),
        }
    }

    /// A list of strings, unless absent or `null`.
    pub fn opt_strings(&self, key: &str) -> Result<Option<Vec<&'a str>>> {
        let Some(value) = self.present(key) else { return Ok(None) };
        let list = value.as_array().and_then(|l| l.iter().map(Value::as_str).collect());
        match list {
            Some(list) => Ok(Some(list)),
            None => Err(self.wrong(key, value, "a list of strings")),
        }
    }

    /// Keys with a value that nobody asked for and that `inert` does not list.
    ///
    /// `null` says nothing, and names that begin with `_` are private notes of the writer.
    pub fn unknown(&self, inert: &[&str]) -> Vec<&'a str> {
        let known = self.known.borrow();
        self.map
            .iter()
            .filter(|(key, value)| {
                !known.contains(key.as_str())
                    && !inert.contains(&key.as_str())
                    && !key.starts_with('_')
                    && !value.is_null()
            })
            .map(|(key, _)| key.as_str())
            .collect()
    }

    /// Refuses [`Fields::unknown`] keys: what this engine does not know could change the answer.
    pub fn finish(&self, inert: &[&str]) -> Result<()> {
        let unknown = self.unknown(inert);
        if unknown.is_empty() {
            return Ok(());
        }
        let mut names: Vec<String> =
            unknown.iter().take(SHOWN_KEYS).map(|key| shorten(&self.path(key))).collect();
        if unknown.len() > SHOWN_KEYS {
            names.push(format!("and {} more", unknown.len() - SHOWN_KEYS));
        }
        Err(Error::Config(format!(
            "unknown {}: {}; it could change the model's answers, so the model is refused \
             (remove it if it is meaningless)",
            if unknown.len() == 1 { "key" } else { "keys" },
            names.join(", ")
        )))
    }

    /// An error that names `key`, its value and what would be accepted.
    pub fn wrong(&self, key: &str, value: &Value, expected: &str) -> Error {
        let shown = match value {
            Value::Array(_) | Value::Object(_) => kind(value).to_owned(),
            scalar => shorten(&scalar.to_string()),
        };
        Error::Config(format!("{} is {shown}; expected {expected}", self.path(key)))
    }

    /// The dotted name of `key`.
    pub fn path(&self, key: &str) -> String {
        if self.scope.is_empty() { key.to_owned() } else { format!("{}.{key}", self.scope) }
    }

    fn present(&self, key: &str) -> Option<&'a Value> {
        self.raw(key).filter(|v| !v.is_null())
    }

    fn required<T>(&self, key: &str, value: Option<T>, expected: &str) -> Result<T> {
        value.ok_or_else(|| match self.map.get(key) {
            Some(null) => self.wrong(key, null, expected),
            None => Error::Config(format!("{} is missing; expected {expected}", self.path(key))),
        })
    }
}

fn int_words(range: &RangeInclusive<u64>) -> String {
    format!("an integer from {} to {}", range.start(), range.end())
}

/// At most [`SHOWN_VALUE`] characters of `text`, none of them a control character.
fn shorten(text: &str) -> String {
    let mut short: String = text.chars().filter(|c| !c.is_control()).take(SHOWN_VALUE).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
