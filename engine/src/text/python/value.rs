//! Python values as JSON and literals spell them.

use std::collections::HashMap;

use super::{Style, float_repr, write_json_string};

/// A value that `json.dumps` can write. Integers of any size are kept as their digits.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::text) enum PyValue {
    None,
    Bool(bool),
    /// Canonical decimal digits, `-` in front where negative.
    Int(String),
    Float(f64),
    Str(String),
    List(Vec<PyValue>),
    Dict(Dict),
    /// A value that JSON has no form for.
    Opaque,
}

/// A dictionary with keys as JSON writes them, in order of insertion.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::text) struct Dict {
    entries: Vec<(String, PyValue)>,
    index: HashMap<String, usize>,
}

impl Dict {
    /// Sets a key; one that is there keeps its place.
    pub fn insert(&mut self, key: String, value: PyValue) {
        if let Some(&at) = self.index.get(&key) {
            self.entries[at].1 = value;
        } else {
            self.index.insert(key.clone(), self.entries.len());
            self.entries.push((key, value));
        }
    }

    /// A key's value.
    pub fn get(&self, key: &str) -> Option<&PyValue> {
        self.index.get(key).map(|&at| &self.entries[at].1)
    }
}

/// Digits that Python converts between integers and text.
const MAX_INT_DIGITS: usize = 4_300;

impl PyValue {
    /// An integer from a sign and decimal digits.
    pub fn int(negative: bool, digits: &str) -> Option<Self> {
        let digits = digits.trim_start_matches('0');
        if digits.len() > MAX_INT_DIGITS {
            return None;
        }
        Some(Self::Int(match (digits, negative) {
            ("", _) => "0".to_owned(),
            (digits, false) => digits.to_owned(),
            (digits, true) => format!("-{digits}"),
        }))
    }

    /// `int(value)` of a finite float.
    pub fn truncated(value: f64) -> Option<Self> {
        let digits = format!("{:.0}", value.abs().trunc());
        value.is_finite().then(|| Self::int(value < 0.0, &digits))?
    }

    /// `json.dumps(value, ensure_ascii=False)`.
    pub fn dumps(&self) -> Option<String> {
        let mut out = String::new();
        self.write(&Style::default(), &mut out).then_some(out)
    }

    /// Whether everything could be written.
    fn write(&self, style: &Style, out: &mut String) -> bool {
        match self {
            Self::Opaque => return false,
            Self::None => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Int(digits) => out.push_str(digits),
            Self::Float(value) if value.is_nan() => out.push_str("NaN"),
            Self::Float(value) if value.is_infinite() => {
                out.push_str(if *value > 0.0 { "Infinity" } else { "-Infinity" });
            }
            Self::Float(value) => out.push_str(&float_repr(*value)),
            Self::Str(text) => write_json_string(text, style.ensure_ascii, out),
            Self::List(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push_str(&style.item);
                    }
                    if !item.write(style, out) {
                        return false;
                    }
                }
                out.push(']');
            }
            Self::Dict(dict) => {
                out.push('{');
                for (i, (key, item)) in dict.entries.iter().enumerate() {
                    if i > 0 {
                        out.push_str(&style.item);
                    }
                    write_json_string(key, style.ensure_ascii, out);
                    out.push_str(&style.key);
                    if !item.write(style, out) {
                        return false;
                    }
                }
                out.push('}');
            }
        }
        true
    }
}

/// `int(text)`: surrounding space, a sign, digits with single underscores between them.
pub(in crate::text) fn parse_int(text: &str) -> Option<PyValue> {
    let text = text.trim_matches(super::is_space);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    PyValue::int(negative, &plain_digits(digits)?)
}

/// `float(text)`.
pub(in crate::text) fn parse_float(text: &str) -> Option<f64> {
    let text = text.trim_matches(super::is_space);
    let digit_at =
        |i: Option<usize>| i.and_then(|i| text.as_bytes().get(i)).is_some_and(u8::is_ascii_digit);
    let underscores = text.match_indices('_').map(|(i, _)| i);
    for at in underscores {
        if !digit_at(at.checked_sub(1)) || !digit_at(Some(at + 1)) {
            return None;
        }
    }
    text.replace('_', "").parse().ok()
}

/// Digits without the underscores that may stand between them.
pub(super) fn plain_digits(digits: &str) -> Option<String> {
    let groups: Vec<&str> = digits.split('_').collect();
    let valid = |g: &&str| !g.is_empty() && g.bytes().all(|b| b.is_ascii_digit());
    groups.iter().all(valid).then(|| groups.concat())
}
