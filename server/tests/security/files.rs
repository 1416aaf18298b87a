//! Model folders made to break whoever opens them.

use std::{fs, path::Path};

use rstest::rstest;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{Server, model, verbatim};

/// A copy of the demo model's folder in which files can be spoilt.
fn copy() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for entry in fs::read_dir(model()).expect("the model") {
        let entry = entry.expect("an entry");
        if entry.path().is_file() {
            fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("copied");
        }
    }
    folder
}

/// `serve` on a folder that it must refuse, without a panic; what it says.
fn refusal(model: &Path) -> String {
    let output =
        verbatim().args(["serve", "--port", "0", "--model"]).arg(model).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(output.stdout.is_empty() && !text.contains("panicked"), "{text}");
    text
}

#[rstest]
#[case("vocab_size", json!(0))]
#[case("vocab_size", json!(u64::MAX))]
#[case("hidden_size", json!(-1))]
#[case("hidden_size", json!(1_u64 << 40))]
#[case("num_hidden_layers", json!(1_000_000_000))]
#[case("num_attention_heads", json!(0))]
#[case("num_key_value_heads", json!(0))]
#[case("head_dim", json!(0))]
#[case("rms_norm_eps", json!("x"))]
#[case("quantization", json!({"bits": 0, "group_size": 64}))]
#[case("quantization", json!({"bits": 4, "group_size": 0}))]
#[case("quantization", json!({"bits": -4, "group_size": -64}))]
#[case("quantization", json!({"bits": 4, "group_size": 64, "mode": "../../x"}))]
#[case("model_type", json!("../../../etc/passwd"))]
fn absurd_configurations_are_refused(#[case] field: &str, #[case] value: Value) {
    let folder = copy();
    let file = folder.path().join("config.json");
    let mut config: Value =
        serde_json::from_slice(&fs::read(&file).expect("a file")).expect("JSON");
    config[field] = value;
    fs::write(&file, config.to_string()).expect("written");
    refusal(folder.path());
}

/// A safetensors file with this header and `data` bytes behind it.
fn safetensors(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
}

fn tensor(begin: u64, end: u64) -> Value {
    json!({"dtype": "F32", "shape": [1], "data_offsets": [begin, end]})
}

#[rstest]
#[case::claims_more_than_there_is([&u64::MAX.to_le_bytes()[..], b"{}"].concat())]
#[case::claims_a_huge_header([&(1_u64 << 33).to_le_bytes()[..], b"{}"].concat())]
#[case::is_empty(Vec::new())]
#[case::is_cut_off(vec![1, 2, 3])]
#[case::overlaps(safetensors(&json!({"a": tensor(0, 4), "b": tensor(2, 6)}).to_string(), 6))]
#[case::leaves_a_gap(safetensors(&json!({"a": tensor(0, 4), "b": tensor(8, 12)}).to_string(), 12))]
#[case::leaves_a_tail(safetensors(&json!({"a": tensor(0, 4)}).to_string(), 4_096))]
#[case::points_outside(safetensors(&json!({"a": tensor(0, u64::MAX)}).to_string(), 4))]
#[case::runs_backwards(safetensors(&json!({"a": tensor(4, 0)}).to_string(), 4))]
#[case::overflows(safetensors(
    r#"{"a":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,4]}}"#,
    4
))]
#[case::has_a_key_twice(safetensors(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 4))]
#[case::is_deep(safetensors(&"[".repeat(100_000), 4))]
#[case::is_a_zip(b"PK\x03\x04aaaaaaaaaaaaaaaaaaaaaaaa".to_vec())]
#[case::has_many_tensors({
    let many: serde_json::Map<String, Value> = (0..=verbatim_engine::limits::MAX_TENSORS)
        .map(|i| (format!("t{i}"), json!({"dtype": "U8", "shape": [0], "data_offsets": [0, 0]})))
        .collect();
    safetensors(&Value::from(many).to_string(), 0)
})]
fn crafted_weights_are_refused(#[case] bytes: Vec<u8>) {
    let folder = copy();
    for entry in fs::read_dir(folder.path()).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.to_string_lossy().contains("safetensors") {
            fs::remove_file(path).expect("removed");
        }
    }
    fs::write(folder.path().join("model.safetensors"), bytes).expect("written");
    let text = refusal(folder.path());
    assert!(text.contains("tensors"), "{text}");
}

#[test]
fn gguf_files_are_refused() {
    let folder = copy();
    for entry in fs::read_dir(folder.path()).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.to_string_lossy().contains("safetensors") {
            fs::remove_file(path).expect("removed");
        }
    }
    let file = folder.path().join("model.gguf");
    fs::write(&file, b"GGUF\x03\x00\x00\x00").expect("written");
    let text = refusal(folder.path()).to_lowercase();
    assert!(text.contains("gguf"), "{text}");
    refusal(&file);
}

#[tokio::test]
async fn adapters_stay_below_their_root() {
    let root = tempfile::tempdir().expect("a folder");
    let outside = tempfile::tempdir().expect("a folder");
    fs::write(outside.path().join("adapter_config.json"), "{\"secret\": 4711}").expect("written");
    std::os::unix::fs::symlink(outside.path(), root.path().join("link")).expect("a link");
    let server = Server::start(&["--adapter-root", root.path().to_str().expect("UTF-8")]);
    let name = outside.path().file_name().and_then(|n| n.to_str()).expect("a name");
    for path in [
        "..",
        "/etc",
        "../../etc/passwd",
        "link",
        "a/../../b",
        ".",
        "",
        "a\0b",
        "~",
        &format!("../{name}"),
        outside.path().to_str().expect("UTF-8"),
    ] {
        let (status, e) = server.ask("/v1/adapters", &json!({"name": "x", "path": path})).await;
        assert!((400..500).contains(&status), "{path:?}: {status} {e}");
        let text = e.to_string();
        assert!(!text.contains("4711") && !text.contains("passwd:"), "{path:?}: {e}");
    }
    let closed = Server::start(&[]);
    let (status, _) = closed.ask("/v1/adapters", &json!({"name": "x"})).await;
    assert_eq!(status, 403);
}
