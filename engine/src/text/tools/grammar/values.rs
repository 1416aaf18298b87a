//! Arguments that are written as bare text between markers, typed by their schemas.

use serde_json::Value;

use super::{Tool, unkept};
use crate::{
    Error, Result,
    text::lark::{Lark, Text, constants, literal},
};

/// References that are followed to find a schema's type.
const MAX_HOPS: usize = 16;
/// How null is written, and the name of its type.
const NULL: &str = "null";

/// A parameter of a tool.
pub(super) struct Parameter<'a> {
    pub name: &'a str,
    pub schema: &'a Value,
    pub required: bool,
}

/// How an argument is written.
#[derive(Debug, PartialEq)]
enum Kind {
    /// As one of these texts.
    OneOf(Vec<String>),
    /// As any text of so many characters.
    Text(usize, Option<usize>),
    /// As JSON.
    Json,
}

/// The parameters of a tool whose names the format can write, in order.
///
/// # Errors
/// [`Error::Request`] for a required one that it cannot write.
pub(super) fn parameters<'a>(
    lark: &mut Lark<'_>,
    tool: &Tool<'a>,
    writable: impl Fn(&str) -> bool,
) -> Result<Vec<Parameter<'a>>> {
    let Some(root) = tool.parameters else { return Ok(Vec::new()) };
    let object = resolve(root, root);
    unkept::refuse(lark, tool, object);
    let required: Vec<&str> = object
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let mut out = Vec::new();
    for (name, schema) in object.get("properties").and_then(Value::as_object).into_iter().flatten()
    {
        let required = required.contains(&name.as_str());
        if writable(name) {
            out.push(Parameter { name, schema, required });
        } else if required {
            return Err(Error::Request(format!(
                "the parameter {name:?} of the tool {:?} cannot be written in this model's \
                 tool-call format",
                tool.name
            )));
        }
    }
    Ok(out)
}

/// A value, `before` and `end`.
pub(super) fn until(
    lark: &mut Lark<'_>,
    tool: &Tool<'_>,
    schema: &Value,
    (before, end): (&str, &str),
    without: &[&str],
) -> String {
    let root = tool.parameters.unwrap_or(&Value::Null);
    let close = literal(&format!("{before}{end}"));
    match kind(root, schema) {
        Kind::OneOf(texts) => {
            let texts: Vec<String> = texts.iter().map(|text| literal(text)).collect();
            lark.rule(&format!("({}) {close}", texts.join(" | ")))
        }
        Kind::Text(min, max) => {
            unkept::refuse_in_text(lark, tool, root, schema);
            lark.until(&Text { min, max, without }, before, end)
        }
        Kind::Json => {
            let value = lark.json(&rooted(root, schema), tool.keeping());
            lark.rule(&format!("{value} {close}"))
        }
    }
}

/// The schema that a chain of references leads to.
pub(super) fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let mut schema = schema;
    for _ in 0..MAX_HOPS {
        let Some(path) = schema.get("$ref").and_then(Value::as_str) else { break };
        let Some(next) = path.strip_prefix('#').and_then(|path| root.pointer(path)) else { break };
        schema = next;
    }
    schema
}

/// The schema with the definitions of its root, which its references name.
pub(super) fn rooted(root: &Value, schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Value::Object(map) = &mut schema {
        for key in ["$defs", "definitions"] {
            if let Some(definitions) = root.get(key).filter(|_| !map.contains_key(key)) {
                map.insert(key.to_owned(), definitions.clone());
            }
        }
    }
    schema
}

fn kind(root: &Value, schema: &Value) -> Kind {
    let schema = resolve(root, schema);
    if let Some(texts) = words(root, schema, 0).filter(|texts| texts.iter().any(|t| t != NULL)) {
        return Kind::OneOf(texts);
    }
    let values = constants(schema).unwrap_or_default();
    if values.iter().any(Value::is_string) {
        return Kind::Text(0, None);
    }
    if !values.is_empty() {
        return Kind::Json;
    }
    if !may_be_text(root, schema, 0) {
        return Kind::Json;
    }
    let count = |key: &str| {
        let only = schema.get("type").and_then(Value::as_str) == Some("string");
        schema.get(key).and_then(Value::as_u64).filter(|_| only).map(|n| n as usize)
    };
    Kind::Text(count("minLength").unwrap_or(0), count("maxLength"))
}

/// The texts that stand for all values, where those are listed strings or null.
fn words(root: &Value, schema: &Value, depth: usize) -> Option<Vec<String>> {
    let schema = resolve(root, schema);
    let word = |value: &Value| match value {
        Value::Null => Some(NULL.to_owned()),
        value => value.as_str().map(str::to_owned),
    };
    if let Some(value) = schema.get("const") {
        return word(value).map(|word| vec![word]);
    }
    if let Some(Value::Array(values)) = schema.get("enum").filter(|_| depth <= MAX_HOPS) {
        return values.iter().map(word).collect();
    }
    if schema.get("type").is_some_and(|kind| kind == NULL) {
        return Some(vec![NULL.to_owned()]);
    }
    let choices = ["anyOf", "oneOf"].into_iter().find_map(|key| schema.get(key)?.as_array());
    let choices = choices.filter(|_| depth <= MAX_HOPS)?;
    let lists = choices.iter().map(|choice| words(root, choice, depth + 1));
    Some(lists.collect::<Option<Vec<_>>>()?.concat())
}

/// Whether a string is among the values.
fn may_be_text(root: &Value, schema: &Value, depth: usize) -> bool {
    let schema = resolve(root, schema);
    if depth > MAX_HOPS {
        return true;
    }
    match schema.get("type") {
        Some(Value::String(name)) => return name == "string",
        Some(Value::Array(names)) => return names.iter().any(|name| name == "string"),
        _ => {}
    }
    let choices = ["anyOf", "oneOf", "allOf"]
        .into_iter()
        .find_map(|key| schema.get(key).and_then(Value::as_array));
    match choices {
        Some(choices) => choices.iter().any(|choice| may_be_text(root, choice, depth + 1)),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(json!({"type": "string"}), Kind::Text(0, None))]
    #[case(json!({"type": "string", "minLength": 1, "maxLength": 9}), Kind::Text(1, Some(9)))]
    #[case(json!({"type": ["string", "null"], "maxLength": 9}), Kind::Text(0, None))]
    #[case(json!({"enum": ["a", "b"]}), Kind::OneOf(vec!["a".into(), "b".into()]))]
    #[case(json!({"const": "a"}), Kind::OneOf(vec!["a".into()]))]
    #[case(json!({"enum": ["a", null]}), Kind::OneOf(vec!["a".into(), "null".into()]))]
    #[case(json!({"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]}), Kind::OneOf(vec!["a".into(), "b".into(), "null".into()]))]
    #[case(json!({"anyOf": [{"enum": ["a"]}, {"type": "string"}]}), Kind::Text(0, None))]
    #[case(json!({"type": "null"}), Kind::Json)]
    #[case(json!({"enum": [null]}), Kind::Json)]
    #[case(json!({"enum": [1, 2]}), Kind::Json)]
    #[case(json!({"enum": [1, "b"]}), Kind::Text(0, None))]
    #[case(json!({"type": "integer"}), Kind::Json)]
    #[case(json!({"anyOf": [{"type": "integer"}, {"type": "null"}]}), Kind::Json)]
    #[case(json!({"anyOf": [{"type": "integer"}, {"type": "string"}]}), Kind::Text(0, None))]
    #[case(json!({"$ref": "#/$defs/n"}), Kind::Json)]
    #[case(json!({"$ref": "#/$defs/loop"}), Kind::Text(0, None))]
    #[case(json!({}), Kind::Text(0, None))]
    #[case(json!(true), Kind::Text(0, None))]
    fn kinds(#[case] schema: Value, #[case] want: Kind) {
        let root = json!({"$defs": {
            "n": {"type": "number"}, "loop": {"$ref": "#/$defs/loop"}}});
        assert_eq!(kind(&root, &schema), want);
    }
}
