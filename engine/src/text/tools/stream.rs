//! Calls while they are written.

use std::sync::Arc;

use serde_json::Value;

use super::{ToolCall, ToolError, gemma4, json, minicpm5, qwen3_coder};
use crate::text::{ToolFormat, python::json_loads};

/// News of the calls in one body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallDelta {
    /// A call begins. Until its end there are only its arguments.
    Start {
        /// Name of the function.
        name: String,
        /// The model's own id for the call, where it stands before the arguments.
        id: Option<String>,
    },
    /// More of the arguments of the call that began last.
    Arguments(String),
    /// The call that began last ends.
    End {
        /// It is as the whole body says. Otherwise it is void: the body is malformed or cut off,
        /// or means something else than was shown. Then the body is no call at all.
        complete: bool,
    },
}

/// Reads the body of one call, or of several, as it arrives. How it is divided makes no difference.
///
/// The format's [`ToolParser`](super::ToolParser) decides what a body means, in the end and alone.
/// Before that, the body's first call is shown as far as it is certain for a body of the form that
/// models write: its name, then its arguments, whose pieces joined are the parser's arguments. Where
/// a body leaves that form, the rest waits for its end. Further calls of one body wait for it, too.
///
/// What was shown can be wrong only where the body contradicts itself later: it never closes what it
/// opened, or says twice what may be said once. The call is then void and the body text, whatever the
/// parser makes of it: nobody can take back what was shown. Arguments that repeat a key stay, for
/// readers of JSON take the last value, as the parser does. A body is as long as its generation at
/// most ([`MAX_GENERATED_TOKENS`](crate::limits::MAX_GENERATED_TOKENS)), and is read once on its way
/// and once at its end, both in linear time.
#[derive(Debug, Clone)]
pub struct ToolStream {
    format: ToolFormat,
    tools: Arc<[Value]>,
    body: String,
    /// `None` once it has nothing more to say.
    preview: Option<Preview>,
    certain: Certain,
    /// Name and arguments that were shown.
    shown: Option<(String, String)>,
}

/// A body that is no call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoCall {
    /// The body.
    pub text: String,
    /// Why.
    pub error: ToolError,
}

impl ToolStream {
    /// A reader before the first character of a body. `tools` are the request's tool descriptions
    /// in OpenAI's form.
    pub fn new(format: ToolFormat, tools: Arc<[Value]>) -> Self {
        Self {
            format,
            tools,
            body: String::new(),
            preview: Some(Preview::new(format)),
            certain: Certain::default(),
            shown: None,
        }
    }

    /// Reads more of the body and adds what became certain to `deltas`.
    pub fn push(&mut self, text: &str, deltas: &mut Vec<CallDelta>) {
        self.body.push_str(text);
        let Some(preview) = &mut self.preview else { return };
        let said_all =
            text.chars().any(|c| preview.push(c, &self.tools, &mut self.certain).is_none());
        if said_all {
            self.preview = None;
        }
        self.show(deltas);
    }

    fn show(&mut self, deltas: &mut Vec<CallDelta>) {
        if let Some((name, id)) = self.certain.start.take() {
            self.shown = Some((name.clone(), String::new()));
            deltas.push(CallDelta::Start { name, id });
        }
        let Some((_, arguments)) = &mut self.shown else { return };
        arguments.push_str(&self.certain.text);
        push_arguments(std::mem::take(&mut self.certain.text), deltas);
    }

    /// Ends a body whose end marker came.
    ///
    /// # Errors
    /// [`NoCall`] with the body if it is malformed, holds no call, or not the one that was shown. A
    /// call that was shown is void.
    pub fn end(mut self, deltas: &mut Vec<CallDelta>) -> Result<(), NoCall> {
        let parsed = self.format.parser().parse(&self.body, &self.tools);
        match parsed.and_then(|calls| Ok((self.rest_of(calls.first())?, calls))) {
            Ok((rest, calls)) => {
                let mut calls = calls.into_iter();
                if let Some(rest) = rest {
                    calls.next();
                    push_arguments(rest, deltas);
                    deltas.push(CallDelta::End { complete: true });
                }
                calls.for_each(|call| whole(call, deltas));
                Ok(())
            }
            Err(error) => {
                self.void(deltas);
                Err(NoCall { text: self.body, error })
            }
        }
    }

    /// Ends a body that was cut off, and gives its text. A call that was shown is void.
    pub fn cut(mut self, deltas: &mut Vec<CallDelta>) -> String {
        self.void(deltas);
        self.body
    }

    /// Arguments of a body's first call that are still to be shown; `None` where nothing was.
    fn rest_of(&self, call: Option<&ToolCall>) -> Result<Option<String>, ToolError> {
        let call = call.ok_or_else(|| ToolError::new("an empty list of calls"))?;
        let Some((name, shown)) = &self.shown else { return Ok(None) };
        let rest = if call.name == *name { rest(shown, &call.arguments) } else { None };
        let rest = rest.ok_or_else(|| ToolError::new("something else than it began with"));
        rest.map(Some)
    }

    fn void(&mut self, deltas: &mut Vec<CallDelta>) {
        if self.shown.take().is_some() {
            deltas.push(CallDelta::End { complete: false });
        }
    }
}

/// What makes `shown` mean `arguments`, with keys that are repeated or not.
fn rest(shown: &str, arguments: &str) -> Option<String> {
    if let Some(rest) = arguments.strip_prefix(shown) {
        return Some(rest.to_owned());
    }
    let means_it = |rest: &&str| {
        let value = json_loads(&format!("{shown}{rest}"), true);
        value.and_then(|value| value.dumps()).is_some_and(|text| text == arguments)
    };
    ["", "}"].into_iter().find(means_it).map(str::to_owned)
}

fn whole(call: ToolCall, deltas: &mut Vec<CallDelta>) {
    deltas.push(CallDelta::Start { name: call.name, id: call.id });
    push_arguments(call.arguments, deltas);
    deltas.push(CallDelta::End { complete: true });
}

fn push_arguments(text: String, deltas: &mut Vec<CallDelta>) {
    match deltas.last_mut() {
        _ if text.is_empty() => {}
        Some(CallDelta::Arguments(last)) => last.push_str(&text),
        _ => deltas.push(CallDelta::Arguments(text)),
    }
}

/// What a preview knows of a body's first call and nobody was told yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Certain {
    start: Option<(String, Option<String>)>,
    text: String,
}

impl Certain {
    /// The call's name, and its id where it has one.
    pub fn start(&mut self, name: String, id: Option<String>) {
        self.start = Some((name, id));
    }

    /// Its arguments, to be written on. Nothing of them is shown before the call has started.
    pub fn text(&mut self) -> &mut String {
        &mut self.text
    }
}

/// Reads the first call of a body character by character.
#[derive(Debug, Clone)]
enum Preview {
    Gemma4(gemma4::Preview),
    Json(json::Preview),
    MiniCpm5(minicpm5::Preview),
    Qwen3Coder(qwen3_coder::Preview),
}

impl Preview {
    fn new(format: ToolFormat) -> Self {
        match format {
            ToolFormat::Gemma4 => Self::Gemma4(gemma4::Preview::new()),
            ToolFormat::Json => Self::Json(json::Preview::new()),
            ToolFormat::MiniCpm5 => Self::MiniCpm5(minicpm5::Preview::new()),
            ToolFormat::Qwen3Coder => Self::Qwen3Coder(qwen3_coder::Preview::new()),
        }
    }

    /// `None` once there is nothing more to say: the call has ended, or its body is not of the
    /// usual form.
    fn push(&mut self, c: char, tools: &[Value], out: &mut Certain) -> Option<()> {
        match self {
            Self::Gemma4(preview) => preview.push(c, out),
            Self::Json(preview) => preview.push(c, out),
            Self::MiniCpm5(preview) => preview.push(c, tools, out),
            Self::Qwen3Coder(preview) => preview.push(c, tools, out),
        }
    }
}
