//! Python's string functions that Rust's differ from.

use minijinja::{Error, ErrorKind, State};

use super::value::charge;
use crate::text::python::is_space;

/// `str.capitalize`.
pub(super) fn capitalize(s: &str) -> String {
    let mut chars = s.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().collect::<String>() + &chars.as_str().to_lowercase(),
        None => String::new(),
    }
}

/// `str.title`: a letter after anything that is no letter starts a word.
pub(super) fn title(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    let mut in_word = false;
    for c in s.chars() {
        if in_word {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        in_word = is_cased(c);
    }
    out
}

/// `str.swapcase`.
pub(super) fn swap_case(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    for c in s.chars() {
        if c.is_uppercase() { out.extend(c.to_lowercase()) } else { out.extend(c.to_uppercase()) }
    }
    out
}

fn is_cased(c: char) -> bool {
    c.is_lowercase() || c.is_uppercase()
}

/// `str.islower`.
pub(super) fn is_lower(s: &str) -> bool {
    s.chars().any(char::is_lowercase) && !s.chars().any(char::is_uppercase)
}

/// `str.isupper`.
pub(super) fn is_upper(s: &str) -> bool {
    s.chars().any(char::is_uppercase) && !s.chars().any(char::is_lowercase)
}

/// `str.istitle`.
pub(super) fn is_title(s: &str) -> bool {
    let (mut any, mut in_word) = (false, false);
    for c in s.chars() {
        if (c.is_uppercase() && in_word) || (c.is_lowercase() && !in_word) {
            return false;
        }
        in_word = is_cased(c);
        any |= in_word;
    }
    any
}

/// `str.isidentifier`.
pub(super) fn is_identifier(s: &str) -> bool {
    let letter = |c: char| c == '_' || c.is_alphabetic();
    s.starts_with(letter) && s.chars().all(|c| letter(c) || c.is_alphanumeric())
}

/// `str.split()`: runs of whitespace separate, those at the ends do not count.
pub(super) fn split_space(s: &str, limit: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = s.trim_start_matches(is_space);
    while !rest.is_empty() {
        if parts.len() == limit {
            parts.push(rest);
            break;
        }
        let end = rest.find(is_space).unwrap_or(rest.len());
        parts.push(&rest[..end]);
        rest = rest[end..].trim_start_matches(is_space);
    }
    parts
}

/// `str.rsplit()`.
pub(super) fn split_space_right(s: &str, limit: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = s.trim_end_matches(is_space);
    while !rest.is_empty() {
        if parts.len() == limit {
            parts.push(rest);
            break;
        }
        let start = rest
            .rfind(is_space)
            .map_or(0, |i| i + rest[i..].chars().next().map_or(0, char::len_utf8));
        parts.push(&rest[start..]);
        rest = rest[..start].trim_end_matches(is_space);
    }
    parts.reverse();
    parts
}

/// `str.splitlines`.
pub(super) fn split_lines(s: &str, keep_ends: bool) -> Vec<&str> {
    let breaks = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut lines = Vec::new();
    let mut rest = s;
    while !rest.is_empty() {
        let Some(at) = rest.find(breaks) else {
            lines.push(rest);
            break;
        };
        let width = if rest[at..].starts_with("\r\n") {
            2
        } else {
            rest[at..].chars().next().map_or(0, char::len_utf8)
        };
        lines.push(&rest[..if keep_ends { at + width } else { at }]);
        rest = &rest[at + width..];
    }
    lines
}

/// The part that `start` and `end` (in characters, from the end where negative) select, with its
/// first character's index; no part when `start` lies beyond the end.
pub(super) fn range(s: &str, start: Option<i64>, end: Option<i64>) -> (usize, Option<&str>) {
    if start.is_none() && end.is_none() {
        return (0, Some(s));
    }
    let length = s.chars().count();
    let index = |i: i64| match usize::try_from(i) {
        Ok(i) => i,
        Err(_) => length.saturating_sub(usize::try_from(i.unsigned_abs()).unwrap_or(length)),
    };
    let (from, to) = (start.map_or(0, index), end.map_or(length, index).min(length));
    if from > to {
        return (from, None);
    }
    let byte = |i: usize| s.char_indices().nth(i).map_or(s.len(), |(at, _)| at);
    (from, Some(&s[byte(from)..byte(to)]))
}

/// `str.replace`, paid for before the text grows.
pub(super) fn replace(
    state: &State,
    s: &str,
    old: &str,
    new: &str,
    count: Option<i64>,
) -> Result<String, Error> {
    let count = count.and_then(|c| usize::try_from(c).ok());
    let matches = if old.is_empty() { s.chars().count() + 1 } else { s.matches(old).count() };
    let growth = new.len().saturating_sub(old.len());
    charge(state, s.len() + matches.min(count.unwrap_or(matches)).saturating_mul(growth))?;
    Ok(match count {
        Some(count) => s.replacen(old, new, count),
        None => s.replace(old, new),
    })
}

/// `str.center`, `str.ljust`, `str.rjust`.
pub(super) fn justify(
    state: &State,
    s: &str,
    method: &str,
    width: i64,
    fill: char,
) -> Result<String, Error> {
    let length = s.chars().count();
    let width = usize::try_from(width).unwrap_or(0);
    let gap = width.saturating_sub(length);
    charge(state, gap.saturating_mul(fill.len_utf8()).saturating_add(s.len()))?;
    let left = match method {
        "ljust" => 0,
        "rjust" => gap,
        // CPython puts the odd one on the left where the width is odd.
        _ => gap / 2 + (gap & width & 1),
    };
    let pad = |n: usize| std::iter::repeat_n(fill, n);
    Ok(pad(left).chain(s.chars()).chain(pad(gap - left)).collect())
}

/// Largest width or precision of a format.
const MAX_FORMAT_WIDTH: usize = 100_000;

/// Refuses formats whose numbers ask for huge results.
pub(super) fn check_format(format: &str) -> Result<(), Error> {
    let numbers = format.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty());
    for number in numbers {
        if number.parse::<usize>().is_ok_and(|n| n > MAX_FORMAT_WIDTH) || number.len() > 19 {
            let message = format!("format: {number} is larger than {MAX_FORMAT_WIDTH}");
            return Err(Error::new(ErrorKind::InvalidOperation, message));
        }
    }
    Ok(())
}
