//! `json.loads`, which takes more than JSON and gives integers of any size.

use super::value::{Dict, PyValue};

/// Nesting of arrays and objects.
pub(super) const MAX_DEPTH: usize = 256;

/// Reads JSON as Python does: `NaN` and infinities are numbers; without `strict`, strings may hold
/// control characters. Lone surrogates, which Rust has no text for, read as U+FFFD.
pub(in crate::text) fn json_loads(text: &str, strict: bool) -> Option<PyValue> {
    let mut reader = Reader { rest: text, strict };
    let value = reader.value(0)?;
    reader.skip_space();
    reader.rest.is_empty().then_some(value)
}

struct Reader<'a> {
    rest: &'a str,
    strict: bool,
}

impl Reader<'_> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn eat(&mut self, token: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(token)?;
        Some(())
    }

    fn value(&mut self, depth: usize) -> Option<PyValue> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.skip_space();
        for (word, value) in [
            ("null", PyValue::None),
            ("true", PyValue::Bool(true)),
            ("false", PyValue::Bool(false)),
            ("NaN", PyValue::Float(f64::NAN)),
            ("Infinity", PyValue::Float(f64::INFINITY)),
            ("-Infinity", PyValue::Float(f64::NEG_INFINITY)),
        ] {
            if self.eat(word).is_some() {
                return Some(value);
            }
        }
        match self.rest.as_bytes().first()? {
            b'"' => self.string().map(PyValue::Str),
            b'[' => self.array(depth),
            b'{' => self.object(depth),
            _ => self.number(),
        }
    }

    fn array(&mut self, depth: usize) -> Option<PyValue> {
        self.eat("[")?;
        self.skip_space();
        let mut items = Vec::new();
        if self.eat("]").is_some() {
            return Some(PyValue::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.skip_space();
            if self.eat("]").is_some() {
                return Some(PyValue::List(items));
            }
            self.eat(",")?;
        }
    }

    fn object(&mut self, depth: usize) -> Option<PyValue> {
        self.eat("{")?;
        self.skip_space();
        let mut dict = Dict::default();
        if self.eat("}").is_some() {
            return Some(PyValue::Dict(dict));
        }
        loop {
            self.skip_space();
            let key = self.string()?;
            self.skip_space();
            self.eat(":")?;
            let value = self.value(depth + 1)?;
            dict.insert(key, value);
            self.skip_space();
            if self.eat("}").is_some() {
                return Some(PyValue::Dict(dict));
            }
            self.eat(",")?;
        }
    }

    fn number(&mut self) -> Option<PyValue> {
        let text = self.rest;
        let digits =
            |from: usize| from + text[from..].bytes().take_while(u8::is_ascii_digit).count();
        let start = usize::from(text.starts_with('-'));
        let integer_end = if text[start..].starts_with('0') { start + 1 } else { digits(start) };
        if integer_end == start {
            return None;
        }
        let mut end = integer_end;
        if text[end..].starts_with('.') && digits(end + 1) > end + 1 {
            end = digits(end + 1);
        }
        if text[end..].starts_with(['e', 'E']) {
            let sign = usize::from(text[end + 1..].starts_with(['+', '-']));
            if digits(end + 1 + sign) > end + 1 + sign {
                end = digits(end + 1 + sign);
            }
        }
        self.rest = &text[end..];
        if end == integer_end {
            PyValue::int(start == 1, &text[start..end])
        } else {
            text[..end].parse().ok().map(PyValue::Float)
        }
    }

    fn string(&mut self) -> Option<String> {
        self.eat("\"")?;
        let mut out = String::new();
        loop {
            let end = self.rest.find(|c| c == '"' || c == '\\' || (self.strict && c < ' '))?;
            out.push_str(&self.rest[..end]);
            self.rest = &self.rest[end..];
            if self.eat("\"").is_some() {
                return Some(out);
            }
            self.eat("\\")?;
            out.push(self.escape()?);
        }
    }

    fn escape(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        if c != 'u' {
            return unescaped(c);
        }
        let unit = self.unit()?;
        let low = self.rest.strip_prefix("\\u").and_then(hex4);
        match (unit, low) {
            (0xd800..=0xdbff, Some(low @ 0xdc00..=0xdfff)) => {
                self.rest = &self.rest[6..];
                char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00))
            }
            _ => Some(char::from_u32(unit).unwrap_or('\u{fffd}')),
        }
    }

    fn unit(&mut self) -> Option<u32> {
        let unit = hex4(self.rest)?;
        self.rest = &self.rest[4..];
        Some(unit)
    }
}

/// What a backslash and a letter other than `u` stand for.
pub(super) fn unescaped(letter: char) -> Option<char> {
    Some(match letter {
        '"' | '\\' | '/' => letter,
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        _ => return None,
    })
}

fn hex4(text: &str) -> Option<u32> {
    let digits = text.get(..4)?;
    let all = digits.bytes().all(|b| b.is_ascii_hexdigit());
    all.then(|| u32::from_str_radix(digits, 16).ok())?
}
