//! Layout of `json.dumps`.

use std::fmt::Write as _;

/// Options of `json.dumps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::text) struct Style {
    /// Write everything beyond ASCII as `\u` escapes.
    pub ensure_ascii: bool,
    /// One level of indentation; `None` keeps everything on one line.
    pub indent: Option<String>,
    /// Between items.
    pub item: String,
    /// Between key and value.
    pub key: String,
    /// Write keys in order.
    pub sort_keys: bool,
}

impl Default for Style {
    /// `ensure_ascii=False`, the rest as Python's defaults.
    fn default() -> Self {
        let (item, key) = (", ".to_owned(), ": ".to_owned());
        Self { ensure_ascii: false, indent: None, item, key, sort_keys: false }
    }
}

impl Style {
    /// A line break and the indentation of `depth` levels, where indentation is on.
    pub fn break_line(&self, depth: usize, out: &mut String) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
    }
}

/// A JSON string as Python writes it.
pub(in crate::text) fn write_json_string(text: &str, ensure_ascii: bool, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        write_json_char(c, ensure_ascii, out);
    }
    out.push('"');
}

/// One character of a JSON string.
pub(in crate::text) fn write_json_char(c: char, ensure_ascii: bool, out: &mut String) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\x08' => out.push_str("\\b"),
        '\x0c' => out.push_str("\\f"),
        c if c < ' ' || (ensure_ascii && !(' '..='~').contains(&c)) => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
        c => out.push(c),
    }
}
