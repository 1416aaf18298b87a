//! Adapters over HTTP: given at start, added and removed while the server runs, chosen by name.

mod common;

use std::path::{Path, PathBuf};

use common::{Server, client, write_adapter};
use rstest::rstest;
use serde_json::{Value, json};

/// A folder `root` with the adapters `a`, `b` and `dora` of the model under test, and one beside it.
struct Adapters(tempfile::TempDir);

impl Adapters {
    fn new() -> Self {
        let adapters = Self(tempfile::tempdir().expect("a folder"));
        let lora = |seed: u64| json!({"format": "mlx_lm", "seed": seed, "rank": 4, "scale": 3.0});
        adapters.write("root/a", lora(1));
        let peft = json!({"format": "peft", "seed": 2, "rank": 2, "scale": 8.0});
        adapters.write("root/runs/b", peft);
        adapters.write(
            "root/dora",
            json!({"format": "mlx_lm", "kind": "dora", "seed": 3, "rank": 2, "scale": 4.0,
                   "keys": ["self_attn.q_proj"]}),
        );
        adapters.write("outside", lora(4));
        adapters
    }

    fn write(&self, path: &str, adapter: Value) {
        write_adapter(adapter, &self.path(path));
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn start(&self, args: &[&str]) -> Server {
        let root = self.path("root");
        let mut all = vec!["--adapter-root", text(&root)];
        all.extend(args);
        Server::start(&all)
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// A greedy chat; `choice` holds `adapters` or nothing.
fn chat(choice: &Value) -> Value {
    let mut body = json!({
        "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 10, "top_logprobs": 11,
        "chat_template_kwargs": {"enable_thinking": false},
    });
    body.as_object_mut().expect("an object").extend(choice.as_object().expect("an object").clone());
    body
}

/// Text and log-probabilities, which tell adapters apart.
async fn answer(server: &Server, choice: Value) -> Value {
    server.chat(&chat(&choice)).await["choices"][0].take()
}

async fn add(server: &Server, body: Value) -> (u16, Value) {
    server.ask("/v1/adapters", &body).await
}

async fn remove(server: &Server, name: &str) -> (u16, Value) {
    let url = server.url(&format!("/v1/adapters/{name}"));
    let response = client().delete(url).send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

async fn listed(server: &Server) -> Vec<(String, bool)> {
    let json: Value =
        server.get("/v1/adapters").send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(json["object"], "list");
    let entry = |entry: &Value| {
        assert_eq!(entry["object"], "adapter");
        (entry["id"].as_str().expect("a name").to_owned(), entry["default"] == true)
    };
    json["data"].as_array().expect("a list").iter().map(entry).collect()
}

#[tokio::test]
async fn adapters_come_are_chosen_and_go() {
    let adapters = Adapters::new();
    let server = adapters.start(&["--max-batch", "4"]);
    assert!(listed(&server).await.is_empty());
    let base = answer(&server, json!({})).await;

    let (status, json) = add(&server, json!({"name": "a"})).await;
    assert_eq!((status, &json["id"], &json["kind"]), (201, &json!("a"), &json!("lora")), "{json}");
    assert_eq!(
        (&json["rank"], &json["default"], &json["requests"]),
        (&json!(4), &json!(false), &json!(0))
    );
    let (status, json) = add(&server, json!({"name": "b.1", "path": "runs/b"})).await;
    assert_eq!((status, &json["format"]), (201, &json!("peft")), "{json}");
    assert_eq!(listed(&server).await, [("a".into(), false), ("b.1".into(), false)]);
    assert_eq!(server.health().await.1["adapters"], 2);

    let a = answer(&server, json!({"adapters": "a"})).await;
    let b = answer(&server, json!({"adapter": "b.1"})).await;
    let both = answer(&server, json!({"adapters": "a+b.1"})).await;
    assert!(a != base && b != base && both != a && both != b && both != base, "{a}");
    assert_eq!(answer(&server, json!({"adapters": ["a", "b.1"]})).await, both);
    assert_eq!(answer(&server, json!({})).await, base);
    assert_eq!(answer(&server, json!({"adapters": "none"})).await, base);

    let (status, json) = add(&server, json!({"name": "a", "path": "runs/b"})).await;
    assert_eq!((status, &json["error"]["code"]), (409, &json!("adapter_exists")));
    let replaced = json!({"name": "a", "path": "runs/b", "replace": true});
    assert_eq!(add(&server, replaced).await.0, 201);
    assert_eq!(answer(&server, json!({"adapters": "a"})).await, b);

    assert_eq!(
        remove(&server, "a").await,
        (200, json!({"id": "a", "object": "adapter", "deleted": true}))
    );
    let (status, json) = remove(&server, "a").await;
    assert_eq!((status, &json["error"]["code"]), (404, &json!("adapter_not_found")));
    let (status, json) = server.ask("/v1/chat/completions", &chat(&json!({"adapters": "a"}))).await;
    let message = json["error"]["message"].as_str().expect("a message");
    assert!(status == 400 && message.contains("not registered; there are b.1"), "{message}");
}

#[tokio::test]
async fn a_default_is_not_replaced_by_what_cannot_stand_beside_the_others() {
    let adapters = Adapters::new();
    let (a, b) = (adapters.path("root/a"), adapters.path("root/runs/b"));
    let server =
        adapters.start(&["--adapter", text(&a), "--adapter", text(&b), "--default-adapter", "a+b"]);
    let both = answer(&server, json!({})).await;
    let dora = json!({"name": "a", "path": "dora", "replace": true});
    let (status, json) = add(&server, dora).await;
    let message = json["error"]["message"].as_str().expect("a message");
    assert!(status == 400 && message.contains("cannot be combined"), "{json}");
    assert_eq!(answer(&server, json!({})).await, both);
    let lora = json!({"name": "a", "path": "runs/b", "replace": true});
    assert_eq!(add(&server, lora).await.0, 201);
    assert_ne!(answer(&server, json!({})).await, both);
}

#[tokio::test]
async fn one_adapter_at_start_is_everyones() {
    let adapters = Adapters::new();
    let server = adapters.start(&["--adapter", text(&adapters.path("root/a"))]);
    assert_eq!(listed(&server).await, [("a".into(), true)]);
    let own = answer(&server, json!({})).await;
    assert_eq!(answer(&server, json!({"adapters": "a"})).await, own);
    assert_ne!(answer(&server, json!({"adapters": ""})).await, own);
    let (status, json) = remove(&server, "a").await;
    assert_eq!(status, 400, "{json}");
    let body = json!({"prompt": "a", "adapters": [], "max_tokens": 2});
    assert_eq!(server.ask("/v1/completions", &body).await.0, 200);
}

#[tokio::test]
async fn several_at_start_leave_the_base_unless_told() {
    let adapters = Adapters::new();
    let a = format!("x={}", text(&adapters.path("root/a")));
    let b = adapters.path("root/runs/b");
    let args = ["--adapter", &a, "--adapter", text(&b)];
    let server = adapters.start(&args);
    assert_eq!(listed(&server).await, [("b".into(), false), ("x".into(), false)]);
    let base = answer(&server, json!({})).await;
    let both = answer(&server, json!({"adapters": "b+x"})).await;
    assert_ne!(base, both);
    let server = adapters.start(&[&args[..], &["--default-adapter", "b+x"]].concat());
    assert_eq!(answer(&server, json!({})).await, both);
    assert_eq!(answer(&server, json!({"adapters": "base"})).await, base);
}

#[tokio::test]
async fn without_a_root_nothing_changes() {
    let server = Server::start(&[]);
    for (status, json) in [add(&server, json!({"name": "a"})).await, remove(&server, "a").await] {
        assert_eq!(status, 403);
        let message = json["error"]["message"].as_str().expect("a message");
        assert!(message.contains("--adapter-root"), "{message}");
        assert_eq!(json["error"]["type"], "permission_error");
    }
    assert!(listed(&server).await.is_empty());
}

#[rstest]
#[case::up(json!({"name": "x", "path": "../outside"}), "path")]
#[case::absolute(json!({"name": "x", "path": "/etc"}), "path")]
#[case::nowhere(json!({"name": "x", "path": "nowhere"}), "path")]
#[case::no_adapter(json!({"name": "x", "path": "runs"}), "path")]
#[case::unknown_field(json!({"name": "x", "scale": 2}), "scale")]
#[case::no_name(json!({"path": "a"}), "name")]
#[tokio::test]
async fn registrations_are_confined(#[case] body: Value, #[case] param: &str) {
    let adapters = Adapters::new();
    let server = adapters.start(&[]);
    let (status, json) = add(&server, body).await;
    assert_eq!((status, &json["error"]["param"]), (400, &json!(param)), "{json}");
    let told = json.to_string();
    assert!(!told.contains(text(adapters.0.path())), "{told}");
    for name in ["../a", "a/b", "none", "", "x y"] {
        assert_eq!(add(&server, json!({"name": name, "path": "a"})).await.0, 400, "{name}");
    }
    assert!(listed(&server).await.is_empty());
}

#[tokio::test]
async fn coming_and_going_adapters_fail_no_request() {
    let adapters = Adapters::new();
    let server = adapters.start(&["--max-batch", "4"]);
    assert_eq!(add(&server, json!({"name": "a"})).await.0, 201);
    assert_eq!(add(&server, json!({"name": "b", "path": "runs/b"})).await.0, 201);
    assert_eq!(add(&server, json!({"name": "dora"})).await.0, 201);
    let choices = ["none", "a", "b", "a+b", "dora"].map(|names| json!({"adapters": names}));
    let mut quiet = Vec::new();
    for choice in &choices {
        quiet.push(answer(&server, choice.clone()).await);
    }
    let requests = async {
        for _ in 0..4 {
            let asked = choices.iter().zip(&quiet).cycle().take(2 * choices.len());
            let mut running = tokio::task::JoinSet::new();
            for (choice, quiet) in asked {
                let request = server.post("/v1/chat/completions", &chat(choice));
                let quiet = quiet.clone();
                running.spawn(async move {
                    let response = request.send().await.expect("an answer");
                    let json: Value = response.json().await.expect("JSON");
                    assert_eq!(json["choices"][0], quiet, "{json}");
                });
            }
            running.join_all().await;
        }
    };
    let changes = async {
        loop {
            assert_eq!(add(&server, json!({"name": "passing", "path": "runs/b"})).await.0, 201);
            let again = json!({"name": "passing", "path": "a", "replace": true});
            assert_eq!(add(&server, again).await.0, 201);
            assert_eq!(remove(&server, "passing").await.0, 200);
        }
    };
    tokio::select! {
        () = requests => {}
        () = changes => unreachable!("it never ends"),
    }
    server.until_idle().await;
    assert!(listed(&server).await.len() >= 3);
}
