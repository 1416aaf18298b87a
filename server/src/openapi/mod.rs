//! `/openapi.json`: every route with what it takes and answers.
//!
//! Schemas of a protocol stand beside its parser, in `wire`. Tests hold them against the parsers and
//! against real answers.

mod operations;
pub mod schema;

use serde_json::{Map, Value, json};

use crate::{routes::ROUTES, version, wire};

/// The document.
pub fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "verbatim",
            "version": version::VERSION,
            "description": "Language models on MLX, bit for bit as mlx-lm runs them.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        // The last: where the server has no keys.
        "security": [{"bearer": []}, {"x-api-key": []}, {}],
        "paths": paths(),
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
            "schemas": schemas(),
        },
    })
}

/// The path of a route as OpenAPI writes it.
pub fn path(template: &str) -> String {
    template.replace("{*", "{")
}

fn paths() -> Map<String, Value> {
    ROUTES
        .iter()
        .map(|(template, endpoint)| {
            let mut item = operations::of(*endpoint);
            name_operations(&mut item, template);
            (path(template), item)
        })
        .collect()
}

/// Two paths may lead to one endpoint, operations have names of their own.
fn name_operations(item: &mut Value, template: &str) {
    let name: String =
        template.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let name = name.trim_matches('_').to_owned();
    for method in ["get", "post", "delete"] {
        if let Some(operation) = item.get_mut(method) {
            operation["operationId"] = format!("{method}_{name}").trim_matches('_').into();
        }
    }
}

fn schemas() -> Value {
    schema::merged(&[
        operations::schemas(),
        wire::openai::schema::schemas(),
        wire::anthropic::schema::schemas(),
        wire::responses::schema::schemas(),
        wire::adapters::schemas(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `$ref` leads somewhere.
    #[test]
    fn references_resolve() {
        let document = document();
        let mut open = vec![&document];
        let mut seen = 0;
        while let Some(value) = open.pop() {
            match value {
                Value::Object(map) => {
                    if let Some(target) = map.get("$ref").and_then(Value::as_str) {
                        let pointer = target.strip_prefix('#').expect("a local reference");
                        assert!(document.pointer(pointer).is_some(), "{target}");
                        seen += 1;
                    }
                    open.extend(map.values());
                }
                Value::Array(items) => open.extend(items),
                _ => {}
            }
        }
        assert!(seen > 10);
    }
}
