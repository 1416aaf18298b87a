//! Words for libFuzzer to put into inputs: those of the seeds, and some that break programs.

use std::{collections::BTreeSet, fmt::Write as _};

use crate::Target;

/// Bytes of a word.
const WORD_BYTES: std::ops::RangeInclusive<usize> = 2..=40;
/// Words of a dictionary: libFuzzer would read the others, but seldom come to try them.
const MAX_WORDS: usize = 2_000;
/// Values at the ends of ranges, and what opens and closes things.
const HOSTILE: &[&str] = &[
    "-1",
    "-0",
    "0.5",
    "2147483648",
    "4294967296",
    "9223372036854775808",
    "18446744073709551616",
    "1e400",
    "1e-400",
    "NaN",
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "\\ud800",
    "\\u0000",
    "[[[[",
    "}}}}",
    "{%",
    "%}",
    "{{",
    "}}",
    "{#",
    "-%}",
    "[::-1]",
    "|tojson",
    " if ",
    " for ",
    " in ",
    " not ",
    "**",
    "<tool_call>",
    "</tool_call>",
    "<|tool_call>call:",
    "<tool_call|>",
    "<|\"|>",
    "<function=",
    "<function name=",
    "<parameter=",
    "</parameter>",
    "<param name=",
    "</param>",
    "</function>",
    "<![CDATA[",
    "]]>",
    "<think>",
    "</think>",
    "<|channel>thought",
    "<channel|>",
];

/// The dictionary of a target, in libFuzzer's form.
pub fn dictionary(target: &Target) -> String {
    let mut words: BTreeSet<String> = HOSTILE.iter().map(ToString::to_string).collect();
    for seed in (target.seeds)() {
        let text = String::from_utf8_lossy(&seed);
        let parts = text.split(|c: char| !c.is_ascii_alphanumeric() && !"_.-$".contains(c));
        words.extend(parts.filter(|word| WORD_BYTES.contains(&word.len())).map(str::to_owned));
    }
    let mut lines = String::new();
    for word in words.into_iter().take(MAX_WORDS) {
        let word = word.replace('\\', "\\\\").replace('"', "\\\"");
        let _ = writeln!(lines, "\"{word}\"");
    }
    lines
}
