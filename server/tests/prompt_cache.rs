//! The prompt cache as clients and operators see it.

mod common;

use common::{Server, hello};
use serde_json::{Value, json};

fn cached(answer: &Value) -> u64 {
    answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().expect("a number")
}

fn turn(messages: &[Value], max_tokens: usize) -> Value {
    json!({"messages": messages, "max_tokens": max_tokens, "seed": 7, "logprobs": true})
}

fn message(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

/// Asks both servers, who have to say the same; the first one's answer.
async fn both(cache: &Server, cold: &Server, body: &Value) -> Value {
    let (warm, cold) = (cache.chat(body).await, cold.chat(body).await);
    assert_eq!(warm["choices"], cold["choices"]);
    assert_eq!(cached(&cold), 0);
    assert!(cached(&warm) < warm["usage"]["prompt_tokens"].as_u64().expect("a number"));
    warm
}

#[tokio::test]
async fn turns_go_on_from_earlier_ones_and_say_the_same() {
    let (cache, cold) = (Server::start(&[]), Server::start(&["--prompt-cache-bytes", "0"]));
    let system = message("system", "You are a helper who answers in few words, and always kindly.");
    let mut messages = vec![system, message("user", "What is the capital of France?")];
    let first = both(&cache, &cold, &turn(&messages, 24)).await;
    assert_eq!(cached(&first), 0);
    let prompt = first["usage"]["prompt_tokens"].as_u64().expect("a number");

    let answer = first["choices"][0]["message"]["content"].as_str().unwrap_or_default();
    messages.extend([message("assistant", answer), message("user", "And of Italy?")]);
    let second = both(&cache, &cold, &turn(&messages, 24)).await;
    assert!(cached(&second) > prompt / 2, "{} of {prompt}", cached(&second));

    // Two branches of one conversation, in turn.
    let mut other = messages[..3].to_vec();
    other.push(message("user", "And of Spain?"));
    assert!(cached(&both(&cache, &cold, &turn(&other, 24)).await) >= cached(&second));
    let again = both(&cache, &cold, &turn(&messages, 24)).await;
    assert_eq!(cached(&again) + 1, again["usage"]["prompt_tokens"].as_u64().expect("a number"));

    let (_, health) = cache.health().await;
    let told = &health["prompt_cache"];
    assert_eq!((&told["lookups"], &told["hits"]), (&json!(4), &json!(3)), "{told}");
    assert!(told["bytes"].as_u64().expect("bytes") > 0, "{told}");
    assert!(told["bytes"].as_u64() <= told["cap_bytes"].as_u64(), "{told}");
    let (_, health) = cold.health().await;
    assert_eq!(health["prompt_cache"]["cap_bytes"], 0);
}

#[tokio::test]
async fn a_cap_too_small_for_anything_keeps_nothing() {
    let server = Server::start(&["--prompt-cache-bytes", "1000"]);
    for _ in 0..2 {
        assert_eq!(cached(&server.chat(&hello()).await), 0);
    }
    let (_, health) = server.health().await;
    assert_eq!(
        (&health["prompt_cache"]["bytes"], &health["prompt_cache"]["entries"]),
        (&json!(0), &json!(0))
    );
}
