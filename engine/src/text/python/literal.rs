//! `ast.literal_eval`, as far as the result can be written as JSON.

use super::{
    float_repr,
    value::{Dict, PyValue, plain_digits},
};

/// Nesting of brackets.
const MAX_DEPTH: usize = 100;

/// Why a text gave no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::text) enum LiteralError {
    /// Python refuses it with a syntax or value error.
    NotALiteral,
    /// A literal, but of a type that JSON has no form for (bytes, sets, complex numbers), or one
    /// that cannot be a key.
    NotJson,
}

use LiteralError::{NotALiteral, NotJson};

type Result<T> = std::result::Result<T, LiteralError>;

/// Evaluates a Python literal. Tuples become lists.
pub(in crate::text) fn literal_eval(text: &str) -> Result<PyValue> {
    let mut reader = Reader { rest: text.trim_start_matches([' ', '\t']), unserializable: false };
    reader.skip(true);
    // A later line may not be indented.
    let skipped = &text[..text.len() - reader.rest.len()];
    if skipped.contains(['\n', '\r']) && skipped.ends_with([' ', '\t']) {
        return Err(NotALiteral);
    }
    let mut value = reader.value(0)?;
    reader.skip(false);
    if reader.rest.starts_with(',') {
        let mut items = vec![value];
        while reader.eat(",") {
            reader.skip(false);
            if reader.rest.is_empty() || reader.rest.starts_with(['\n', '\r']) {
                break;
            }
            items.push(reader.value(0)?);
            reader.skip(false);
        }
        value = PyValue::List(items);
    }
    reader.skip(true);
    match (reader.rest.is_empty(), reader.unserializable) {
        (false, _) => Err(NotALiteral),
        (true, true) => Err(NotJson),
        (true, false) => Ok(value),
    }
}

struct Reader<'a> {
    rest: &'a str,
    /// Something was read that JSON has no form for; the syntax is checked to the end all the same.
    unserializable: bool,
}

impl Reader<'_> {
    /// Skips space and comments, and line breaks where they have no meaning.
    fn skip(&mut self, lines: bool) {
        loop {
            let spaces: &[char] =
                if lines { &[' ', '\t', '\x0c', '\n', '\r'] } else { &[' ', '\t', '\x0c'] };
            self.rest = self.rest.trim_start_matches(spaces);
            if self.rest.starts_with('#') {
                let end = self.rest.find(['\n', '\r']).unwrap_or(self.rest.len());
                self.rest = &self.rest[end..];
            } else if let Some(rest) = self.rest.strip_prefix("\\\n") {
                self.rest = rest;
            } else {
                return;
            }
        }
    }

    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, depth: usize) -> Result<PyValue> {
        if depth > MAX_DEPTH {
            return Err(NotALiteral);
        }
        let first = self.rest.chars().next().ok_or(NotALiteral)?;
        match first {
            '[' => self.items("[", "]", depth).map(|(items, _)| PyValue::List(items)),
            '(' => {
                let (mut items, comma) = self.items("(", ")", depth)?;
                match items.pop() {
                    // One item in brackets without a comma is that item.
                    Some(only) if items.is_empty() && !comma => Ok(only),
                    Some(last) => {
                        items.push(last);
                        Ok(PyValue::List(items))
                    }
                    None => Ok(PyValue::List(items)),
                }
            }
            '{' => self.braces(depth),
            '+' | '-' => {
                self.rest = &self.rest[1..];
                self.skip(depth > 0);
                self.signed(first == '-')
            }
            '0'..='9' | '.' => self.number(false),
            '\'' | '"' => self.strings(depth),
            c if c.is_alphabetic() || c == '_' => self.word(depth),
            _ => Err(NotALiteral),
        }
    }

    /// Values between brackets, and whether a comma followed the last.
    fn items(&mut self, open: &str, close: &str, depth: usize) -> Result<(Vec<PyValue>, bool)> {
        self.eat(open);
        let (mut items, mut comma) = (Vec::new(), false);
        loop {
            self.skip(true);
            if self.eat(close) {
                return Ok((items, comma));
            }
            if !items.is_empty() && !comma {
                return Err(NotALiteral);
            }
            items.push(self.value(depth + 1)?);
            self.skip(true);
            comma = self.eat(",");
        }
    }

    /// A dictionary, or a set, which JSON does not have.
    fn braces(&mut self, depth: usize) -> Result<PyValue> {
        self.eat("{");
        let mut dict = Dict::default();
        let (mut first, mut set) = (true, false);
        loop {
            self.skip(true);
            if self.eat("}") {
                self.unserializable |= set;
                return Ok(PyValue::Dict(dict));
            }
            let key = self.value(depth + 1)?;
            self.skip(true);
            let pair = self.eat(":");
            if !first && pair == set {
                return Err(NotALiteral);
            }
            set = !pair;
            if pair {
                self.skip(true);
                let value = self.value(depth + 1)?;
                match key_text(key) {
                    Some(key) => dict.insert(key, value),
                    None => self.unserializable = true,
                }
            }
            first = false;
            self.skip(true);
            if !self.eat(",") && !self.rest.starts_with('}') {
                return Err(NotALiteral);
            }
        }
    }

    fn signed(&mut self, negative: bool) -> Result<PyValue> {
        if self.rest.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            self.number(negative)
        } else {
            Err(NotALiteral)
        }
    }

    fn number(&mut self, negative: bool) -> Result<PyValue> {
        if self.eat("...") {
            self.unserializable = true;
            return if negative { Err(NotALiteral) } else { Ok(PyValue::None) };
        }
        let mut end = 0;
        let bytes = self.rest.as_bytes();
        while let Some(byte) = bytes.get(end) {
            let exponent = end > 0 && matches!(bytes[end - 1], b'e' | b'E') && !is_radix(self.rest);
            let sign = matches!(byte, b'+' | b'-') && exponent;
            if !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_') || sign) {
                break;
            }
            end += 1;
        }
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        if let Some(real) = text.strip_suffix(['j', 'J']).filter(|_| !is_radix(text)) {
            self.unserializable = true;
            return read_number(real, negative, true).ok_or(NotALiteral);
        }
        read_number(text, negative, false).ok_or(NotALiteral)
    }

    fn word(&mut self, depth: usize) -> Result<PyValue> {
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        if rest.starts_with(['"', '\'']) {
            return self.strings(depth);
        }
        self.rest = rest;
        match word {
            "None" => Ok(PyValue::None),
            "True" => Ok(PyValue::Bool(true)),
            "False" => Ok(PyValue::Bool(false)),
            "set" => {
                self.skip(depth > 0);
                let called = self.eat("(");
                self.skip(true);
                self.unserializable = true;
                if called && self.eat(")") { Ok(PyValue::None) } else { Err(NotALiteral) }
            }
            _ => Err(NotALiteral),
        }
    }

    /// String literals side by side.
    fn strings(&mut self, depth: usize) -> Result<PyValue> {
        let (mut out, mut bytes) = (String::new(), None);
        loop {
            let end = self.rest.find(['"', '\'']).unwrap_or(0);
            let prefix = self.rest[..end].to_ascii_lowercase();
            let is_bytes = matches!(prefix.as_str(), "b" | "br" | "rb");
            if !(is_bytes || matches!(prefix.as_str(), "" | "r" | "u"))
                || bytes.is_some_and(|b| b != is_bytes)
            {
                return Err(NotALiteral);
            }
            bytes = Some(is_bytes);
            self.rest = &self.rest[end..];
            self.string(prefix.contains('r'), &mut out)?;
            self.unserializable |= is_bytes;
            self.skip(depth > 0);
            let next = self.rest.trim_start_matches(|c: char| c.is_ascii_alphabetic());
            if !next.starts_with(['"', '\'']) || self.rest.len() - next.len() > 2 {
                return Ok(PyValue::Str(out));
            }
        }
    }

    fn string(&mut self, raw: bool, out: &mut String) -> Result<()> {
        let quote = &self.rest[..1];
        let triple = quote.repeat(3);
        let long = self.rest.starts_with(&triple);
        let close = if long { triple.as_str() } else { quote };
        self.rest = &self.rest[close.len()..];
        loop {
            if self.rest.starts_with(close) {
                self.rest = &self.rest[close.len()..];
                return Ok(());
            }
            let c = self.next_char()?;
            match c {
                '\n' | '\r' if !long => return Err(NotALiteral),
                '\r' => {
                    self.eat("\n");
                    out.push('\n');
                }
                '\\' if raw => {
                    out.push('\\');
                    let c = self.next_char()?;
                    out.push(c);
                }
                '\\' => self.escape(out)?,
                c => out.push(c),
            }
        }
    }

    fn next_char(&mut self) -> Result<char> {
        let c = self.rest.chars().next().ok_or(NotALiteral)?;
        self.rest = &self.rest[c.len_utf8()..];
        Ok(c)
    }

    fn escape(&mut self, out: &mut String) -> Result<()> {
        let c = self.next_char()?;
        let read = match c {
            '\n' => return Ok(()),
            '\\' | '\'' | '"' => c,
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            '0'..='7' => {
                let more = self.rest.bytes().take(2).take_while(|b| (b'0'..=b'7').contains(b));
                let length = more.count();
                let digits = format!("{c}{}", &self.rest[..length]);
                self.rest = &self.rest[length..];
                char::from_u32(u32::from_str_radix(&digits, 8).unwrap_or(0)).ok_or(NotALiteral)?
            }
            'x' => self.code(2)?,
            'u' => self.code(4)?,
            'U' => self.code(8)?,
            'N' => return Err(NotALiteral),
            other => {
                out.push('\\');
                other
            }
        };
        out.push(read);
        Ok(())
    }

    /// A character by its hexadecimal code; lone surrogates become U+FFFD.
    fn code(&mut self, length: usize) -> Result<char> {
        let digits = self.rest.get(..length).ok_or(NotALiteral)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(NotALiteral);
        }
        let code = u32::from_str_radix(digits, 16).map_err(|_| NotALiteral)?;
        self.rest = &self.rest[length..];
        match code {
            0xd800..=0xdfff => Ok('\u{fffd}'),
            code => char::from_u32(code).ok_or(NotALiteral),
        }
    }
}

fn is_radix(text: &str) -> bool {
    let radix =
        |t: &str| matches!(t.as_bytes(), [b'0', b'x' | b'X' | b'o' | b'O' | b'b' | b'B', ..]);
    radix(text)
}

/// A number's value; `float` takes leading zeros, too.
fn read_number(text: &str, negative: bool, float: bool) -> Option<PyValue> {
    if is_radix(text) {
        let radix = match text.as_bytes()[1].to_ascii_lowercase() {
            b'x' => 16,
            b'o' => 8,
            _ => 2,
        };
        let digits = text[2..].strip_prefix('_').unwrap_or(&text[2..]);
        let groups: Vec<&str> = digits.split('_').collect();
        if groups.iter().any(|g| g.is_empty() || !g.bytes().all(|b| b.is_ascii_alphanumeric())) {
            return None;
        }
        let value = u128::from_str_radix(&groups.concat(), radix).ok()?;
        return PyValue::int(negative, &value.to_string());
    }
    if !float && !text.contains(['.', 'e', 'E']) {
        let digits = plain_digits(text)?;
        // Leading zeros are only for zero.
        let zero = digits.bytes().all(|b| b == b'0');
        return if digits.starts_with('0') && !zero {
            None
        } else {
            PyValue::int(negative, &digits)
        };
    }
    if !text.bytes().any(|b| b.is_ascii_digit())
        || text.bytes().any(|b| b.is_ascii_alphabetic() && !matches!(b, b'e' | b'E'))
    {
        return None;
    }
    let value = super::value::parse_float(text)?;
    Some(PyValue::Float(if negative { -value } else { value }))
}

/// The key of a dictionary as `json.dumps` writes it; lists and dictionaries cannot be one.
fn key_text(key: PyValue) -> Option<String> {
    Some(match key {
        PyValue::Str(text) | PyValue::Int(text) => text,
        PyValue::Float(value) => float_repr(value),
        PyValue::Bool(value) => value.to_string(),
        PyValue::None => "null".to_owned(),
        PyValue::List(_) | PyValue::Dict(_) | PyValue::Opaque => return None,
    })
}
