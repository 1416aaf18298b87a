//! One argument written as bare text, while it arrives.

use super::{ToolError, stream::Certain};
use crate::text::python::{PyValue, write_json_char};

/// What decides that an argument is a string before its end is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing.
    Any,
    /// Any text is a string, save these words in lower case, which are no values.
    Text(&'static [&'static str]),
    /// So is text that does not begin as a JSON array or object.
    Bare(&'static [&'static str]),
}

/// An argument: its key and its value. Text that is certain to be a string is written on, the rest
/// is held back to the end.
#[derive(Debug, Clone)]
pub(super) struct Argument {
    kind: Kind,
    /// What stands before the value; written with the first of it.
    key: String,
    held: String,
    is_text: bool,
}

impl Argument {
    /// An argument after `key`, which is JSON text with its separators.
    pub fn new(key: String, kind: Kind) -> Self {
        Self { kind, key, held: String::new(), is_text: false }
    }

    pub fn push(&mut self, c: char, out: &mut Certain) {
        if self.is_text {
            return write_json_char(c, false, out.text());
        }
        self.held.push(c);
        if self.decided_by(c) {
            self.begin_text(out);
        }
    }

    fn decided_by(&mut self, c: char) -> bool {
        if let Kind::Bare(words) = self.kind {
            match c {
                ' ' | '\t' | '\n' | '\r' => return false,
                '[' | '{' => self.kind = Kind::Any,
                _ => self.kind = Kind::Text(words),
            }
        }
        let Kind::Text(words) = self.kind else { return false };
        let held = self.held.to_lowercase();
        !words.iter().any(|word| word.starts_with(&held))
    }

    fn begin_text(&mut self, out: &mut Certain) {
        self.is_text = true;
        let text = out.text();
        text.push_str(&self.key);
        text.push('"');
        for c in self.held.drain(..) {
            write_json_char(c, false, text);
        }
    }

    /// Ends the value; `convert` makes one of the whole text where it was held back.
    pub fn finish(
        self,
        convert: impl FnOnce(&str) -> Result<PyValue, ToolError>,
        out: &mut Certain,
    ) -> Option<()> {
        if self.is_text {
            out.text().push('"');
            return Some(());
        }
        let value = convert(&self.held).ok()?.dumps()?;
        out.text().extend([self.key.as_str(), &value]);
        Some(())
    }
}

/// Keys of an object that is written argument by argument.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys(bool);

impl Keys {
    /// A key with the separators around it.
    pub fn next(&mut self, name: &str) -> String {
        let mut key = if std::mem::replace(&mut self.0, true) { ", " } else { "" }.to_owned();
        crate::text::python::write_json_string(name, false, &mut key);
        key + ": "
    }
}
