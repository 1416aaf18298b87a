//! A Qwen call while it is written.

use serde_json::Value;

use super::{convert, kind_of, properties, schema_of};
use crate::text::{
    python::is_space,
    tools::{
        seek::Seek,
        stream::Certain,
        value::{Argument, Keys},
    },
};

#[derive(Debug, Clone)]
pub(in crate::text::tools) struct Preview {
    state: State,
    name: String,
    keys: Keys,
}

#[derive(Debug, Clone)]
enum State {
    Call(Seek),
    Name,
    /// Between parameters.
    Between(Seek),
    /// A parameter's name.
    Key(String),
    Value(Parameter),
}

#[derive(Debug, Clone)]
struct Parameter {
    end: Seek,
    /// `None` for one without a name, which does not count.
    named: Option<(String, Argument)>,
    trim: LineBreaks,
}

impl Preview {
    pub fn new() -> Self {
        let state = State::Call(Seek::new("<function="));
        Self { state, name: String::new(), keys: Keys::default() }
    }

    pub fn push(&mut self, c: char, tools: &[Value], out: &mut Certain) -> Option<()> {
        match &mut self.state {
            State::Call(seek) => {
                if seek.ends(c) {
                    self.state = State::Name;
                }
            }
            State::Name => {
                if !in_name(&mut self.name, c) {
                    self.start(c, out)?;
                }
            }
            State::Between(seek) => {
                if seek.ends(c) {
                    self.state = State::Key(String::new());
                }
            }
            State::Key(key) => {
                if !in_name(key, c) {
                    let key = std::mem::take(key);
                    self.begin(key, c, tools, out)?;
                }
            }
            State::Value(parameter) => {
                if parameter.push(c, out) {
                    self.finish(tools, out)?;
                }
            }
        }
        Some(())
    }

    fn start(&mut self, c: char, out: &mut Certain) -> Option<()> {
        if self.name.is_empty() {
            return None;
        }
        out.start(self.name.clone(), None);
        out.text().push('{');
        let mut parameter = Seek::new("<parameter=");
        parameter.ends(c);
        self.state = State::Between(parameter);
        Some(())
    }

    fn begin(&mut self, key: String, c: char, tools: &[Value], out: &mut Certain) -> Option<()> {
        let named = (!key.is_empty()).then(|| {
            let kind = kind_of(schema_of(properties(tools, &self.name), &key));
            let argument = Argument::new(self.keys.next(&key), kind);
            (key, argument)
        });
        let end = Seek::new("</parameter>");
        self.state = State::Value(Parameter { end, named, trim: LineBreaks::default() });
        if c == '>' { Some(()) } else { self.push(c, tools, out) }
    }

    fn finish(&mut self, tools: &[Value], out: &mut Certain) -> Option<()> {
        let between = State::Between(Seek::new("<parameter="));
        let State::Value(parameter) = std::mem::replace(&mut self.state, between) else {
            return None;
        };
        let Some((key, argument)) = parameter.named else { return Some(()) };
        let schema = schema_of(properties(tools, &self.name), &key);
        argument.finish(|text| convert(text, schema), out)
    }
}

impl Parameter {
    /// Whether the parameter ends here.
    fn push(&mut self, c: char, out: &mut Certain) -> bool {
        let Some(passed) = self.end.push(c) else { return true };
        let Some((_, argument)) = &mut self.named else { return false };
        for c in passed {
            self.trim.push(c, |c| argument.push(c, out));
        }
        false
    }
}

/// Adds a character to a name, as [`super::head`] reads it; says whether it belongs to it.
fn in_name(name: &mut String, c: char) -> bool {
    let space = is_space(c);
    if space && name.is_empty() {
        return true;
    }
    let more = !space && !matches!(c, '<' | '>');
    if more {
        name.push(c);
    }
    more
}

/// Leaves out one line break at the beginning and one at the end.
#[derive(Debug, Clone, Default)]
struct LineBreaks {
    begun: bool,
    held: bool,
}

impl LineBreaks {
    fn push(&mut self, c: char, mut out: impl FnMut(char)) {
        if !std::mem::replace(&mut self.begun, true) && c == '\n' {
            return;
        }
        if std::mem::replace(&mut self.held, c == '\n') {
            out('\n');
        }
        if c != '\n' {
            out(c);
        }
    }
}
