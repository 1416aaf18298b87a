//! Adapters on the wire: how requests choose them, and what `/v1/adapters` takes and shows.

use serde_json::{Map, Value, json};
use verbatim_engine::adapter::{NamedAdapter, is_reserved};

use super::fields::{Fields, wrong_type};
use crate::{
    error::{ApiError, ApiResult},
    limits,
    openapi::schema::{body, boolean, integer, object, or_null, reference, string, word},
};

/// mlx-lm's name of the field, and ours for one adapter. Every protocol takes both.
const FIELDS: [&str; 2] = ["adapters", "adapter"];

/// Takes the adapters out of a body: a name, several joined by `+` or `,`, or a list of names, whose
/// products are added in that order. `none`, `base` and nothing are the base model; an absent field
/// leaves the choice to the server.
///
/// # Errors
/// 400 for another type, an empty name in a list, and both fields at once.
pub fn take_adapters(body: &mut Fields) -> ApiResult<Option<Vec<String>>> {
    let [plural, singular] = FIELDS;
    match (body.take(plural), body.take(singular)) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(ApiError::field(
            singular,
            "adapter and adapters are the same field; send one of them",
        )),
        (Some(value), None) => names(plural, value).map(Some),
        (None, Some(value)) => names(singular, value).map(Some),
    }
}

fn names(field: &str, value: Value) -> ApiResult<Vec<String>> {
    let text = |item: Value| match item {
        Value::String(text) => Ok(text),
        _ => Err(ApiError::field(field, format!("{field} must be a string or a list of strings"))),
    };
    match value {
        Value::String(text) => split_names(&text).map_err(|e| ApiError::field(field, e.message)),
        Value::Array(items) => items.into_iter().map(text).collect(),
        // mlx-lm calls the field by its own variable.
        _ => Err(wrong_type("adapter", "str")),
    }
}

/// The names in a text, joined by `+` or `,`; the words for the base model and nothing are no names.
///
/// # Errors
/// 400 for an empty name among others.
pub fn split_names(text: &str) -> ApiResult<Vec<String>> {
    let text = text.trim();
    if text.is_empty() || is_reserved(text) {
        return Ok(Vec::new());
    }
    let names: Vec<String> = text.split(['+', ',']).map(|name| name.trim().to_owned()).collect();
    if names.iter().any(String::is_empty) {
        return Err(ApiError::bad_request("a list of adapters has an empty name"));
    }
    Ok(names)
}

/// The schemas of the two fields.
pub fn schema() -> Value {
    let names = json!({"anyOf": [string(), {"type": "array", "items": string()}]});
    FIELDS.iter().map(|name| ((*name).to_owned(), names.clone())).collect::<Map<_, _>>().into()
}

/// The schemas of `/v1/adapters` by name.
pub fn schemas() -> Value {
    let count = || integer(0, None);
    let required =
        ["id", "object", "format", "kind", "modules", "parameters", "bytes", "default", "requests"];
    json!({
        "AdapterRequest": body(&["name"], json!({
            "name": string(),
            "path": {"type": "string", "maxLength": limits::MAX_ADAPTER_PATH_BYTES},
            "replace": boolean(),
        })),
        "Adapter": object(&required, json!({
            "id": string(),
            "object": word("adapter"),
            "format": string(),
            "kind": string(),
            "rank": or_null(&count()),
            "scale": {"type": ["number", "null"]},
            "modules": count(),
            "parameters": count(),
            "bytes": count(),
            "default": boolean(),
            "requests": count(),
        })),
        "AdapterList": object(&["object", "data"], json!({
            "object": word("list"),
            "data": {"type": "array", "items": reference("Adapter")},
        })),
    })
}

/// The body of `POST /v1/adapters`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The name that requests will use.
    pub name: String,
    /// The folder, below `--adapter-root`.
    pub path: String,
    /// Take the name from another adapter, if one has it.
    pub replace: bool,
}

impl Registration {
    /// Parses a body: `name`, `path` (the name, if it is left out), `replace`.
    ///
    /// # Errors
    /// 400 that names the field at fault.
    pub fn parse(body: &[u8]) -> ApiResult<Self> {
        let mut body = Fields::parse(body)?;
        let name = body
            .string("name")?
            .ok_or_else(|| ApiError::field("name", "name is missing: what will requests say?"))?;
        let path = body.string("path")?.unwrap_or_else(|| name.clone());
        let replace = body.bool("replace", false)?;
        body.finish()?;
        if path.len() > limits::MAX_ADAPTER_PATH_BYTES {
            let most = limits::MAX_ADAPTER_PATH_BYTES;
            return Err(ApiError::field("path", format!("path must have at most {most} bytes")));
        }
        Ok(Self { name, path, replace })
    }
}

/// An adapter's entry.
pub fn entry(adapter: &NamedAdapter) -> Value {
    let info = &adapter.info;
    json!({
        "id": info.name,
        "object": "adapter",
        "format": info.format,
        "kind": info.kind,
        "rank": info.rank,
        "scale": info.scale,
        "modules": info.modules,
        "parameters": info.parameters,
        "bytes": info.bytes,
        "default": adapter.is_default,
        "requests": adapter.users,
    })
}

/// The list of all.
pub fn list(adapters: &[NamedAdapter]) -> Value {
    json!({"object": "list", "data": adapters.iter().map(entry).collect::<Vec<_>>()})
}

/// What tells that a name is gone.
pub fn deleted(name: &str) -> Value {
    json!({"id": name, "object": "adapter", "deleted": true})
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn taken(body: &Value) -> ApiResult<Option<Vec<String>>> {
        let mut fields = Fields::parse(body.to_string().as_bytes())?;
        let adapters = take_adapters(&mut fields)?;
        fields.finish().map(|()| adapters)
    }

    #[rstest]
    #[case(json!({}), None)]
    #[case(json!({"adapters": null}), None)]
    #[case(json!({"adapters": "a"}), Some(&["a"][..]))]
    #[case(json!({"adapter": "a"}), Some(&["a"][..]))]
    #[case(json!({"adapters": "a+b"}), Some(&["a", "b"][..]))]
    #[case(json!({"adapters": " b , a"}), Some(&["b", "a"][..]))]
    #[case(json!({"adapters": ["a", "b"]}), Some(&["a", "b"][..]))]
    #[case(json!({"adapters": []}), Some(&[][..]))]
    #[case(json!({"adapters": ""}), Some(&[][..]))]
    #[case(json!({"adapter": "none"}), Some(&[][..]))]
    #[case(json!({"adapters": "Base"}), Some(&[][..]))]
    fn adapters_are_named(#[case] body: Value, #[case] names: Option<&[&str]>) {
        let names = names.map(|names| names.iter().map(ToString::to_string).collect());
        assert_eq!(taken(&body).unwrap(), names);
    }

    #[rstest]
    #[case(json!({"adapters": 5}), "adapter must be of type str")]
    #[case(json!({"adapters": ["a", 1]}), "adapters must be a string or a list of strings")]
    #[case(json!({"adapters": "a++b"}), "a list of adapters has an empty name")]
    #[case(json!({"adapter": "+"}), "a list of adapters has an empty name")]
    #[case(json!({"adapter": "a", "adapters": "a"}), "send one of them")]
    fn what_names_nothing_is_refused(#[case] body: Value, #[case] message: &str) {
        let e = taken(&body).unwrap_err();
        assert!(e.message.contains(message), "{}", e.message);
        assert_eq!(e.status.as_u16(), 400);
    }

    #[rstest]
    #[case(json!({"path": "x"}), "name")]
    #[case(json!({"name": 1}), "name")]
    #[case(json!({"name": "a", "path": []}), "path")]
    #[case(json!({"name": "a", "path": "x".repeat(5000)}), "path")]
    #[case(json!({"name": "a", "replace": "yes"}), "replace")]
    #[case(json!({"name": "a", "scale": 2}), "scale")]
    fn registrations_are_strict(#[case] body: Value, #[case] param: &str) {
        let e = Registration::parse(body.to_string().as_bytes()).unwrap_err();
        assert_eq!(e.param.as_deref(), Some(param));
    }

    #[test]
    fn a_name_is_also_a_folder() {
        let expected = Registration { name: "a".into(), path: "a".into(), replace: false };
        assert_eq!(Registration::parse(br#"{"name": "a"}"#).unwrap(), expected);
    }
}
