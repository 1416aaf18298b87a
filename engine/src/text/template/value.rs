//! Template values as Python prints them: `str`, `repr` and `json.dumps`.

use minijinja::{Error, ErrorKind, State, Value, value::ValueKind};

use crate::text::python::{Style, float_repr, str_repr, write_json_string};

/// A template value from JSON. Integers stay integers, objects keep their order.
pub(super) fn from_json(value: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match value {
        Json::Null => Value::from(()),
        Json::Bool(b) => Value::from(*b),
        Json::Number(n) => match (n.as_u64(), n.as_i64(), n.as_f64()) {
            (Some(n), ..) => Value::from(n),
            (_, Some(n), _) => Value::from(n),
            (.., n) => Value::from(n.unwrap_or(f64::NAN)),
        },
        Json::String(s) => Value::from(s.as_str()),
        Json::Array(items) => items.iter().map(from_json).collect(),
        Json::Object(map) => from_object(map),
    }
}

/// A mapping from a JSON object.
pub(super) fn from_object(map: &serde_json::Map<String, serde_json::Value>) -> Value {
    Value::from_pairs(map.iter().map(|(key, value)| (key.as_str(), from_json(value))))
}

/// Nesting of values that are printed.
const MAX_DEPTH: usize = 256;

/// Writes values and pays the template's fuel for what is written, before it grows large.
pub(super) struct Printer<'a, 't, 'e> {
    state: &'a State<'t, 'e>,
    pub out: String,
    charged: usize,
}

impl<'a, 't, 'e> Printer<'a, 't, 'e> {
    pub fn new(state: &'a State<'t, 'e>) -> Self {
        Self { state, out: String::new(), charged: 0 }
    }

    /// `str(value)`.
    pub fn str(&mut self, value: &Value) -> Result<(), Error> {
        match value.kind() {
            ValueKind::Undefined => Ok(()),
            ValueKind::String => {
                self.out.push_str(value.as_str().unwrap_or_default());
                self.charge()
            }
            _ => self.repr(value, 0),
        }
    }

    /// `repr(value)`.
    fn repr(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        check_depth(depth)?;
        match value.kind() {
            ValueKind::Undefined => self.out.push_str("Undefined"),
            ValueKind::Number if !value.is_integer() => {
                self.out.push_str(&float_repr(as_float(value)));
            }
            ValueKind::String => str_repr(value.as_str().unwrap_or_default(), &mut self.out),
            ValueKind::Seq | ValueKind::Iterable if value.len().is_some() => {
                let (open, close) = if value.is_tuple() { ("(", ")") } else { ("[", "]") };
                self.out.push_str(open);
                for (i, item) in value.try_iter()?.checked().enumerate() {
                    if i > 0 {
                        self.out.push_str(", ");
                    }
                    self.repr(&item?, depth + 1)?;
                }
                if value.is_tuple() && value.len() == Some(1) {
                    self.out.push(',');
                }
                self.out.push_str(close);
            }
            ValueKind::Map => {
                self.out.push('{');
                for (i, key) in value.try_iter()?.checked().enumerate() {
                    let key = key?;
                    if i > 0 {
                        self.out.push_str(", ");
                    }
                    self.repr(&key, depth + 1)?;
                    self.out.push_str(": ");
                    self.repr(&value.get_item(&key)?, depth + 1)?;
                }
                self.out.push('}');
            }
            _ => self.out.push_str(&value.to_string()),
        }
        self.charge()
    }

    /// `json.dumps(value)`.
    pub fn json(&mut self, value: &Value, style: &Style, depth: usize) -> Result<(), Error> {
        check_depth(depth)?;
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&json_number(value)),
            ValueKind::String => {
                let text = value.as_str().unwrap_or_default();
                write_json_string(text, style.ensure_ascii, &mut self.out);
            }
            ValueKind::Seq | ValueKind::Iterable => {
                self.out.push('[');
                let mut empty = true;
                for item in value.try_iter()?.checked() {
                    self.begin_item(&mut empty, style, depth + 1);
                    self.json(&item?, style, depth + 1)?;
                }
                self.end_items(empty, style, depth, ']');
            }
            ValueKind::Map => self.json_object(value, style, depth)?,
            kind => {
                let message = format!("value of type {kind} is not JSON serializable");
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
        }
        self.charge()
    }

    fn json_object(&mut self, value: &Value, style: &Style, depth: usize) -> Result<(), Error> {
        let mut entries = Vec::new();
        for key in value.try_iter()?.checked() {
            let key = key?;
            let item = value.get_item(&key)?;
            entries.push((json_key(&key)?, item));
        }
        if style.sort_keys {
            entries.sort_by(|a, b| a.0.cmp(&b.0));
        }
        self.out.push('{');
        let mut empty = true;
        for (key, item) in entries {
            self.begin_item(&mut empty, style, depth + 1);
            write_json_string(&key, style.ensure_ascii, &mut self.out);
            self.out.push_str(&style.key);
            self.json(&item, style, depth + 1)?;
        }
        self.end_items(empty, style, depth, '}');
        Ok(())
    }

    fn begin_item(&mut self, empty: &mut bool, style: &Style, depth: usize) {
        if !std::mem::take(empty) {
            self.out.push_str(&style.item);
        }
        style.break_line(depth, &mut self.out);
    }

    fn end_items(&mut self, empty: bool, style: &Style, depth: usize, close: char) {
        if !empty {
            style.break_line(depth, &mut self.out);
        }
        self.out.push(close);
    }

    /// Pays for what was written since the last call.
    fn charge(&mut self) -> Result<(), Error> {
        charge(self.state, self.out.len() - self.charged)?;
        self.charged = self.out.len();
        Ok(())
    }
}

fn check_depth(depth: usize) -> Result<(), Error> {
    if depth <= MAX_DEPTH {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidOperation, "value is nested too deeply to print"))
}

/// Pays fuel for `bytes` about to be produced.
pub(super) fn charge(state: &State, bytes: usize) -> Result<(), Error> {
    state.consume_fuel((bytes / 64) as u64 + 1)
}

/// `str(value)`.
pub(super) fn to_str(state: &State, value: &Value) -> Result<String, Error> {
    let mut printer = Printer::new(state);
    printer.str(value)?;
    Ok(printer.out)
}

/// A number as a float, integers included.
pub(super) fn as_float(value: &Value) -> f64 {
    f64::try_from(value.clone()).unwrap_or(f64::NAN)
}

fn json_number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    match as_float(value) {
        v if v.is_nan() => "NaN".to_owned(),
        v if v.is_infinite() => if v > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
        v => float_repr(v),
    }
}

/// The key of a JSON object: strings, and what Python turns into one.
fn json_key(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::String => Ok(key.as_str().unwrap_or_default().to_owned()),
        ValueKind::None => Ok("null".to_owned()),
        ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.to_owned()),
        ValueKind::Number => Ok(json_number(key)),
        kind => {
            let message = format!("keys must be str, int, float, bool or None, not {kind}");
            Err(Error::new(ErrorKind::InvalidOperation, message))
        }
    }
}
