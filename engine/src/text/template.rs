//! Chat templates, rendered as transformers renders them
//! (`transformers/utils/chat_template_utils.py`, `tokenization_utils_base.py`).
//!
//! minijinja runs the templates; this module makes it print, filter and test values as Jinja2 does
//! over Python's. Known differences: the operator `~` spells floats from 1e16 on and below 1e-4
//! without an exponent; comparing unlike types and looping over `None` do not fail; macros have no
//! `varargs` and `kwargs`; the filter `attr` finds items, too; strings cannot be
//! unpacked.

mod env;
mod filters;
mod input;
mod methods;
mod operators;
mod params;
mod rewrite;
mod source;
mod strings;
mod tests;
mod time;
mod value;

use std::{io, path::Path, sync::Arc};

use minijinja::Environment;
use serde_json::{Map, Value, json};

pub(super) use source::TemplateSource;

use super::Tokenizer;
use crate::{Error, Result, limits};

const DEFAULT: &str = "default";
const TOOL_USE: &str = "tool_use";

/// What a chat template renders.
#[derive(Debug, Clone, Default)]
pub struct ChatInput<'a> {
    /// The conversation, in OpenAI's form.
    pub messages: &'a [Value],
    /// Tool descriptions, in OpenAI's form.
    pub tools: Option<&'a [Value]>,
    /// End with the opening of the assistant's turn.
    pub add_generation_prompt: bool,
    /// More variables (`chat_template_kwargs`); they win over special tokens and the default of
    /// `enable_thinking`.
    pub kwargs: Map<String, Value>,
}

/// Chat template of a model directory. Cheap to clone and shared by threads.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    env: Environment<'static>,
    /// Special tokens by name, and `enable_thinking`.
    variables: Map<String, Value>,
}

impl ChatTemplate {
    /// The template of a model directory, if it has one: `chat_template.jinja`, or `chat_template`
    /// of `tokenizer_config.json`.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Template`] for a template that is too large or malformed.
    pub fn load(dir: &Path, tokenizer: &Tokenizer) -> Result<Option<Self>> {
        // The tokenizer has read the files already: it infers the tool format from them.
        let _ = dir;
        Self::new(tokenizer.template_source(), tokenizer)
    }

    /// A template from its text, for a tokenizer whose own template is to be overridden
    /// (`--chat-template`).
    pub fn from_text(text: &str, tokenizer: &Tokenizer) -> Result<Self> {
        let source = TemplateSource::Single(text.to_owned());
        Self::new(&source, tokenizer)?.ok_or_else(|| Error::Template("missing".into()))
    }

    fn new(source: &TemplateSource, tokenizer: &Tokenizer) -> Result<Option<Self>> {
        let templates = match source {
            TemplateSource::Missing => return Ok(None),
            TemplateSource::Single(text) => vec![(DEFAULT, text)],
            TemplateSource::Named(named) => named.iter().map(|(n, t)| (n.as_str(), t)).collect(),
        };
        let env = on_large_stack(|| {
            let mut env = env::environment()?;
            templates.into_iter().try_for_each(|(name, text)| add(&mut env, name, text))?;
            Ok(env)
        })?;
        let tokens = tokenizer.special_tokens().iter();
        let mut variables: Map<String, Value> =
            tokens.map(|(name, text)| ((*name).to_owned(), text.as_str().into())).collect();
        variables.insert("enable_thinking".into(), tokenizer.thinking().is_some().into());
        Ok(Some(Self { shared: Arc::new(Shared { env, variables }) }))
    }

    /// Renders a conversation to the prompt's text, after the changes that the reference's server
    /// makes to the messages: lists of text parts become one text, a missing content becomes "",
    /// the arguments of tool calls are parsed.
    ///
    /// # Errors
    /// [`Error::Template`], with the template's own message where it raised one.
    pub fn render(&self, input: &ChatInput<'_>) -> Result<String> {
        let messages = input::prepare(input.messages)?;
        self.render_as_given(&ChatInput { messages: &messages, ..input.clone() })
    }

    /// Renders the messages exactly as they are.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn render_as_given(&self, input: &ChatInput<'_>) -> Result<String> {
        input::check_kwargs(&input.kwargs)?;
        let mut variables = self.shared.variables.clone();
        variables.insert("documents".into(), Value::Null);
        variables.extend(input.kwargs.clone());
        variables.insert("messages".into(), input.messages.into());
        variables.insert("tools".into(), json!(input.tools));
        variables.insert("add_generation_prompt".into(), input.add_generation_prompt.into());

        on_large_stack(|| self.run(&variables))
    }

    fn run(&self, variables: &Map<String, Value>) -> Result<String> {
        let template = self.template(!variables["tools"].is_null())?;
        let mut out = Limited(Vec::new());
        let rendered = template.render_captured_to(value::from_object(variables), &mut out);
        rendered.map_err(|e| env::message(&e))?;
        String::from_utf8(out.0).map_err(|_| Error::Template("the output is not UTF-8".into()))
    }

    fn template(&self, with_tools: bool) -> Result<minijinja::Template<'_, '_>> {
        let env = &self.shared.env;
        if with_tools && let Ok(template) = env.get_template(TOOL_USE) {
            return Ok(template);
        }
        env.get_template(DEFAULT)
            .map_err(|_| Error::Template("the model has several templates but no default".into()))
    }
}

fn add(env: &mut Environment<'static>, name: &str, text: &str) -> Result<()> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let added = env.add_template_owned(name.to_owned(), rewrite::rewrite(&text)?);
    added.map_err(|e| env::message(&e))
}

/// Runs `work` where deep recursion finds room; a panic becomes an error.
fn on_large_stack<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let failed = |what: &str| Error::Template(format!("the renderer {what}"));
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("template".into());
        let thread = builder.stack_size(limits::TEMPLATE_STACK_BYTES).spawn_scoped(scope, work);
        let thread = thread.map_err(|e| failed(&format!("cannot start: {e}")))?;
        thread.join().unwrap_or_else(|_| Err(failed("has failed on this template")))
    })
}

/// Bytes up to the largest prompt.
struct Limited(Vec<u8>);

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > limits::MAX_RENDERED_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
