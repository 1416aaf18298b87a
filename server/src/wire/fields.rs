//! Typed access to the fields of a JSON body, with mlx-lm's error texts
//! (`mlx_lm/server.py`, `APIHandler._validate`).
//!
//! `null` counts as absent, as in OpenAI's API. A boolean is not an integer here, though Python's
//! `isinstance` lets it pass for one.

use serde_json::{Map, Number, Value};

use super::strict::Strict;
use crate::{
    error::{ApiError, ApiResult},
    limits,
};

/// A JSON object whose fields are taken one by one.
#[derive(Debug)]
pub struct Fields {
    map: Map<String, Value>,
    /// Where in the body the object is; empty for the body itself.
    at: String,
}

impl Fields {
    /// Parses a request body.
    pub fn parse(body: &[u8]) -> ApiResult<Self> {
        match serde_json::from_slice(body) {
            Ok(Strict(Value::Object(map))) => Ok(Self { map, at: String::new() }),
            Ok(Strict(_)) => Err(ApiError::bad_request("Request should be a JSON dictionary")),
            Err(e) => Err(ApiError::bad_request(format!("Invalid JSON in request body: {e}"))
                .with_code("invalid_json")),
        }
    }

    /// An object inside a body, at e.g. `tools[0]`: errors name its fields from there.
    pub fn within(at: impl Into<String>, value: Value) -> ApiResult<Self> {
        let at = at.into();
        match value {
            Value::Object(map) => Ok(Self { map, at }),
            _ => Err(wrong_type(&at, "dict")),
        }
    }

    /// How errors call the field `name`.
    pub fn label(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at) }
    }

    /// Removes a field; `None` when it is absent or null.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.map.swap_remove(name).filter(|v| !v.is_null())
    }

    /// A boolean.
    pub fn bool(&mut self, name: &str, default: bool) -> ApiResult<bool> {
        match self.take(name) {
            None => Ok(default),
            Some(Value::Bool(b)) => Ok(b),
            Some(_) => Err(wrong_type(&self.label(name), "bool")),
        }
    }

    /// A string.
    pub fn string(&mut self, name: &str) -> ApiResult<Option<String>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(s)),
            Some(_) => Err(wrong_type(&self.label(name), "str")),
        }
    }

    /// A string that has to be there.
    pub fn required_string(&mut self, name: &str) -> ApiResult<String> {
        self.string(name)?.ok_or_else(|| missing(&self.label(name)))
    }

    /// Whether a field is there and not null.
    pub fn has(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(|value| !value.is_null())
    }

    /// Whether a field is a number.
    pub fn is_number(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(Value::is_number)
    }

    /// A JSON integer; `label` names the field in errors.
    pub fn optional_int(&mut self, name: &str, label: &str) -> ApiResult<Option<i128>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Number(n)) => match integer(&n) {
                Some(i) => Ok(Some(i)),
                None => Err(wrong_type(label, "int")),
            },
            Some(_) => Err(wrong_type(label, "int")),
        }
    }

    /// A count of at least `min`.
    pub fn count(&mut self, name: &str, min: i128, default: usize) -> ApiResult<usize> {
        let label = self.label(name);
        match self.optional_int(name, &label)? {
            None => Ok(default),
            Some(i) => to_count(&label, i, min),
        }
    }

    /// A number, whole or not, of which mlx-lm takes both.
    pub fn number(&mut self, name: &str, bounds: Bounds, default: f64) -> ApiResult<f64> {
        match self.take(name) {
            None => Ok(default),
            Some(Value::Number(n)) => bounds.check(&self.label(name), &n),
            Some(_) => Err(wrong_type(&self.label(name), "('float', 'int')")),
        }
    }

    /// A number that must be written as a float: mlx-lm refuses `0` where it means `0.0`.
    pub fn float(&mut self, name: &str, bounds: Bounds, default: f64) -> ApiResult<f64> {
        match self.take(name) {
            None => Ok(default),
            Some(Value::Number(n)) if n.is_f64() => bounds.check(&self.label(name), &n),
            Some(_) => Err(wrong_type(&self.label(name), "float")),
        }
    }

    /// A JSON object.
    pub fn object(&mut self, name: &str) -> ApiResult<Option<Map<String, Value>>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(_) => Err(wrong_type(&self.label(name), "dict")),
        }
    }

    /// A JSON array of at most `max` items.
    pub fn array(&mut self, name: &str, max: usize) -> ApiResult<Option<Vec<Value>>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Array(items)) if items.len() <= max => Ok(Some(items)),
            Some(Value::Array(_)) => {
                let label = self.label(name);
                let message = format!("{label} must have at most {max} items");
                Err(ApiError::field(label, message))
            }
            Some(_) => Err(wrong_type(&self.label(name), "list")),
        }
    }

    /// Refuses a field, by name and with the reason `why`, unless its value is `fine`.
    pub fn refuse_unless(
        &mut self,
        name: &str,
        why: &str,
        fine: impl Fn(&Value) -> bool,
    ) -> ApiResult<()> {
        match self.take(name) {
            Some(value) if !fine(&value) => {
                let label = self.label(name);
                let message = format!("{label} {why}");
                Err(ApiError::unsupported(label, message))
            }
            _ => Ok(()),
        }
    }

    /// Drops fields that change nothing about the answer.
    pub fn ignore(&mut self, names: &[&str]) {
        for name in names {
            self.map.swap_remove(*name);
        }
    }

    /// Refuses whatever has not been taken, by name.
    pub fn finish(self) -> ApiResult<()> {
        match self.map.iter().find(|(_, v)| !v.is_null()) {
            None => Ok(()),
            Some((name, _)) => {
                let name = self.label(&quoted(name));
                let message = format!("{name} is not a field that this server honours; remove it");
                Err(ApiError::unsupported(name, message))
            }
        }
    }
}

/// Whether a value says nothing: null, or an empty text, list or object.
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// Inclusive bounds of a number.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bounds {
    /// Least value.
    pub min: Option<i32>,
    /// Greatest value.
    pub max: Option<i32>,
}

impl Bounds {
    /// Any number.
    pub const ANY: Self = Self { min: None, max: None };
    /// Zero or more.
    pub const NOT_NEGATIVE: Self = Self { min: Some(0), max: None };
    /// From zero to one.
    pub const UNIT: Self = Self { min: Some(0), max: Some(1) };

    fn check(self, name: &str, number: &Number) -> ApiResult<f64> {
        let value = number.as_f64().unwrap_or(f64::NAN);
        if let Some(min) = self.min.filter(|m| value < f64::from(*m)) {
            return Err(ApiError::field(name, format!("{name} must be at least {min}")));
        }
        if let Some(max) = self.max.filter(|m| value > f64::from(*m)) {
            return Err(ApiError::field(name, format!("{name} must be at most {max}")));
        }
        if (value as f32).is_finite() {
            Ok(value)
        } else {
            Err(ApiError::field(name, format!("{name} does not fit a 32-bit float")))
        }
    }
}

/// The integer that a JSON number is, when it is written as one.
pub fn integer(n: &Number) -> Option<i128> {
    n.as_i64().map(i128::from).or_else(|| n.as_u64().map(i128::from))
}

/// An integer as a count of at least `min`.
pub fn to_count(name: &str, i: i128, min: i128) -> ApiResult<usize> {
    if i < min {
        return Err(ApiError::field(name, format!("{name} must be at least {min}")));
    }
    usize::try_from(i).map_err(|_| ApiError::field(name, format!("{name} is too large")))
}

/// 400 for a field that has to be there.
pub fn missing(name: &str) -> ApiError {
    ApiError::field(name, format!("{name} is missing"))
}

/// mlx-lm's text for a value of the wrong type; types carry their Python names.
pub fn wrong_type(name: &str, python_type: &str) -> ApiError {
    ApiError::field(name, format!("{name} must be of type {python_type}"))
}

/// A client's own text, cut to a length fit for a message and without control characters.
pub fn quoted(text: &str) -> String {
    let mut out: String = text
        .chars()
        .take(limits::MAX_QUOTED_CHARS)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(limits::MAX_QUOTED_CHARS).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn fields(json: &str) -> Fields {
        Fields::parse(json.as_bytes()).unwrap()
    }

    #[rstest]
    #[case("[1]", "Request should be a JSON dictionary")]
    #[case("\"x\"", "Request should be a JSON dictionary")]
    #[case("{", "Invalid JSON in request body: EOF while parsing an object at line 1 column 1")]
    #[case("", "Invalid JSON in request body: EOF while parsing a value at line 1 column 0")]
    #[case("{\"a\":NaN}", "Invalid JSON in request body: expected value at line 1 column 6")]
    fn bodies_that_are_no_object(#[case] body: &str, #[case] message: &str) {
        let e = Fields::parse(body.as_bytes()).unwrap_err();
        assert_eq!((e.status.as_u16(), e.message.as_str()), (400, message));
    }

    #[test]
    fn nesting_is_bounded() {
        let body = "{\"a\":".repeat(100_000);
        assert!(Fields::parse(body.as_bytes()).unwrap_err().message.contains("recursion limit"));
    }

    #[rstest]
    #[case("1", Some("x must be of type float"))]
    #[case("0.5", None)]
    #[case("1.5", Some("x must be at most 1"))]
    #[case("-0.5", Some("x must be at least 0"))]
    #[case("true", Some("x must be of type float"))]
    fn floats_are_strict(#[case] value: &str, #[case] message: Option<&str>) {
        let got = fields(&format!("{{\"x\":{value}}}")).float("x", Bounds::UNIT, 0.0);
        assert_eq!(got.err().map(|e| e.message).as_deref(), message);
    }

    #[test]
    fn null_is_absent() {
        let mut f = fields(r#"{"a":null,"b":null}"#);
        assert!(f.bool("a", true).unwrap());
        f.finish().unwrap();
    }

    #[test]
    fn nested_fields_are_named_in_full() {
        let nested = || Fields::within("a[1]", serde_json::json!({"b": 1})).unwrap();
        assert_eq!(nested().string("b").unwrap_err().message, "a[1].b must be of type str");
        assert_eq!(nested().finish().unwrap_err().param.as_deref(), Some("a[1].b"));
        assert_eq!(nested().required_string("c").unwrap_err().message, "a[1].c is missing");
        let e = Fields::within("a[1]", serde_json::json!(2)).unwrap_err();
        assert_eq!(e.message, "a[1] must be of type dict");
    }

    #[test]
    fn leftovers_are_refused_by_name() {
        let e = fields(r#"{"temprature":1}"#).finish().unwrap_err();
        assert_eq!(e.param.as_deref(), Some("temprature"));
        let long = format!("{{\"{}\\n\":1}}", "a".repeat(500));
        assert!(fields(&long).finish().unwrap_err().message.len() < 400);
    }
}
