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

#[tokio::test]
async fn what_was_kept_on_disk_survives_a_restart_and_damage_does_no_harm() {
    let dir = tempfile::tempdir().expect("a folder");
    let states = dir.path().join("states");
    let states = states.to_str().expect("UTF-8");
    let args = ["--prompt-cache-dir", states, "--prompt-cache-disk-bytes", "64MB"];
    let body = turn(&[message("user", "What is the capital of France?")], 24);
    let first = Server::start(&args);
    let told = first.chat(&body).await;
    assert_eq!(cached(&told), 0);
    first.until("written", |_, h| h["prompt_cache"]["disk"]["written"] != 0).await;
    let taken = common::verbatim()
        .args(["serve", "--port", "0", "--model"])
        .arg(common::model())
        .args(args)
        .output()
        .expect("it starts");
    assert!(!taken.status.success(), "the folder is taken");
    let said = String::from_utf8_lossy(&taken.stderr).into_owned();
    assert!(said.contains("another process"), "{said}");
    // Killed, not stopped.
    drop(first);

    let again = Server::start(&args);
    let warm = again.chat(&body).await;
    assert_eq!(warm["choices"], told["choices"]);
    assert!(cached(&warm) > 0);
    let (_, health) = again.health().await;
    let disk = &health["prompt_cache"]["disk"];
    assert_eq!((&disk["restored"], &disk["rejected"]), (&json!(1), &json!(0)), "{disk}");
    assert_eq!(disk["restored_tokens"], cached(&warm));
    assert_eq!(disk["cap_bytes"], 64_000_000);
    let metrics = again.get("/metrics").send().await.expect("an answer").text().await;
    let metrics = metrics.expect("text");
    assert!(metrics.contains("verbatim_prompt_cache_disk_restored_total 1\n"), "{metrics}");
    drop(again);

    for file in std::fs::read_dir(states).expect("a folder") {
        std::fs::write(file.expect("a file").path(), "damaged").expect("it is written");
    }
    let clean = Server::start(&args);
    let cold = clean.chat(&body).await;
    assert_eq!((cached(&cold), &cold["choices"]), (0, &told["choices"]));
    let (_, health) = clean.health().await;
    assert!(health["prompt_cache"]["disk"]["rejected"].as_u64() >= Some(1), "{health}");
}
