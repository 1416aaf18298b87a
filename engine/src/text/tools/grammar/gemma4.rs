//! `<|tool_call>call:f{key:<|"|>text<|"|>,n:3}<tool_call|>`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Tool, unkept, values};
use crate::{
    Result, limits,
    text::lark::{Lark, Text, constants, literal},
};

/// Surrounds strings.
pub(super) const QUOTE: &str = "<|\"|>";
/// What would end the call inside a string.
const WITHOUT: [&str; 1] = ["<tool_call|>"];

pub(super) fn call(lark: &mut Lark<'_>, tool: &Tool<'_>) -> Result<String> {
    let name = tool.written(|c| is_word(c) || c == '-')?;
    let none = json!({});
    let root = tool.parameters.unwrap_or(&none);
    let object = values::resolve(root, root);
    let mut writer = Writer { lark, root, tool, references: BTreeMap::new(), any: None };
    unkept::refuse(writer.lark, tool, object);
    let arguments = match object.get("properties") {
        Some(Value::Object(properties)) => writer.object(object, properties, 0),
        _ => literal("{}"),
    };
    let parts = [literal(&format!("call:{name}")), arguments, lark.marker("<tool_call|>")];
    Ok(lark.rule(&parts.join(" ")))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Writes rules for values of one tool.
struct Writer<'a, 'b> {
    lark: &'a mut Lark<'b>,
    root: &'a Value,
    tool: &'a Tool<'a>,
    /// Rules of the schemas that references lead to.
    references: BTreeMap<String, String>,
    any: Option<String>,
}

impl Writer<'_, '_> {
    /// What `schema` allows.
    fn value(&mut self, schema: &Value, depth: usize) -> String {
        if depth > limits::MAX_SCHEMA_DEPTH {
            return self.any();
        }
        if let Some(path) = schema.get("$ref").and_then(Value::as_str) {
            return self.reference(path, depth);
        }
        unkept::refuse(self.lark, self.tool, schema);
        if let Some(values) = constants(schema).filter(|values| !values.is_empty()) {
            let texts: Vec<String> = values.iter().map(|value| self.constant(value)).collect();
            return format!("({})", texts.join(" | "));
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            match schema.get(key).and_then(Value::as_array) {
                // What several schemas have in common is not worked out.
                Some(choices) if key == "allOf" && choices.len() != 1 => return self.any(),
                Some(choices) if !choices.is_empty() => {
                    return self.alternatives(choices.iter(), depth);
                }
                _ => {}
            }
        }
        match schema.get("type") {
            Some(Value::String(kind)) => self.typed(kind, schema, depth),
            Some(Value::Array(kinds)) if !kinds.is_empty() => {
                let kinds = kinds.iter().filter_map(Value::as_str);
                let texts: Vec<String> = kinds.map(|k| self.typed(k, schema, depth)).collect();
                format!("({})", texts.join(" | "))
            }
            _ if schema.get("properties").is_some() => self.typed("object", schema, depth),
            _ => self.any(),
        }
    }

    fn typed(&mut self, kind: &str, schema: &Value, depth: usize) -> String {
        let count = |key: &str| schema.get(key).and_then(Value::as_u64).map(|n| n as usize);
        match kind {
            "string" => self.string(count("minLength").unwrap_or(0), count("maxLength")),
            "object" => match schema.get("properties") {
                Some(Value::Object(properties)) => self.object(schema, properties, depth),
                _ => self.any_object(),
            },
            "array" => {
                let item = match schema.get("items") {
                    Some(items) => self.value(items, depth + 1),
                    None => self.any(),
                };
                self.list(&item, count("minItems").unwrap_or(0), count("maxItems"))
            }
            "integer" | "number" | "boolean" | "null" => self.scalar(kind, schema),
            _ => self.any(),
        }
    }

    /// A number, truth value or null, which are written as in JSON.
    fn scalar(&mut self, kind: &str, schema: &Value) -> String {
        let mut own = Map::from_iter([("type".to_owned(), kind.into())]);
        for key in ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"] {
            own.extend(schema.get(key).map(|value| (key.to_owned(), value.clone())));
        }
        self.lark.json(&own.into(), self.tool.keeping())
    }

    fn string(&mut self, min: usize, max: Option<usize>) -> String {
        let open = self.lark.marker(QUOTE);
        let text = self.lark.until(&Text { min, max, without: &WITHOUT }, "", QUOTE);
        format!("({open} {text})")
    }

    fn alternatives<'s>(
        &mut self,
        schemas: impl Iterator<Item = &'s Value>,
        depth: usize,
    ) -> String {
        let texts: Vec<String> = schemas.map(|schema| self.value(schema, depth + 1)).collect();
        format!("({})", texts.join(" | "))
    }

    /// The rule of a definition, which may refer to itself.
    fn reference(&mut self, path: &str, depth: usize) -> String {
        if let Some(name) = self.references.get(path) {
            return name.clone();
        }
        let root = self.root;
        let Some(schema) = path.strip_prefix('#').and_then(|path| root.pointer(path)) else {
            return self.any();
        };
        let name = self.lark.reserve();
        self.references.insert(path.to_owned(), name.clone());
        let body = self.value(schema, depth + 1);
        // A reference that leads to itself alone allows anything.
        let body = if body == name { self.any() } else { body };
        self.lark.define(&name, &body);
        name
    }

    /// `{k:v,…}` with the properties in order.
    fn object(&mut self, schema: &Value, properties: &Map<String, Value>, depth: usize) -> String {
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let items: Vec<(String, bool)> = properties
            .iter()
            .map(|(name, schema)| {
                let value = self.value(schema, depth + 1);
                (format!("{} {value}", self.key(name)), required.contains(&name.as_str()))
            })
            .collect();
        // What may follow from an item on: behind another one, and as the first.
        let (mut later, mut first) = (literal(""), literal(""));
        for (item, required) in items.iter().rev() {
            let item = self.lark.rule(item);
            let (or_later, or_first) = if *required {
                (String::new(), String::new())
            } else {
                (format!(" | {later}"), format!(" | {first}"))
            };
            first = self.lark.rule(&format!("{item} {later}{or_first}"));
            later = self.lark.rule(&format!("\",\" {item} {later}{or_later}"));
        }
        self.lark.rule(&format!("\"{{\" {first} \"}}\""))
    }

    fn list(&mut self, item: &str, min: usize, max: Option<usize>) -> String {
        let item = self.lark.rule(item);
        let more = match (min.saturating_sub(1), max.map(|max| max.saturating_sub(1))) {
            (0, None) => format!("(\",\" {item})*"),
            (min, None) => format!("(\",\" {item}){{{min},}}"),
            (min, Some(max)) => format!("(\",\" {item}){{{min},{}}}", max.max(min)),
        };
        let items = match (min, max) {
            (_, Some(0)) => String::new(),
            (0, _) => format!("({item} {more})?"),
            _ => format!("{item} {more}"),
        };
        self.lark.rule(&format!("\"[\" {items} \"]\""))
    }

    fn key(&self, name: &str) -> String {
        if !name.is_empty() && name.chars().all(is_word) {
            return literal(&format!("{name}:"));
        }
        let quote = self.lark.marker(QUOTE);
        format!("{quote} {} {quote} \":\"", literal(name))
    }

    fn constant(&mut self, value: &Value) -> String {
        match value {
            Value::String(text) => {
                let quote = self.lark.marker(QUOTE);
                format!("({quote} {} {quote})", literal(text))
            }
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(|item| self.constant(item)).collect();
                format!("(\"[\" {} \"]\")", items.join(" \",\" "))
            }
            Value::Object(fields) => {
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(name, value)| format!("{} {}", self.key(name), self.constant(value)))
                    .collect();
                format!("(\"{{\" {} \"}}\")", fields.join(" \",\" "))
            }
            scalar => literal(&scalar.to_string()),
        }
    }

    fn any_object(&mut self) -> String {
        let value = self.any();
        let key = self.lark.terminal(r"/\w+/");
        let field = self.lark.rule(&format!("{key} \":\" {value}"));
        self.lark.rule(&format!("\"{{\" ({field} (\",\" {field})*)? \"}}\""))
    }

    /// Any value.
    fn any(&mut self) -> String {
        if let Some(name) = &self.any {
            return name.clone();
        }
        let name = self.lark.reserve();
        self.any = Some(name.clone());
        let string = self.string(0, None);
        let scalar =
            self.lark.json(&json!({"type": ["number", "boolean", "null"]}), self.tool.keeping());
        let list = self.list(&name, 0, None);
        let object = self.any_object();
        self.lark.define(&name, &format!("{string} | {scalar} | {list} | {object}"));
        name
    }
}
