//! Known attacks on servers like this one, each tried on ours.
//!
//! | Attack | Here | Elsewhere |
//! |---|---|---|
//! | template variables that redirect the rendering | `requests::template_variables_*` | `engine/tests/text_template.rs` |
//! | unbounded `n`, `logprobs`, `stop`, `max_tokens`, tools | `requests::counts_*` | `validation.rs` |
//! | images that cost memory, errors that tell addresses | `media::*` | `error.rs` |
//! | requests to other servers through image addresses | `media::nothing_is_fetched` | |
//! | errors that tell what an address answers | `media::errors_tell_nothing_about_an_address` | |
//! | videos | `media::*` | |
//! | absurd configurations | `files::absurd_configurations_*` | `engine/tests/` |
//! | crafted safetensors headers | `files::crafted_weights_*` | `engine/src/weights/` |
//! | GGUF | `files::gguf_*` | |
//! | templates that loop or grow | `requests::template_bombs_*` | `engine/src/text/` |
//! | adapters by path | `files::adapters_stay_below_their_root` | `adapters.rs` |
//! | schemas that explode | `requests::schema_bombs_*` | `engine/src/constrain/` |
//! | control tokens in user text | `requests::control_tokens_*` (as mlx-lm has it, see `docs/operations.md`) | |
//! | slow clients | `connections::*` | `robust.rs` |
//! | DNS rebinding, foreign pages | `connections::*` | `origin.rs` |
//! | guessing keys | `connections::*` | `keys.rs`, `ops/keys.rs` |
//! | forged log lines, prompts in logs | `logs::*` | `robust.rs` |
//! | hostile JSON | `hostile_bodies_*` | `hostile.rs` |

mod bodies;
#[path = "../common/mod.rs"]
mod common;
mod connections;
mod files;
mod logs;
mod media;
mod requests;

use common::{Server, hello, posts};
use serde_json::{Value, json};
use verbatim_server::openapi;

#[test]
fn every_endpoint_with_a_body_is_attacked() {
    let document = openapi::document();
    let paths = document["paths"].as_object().expect("paths");
    let takes_a_body = |item: &Value| item.pointer("/post/requestBody").is_some();
    for (path, item) in paths.iter().filter(|(_, item)| takes_a_body(item)) {
        // `/chat/completions` is `/v1/chat/completions`, and so on.
        let same = |p: &str| p == path || p.strip_prefix("/v1") == Some(path);
        let known = posts().iter().any(|(p, _)| same(p)) || path == "/v1/adapters";
        assert!(known, "{path} {item}");
    }
}

#[tokio::test]
async fn hostile_bodies_are_the_clients_fault() {
    let root = tempfile::tempdir().expect("a folder");
    let root = root.path().to_str().expect("UTF-8");
    let server =
        Server::start(&["--log-level", "error", "--max-tokens", "1", "--adapter-root", root]);
    for (path, fine) in posts() {
        let (status, answer) = server.ask(path, &fine).await;
        assert_eq!(status, 200, "{path} {answer}");
        attack(&server, path, &fine).await;
    }
    attack(&server, "/v1/adapters", &json!({"name": "a", "path": "a"})).await;
    server.chat(&hello()).await;
}

async fn attack(server: &Server, path: &str, fine: &Value) {
    let client = common::client();
    let bodies = bodies::all(fine);
    assert!(bodies.len() >= 120);
    for body in bodies {
        let shown = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
        let request = client.post(server.url(path)).header("content-type", "application/json");
        let response = request.body(body).send().await.expect("an answer");
        let status = response.status().as_u16();
        let text = response.text().await.expect("text");
        assert!((400..500).contains(&status), "{path} {status} for {shown:?}: {text}");
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        assert!(answer["error"]["message"].is_string(), "{path} {shown:?}: {text}");
    }
    let (status, health) = server.health().await;
    assert_eq!((status, &health["active"]), (200, &json!(0)), "{path}");
}
