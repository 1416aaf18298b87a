//! `response_format`.

use serde_json::{Map, Value};

use crate::{
    core::Format,
    error::{ApiError, ApiResult},
    limits,
    wire::fields::{Fields, quoted, wrong_type},
};

const NAME: &str = "response_format";

/// Takes the field.
pub fn take(body: &mut Fields) -> ApiResult<Format> {
    let Some(format) = body.object(NAME)? else {
        return Ok(Format::Text);
    };
    let kind = format.get("type").and_then(Value::as_str).unwrap_or_default();
    let known: &[&str] = match kind {
        "text" | "json_object" => &["type"],
        "json_schema" => &["type", "json_schema"],
        _ => {
            return Err(ApiError::unsupported(
                NAME,
                "response_format.type must be \"text\", \"json_object\" or \"json_schema\"",
            ));
        }
    };
    if let Some((key, _)) = format.iter().find(|(k, v)| !v.is_null() && !known.contains(&&***k)) {
        let param = format!("{NAME}.{}", quoted(key));
        let message = format!("{param} does not go with the type {kind:?}; remove it");
        return Err(ApiError::unsupported(param, message));
    }
    match (kind, format.get("json_schema")) {
        ("text", _) => Ok(Format::Text),
        ("json_object", _) => Ok(Format::JsonObject),
        (_, Some(Value::Object(map))) => schema(map),
        _ => Err(wrong_type(&format!("{NAME}.json_schema"), "dict")),
    }
}

/// Reads `{"name": …, "schema": …}`. The schema is kept whatever `strict` says, which
/// only decides about unknown formats.
fn schema(map: &Map<String, Value>) -> ApiResult<Format> {
    let refuse = |text: String| Err(ApiError::field(NAME, format!("{NAME}.json_schema.{text}")));
    for (key, value) in map {
        let fits = match key.as_str() {
            "name" => value.as_str().is_some_and(is_name),
            "description" => value.is_string() || value.is_null(),
            "strict" => value.is_boolean() || value.is_null(),
            "schema" => value.is_object(),
            _ => return refuse("… may only have name, description, schema and strict".into()),
        };
        if !fits {
            return refuse(format!("{key} is malformed"));
        }
    }
    match (map.get("name"), map.get("schema")) {
        (None, _) => refuse("name is missing".into()),
        (_, None) => refuse("schema is missing".into()),
        (_, Some(schema)) => {
            let strict = map.get("strict") == Some(&Value::Bool(true));
            Ok(Format::JsonSchema { schema: schema.clone(), strict })
        }
    }
}

fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    !name.is_empty() && name.len() <= limits::MAX_SCHEMA_NAME_BYTES && name.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn parse(format: &Value) -> ApiResult<Format> {
        let body = json!({NAME: format}).to_string();
        take(&mut Fields::parse(body.as_bytes()).unwrap())
    }

    #[rstest]
    #[case(json!(null), Format::Text)]
    #[case(json!({"type": "text"}), Format::Text)]
    #[case(json!({"type": "json_object"}), Format::JsonObject)]
    #[case(json!({"type": "text", "json_schema": null}), Format::Text)]
    #[case(json!({"type": "json_schema", "json_schema": {"name": "a-1", "schema": {"type": "null"}, "strict": true}}),
        Format::JsonSchema { schema: json!({"type": "null"}), strict: true })]
    #[case(json!({"type": "json_schema", "json_schema": {"name": "a", "schema": {}, "strict": null}}),
        Format::JsonSchema { schema: json!({}), strict: false })]
    fn formats(#[case] format: Value, #[case] want: Format) {
        assert_eq!(parse(&format).unwrap(), want);
    }

    #[rstest]
    #[case(json!("text"))]
    #[case(json!({}))]
    #[case(json!({"type": "grammar"}))]
    #[case(json!({"type": "json_object", "schema": {"type": "object"}}))]
    #[case(json!({"type": "text", "json_schema": {"name": "x", "schema": {}}}))]
    #[case(json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {}}, "strict": true}))]
    #[case(json!({"type": "json_schema"}))]
    #[case(json!({"type": "json_schema", "json_schema": {"schema": {}}}))]
    #[case(json!({"type": "json_schema", "json_schema": {"name": "x"}}))]
    #[case(json!({"type": "json_schema", "json_schema": {"name": "x y", "schema": {}}}))]
    #[case(json!({"type": "json_schema", "json_schema": {"name": "x", "schema": [], "strict": 1}}))]
    #[case(json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {}, "lenient": true}}))]
    fn refused(#[case] format: Value) {
        let error = parse(&format).unwrap_err();
        assert!(error.param.unwrap().starts_with(NAME));
    }

    #[test]
    fn what_would_be_ignored_is_named() {
        let error = parse(&json!({"type": "json_object", "schema": {}})).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("response_format.schema"));
        let want = "response_format.schema does not go with the type \"json_object\"; remove it";
        assert_eq!(error.message, want);
    }
}
