//! Strings as Python classifies and writes them.

use std::fmt::Write as _;

/// `str.isspace` of one character.
pub(in crate::text) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}

/// `str.isprintable` of one character.
pub(in crate::text) fn is_printable(c: char) -> bool {
    // The standard library escapes combining marks only at the beginning of a string.
    let mut text = String::from("a");
    text.push(c);
    c == ' ' || matches!(c, '"' | '\'' | '\\') || text.escape_debug().count() == 2
}

/// `repr` of a string.
pub(in crate::text) fn str_repr(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if is_printable(c) => out.push(c),
            c => {
                let code = u32::from(c);
                // Writing to a string cannot fail.
                let _ = match code {
                    0..=0xff => write!(out, "\\x{code:02x}"),
                    0x100..=0xffff => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push(quote);
}

#[cfg(test)]
mod tests {
    use super::str_repr;

    #[rstest::rstest]
    #[case("it's", "\"it's\"")]
    #[case("\"it's\"", "'\"it\\'s\"'")]
    #[case("a\\b\n\t\r\u{7}\u{7f}", "'a\\\\b\\n\\t\\r\\x07\\x7f'")]
    #[case("\u{a0}\u{ad}\u{200b}\u{2028}\u{3000}", "'\\xa0\\xad\\u200b\\u2028\\u3000'")]
    #[case("é e\u{301} 你 😀 \u{10ffff}", "'é e\u{301} 你 😀 \\U0010ffff'")]
    fn strings_are_quoted_as_in_python(#[case] text: &str, #[case] expected: &str) {
        let mut out = String::new();
        str_repr(text, &mut out);
        assert_eq!(out, expected);
    }
}
