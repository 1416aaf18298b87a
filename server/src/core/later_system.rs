//! System messages behind a conversation's beginning, for templates that refuse them there.
//!
//! Agents tell the model of news in the middle of a conversation. Moving such messages to the front
//! would change a prompt's first tokens with every one of them; in place they cost no cached token.

use serde_json::{Value, json};

/// `messages` with every system message that does not open the conversation told by the user, joined
/// with what the user says before and behind it; `None` where there is no such message.
pub(super) fn told_by_user(messages: &[Value]) -> Option<Vec<Value>> {
    let opening = messages.iter().take_while(|message| is_system(message)).count();
    if !messages[opening..].iter().any(is_system) {
        return None;
    }
    let mut told: Vec<Value> = messages[..opening].to_vec();
    let mut joins = false;
    for message in &messages[opening..] {
        let (system, text) = (is_system(message), text_of(message));
        match (told.last_mut(), text) {
            (Some(last), Some(text)) if (joins && says(message)) || system && says(last) => {
                append(last, text);
            }
            (_, Some(text)) if system => told.push(json!({"role": "user", "content": text})),
            _ => told.push(message.clone()),
        }
        // What the user says next belongs to it: most templates want turns to alternate.
        joins = system || (joins && says(message));
    }
    Some(told)
}

fn is_system(message: &Value) -> bool {
    matches!(message["role"].as_str(), Some("system" | "developer"))
}

/// Whether the user says it, in one text.
fn says(message: &Value) -> bool {
    message["role"] == "user" && message["content"].is_string()
}

fn text_of(message: &Value) -> Option<&str> {
    message["content"].as_str()
}

fn append(message: &mut Value, text: &str) {
    let before = text_of(message).unwrap_or_default();
    let joined = if before.is_empty() { text.to_owned() } else { format!("{before}\n\n{text}") };
    message["content"] = joined.into();
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// `s1 u2 a3` as messages of these roles with these texts.
    fn talk(words: &str) -> Vec<Value> {
        let message = |word: &str| {
            let (role, text) = word.split_at(1);
            let role = match role {
                "s" => "system",
                "d" => "developer",
                "u" => "user",
                "a" => "assistant",
                _ => "tool",
            };
            json!({"role": role, "content": text.replace('+', "\n\n")})
        };
        words.split_whitespace().map(message).collect()
    }

    #[rstest]
    #[case("s1 u2 s3", Some("s1 u2+3"))]
    #[case("s1 d2 u3 a4 d5 u6", Some("s1 d2 u3 a4 u5+6"))]
    #[case("u1 a2 s3 a4", Some("u1 a2 u3 a4"))]
    #[case("u1 s2 s3 u4 a5 u6 u7", Some("u1+2+3+4 a5 u6 u7"))]
    #[case("u1 a2 t3 s4 u5", Some("u1 a2 t3 u4+5"))]
    #[case("s1 s2 u3 a4", None)]
    #[case("u1 a2", None)]
    #[case("", None)]
    fn later_system_messages_are_told_by_the_user(#[case] from: &str, #[case] to: Option<&str>) {
        assert_eq!(told_by_user(&talk(from)), to.map(talk));
    }

    #[test]
    fn content_in_parts_is_left_alone() {
        let parts = json!({"role": "user", "content": [{"type": "text", "text": "x"}]});
        let messages = [&talk("u1 a2")[..], std::slice::from_ref(&parts), &talk("s3")[..]].concat();
        let told = told_by_user(&messages).unwrap();
        assert_eq!(told[2..], [parts, json!({"role": "user", "content": "3"})]);
    }
}
