//! `json.dumps(json.loads(text), ensure_ascii=False)`, while the text arrives.

use super::{
    json::write_json_char,
    loads::{MAX_DEPTH, json_loads, unescaped},
};

/// Reads a JSON value character by character and writes it as Python does. What it has written is
/// the beginning of the result if the value turns out well-formed and no object repeats a key.
/// Numbers and words are held back to their end; nothing else is.
#[derive(Debug, Clone)]
pub(in crate::text) struct Redump {
    open: Vec<Container>,
    state: State,
}

/// How far a value is after one more character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::text) enum Reading {
    /// More of it follows.
    More,
    /// The character was its last.
    Ended,
    /// It had ended; the character is not part of it.
    Past,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Container {
    Array,
    Object,
}

#[derive(Debug, Clone)]
enum State {
    Value,
    /// After `[`.
    FirstItem,
    /// After `{`.
    FirstKey,
    Key,
    Colon,
    /// A number or word, as far as it goes.
    Scalar(String),
    Text(Text),
    /// After an item of a container.
    Next,
    Ended,
}

/// Inside a string.
#[derive(Debug, Clone, Default)]
struct Text {
    key: bool,
    escape: Option<Escape>,
    /// A high surrogate that waits for its low one.
    high: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
enum Escape {
    Letter,
    /// Hexadecimal digits read and their value.
    Digits(usize, u32),
}

impl Redump {
    /// A reader before the first character of a value.
    pub fn new() -> Self {
        Self { open: Vec::new(), state: State::Value }
    }

    /// Reads a character; `None` where no value goes on like this.
    pub fn push(&mut self, c: char, out: &mut String) -> Option<Reading> {
        if let State::Scalar(token) = &mut self.state {
            if is_scalar(c) {
                token.push(c);
                return Some(Reading::More);
            }
            out.push_str(&json_loads(token, true)?.dumps()?);
            self.end_value();
            if matches!(self.state, State::Ended) {
                return Some(Reading::Past);
            }
        }
        match &mut self.state {
            State::Text(text) => {
                let key = text.key;
                if text.push(c, out)? {
                    if key {
                        self.state = State::Colon;
                    } else {
                        self.end_value();
                    }
                }
            }
            _ => self.structure(c, out)?,
        }
        let ended = matches!(self.state, State::Ended);
        Some(if ended { Reading::Ended } else { Reading::More })
    }

    fn structure(&mut self, c: char, out: &mut String) -> Option<()> {
        match (&self.state, c) {
            (State::Ended, _) => return None,
            (_, ' ' | '\t' | '\n' | '\r') => {}
            (State::FirstItem, ']') | (State::FirstKey, '}') | (State::Next, ']' | '}') => {
                self.close(c, out)?;
            }
            (State::Value | State::FirstItem, _) => self.begin(c, out)?,
            (State::FirstKey | State::Key, '"') => {
                out.push('"');
                self.state = State::Text(Text { key: true, ..Text::default() });
            }
            (State::Colon, ':') => {
                out.push_str(": ");
                self.state = State::Value;
            }
            (State::Next, ',') => {
                out.push_str(", ");
                let object = self.open.last() == Some(&Container::Object);
                self.state = if object { State::Key } else { State::Value };
            }
            _ => return None,
        }
        Some(())
    }

    fn begin(&mut self, c: char, out: &mut String) -> Option<()> {
        if self.open.len() > MAX_DEPTH {
            return None;
        }
        self.state = match c {
            '[' => {
                self.open.push(Container::Array);
                State::FirstItem
            }
            '{' => {
                self.open.push(Container::Object);
                State::FirstKey
            }
            '"' => State::Text(Text::default()),
            c if is_scalar(c) => {
                self.state = State::Scalar(c.to_string());
                return Some(());
            }
            _ => return None,
        };
        out.push(c);
        Some(())
    }

    fn close(&mut self, c: char, out: &mut String) -> Option<()> {
        let container = if c == ']' { Container::Array } else { Container::Object };
        if self.open.pop()? != container {
            return None;
        }
        out.push(c);
        self.end_value();
        Some(())
    }

    fn end_value(&mut self) {
        self.state = if self.open.is_empty() { State::Ended } else { State::Next };
    }
}

impl Text {
    /// Reads a character; says whether it ends the string.
    fn push(&mut self, c: char, out: &mut String) -> Option<bool> {
        match (self.escape.take(), c) {
            (None, '"') => {
                self.unpaired(out);
                out.push('"');
                return Some(true);
            }
            (None, '\\') => self.escape = Some(Escape::Letter),
            (None, c) if c < ' ' => return None,
            (None, c) => self.put(c, out),
            (Some(Escape::Letter), 'u') => self.escape = Some(Escape::Digits(0, 0)),
            (Some(Escape::Letter), c) => self.put(unescaped(c)?, out),
            (Some(Escape::Digits(read, unit)), c) => {
                let unit = unit << 4 | c.to_digit(16)?;
                if read == 3 {
                    self.unit(unit, out);
                } else {
                    self.escape = Some(Escape::Digits(read + 1, unit));
                }
            }
        }
        Some(false)
    }

    fn put(&mut self, c: char, out: &mut String) {
        self.unpaired(out);
        write_json_char(c, false, out);
    }

    /// Reads a UTF-16 unit.
    fn unit(&mut self, unit: u32, out: &mut String) {
        match (self.high, unit) {
            (Some(high), 0xdc00..=0xdfff) => {
                self.high = None;
                let code = 0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00);
                self.put(char::from_u32(code).unwrap_or('\u{fffd}'), out);
            }
            (_, 0xd800..=0xdbff) => {
                self.unpaired(out);
                self.high = Some(unit);
            }
            _ => self.put(char::from_u32(unit).unwrap_or('\u{fffd}'), out),
        }
    }

    /// A high surrogate that stays alone has no text.
    fn unpaired(&mut self, out: &mut String) {
        if self.high.take().is_some() {
            out.push('\u{fffd}');
        }
    }
}

fn is_scalar(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')
}
