//! JSON schemas as llguidance can keep them.
//!
//! It reads every number as a 64-bit float, knows some formats of strings and no other, and takes a
//! `oneOf` only where it sees that the alternatives exclude each other.

use std::collections::BTreeSet;

use serde_json::{Map, Number, Value};

use crate::{Error, Result};

/// What is done about keywords that cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// They are passed over.
    Lenient,
    /// They are refused, save formats: JSON Schema takes an unknown one for a remark.
    Plain,
    /// They are refused.
    Strict,
}

/// What a value in a schema is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A schema, or a list of schemas.
    Schema,
    /// Schemas by names that clients choose.
    Named,
    /// No schema at all.
    Data,
}

impl Place {
    /// What stands under `key`.
    pub fn below(self, key: &str) -> Self {
        match (self, key) {
            (Self::Data, _) | (Self::Schema, "const" | "default" | "enum" | "examples") => {
                Self::Data
            }
            (
                Self::Schema,
                "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas",
            ) => Self::Named,
            _ => Self::Schema,
        }
    }
}

/// Formats that llguidance knows.
const FORMATS: [&str; 10] =
    ["date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"];
/// Keywords that say nothing of a number's value, or are looked at.
const BESIDE_CONSTANTS: [&str; 10] = [
    "$defs",
    "$schema",
    "const",
    "default",
    "definitions",
    "description",
    "enum",
    "examples",
    "title",
    "type",
];
/// Largest whole number below which floats leave none out.
const MAX_SAFE: u64 = (1 << 53) - 1;

/// The schema without what cannot be kept.
///
/// # Errors
/// [`Error::Request`] that names a keyword, where `keeping` refuses it.
pub(super) fn kept(schema: &Value, place: Place, keeping: Keeping) -> Result<Value> {
    Ok(match schema {
        Value::Object(map) => {
            let mut out = Map::new();
            for (key, value) in map {
                if place == Place::Schema && !keeps(key, value, keeping)? {
                    continue;
                }
                let value = kept(value, place.below(key), keeping)?;
                out.insert(key.clone(), value);
            }
            if place == Place::Schema {
                open_one_of(&mut out);
            }
            out.into()
        }
        Value::Array(items) => {
            items.iter().map(|item| kept(item, place, keeping)).collect::<Result<Vec<_>>>()?.into()
        }
        other => other.clone(),
    })
}

/// Whether a keyword can be kept, or may be passed over.
fn keeps(key: &str, value: &Value, keeping: Keeping) -> Result<bool> {
    let lost = match (key, value) {
        ("format", Value::String(name)) => {
            return Ok(keeping == Keeping::Strict || FORMATS.contains(&name.as_str()));
        }
        ("const" | "enum", constants) => inexact(constants),
        (
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf",
            Value::Number(bound),
        ) => Some(bound).filter(|bound| !is_safe(bound)),
        _ => None,
    };
    match lost {
        None => Ok(true),
        Some(_) if keeping == Keeping::Lenient => Ok(false),
        Some(number) => Err(Error::Request(format!(
            "the JSON schema cannot be enforced: {key}: the number {number} would not be kept \
             exactly; stay within {MAX_SAFE}, or use a string"
        ))),
    }
}

/// A number among constants that a float would change.
fn inexact(constants: &Value) -> Option<&Number> {
    match constants {
        Value::Number(number) => Some(number).filter(|number| !is_exact(number)),
        Value::Array(items) => items.iter().find_map(inexact),
        Value::Object(fields) => fields.values().find_map(inexact),
        _ => None,
    }
}

/// Whether a float is this number, and no other number of its kind reads as the same float.
fn is_safe(number: &Number) -> bool {
    number.as_f64().is_some_and(|value| value.abs() <= MAX_SAFE as f64)
}

/// Whether a float is this number.
fn is_exact(number: &Number) -> bool {
    let whole = |n: i64| n != i64::MIN && (n as f64) as i128 == i128::from(n);
    is_safe(number) || number.as_i64().is_some_and(whole)
}

/// Whole numbers beyond floats that a schema lists, as text; `None` where there are none, or more
/// is said than a list can tell.
pub(super) fn spelled(schema: &Value) -> Option<Vec<String>> {
    let map = schema.as_object()?;
    let says_more = map.keys().any(|key| !BESIDE_CONSTANTS.contains(&key.as_str()));
    if says_more || (map.contains_key("const") && map.contains_key("enum")) {
        return None;
    }
    let typed = schema.get("type").is_none_or(|kind| kind == "integer" || kind == "number");
    let constants = constants(schema)?;
    let spell = |value: &Value| (value.is_i64() || value.is_u64()).then(|| value.to_string());
    let texts = constants.iter().map(spell).collect::<Option<Vec<_>>>()?;
    (typed && constants.iter().any(|value| inexact(value).is_some())).then_some(texts)
}

/// The values that a schema lists with `const`, which wins, or `enum`.
pub(crate) fn constants(schema: &Value) -> Option<&[Value]> {
    match (schema.get("const"), schema.get("enum")) {
        (Some(value), _) => Some(std::slice::from_ref(value)),
        (None, Some(Value::Array(values))) => Some(values),
        _ => None,
    }
}

/// Makes `anyOf` of a `oneOf` whose alternatives list different values: no value is in two of them.
fn open_one_of(schema: &mut Map<String, Value>) {
    let Some(Value::Array(options)) = schema.get("oneOf") else { return };
    if !schema.contains_key("anyOf")
        && are_different(options)
        && let Some(options) = schema.remove("oneOf")
    {
        schema.insert("anyOf".to_owned(), options);
    }
}

fn are_different(options: &[Value]) -> bool {
    let mut seen = BTreeSet::new();
    options.iter().all(|option| {
        let Some(constants) = constants(option) else { return false };
        // Floats, lists and objects can be equal and look different.
        let plain = |value: &Value| !value.is_f64() && !value.is_array() && !value.is_object();
        let own: BTreeSet<String> = constants.iter().map(Value::to_string).collect();
        constants.iter().all(plain) && own.into_iter().all(|text| seen.insert(text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case::remark(json!({"format": "binary"}), json!({}))]
    #[case::known(json!({"format": "uuid"}), json!({"format": "uuid"}))]
    #[case::a_property(json!({"properties": {"format": {"format": "path"}}}), json!({"properties": {"format": {}}}))]
    #[case::data(json!({"default": {"format": "x"}}), json!({"default": {"format": "x"}}))]
    #[case::constants(json!({"oneOf": [{"const": 1}, {"enum": [2, "x"]}]}), json!({"anyOf": [{"const": 1}, {"enum": [2, "x"]}]}))]
    #[case::same(json!({"oneOf": [{"const": 1}, {"const": 1}]}), json!({"oneOf": [{"const": 1}, {"const": 1}]}))]
    #[case::equal(json!({"oneOf": [{"const": 1}, {"const": 1.0}]}), json!({"oneOf": [{"const": 1}, {"const": 1.0}]}))]
    #[case::open(json!({"oneOf": [{"const": 1}, {}]}), json!({"oneOf": [{"const": 1}, {}]}))]
    #[case::exact(json!({"enum": [1_u64 << 60, -5], "maximum": MAX_SAFE}), json!({"enum": [1_u64 << 60, -5], "maximum": MAX_SAFE}))]
    fn schemas(#[case] schema: Value, #[case] want: Value) {
        for keeping in [Keeping::Plain, Keeping::Lenient] {
            assert_eq!(kept(&schema, Place::Schema, keeping), Ok(want.clone()));
        }
    }

    #[rstest]
    #[case(json!({"const": 1_234_567_890_123_456_789_u64}), "const")]
    #[case(json!({"enum": [1, {"a": [9_007_199_254_740_993_u64]}]}), "enum")]
    #[case(json!({"const": i64::MAX}), "const")]
    #[case(json!({"const": u64::MAX}), "const")]
    #[case(json!({"const": 1e30}), "const")]
    #[case(json!({"maximum": i64::MAX}), "maximum")]
    #[case(json!({"exclusiveMinimum": 1_u64 << 53}), "exclusiveMinimum")]
    #[case(json!({"minimum": -1e300}), "minimum")]
    #[case(json!({"multipleOf": 1_u64 << 54}), "multipleOf")]
    fn numbers_that_would_change(#[case] schema: Value, #[case] keyword: &str) {
        let inside = json!({"properties": {"x": schema}});
        for keeping in [Keeping::Plain, Keeping::Strict] {
            let Err(Error::Request(reason)) = kept(&inside, Place::Schema, keeping) else {
                panic!("not refused")
            };
            assert!(reason.contains(&format!("{keyword}: the number ")), "{reason}");
        }
        let lenient = kept(&inside, Place::Schema, Keeping::Lenient);
        assert_eq!(lenient, Ok(json!({"properties": {"x": {}}})));
    }

    #[test]
    fn a_strict_schema_keeps_unknown_formats_for_refusal() {
        let schema = json!({"format": "binary"});
        assert_eq!(kept(&schema, Place::Schema, Keeping::Strict), Ok(schema));
    }

    #[rstest]
    #[case(json!({"const": 9_007_199_254_740_993_u64}), Some(vec!["9007199254740993"]))]
    #[case(json!({"enum": [u64::MAX, 1], "type": "integer", "title": "Id"}), Some(vec!["18446744073709551615", "1"]))]
    #[case(json!({"enum": [1, 2]}), None)]
    #[case(json!({"enum": [u64::MAX, "x"]}), None)]
    #[case(json!({"const": u64::MAX, "maximum": 5}), None)]
    #[case(json!({"const": u64::MAX, "type": "string"}), None)]
    fn large_numbers_are_spelled(#[case] schema: Value, #[case] want: Option<Vec<&str>>) {
        let texts = spelled(&schema);
        assert_eq!(texts, want.map(|texts| texts.into_iter().map(str::to_owned).collect()));
    }
}
