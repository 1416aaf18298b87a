//! Thousands of bad bodies: each is the client's fault, none the server's.

mod common;

use common::{Server, hello};
use reqwest::Client;
use serde_json::{Map, Value, json};

const PATHS: [&str; 2] = ["/v1/chat/completions", "/v1/completions"];

/// SplitMix64: small, seeded, the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// Valid bodies of every kind, to be spoilt.
fn valid() -> Value {
    json!({
        "messages": [{"role": "system", "content": "a"}, {"role": "user", "content": [{"type": "text", "text": "b"}]},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "2"}],
        "prompt": "x", "max_tokens": 1, "temperature": 0.5, "top_p": 0.5, "top_k": 1, "stop": ["a"],
        "logit_bias": {"1": 1.0}, "stream_options": {"include_usage": true},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    })
}

/// Values that no field takes.
fn wrong(dice: &mut Dice) -> Value {
    let huge = "9".repeat(30);
    dice.pick(&[
        json!([[[]]]),
        json!({"a": {"b": []}}),
        json!([null]),
        json!(-1),
        json!([{}]),
        json!([-1.5e300]),
        json!({ huge: -1 }),
        json!([true, false]),
    ])
    .clone()
}

/// Fields that both endpoints judge, and for which every value of [`wrong`] is wrong.
const FIELDS: [&str; 27] = [
    "stream",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "num_draft_tokens",
    "repetition_penalty",
    "repetition_context_size",
    "presence_context_size",
    "frequency_context_size",
    "logprobs",
    "xtc_probability",
    "xtc_threshold",
    "model",
    "adapters",
    "seed",
    "stop",
    "stream_options",
    "n",
    "response_format",
    "draft_model",
    "reasoning_effort",
    "verbosity",
    "best_of",
    "made_up",
];

fn without(mut body: Map<String, Value>, path: &str) -> Map<String, Value> {
    let chat = path.contains("chat");
    for field in if chat { &["prompt"][..] } else { &["messages", "tools"] } {
        body.remove(*field);
    }
    body
}

/// A body that is wrong in one way.
fn bad_body(dice: &mut Dice, path: &str) -> Vec<u8> {
    let Value::Object(good) = valid() else { unreachable!("an object") };
    let good = without(good, path);
    let text = Value::Object(good.clone()).to_string().into_bytes();
    match dice.below(8) {
        // Cut off somewhere.
        0 => text[..dice.below(text.len())].to_vec(),
        // Bytes that are no UTF-8, somewhere.
        1 => {
            let mut text = text;
            let at = dice.below(text.len());
            text.splice(at..at, [0xff, 0xfe, 0xc0]);
            text
        }
        // A value of the wrong type in a field.
        2 | 3 => {
            let mut body = good;
            let field = *dice.pick(&FIELDS);
            body.insert(field.to_owned(), wrong(dice));
            Value::Object(body).to_string().into_bytes()
        }
        // Something else in place of the prompt.
        4 => {
            let mut body = good;
            let field = if path.contains("chat") { "messages" } else { "prompt" };
            body.insert(field.to_owned(), wrong(dice));
            Value::Object(body).to_string().into_bytes()
        }
        // Nesting.
        5 => {
            let depth = 128 + dice.below(20_000);
            let (open, close) = *dice.pick(&[("[", "]"), ("{\"a\":", "}")]);
            let mut text = format!("{{\"prompt\":{}", open.repeat(depth)).into_bytes();
            if dice.below(2) == 0 {
                text.extend(format!("1{}}}", close.repeat(depth)).bytes());
            }
            text
        }
        // Not an object, or not JSON.
        6 => dice
            .pick(&[
                "",
                " ",
                "null",
                "[]",
                "\"x\"",
                "1e999",
                "NaN",
                "{\"a\":NaN}",
                "{'a':1}",
                "{\"a\":1,}",
                "{\"prompt\":\"\\ud800\"}",
                "{\"prompt\":\"\\x\"}",
                "{\"prompt\":\"\u{1}\"}",
                "{\"max_tokens\":1e400}",
                "{\"max_tokens\":0x10}",
                "{}{}",
                "\u{feff}{}",
                "{\"prompt\"}",
                "\u{0}",
                "{\"stream\":tru}",
                "[[[[",
                "{\"prompt\":\"x\"} trailing",
            ])
            .bytes()
            .collect(),
        // Noise.
        _ => (0..=dice.below(300)).map(|_| dice.next() as u8).collect(),
    }
}

#[tokio::test]
async fn bad_bodies_are_the_clients_fault() {
    let server = Server::start(&["--log-level", "error"]);
    let client = Client::builder().no_proxy().timeout(common::PATIENCE).build().expect("a client");
    let mut dice = Dice(20_260_101);
    for i in 0..2_400 {
        let path = PATHS[i % 2];
        let body = bad_body(&mut dice, path);
        let response = client
            .post(server.url(path))
            .header("content-type", "application/json")
            .body(body.clone())
            .send()
            .await
            .unwrap_or_else(|e| panic!("no answer to {:?}: {e}", String::from_utf8_lossy(&body)));
        let status = response.status();
        let text = response.text().await.expect("text");
        assert!(
            status.is_client_error(),
            "{status} for {:?}: {text}",
            String::from_utf8_lossy(&body[..body.len().min(400)])
        );
        let json: Value = serde_json::from_str(&text).expect("JSON");
        assert!(json["error"]["message"].is_string(), "{text}");
    }
    server.chat(&hello()).await;
}

#[tokio::test]
async fn prompts_that_strain_the_tokenizer_are_refused() {
    let server = Server::start(&["--log-level", "error"]);
    for unit in [" ", "a", "1", "<", " a", "<|im_start|>"] {
        let body = json!({"prompt": unit.repeat((6 << 20) / unit.len()), "max_tokens": 1});
        let (status, e) = server.ask("/v1/completions", &body).await;
        assert_eq!(status, 400, "{unit:?} {e}");
    }
    let message = json!({"role": "user", "content": "x".repeat(2_000)});
    let many = json!({"messages": vec![message; 4_096], "max_tokens": 1});
    assert_eq!(server.ask("/v1/chat/completions", &many).await.0, 400);
    server.chat(&hello()).await;
}
