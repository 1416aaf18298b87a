//! Words for writing JSON schemas.

use serde_json::{Map, Value, json};

/// Greatest number that fits a 32-bit float, which is what samplers compute with.
const MAX_FLOAT: f64 = f32::MAX as f64;

/// An object with these properties only.
pub fn object(required: &[&str], properties: Value) -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": required,
        "properties": properties,
    })
}

/// A request body: properties that are not required may be null, which counts as absent.
pub fn body(required: &[&str], properties: Value) -> Value {
    let Value::Object(properties) = properties else { return json!(false) };
    let properties: Map<String, Value> = properties
        .into_iter()
        .map(|(name, schema)| {
            let schema = if required.contains(&name.as_str()) { schema } else { or_null(&schema) };
            (name, schema)
        })
        .collect();
    object(required, properties.into())
}

/// All properties of several objects; later ones win.
pub fn merged(objects: &[Value]) -> Value {
    let pairs = objects.iter().filter_map(Value::as_object).flatten();
    pairs.map(|(name, schema)| (name.clone(), schema.clone())).collect::<Map<_, _>>().into()
}

/// The schema, or null.
pub fn or_null(schema: &Value) -> Value {
    match schema.get("type") {
        Some(Value::String(kind)) if kind == "null" => schema.clone(),
        Some(Value::String(kind))
            if schema.get("enum").is_none() && schema.get("const").is_none() =>
        {
            let mut schema = schema.clone();
            schema["type"] = json!([kind, "null"]);
            schema
        }
        None if schema.as_object().is_some_and(Map::is_empty) => schema.clone(),
        _ => json!({"anyOf": [schema, {"type": "null"}]}),
    }
}

/// A schema of the document's components.
pub fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// The same schema with a description.
pub fn described(mut schema: Value, description: &str) -> Value {
    schema["description"] = description.into();
    schema
}

/// Any string.
pub fn string() -> Value {
    json!({"type": "string"})
}

/// True or false.
pub fn boolean() -> Value {
    json!({"type": "boolean"})
}

/// A whole number of at least `min` and, where that is given, at most `max`.
pub fn integer(min: i64, max: Option<u64>) -> Value {
    let mut schema = json!({"type": "integer", "minimum": min});
    if let Some(max) = max {
        schema["maximum"] = max.into();
    }
    schema
}

/// A number within bounds that fits a 32-bit float.
pub fn number(min: f64, max: f64) -> Value {
    json!({"type": "number", "minimum": min, "maximum": max})
}

/// Any number that fits a 32-bit float.
pub fn any_number() -> Value {
    number(-MAX_FLOAT, MAX_FLOAT)
}

/// A number of at least zero.
pub fn not_negative() -> Value {
    number(0.0, MAX_FLOAT)
}

/// A number from zero to one.
pub fn fraction() -> Value {
    number(0.0, 1.0)
}

/// A list of `items`.
pub fn array(items: Value, max: usize) -> Value {
    json!({"type": "array", "items": items, "maxItems": max})
}

/// One of these words.
pub fn one_of(words: &[&str]) -> Value {
    json!({"type": "string", "enum": words})
}

/// A word.
pub fn word(word: &str) -> Value {
    json!({"type": "string", "const": word})
}

/// An object of any properties.
pub fn any_object() -> Value {
    json!({"type": "object"})
}

/// A property that is known and refused, whatever its value.
pub fn refused() -> Value {
    json!({"type": "null", "description": "Not supported."})
}
