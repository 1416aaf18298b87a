//! Bounds on JSON schemas, checked before anything is compiled.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Answer, Grammar, outline};
use crate::{Error, Result, limits, text::Place};

/// Keywords whose lists are alternatives.
const CHOICES: [&str; 4] = ["enum", "anyOf", "oneOf", "allOf"];
/// Keywords that count.
const COUNTS: [&str; 6] =
    ["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"];

/// Refuses schemas beyond the limits.
///
/// # Errors
/// [`Error::Request`] that names the limit.
pub(super) fn check(grammar: &Grammar) -> Result<()> {
    let tools: usize = grammar
        .answers
        .iter()
        .map(|answer| if let Answer::Calls(calls) = answer { calls.tools.len() } else { 0 })
        .sum();
    within("tools in a grammar", tools, limits::MAX_GRAMMAR_TOOLS)?;
    let mut bytes = 0;
    let mut walk = Walk { values: 0 };
    for schema in outline::schemas(grammar) {
        if !schema.is_object() && !schema.is_boolean() {
            return Err(refused("a schema must be an object"));
        }
        walk.visit(schema, 0, Place::Schema)?;
        bytes += schema.to_string().len();
        within("bytes of JSON schemas", bytes, limits::MAX_SCHEMA_BYTES)?;
        if schema.get("x-guidance").is_some() {
            return Err(refused("the keyword x-guidance is not allowed"));
        }
    }
    Ok(())
}

struct Walk {
    values: usize,
}

impl Walk {
    fn visit(&mut self, value: &Value, depth: usize, place: Place) -> Result<()> {
        self.values += 1;
        within("values in JSON schemas", self.values, limits::MAX_SCHEMA_VALUES)?;
        within("nesting of a JSON schema", depth, limits::MAX_SCHEMA_DEPTH)?;
        match value {
            Value::Array(items) => items.iter().try_for_each(|v| self.visit(v, depth + 1, place)),
            Value::Object(map) => {
                if place == Place::Schema {
                    within("optional properties", optional(map), limits::MAX_SCHEMA_OPTIONAL)?;
                }
                map.iter().try_for_each(|(key, value)| {
                    if place == Place::Schema {
                        keyword(key, value)?;
                    }
                    self.visit(value, depth + 1, place.below(key))
                })
            }
            _ => Ok(()),
        }
    }
}

/// Properties of an object that may be left out: each can follow each before it.
fn optional(schema: &Map<String, Value>) -> usize {
    let Some(Value::Object(properties)) = schema.get("properties") else { return 0 };
    let required: BTreeSet<&str> = match schema.get("required") {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => BTreeSet::new(),
    };
    properties.keys().filter(|name| !required.contains(name.as_str())).count()
}

/// Bounds of single keywords.
fn keyword(key: &str, value: &Value) -> Result<()> {
    let pattern =
        |text: &str| within("bytes of a pattern", text.len(), limits::MAX_SCHEMA_PATTERN_BYTES);
    match value {
        Value::Array(items) if CHOICES.contains(&key) => {
            within(&format!("alternatives of {key}"), items.len(), limits::MAX_SCHEMA_CHOICES)
        }
        Value::Number(n) if COUNTS.contains(&key) => {
            let count = n.as_u64().map_or(usize::MAX, |n| n as usize);
            let whole = n.as_u64().is_some() || n.as_f64().is_some_and(|n| n >= 0.0);
            if !whole {
                return Err(refused(&format!("{key} must not be negative")));
            }
            within(key, count, limits::MAX_SCHEMA_COUNT as usize)
        }
        Value::String(text) if key == "pattern" => pattern(text),
        Value::Object(map) if key == "patternProperties" => {
            map.keys().try_for_each(|text| pattern(text))
        }
        _ => Ok(()),
    }
}

fn within(what: &str, count: usize, limit: usize) -> Result<()> {
    if count > limit {
        Err(refused(&format!("{what}: at most {limit} are allowed")))
    } else {
        Ok(())
    }
}

fn refused(reason: &str) -> Error {
    Error::Request(format!("the JSON schema cannot be enforced: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn nested(depth: usize) -> Value {
        (0..depth).fold(json!({}), |inner, _| json!({"items": inner}))
    }

    fn checked(schema: Value) -> Result<()> {
        check(&Grammar {
            reasoning: false,
            answers: vec![Answer::JsonSchema { schema, strict: false }],
        })
    }

    #[rstest]
    #[case(json!(true))]
    #[case(json!({"type": "object", "properties": {"maxLength": {"type": "string"}}}))]
    #[case(json!({"default": {"maxLength": 99_999_999}}))]
    #[case(json!({"const": {"enum": vec![0; 2_000]}}))]
    #[case(nested(limits::MAX_SCHEMA_DEPTH))]
    #[case(json!({"enum": vec![0; limits::MAX_SCHEMA_CHOICES]}))]
    #[case(json!({"properties": properties(limits::MAX_SCHEMA_OPTIONAL)}))]
    #[case(json!({"properties": properties(limits::MAX_SCHEMA_OPTIONAL + 1), "required": ["p7"]}))]
    fn fit(#[case] schema: Value) {
        assert_eq!(checked(schema), Ok(()));
    }

    fn properties(count: usize) -> Value {
        (0..count).map(|i| (format!("p{i}"), json!({}))).collect::<Map<_, _>>().into()
    }

    #[rstest]
    #[case(json!({"properties": properties(limits::MAX_SCHEMA_OPTIONAL + 1)}), "optional properties")]
    #[case(json!({"properties": {"default": {"maxLength": 1u64 << 40}}}), "maxLength")]
    #[case(nested(limits::MAX_SCHEMA_DEPTH + 1), "nesting")]
    #[case(json!({"enum": vec![0; limits::MAX_SCHEMA_CHOICES + 1]}), "alternatives of enum")]
    #[case(json!({"items": {"anyOf": vec![json!({}); 1_001]}}), "alternatives of anyOf")]
    #[case(json!({"maxLength": 1u64 << 40}), "maxLength")]
    #[case(json!({"minItems": 1e9}), "minItems")]
    #[case(json!({"minItems": -1}), "negative")]
    #[case(json!({"pattern": "a".repeat(5_000)}), "pattern")]
    #[case(json!({"patternProperties": {"a".repeat(5_000): {}}}), "pattern")]
    #[case(json!({"description": "a".repeat(2 << 20)}), "bytes")]
    #[case(json!({"examples": vec![0; 60_000]}), "values")]
    #[case(json!([1]), "object")]
    #[case(json!({"x-guidance": {"lenient": true}}), "x-guidance")]
    fn refused(#[case] schema: Value, #[case] named: &str) {
        let Err(Error::Request(reason)) = checked(schema) else { panic!("not refused") };
        assert!(reason.contains(named), "{reason}");
    }
}
