//! A MiniCPM5 call while it is written.

use serde_json::Value;

use super::{CDATA, CDATA_END};
use crate::text::{
    python::is_space,
    tools::{
        properties, schema,
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
    /// Ends the call wherever it stands.
    end: Seek,
}

#[derive(Debug, Clone)]
enum State {
    Name(Attribute),
    /// Between parameters.
    Between(Seek),
    /// After `<param`, up to `=`.
    Tag(String),
    Key(Attribute),
    Value(Parameter),
}

#[derive(Debug, Clone)]
struct Parameter {
    end: Seek,
    types: Vec<String>,
    argument: Argument,
    trim: Trim,
}

impl Preview {
    pub fn new() -> Self {
        Self {
            state: State::Name(Attribute::default()),
            name: String::new(),
            keys: Keys::default(),
            end: Seek::new("</function>"),
        }
    }

    pub fn push(&mut self, c: char, tools: &[Value], out: &mut Certain) -> Option<()> {
        if self.end.ends(c) {
            return None;
        }
        match &mut self.state {
            State::Name(attribute) => {
                attribute.push(c)?;
                if let Attribute::Ended(name) = attribute {
                    self.name.clone_from(name);
                    out.start(std::mem::take(name), None);
                    out.text().push('{');
                    self.state = State::between();
                }
            }
            State::Between(seek) => {
                if seek.ends(c) {
                    self.state = State::Tag(String::new());
                }
            }
            State::Tag(text) if c == '=' => {
                let spaced = text.starts_with(is_space);
                if !spaced || text.trim_matches(is_space) != "name" {
                    return None;
                }
                self.state = State::Key(Attribute::default());
            }
            State::Tag(_) if matches!(c, '<' | '>' | '"' | '\'') => return None,
            State::Tag(text) => text.push(c),
            State::Key(attribute) => {
                attribute.push(c)?;
                if let Attribute::Ended(key) = attribute {
                    let key = std::mem::take(key);
                    self.state = State::Value(self.parameter(&key, tools));
                }
            }
            State::Value(parameter) => {
                if parameter.push(c, out) {
                    self.finish(out)?;
                }
            }
        }
        Some(())
    }

    fn parameter(&mut self, key: &str, tools: &[Value]) -> Parameter {
        let types = schema::types(properties(tools, &self.name), key);
        let argument = Argument::new(self.keys.next(key), schema::kind(&types));
        Parameter { end: Seek::new("</param>"), types, argument, trim: Trim::Lead }
    }

    fn finish(&mut self, out: &mut Certain) -> Option<()> {
        let State::Value(mut parameter) = std::mem::replace(&mut self.state, State::between())
        else {
            return None;
        };
        parameter.trim.finish(|c| parameter.argument.push(c, out))?;
        parameter.argument.finish(|text| schema::convert(text, &parameter.types), out)
    }
}

impl State {
    fn between() -> Self {
        Self::Between(Seek::new("<param"))
    }
}

impl Parameter {
    /// Whether the parameter ends here.
    fn push(&mut self, c: char, out: &mut Certain) -> bool {
        let Some(passed) = self.end.push(c) else { return true };
        for c in passed {
            self.trim.push(c, &mut |c| self.argument.push(c, out));
        }
        false
    }
}

/// A name, in quotes or without any, up to the end of its tag.
#[derive(Debug, Clone, Default)]
enum Attribute {
    #[default]
    Before,
    Quoted(char, String),
    Bare(String),
    /// Before the end of the tag.
    After(String),
    Ended(String),
}

impl Attribute {
    /// Reads a character; `None` where it is no such tag.
    fn push(&mut self, c: char) -> Option<()> {
        match self {
            Self::Before | Self::After(_) if is_space(c) => {}
            Self::Before if matches!(c, '"' | '\'') => *self = Self::Quoted(c, String::new()),
            Self::Before if matches!(c, '<' | '>') => return None,
            Self::Before => *self = Self::Bare(c.to_string()),
            Self::Quoted(quote, name) if c == *quote => *self = Self::After(std::mem::take(name)),
            Self::Bare(name) | Self::After(name) if c == '>' => {
                *self = Self::Ended(std::mem::take(name));
            }
            // What begins like this may be the attribute itself.
            Self::Bare(name) if (is_space(c) || c == '=') && name == "name" => return None,
            Self::Bare(name) if is_space(c) => *self = Self::After(std::mem::take(name)),
            Self::Bare(_) if matches!(c, '<' | '"' | '\'') => return None,
            Self::Quoted(_, name) | Self::Bare(name) => name.push(c),
            Self::After(_) | Self::Ended(_) => return None,
        }
        Some(())
    }
}

/// Leaves out what [`super::text_of`] leaves out: space around the text, or all around a CDATA block.
#[derive(Debug, Clone)]
enum Trim {
    /// Before the text.
    Lead,
    /// Characters of the block's beginning.
    Mark(usize),
    /// Space that may be the last.
    Plain(String),
    /// The block's end and space after it, as far as they go.
    Block(String),
}

impl Trim {
    fn push(&mut self, c: char, out: &mut impl FnMut(char)) {
        match self {
            Self::Lead if is_space(c) => {}
            Self::Lead => {
                *self = Self::Mark(0);
                self.push(c, out);
            }
            Self::Mark(read) if CDATA[*read..].starts_with(c) => {
                *read += 1;
                if *read == CDATA.len() {
                    *self = Self::Block(String::new());
                }
            }
            Self::Mark(read) => {
                CDATA[..*read].chars().for_each(&mut *out);
                *self = Self::Plain(String::new());
                self.push(c, out);
            }
            Self::Plain(held) if is_space(c) => held.push(c),
            Self::Plain(held) => held.drain(..).chain([c]).for_each(out),
            Self::Block(held) => match (held.as_str(), c) {
                ("" | "]", ']') | ("]]", '>') => held.push(c),
                ("]]", ']') => out(c),
                (end, c) if end.starts_with(CDATA_END) && is_space(c) => held.push(c),
                _ => {
                    held.drain(..).for_each(&mut *out);
                    if c == ']' { held.push(c) } else { out(c) }
                }
            },
        }
    }

    /// `None` for a block that does not end.
    fn finish(&self, out: impl FnMut(char)) -> Option<()> {
        match self {
            Self::Lead | Self::Plain(_) => {}
            Self::Mark(read) => CDATA[..*read].chars().for_each(out),
            Self::Block(held) if held.starts_with(CDATA_END) => {}
            Self::Block(_) => return None,
        }
        Some(())
    }
}
