//! Changes to a template's text before minijinja reads it, for what it lacks of Jinja2:
//!
//! - `{% generation %} … {% endgeneration %}`: transformers renders the body like that of a call
//!   block, so the tags become one, whitespace control and all.
//! - The operator `%` on strings and a sign `+`; see [`operators`].
//! - A line break right after `{% raw %}` stays.

use super::operators;
use crate::{Error, Result, limits};

/// Name of the function that the call blocks call.
pub(super) const GENERATION: &str = "__generation";

/// The template as minijinja is to read it. Line numbers stay the same.
///
/// # Errors
/// [`Error::Template`] for a tag of more than [`limits::MAX_TEMPLATE_TAG_BYTES`].
pub(super) fn rewrite(source: &str) -> Result<String> {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find('{') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = match rest.as_bytes().get(1) {
            Some(b'#') => rest[2..].find("#}").map(|i| i + 4),
            Some(b'{') => tag_end(rest, "}}"),
            Some(b'%') => tag_end(rest, "%}"),
            _ => Some(1),
        };
        // An unclosed tag is the parser's to report.
        let Some(end) = end else { break };
        let (tag, after) = rest.split_at(end);
        if tag.len() > limits::MAX_TEMPLATE_TAG_BYTES && !tag.starts_with("{#") {
            let limit = limits::MAX_TEMPLATE_TAG_BYTES;
            return Err(Error::Template(format!("a tag is longer than the allowed {limit} bytes")));
        }
        rest = after;
        let raw = match (block_name(tag), tag.starts_with("{{") || tag.starts_with("{%")) {
            (Some("generation"), _) => push(&mut out, &tag.replace("generation", &call_tag())),
            (Some("endgeneration"), _) => push(&mut out, &tag.replace("endgeneration", "endcall")),
            (Some("raw"), _) => {
                let plain = tag.trim_end_matches("%}").ends_with(['-', '+']);
                push(&mut out, &if plain { tag.to_owned() } else { tag.replace("%}", "+%}") });
                true
            }
            (_, true) => push(&mut out, &operators::rewrite(tag)),
            _ => push(&mut out, tag),
        };
        if raw {
            let end = raw_end(rest);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        }
    }
    Ok(out + rest)
}

fn push(out: &mut String, text: &str) -> bool {
    out.push_str(text);
    false
}

fn call_tag() -> String {
    format!("call {GENERATION}()")
}

/// The whole of a block tag between its delimiters.
fn block_name(tag: &str) -> Option<&str> {
    let inner = tag.strip_prefix("{%")?.strip_suffix("%}")?;
    Some(inner.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim())
}

/// Where a tag ends, string literals skipped.
fn tag_end(tag: &str, close: &str) -> Option<usize> {
    let bytes = tag.as_bytes();
    let mut at = 2;
    let mut quote = None;
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(_), b'\\') => at += 1,
            (Some(q), byte) if byte == q => quote = None,
            (None, b'"' | b'\'') => quote = Some(bytes[at]),
            (None, _) if bytes[at..].starts_with(close.as_bytes()) => return Some(at + 2),
            _ => {}
        }
        at += 1;
    }
    None
}

/// Where the contents of a raw block end: at the tag that closes it, or at the end.
fn raw_end(text: &str) -> usize {
    let mut from = 0;
    while let Some(start) = text[from..].find("{%").map(|i| i + from) {
        let inner = text[start + 2..].trim_start_matches(['-', '+']).trim_start();
        if inner.starts_with("endraw") {
            return start;
        }
        from = start + 2;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::rewrite;

    #[rstest::rstest]
    #[case(
        "a{%- generation -%} b {%+ endgeneration %}c",
        "a{%- call __generation() -%} b {%+ endcall %}c"
    )]
    #[case("{# {% generation %} #}x", "{# {% generation %} #}x")]
    #[case("{{ '{% generation %}' }}", "{{ '{% generation %}' }}")]
    #[case("{% raw %}{% generation %}{% endraw %}", "{% raw +%}{% generation %}{% endraw %}")]
    #[case(
        "{%- raw -%}{{ a % b }}{% endraw %}{{ a % b }}",
        "{%- raw -%}{{ a % b }}{% endraw %}{{ __mod(a, b) }}"
    )]
    #[case("{% generation", "{% generation")]
    #[case("{%generation%}{%endgeneration%}", "{%call __generation()%}{%endcall%}")]
    #[case(
        "{% if add_generation_prompt %}x{% endif %}",
        "{% if add_generation_prompt %}x{% endif %}"
    )]
    fn tags_are_rewritten(#[case] source: &str, #[case] expected: &str) {
        assert_eq!(rewrite(source).as_deref(), Ok(expected));
    }
}
