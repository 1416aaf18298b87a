//! `<tool_call>{"name": "f", "arguments": {…}}</tool_call>`.

use serde_json::{Value, json};

use super::Tool;
use crate::text::lark::{Lark, literal};

pub(super) fn call(lark: &mut Lark<'_>, tool: &Tool<'_>) -> String {
    let name = Value::from(tool.name);
    let none = json!({"type": "object", "properties": {}, "additionalProperties": false});
    let mut schema = tool.parameters.unwrap_or(&none).clone();
    if let Value::Object(map) = &mut schema
        && !map.contains_key("$ref")
    {
        map.entry("type").or_insert_with(|| "object".into());
    }
    let arguments = lark.json(&schema, tool.keeping());
    let parts = [
        literal(&format!("\n{{\"name\": {name}, \"arguments\": ")),
        arguments,
        literal("}\n"),
        lark.marker("</tool_call>"),
    ];
    lark.rule(&parts.join(" "))
}
