//! Chat templates, rendered as transformers renders them
//! (`transformers/utils/chat_template_utils.py`).

mod source;

use std::{path::Path, sync::Arc};

use serde_json::{Map, Value};

pub(super) use source::TemplateSource;

use super::Tokenizer;
use crate::{Error, Result};

/// What a chat template renders.
#[derive(Debug, Clone)]
pub struct ChatInput<'a> {
    /// The conversation; see [`ChatTemplate::render`] for what is done to it.
    pub messages: &'a [Value],
    /// Tool descriptions, in OpenAI's form.
    pub tools: Option<&'a [Value]>,
    /// End with the opening of the assistant's turn.
    pub add_generation_prompt: bool,
    /// More variables (`chat_template_kwargs`); they win over the built-in ones.
    pub kwargs: Map<String, Value>,
}

/// Chat template of a model directory. Cheap to clone and shared by threads.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    #[allow(dead_code)]
    source: Arc<String>,
}

impl ChatTemplate {
    /// The template of a model directory, if it has one.
    pub fn load(dir: &Path, tokenizer: &Tokenizer) -> Result<Option<Self>> {
        let _ = dir;
        Ok(tokenizer.template_source().single().map(|s| Self { source: Arc::new(s.to_owned()) }))
    }

    /// Renders a conversation to the prompt's text.
    pub fn render(&self, input: &ChatInput<'_>) -> Result<String> {
        let _ = input;
        Err(Error::Template("not ready".into()))
    }
}
