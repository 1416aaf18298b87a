//! What formats that are not JSON cannot hold arguments to.

use serde_json::Value;

use super::{Tool, values::resolve};
use crate::text::lark::Lark;

/// Keywords that are not written into the grammars of such formats.
const KEYWORDS: [&str; 17] = [
    "additionalItems",
    "contains",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "format",
    "if",
    "maxProperties",
    "minProperties",
    "not",
    "pattern",
    "patternProperties",
    "prefixItems",
    "propertyNames",
    "then",
    "uniqueItems",
];
/// Alternatives that are followed into each other.
const MAX_DEPTH: usize = 16;

/// Refuses a strict tool if `schema` itself, not a schema within, has a keyword that is not kept.
pub(super) fn refuse(lark: &mut Lark<'_>, tool: &Tool<'_>, schema: &Value) {
    refuse_keyword(lark, tool, keyword(schema));
}

/// The same for the schema of text that is written without quotes.
pub(super) fn refuse_in_text(lark: &mut Lark<'_>, tool: &Tool<'_>, root: &Value, schema: &Value) {
    refuse_keyword(lark, tool, in_text(root, schema, 0));
}

fn refuse_keyword(lark: &mut Lark<'_>, tool: &Tool<'_>, keyword: Option<&str>) {
    if let Some(keyword) = keyword.filter(|_| tool.strict) {
        lark.refuse(format!(
            "the JSON schema cannot be enforced: {keyword} is not kept in this model's tool-call \
             format; leave it out, or do not ask for strict"
        ));
    }
}

fn keyword(schema: &Value) -> Option<&'static str> {
    let counts = |value: &Value| !value.is_null() && *value != Value::Bool(false);
    let list = |key: &str| schema.get(key).and_then(Value::as_array).map_or(0, Vec::len);
    // Of other values they say nothing.
    let about_text = match schema.get("type") {
        Some(Value::String(kind)) => kind == "string",
        _ => true,
    };
    KEYWORDS
        .into_iter()
        .filter(|key| about_text || !["format", "pattern"].contains(key))
        .find(|key| schema.get(key).is_some_and(counts))
        .or_else(|| (list("allOf") > 1).then_some("allOf"))
        .or_else(|| {
            let other = schema.get("additionalProperties").is_some_and(Value::is_object);
            other.then_some("additionalProperties")
        })
}

/// Text is held to its length alone, and to that only where it is sure to be a string.
fn in_text(root: &Value, schema: &Value, depth: usize) -> Option<&'static str> {
    let schema = resolve(root, schema);
    if depth > MAX_DEPTH {
        return None;
    }
    let is_text = depth == 0 && schema.get("type").is_some_and(|kind| kind == "string");
    let others = ["minLength", "maxLength", "enum", "const"];
    let lists = ["anyOf", "oneOf", "allOf"];
    let choices = lists.iter().filter_map(|key| schema.get(key)?.as_array()).flatten();
    keyword(schema)
        .or_else(|| others.into_iter().find(|key| !is_text && schema.get(key).is_some()))
        .or_else(|| choices.into_iter().find_map(|choice| in_text(root, choice, depth + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(json!({"type": "string", "minLength": 2, "maxLength": 3}), None)]
    #[case(json!({"type": ["string", "null"]}), None)]
    #[case(json!({"anyOf": [{"type": "string"}, {"type": "integer"}]}), None)]
    #[case(json!(true), None)]
    #[case(json!({"anyOf": [{"type": "string"}, {"type": "integer", "format": "int64"}]}), None)]
    #[case(json!({"type": "string", "pattern": "a"}), Some("pattern"))]
    #[case(json!({"type": "string", "format": "uuid"}), Some("format"))]
    #[case(json!({"type": ["string", "null"], "maxLength": 3}), Some("maxLength"))]
    #[case(json!({"anyOf": [{"type": "string", "minLength": 3}, {"type": "null"}]}), Some("minLength"))]
    #[case(json!({"enum": [1, "b"]}), Some("enum"))]
    #[case(json!({"$ref": "#/$defs/p"}), Some("pattern"))]
    #[case(json!({"$ref": "#/$defs/loop"}), None)]
    fn text(#[case] schema: Value, #[case] want: Option<&str>) {
        let root = json!({"$defs": {"p": {"pattern": "a"}, "loop": {"anyOf": [{"$ref": "#/$defs/loop"}]}}});
        assert_eq!(in_text(&root, &schema, 0), want);
    }
}
