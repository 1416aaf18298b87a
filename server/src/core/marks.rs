//! Where other prompts part from a conversation's: there its state is worth keeping (the segments of
//! `mlx_lm/server.py`, `ResponseGenerator._tokenize`).

use serde_json::{Value, json};
use verbatim_engine::text::Tokenizer;

use crate::limits;

/// No message begins like this.
const OTHER: &str = "\u{e000}";

/// Positions in `prompt`, the tokens of `text`, which `render` made of `messages`: where the head
/// ends that other conversations share, and where the next turn of this one will go on.
///
/// Each is found by rendering a conversation that parts there; one that the template refuses has no
/// mark.
pub(super) fn marks(
    tokenizer: &Tokenizer,
    messages: &[Value],
    (text, prompt): (&str, &[u32]),
    render: impl Fn(&[Value]) -> Option<String>,
) -> Vec<usize> {
    if text.len() > limits::MAX_MARKED_BYTES || prompt.is_empty() {
        return Vec::new();
    }
    let mark = |other: Vec<Value>| {
        let other = render(&other)?;
        let shared = &text[..common_bytes(text, &other)];
        let shared = tokenizer.encode(shared, false).ok()?;
        let tokens = shared.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        // The last token is read alone.
        Some(tokens.min(prompt.len() - 1))
    };
    let mut marks: Vec<usize> =
        [head(messages), next_turn(messages)].into_iter().filter_map(mark).collect();
    marks.dedup();
    marks
}

/// A conversation with the same system messages; without any, with the same first message.
fn head(messages: &[Value]) -> Vec<Value> {
    let system =
        |message: &&Value| matches!(message["role"].as_str(), Some("system" | "developer"));
    match messages.iter().take_while(system).count() {
        0 => next_turn(messages.get(..1).unwrap_or_default()),
        n => [&messages[..n], &[json!({"role": "user", "content": OTHER})]].concat(),
    }
}

/// `messages`, answered, and one more of the user.
fn next_turn(messages: &[Value]) -> Vec<Value> {
    let more = ["assistant", "user"].map(|role| json!({"role": role, "content": OTHER}));
    [messages, &more].concat()
}

/// Bytes that both begin with, in whole characters.
fn common_bytes(a: &str, b: &str) -> usize {
    let same = |((_, x), (_, y)): &((usize, char), (usize, char))| x == y;
    let parted = a.char_indices().zip(b.char_indices()).find(|pair| !same(pair));
    parted.map_or(a.len().min(b.len()), |((at, _), _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("abc", "abd", 2)]
    #[case("abc", "abcd", 3)]
    #[case("aé1", "aé2", 3)]
    #[case("é", "è", 0)]
    #[case("", "a", 0)]
    fn bytes_in_common(#[case] a: &str, #[case] b: &str, #[case] bytes: usize) {
        assert_eq!(common_bytes(a, b), bytes);
        assert_eq!(common_bytes(b, a), bytes);
    }

    #[test]
    fn probes_part_behind_the_head_and_behind_the_conversation() {
        let message = |role: &str, content: &str| json!({"role": role, "content": content});
        let turn = [message("system", "s"), message("user", "u")];
        let more = [message("assistant", OTHER), message("user", OTHER)];
        assert_eq!(head(&turn), [turn[0].clone(), message("user", OTHER)]);
        assert_eq!(next_turn(&turn), [&turn[..], &more].concat());
        let long = [&turn[1..], &more, &turn[1..]].concat();
        assert_eq!(head(&long), [&turn[1..], &more].concat(), "the first message is the head");
        assert_eq!(head(&[]), more);
    }
}
