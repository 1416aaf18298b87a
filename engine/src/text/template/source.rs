//! Where a model directory keeps its chat templates.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Map, Value};

use crate::{Error, Result, limits, text::files};

/// The template texts of a model directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::text) enum TemplateSource {
    /// The model has none.
    Missing,
    /// The usual case.
    Single(String),
    /// Several, by name; `default` unless tools are given and there is a `tool_use`.
    Named(BTreeMap<String, String>),
}

impl TemplateSource {
    /// `chat_template.jinja` and `additional_chat_templates/*.jinja`, else `chat_template` of
    /// `tokenizer_config.json`.
    pub fn read(dir: &Path, config: &Map<String, Value>) -> Result<Self> {
        if let Some(kind) = config.get("chat_template_type").filter(|v| !v.is_null()) {
            return Err(Error::Template(format!("chat_template_type {kind} is not supported")));
        }
        let mut files = BTreeMap::new();
        let main = files::read_text(&dir.join("chat_template.jinja"), limits::MAX_TEMPLATE_BYTES)?;
        files.extend(main.map(|text| ("default".to_owned(), text)));
        files.extend(read_additional(&dir.join("additional_chat_templates"))?);
        match files.len() {
            0 => Self::from_config(config.get("chat_template")),
            1 if files.contains_key("default") => {
                Ok(Self::Single(files.remove("default").unwrap_or_default()))
            }
            _ => Ok(Self::Named(files)),
        }
    }

    fn from_config(value: Option<&Value>) -> Result<Self> {
        let bad = || Error::Template("tokenizer_config.json: malformed chat_template".into());
        let check = |text: &str| {
            if text.len() as u64 > limits::MAX_TEMPLATE_BYTES {
                return Err(Error::Template(format!(
                    "larger than the allowed {} bytes",
                    limits::MAX_TEMPLATE_BYTES
                )));
            }
            Ok(text.to_owned())
        };
        match value {
            None | Some(Value::Null) => Ok(Self::Missing),
            Some(Value::String(text)) => check(text).map(Self::Single),
            Some(Value::Array(list)) => {
                let mut named = BTreeMap::new();
                for entry in list {
                    let name = entry["name"].as_str().ok_or_else(bad)?;
                    let text = entry["template"].as_str().ok_or_else(bad)?;
                    named.insert(name.to_owned(), check(text)?);
                }
                Ok(Self::Named(named))
            }
            Some(Value::Object(map)) => {
                let mut named = BTreeMap::new();
                for (name, text) in map {
                    named.insert(name.clone(), check(text.as_str().ok_or_else(bad)?)?);
                }
                Ok(Self::Named(named))
            }
            Some(_) => Err(bad()),
        }
    }

    /// The text, where there is exactly one unnamed template.
    pub fn single(&self) -> Option<&str> {
        match self {
            Self::Single(text) => Some(text),
            _ => None,
        }
    }
}

fn read_additional(dir: &Path) -> Result<Vec<(String, String)>> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(Vec::new()) };
    let mut templates = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::file(dir, e))?.path();
        if path.extension().is_none_or(|e| e != "jinja") {
            continue;
        }
        let name = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(text) = files::read_text(&path, limits::MAX_TEMPLATE_BYTES)? {
            templates.push((name, text));
        }
    }
    Ok(templates)
}
