//! JSON objects read strictly: bounded, UTF-8, no key twice, no non-finite numbers.

use std::{fmt, io::Read, path::Path};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::{Error, Result};

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// [`Error::File`] when it is missing, not a regular file, or larger.
pub fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let meta = std::fs::metadata(path).map_err(|e| Error::file(path, e))?;
    if !meta.is_file() {
        return Err(Error::file(path, "is not a regular file"));
    }
    let too_large = || Error::file(path, format!("is larger than the limit of {limit} bytes"));
    if meta.len() > limit {
        return Err(too_large());
    }
    let file = std::fs::File::open(path).map_err(|e| Error::file(path, e))?;
    let mut bytes = Vec::with_capacity(meta.len() as usize);
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| Error::file(path, e))?;
    if bytes.len() as u64 > limit {
        return Err(too_large());
    }
    Ok(bytes)
}

/// Reads a file that holds one JSON object.
///
/// # Errors
/// [`Error::File`] as [`read_bounded`], or when the text is not one duplicate-free JSON object.
pub fn read_object(path: &Path, limit: u64) -> Result<Map<String, Value>> {
    let bytes = read_bounded(path, limit)?;
    parse_object(&bytes).map_err(|reason| Error::file(path, reason))
}

/// Reads a file that holds one JSON list.
///
/// # Errors
/// [`Error::File`] as [`read_object`].
pub(crate) fn read_list(path: &Path, limit: u64) -> Result<Vec<Value>> {
    match parse(&read_bounded(path, limit)?).map_err(|reason| Error::file(path, reason))? {
        Value::Array(list) => Ok(list),
        other => Err(Error::file(path, format!("holds {}; expected a JSON list", kind(&other)))),
    }
}

/// Parses one JSON object; the error is a sentence without a file name.
pub fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    match parse(bytes)? {
        Value::Object(map) => Ok(map),
        other => Err(format!("holds {}; expected a JSON object", kind(&other))),
    }
}

fn parse(bytes: &[u8]) -> Result<Value, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Strict
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|e| explain(&e))
}

fn explain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if text.starts_with("number out of range") {
        format!("{text}; write a finite number")
    } else if text.starts_with("expected value") {
        format!("is not valid JSON: {text} (NaN and Infinity are not JSON)")
    } else if text.starts_with("duplicate key") {
        text
    } else {
        format!("is not valid JSON: {text}")
    }
}

/// A JSON value's type in words.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Builds a [`Value`] and refuses a key that appears twice in one object.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Value, E> {
        Number::from_f64(v).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = seq.next_element_seed(Strict)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!("duplicate key {key:?}")));
            }
            map.insert(key, access.next_value_seed(Strict)?);
        }
        Ok(Value::Object(map))
    }
}
