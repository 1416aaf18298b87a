//! A Gemma-4 call while it is written.

use super::{QUOTE, is_word};
use crate::text::{
    python::{Redump, write_json_char},
    tools::{seek::Seek, stream::Certain},
};

#[derive(Debug, Clone)]
pub(in crate::text::tools) enum Preview {
    Call(Seek),
    Name(String),
    Arguments(Arguments),
}

impl Preview {
    pub fn new() -> Self {
        Self::Call(Seek::new("call:"))
    }

    pub fn push(&mut self, c: char, out: &mut Certain) -> Option<()> {
        match self {
            Self::Call(seek) => {
                if seek.ends(c) {
                    *self = Self::Name(String::new());
                }
            }
            Self::Name(name) if is_word(c) || c == '-' => name.push(c),
            Self::Name(name) if c == '{' && !name.is_empty() => {
                out.start(std::mem::take(name), None);
                let mut arguments = Arguments::new();
                arguments.push(c, out.text())?;
                *self = Self::Arguments(arguments);
            }
            Self::Name(_) => return None,
            Self::Arguments(arguments) => arguments.push(c, out.text())?,
        }
        Some(())
    }
}

/// What [`super::to_json`] makes of the arguments, read as JSON.
#[derive(Debug, Clone)]
pub(in crate::text::tools) struct Arguments {
    json: Redump,
    quote: Seek,
    quoted: bool,
    /// Open braces outside strings.
    depth: usize,
    /// A word, which is a key if a colon follows.
    word: String,
    /// The last character that JSON saw.
    last: char,
}

impl Arguments {
    fn new() -> Self {
        Self {
            json: Redump::new(),
            quote: Seek::new(QUOTE),
            quoted: false,
            depth: 0,
            word: String::new(),
            last: ' ',
        }
    }

    fn push(&mut self, c: char, out: &mut String) -> Option<()> {
        let Some(passed) = self.quote.push(c) else {
            self.end_word(false, out)?;
            self.quoted = !self.quoted;
            return self.json('"', out);
        };
        for c in passed {
            if self.quoted {
                self.string(c, out)?;
            } else {
                self.bare(c, out)?;
            }
        }
        Some(())
    }

    fn string(&mut self, c: char, out: &mut String) -> Option<()> {
        let mut escaped = String::new();
        write_json_char(c, false, &mut escaped);
        escaped.chars().try_for_each(|c| self.json(c, out))
    }

    fn bare(&mut self, c: char, out: &mut String) -> Option<()> {
        if is_word(c) {
            self.word.push(c);
            return Some(());
        }
        self.end_word(c == ':', out)?;
        match c {
            '{' => self.depth += 1,
            '}' => self.depth -= 1,
            _ => {}
        }
        self.json(c, out)?;
        (self.depth > 0).then_some(())
    }

    fn end_word(&mut self, colon: bool, out: &mut String) -> Option<()> {
        if self.word.is_empty() {
            return Some(());
        }
        let word = std::mem::take(&mut self.word);
        let quote = (colon && matches!(self.last, '{' | ',')).then_some('"');
        quote.into_iter().chain(word.chars()).chain(quote).try_for_each(|c| self.json(c, out))
    }

    fn json(&mut self, c: char, out: &mut String) -> Option<()> {
        self.last = c;
        self.json.push(c, out).map(drop)
    }
}
