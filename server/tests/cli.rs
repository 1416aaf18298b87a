//! The command as a shell sees it: exit codes, messages, output.

mod common;

use std::{
    io::{Read, Write},
    process::{Output, Stdio},
};

use common::{model, verbatim};
use rstest::rstest;
use serde_json::Value;

fn run(args: &[&str]) -> Output {
    verbatim().args(args).stdin(Stdio::null()).output().expect("the command runs")
}

fn run_with_model(command: &str, args: &[&str]) -> Output {
    verbatim()
        .arg(command)
        .arg("--model")
        .arg(model())
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the command runs")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("text")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("text")
}

#[rstest]
#[case(&["--help"], "Examples:")]
#[case(&["serve", "--help"], "--allowed-origins")]
#[case(&["generate", "--help"], "--no-thinking")]
#[case(&["inspect", "--help"], "--json")]
#[case(&["logits", "--help"], "--prompt-ids")]
#[case(&["kv-plan", "--help"], "--target-bits")]
#[case(&["--version"], "MLX 0.32.2")]
fn help_and_version(#[case] args: &[&str], #[case] part: &str) {
    let output = run(args);
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains(part), "{}", stdout(&output));
    assert!(output.stderr.is_empty());
}

/// README.md and the pages of `docs`.
fn pages() -> String {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let docs = std::fs::read_dir(root.join("docs")).expect("a folder");
    let pages = docs.map(|page| page.expect("an entry").path()).chain([root.join("README.md")]);
    pages.map(|page| std::fs::read_to_string(page).expect("text")).collect()
}

#[test]
fn every_flag_of_serve_is_on_a_page() {
    let output = run(&["serve", "--help"]);
    let help = stdout(&output);
    let flags: Vec<&str> = help
        .lines()
        .filter_map(|line| {
            line.trim_start()
                .trim_start_matches("-h, ")
                .trim_start_matches("-V, ")
                .strip_prefix("--")
        })
        .filter_map(|flag| flag.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').next())
        .filter(|flag| !["help", "version"].contains(flag))
        .collect();
    assert!(flags.len() > 40, "{flags:?}");
    let pages = pages();
    let named = |flag: &&str| pages.contains(&format!("--{flag}"));
    let missing: Vec<&&str> = flags.iter().filter(|flag| !named(flag)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[rstest]
#[case(&[], "Usage:")]
#[case(&["fly"], "unrecognized subcommand")]
#[case(&["serve"], "--model")]
#[case(&["serve", "--model", "x", "--top-p", "2"], "must be a number from 0 to 1")]
#[case(&["serve", "--model", "x", "--max-tokens", "0"], "must be a whole number from 1")]
#[case(&["serve", "--model", "x", "--port", "70000"], "70000")]
#[case(&["serve", "--model", "x", "--chat-template-args", "[]"], "must be a JSON object")]
#[case(&["generate", "--model", "x"], "--prompt")]
#[case(&["generate", "--model", "x", "--prompt", "a", "--raw", "--system", "b"], "cannot be used with")]
#[case(&["logits", "--model", "x", "--steps", "1", "--out", "f"], "--prompt")]
#[case(&["logits", "--model", "x", "--steps", "0", "--out", "f", "--prompt", "a"], "must be a whole number")]
#[case(&["logits", "--model", "x", "--steps", "1", "--out", "f", "--prompt-ids", "a"], "invalid value")]
#[case(&["inspect"], "MODEL")]
fn wrong_usage(#[case] args: &[&str], #[case] part: &str) {
    let output = run(args);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains(part), "{}", stderr(&output));
    assert!(output.stdout.is_empty());
}

#[rstest]
#[case(&["serve", "--port", "0", "--model", "no/such/dir"], "no/such/dir")]
#[case(&["generate", "--prompt", "x", "--model", "no/such/dir"], "no/such/dir")]
#[case(&["inspect", "no/such/dir"], "no/such/dir")]
#[case(&["logits", "--prompt", "x", "--steps", "1", "--out", "x.safetensors", "--model", "no/such/dir"], "no/such/dir")]
#[case(&["logits", "--prompt", "x", "--steps", "1", "--out", "no/such/dir/x", "--model", "m"], "cannot write in no/such/dir")]
fn failures_are_one_line(#[case] args: &[&str], #[case] part: &str) {
    let dir = tempfile::tempdir().expect("a folder");
    let output = verbatim().args(args).current_dir(dir.path()).output().expect("the command runs");
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(&output);
    assert!(message.starts_with("verbatim: error: ") && message.contains(part), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(output.stdout.is_empty());
    assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 0, "left files");
}

#[test]
fn a_taken_port_is_told_before_the_model_is_loaded() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let output = run(&["serve", "--model", "no/such/dir", "--port", &port]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cannot listen on 127.0.0.1:"), "{}", stderr(&output));
}

#[test]
fn generate_streams_json_and_stdin() {
    let plain = run_with_model("generate", &["--prompt", "Hello!", "--max-tokens", "8"]);
    assert_eq!(plain.status.code(), Some(0), "{}", stderr(&plain));
    assert!(stdout(&plain).ends_with('\n'));
    assert!(stderr(&plain).contains("tokens/s"));
    let json = run_with_model("generate", &["-p", "Hello!", "-m", "8", "--json"]);
    let json: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["text"].as_str().expect("text").trim_end(), stdout(&plain).trim_end());
    assert!(json["generated_tokens"].as_u64().is_some_and(|n| (1..=8).contains(&n)));

    let mut child = verbatim()
        .args(["generate", "--quiet", "--prompt", "-", "--max-tokens", "8", "--model"])
        .arg(model())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command runs");
    child.stdin.take().expect("piped").write_all(b"Hello!").expect("written");
    let piped = child.wait_with_output().expect("output");
    assert_eq!(piped.stdout, plain.stdout);
    assert!(piped.stderr.is_empty());
}

#[test]
fn generate_draws_repeatably_with_a_seed() {
    let args = ["--raw", "--prompt", "x", "--max-tokens", "16", "--temp", "1.5", "--seed"];
    let text = |seed: &str| run_with_model("generate", &[&args[..], &[seed]].concat()).stdout;
    assert_eq!(text("1"), text("1"));
    assert_ne!(text("1"), text("2"));
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let bias_free =
        ["generate", "--raw", "--prompt", "x", "--max-tokens", "100000", "--temp", "2", "--model"];
    let mut child = verbatim()
        .args(bias_free)
        .arg(model())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command runs");
    let mut out = child.stdout.take().expect("piped");
    let mut byte = [0];
    out.read_exact(&mut byte).expect("a byte");
    drop(out);
    let output = child.wait_with_output().expect("output");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!stderr(&output).contains("error"), "{}", stderr(&output));
}

/// Header and data of a safetensors file.
fn safetensors(path: &std::path::Path) -> (Value, Vec<u8>) {
    let bytes = std::fs::read(path).expect("the file");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    (serde_json::from_slice(&bytes[8..8 + length]).expect("JSON"), bytes[8 + length..].to_vec())
}

fn tensor<'a>(header: &Value, data: &'a [u8], name: &str) -> &'a [u8] {
    let at = |i: usize| header[name]["data_offsets"][i].as_u64().expect("an offset") as usize;
    &data[at(0)..at(1)]
}

#[test]
fn logits_are_what_greedy_tokens_come_from() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("l.safetensors");
    let path = out.to_str().expect("text");
    let output = run_with_model(
        "logits",
        &["--prompt-ids", "5,6,7,8", "--steps", "20", "--prefill-step-size", "2", "--out", path],
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let (header, data) = safetensors(&out);
    assert_eq!(header["prompt"]["shape"], serde_json::json!([4]));
    assert_eq!(header["tokens"]["shape"], serde_json::json!([20]));
    assert_eq!(header["logits"]["shape"][0], 20);
    assert_eq!(tensor(&header, &data, "prompt")[..8], [5, 0, 0, 0, 6, 0, 0, 0]);
    assert_eq!(header["logits"]["dtype"], "BF16", "the test reads bf16");
    let tokens = tensor(&header, &data, "tokens");
    let logits = tensor(&header, &data, "logits");
    for (token, row) in tokens.chunks_exact(4).zip(logits.chunks_exact(logits.len() / 20)) {
        let token = u32::from_le_bytes(token.try_into().expect("4 bytes")) as usize;
        let value = |i: usize| {
            f32::from_bits(u32::from(u16::from_le_bytes([row[2 * i], row[2 * i + 1]])) << 16)
        };
        let best = (0..row.len() / 2).map(value).fold(f32::NEG_INFINITY, f32::max);
        // Rounding log-probabilities to bf16 makes ties, so a token may be one step below the best.
        assert!(value(token) >= best - best.abs() / 64.0 - 0.125, "{} {best}", value(token));
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 1);

    let again = dir.path().join("again.safetensors");
    run_with_model(
        "logits",
        &["--prompt-ids", "5,6,7,8", "--steps", "20", "--out", again.to_str().expect("text")],
    );
    assert_eq!(safetensors(&again), (header, data), "chunking changes no bit on the CPU");
}

/// An mlx-lm adapter on the first query projection of the demo model, all of its factors ones.
fn adapter(dir: &std::path::Path, rank: usize) -> std::path::PathBuf {
    let config = std::fs::read(model().join("config.json")).expect("the configuration");
    let config: Value = serde_json::from_slice(&config).expect("JSON");
    let number = |key: &str| config[key].as_u64().expect("a number") as usize;
    let heads = number("num_attention_heads");
    let head_dim =
        config["head_dim"].as_u64().map_or(number("hidden_size") / heads, |n| n as usize);
    let (a, b) = (number("hidden_size") * 4 * 4, heads * head_dim * 4 * 4);
    let header = serde_json::json!({
        "model.layers.0.self_attn.q_proj.lora_a":
            {"dtype": "F32", "shape": [a / 16, 4], "data_offsets": [0, a]},
        "model.layers.0.self_attn.q_proj.lora_b":
            {"dtype": "F32", "shape": [4, b / 16], "data_offsets": [a, a + b]},
    })
    .to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(1.0_f32.to_le_bytes().repeat((a + b) / 4));
    let folder = dir.join("ones");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("adapters.safetensors"), file).expect("written");
    let config = serde_json::json!({
        "fine_tune_type": "lora", "num_layers": 0,
        "lora_parameters": {"rank": rank, "scale": 0.5, "dropout": 0.0},
    });
    std::fs::write(folder.join("adapter_config.json"), config.to_string()).expect("written");
    folder
}

#[test]
fn an_adapter_changes_logits_and_is_inspected() {
    let dir = tempfile::tempdir().expect("a folder");
    let adapter_dir = adapter(dir.path(), 4);
    let adapter_dir = adapter_dir.to_str().expect("text");
    let logits = |name: &str, more: &[&str]| {
        let out = dir.path().join(name);
        let path = out.to_str().expect("text");
        let args = ["--prompt-ids", "5,6,7", "--steps", "2", "--out", path];
        let output = run_with_model("logits", &[&args[..], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        safetensors(&out)
    };
    let bare = logits("bare.safetensors", &[]);
    let adapted = logits("adapted.safetensors", &["--adapter", adapter_dir]);
    assert_eq!(bare.0["logits"]["dtype"], adapted.0["logits"]["dtype"]);
    assert_ne!(bare.1, adapted.1);

    let generated = run_with_model(
        "generate",
        &["--raw", "--prompt", "a", "--max-tokens", "2", "--adapter", adapter_dir],
    );
    assert_eq!(generated.status.code(), Some(0), "{}", stderr(&generated));

    let inspect = |more: &[&str]| {
        let model = model();
        let args = ["inspect", model.to_str().expect("text"), "--adapter", adapter_dir];
        run(&[&args[..], more].concat())
    };
    let shown = inspect(&[]);
    assert_eq!(shown.status.code(), Some(0));
    assert!(
        stdout(&shown).contains("✓ ones · mlx-lm lora · rank 4 · scale 0.5 · 1 module"),
        "{}",
        stdout(&shown)
    );
    let json: Value = serde_json::from_slice(&inspect(&["--json"]).stdout).expect("JSON");
    assert_eq!(json["adapter"]["rank"], 4);

    adapter(dir.path(), 5);
    let refused = inspect(&[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("the model asks for"), "{}", stderr(&refused));
    let refused = run_with_model("generate", &["--raw", "--prompt", "a", "--adapter", adapter_dir]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(stderr(&refused).lines().count(), 1, "{}", stderr(&refused));
    let missing = run_with_model("generate", &["--prompt", "a", "--adapter", "no/such/adapter"]);
    assert!(stderr(&missing).contains("no/such/adapter"), "{}", stderr(&missing));
}

#[test]
fn logits_go_to_what_a_link_names_and_replace_no_device() {
    let dir = tempfile::tempdir().expect("a folder");
    let (real, link) = (dir.path().join("real"), dir.path().join("link"));
    std::fs::write(&real, "old").expect("written");
    std::os::unix::fs::symlink(&real, &link).expect("linked");
    let logits = |out: &std::path::Path| {
        let out = out.to_str().expect("text");
        run_with_model("logits", &["--prompt-ids", "5,6", "--steps", "1", "--out", out])
    };
    let output = logits(&link);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(link.symlink_metadata().expect("there").is_symlink());
    assert_eq!(safetensors(&real).0["tokens"]["shape"], serde_json::json!([1]));

    let socket = dir.path().join("socket");
    let _held = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    let output = logits(&socket);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("is not a regular file"), "{}", stderr(&output));
}

#[test]
fn keys_and_values_are_quantized_as_the_options_say() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = dir.path().join("kv_config.json");
    let layers = std::fs::read_to_string(model().join("config.json")).expect("a configuration");
    let layers: Value = serde_json::from_str(&layers).expect("JSON");
    let layers = layers["num_hidden_layers"].as_u64().expect("a number");
    let list: Vec<_> = (0..layers)
        .map(|i| serde_json::json!({"layer_idx": i, "bits": 4, "group_size": 32}))
        .collect();
    std::fs::write(&config, serde_json::json!(list).to_string()).expect("written");
    let config = config.to_str().expect("text");
    let logits = |name: &str, more: &[&str]| {
        let out = dir.path().join(name);
        let path = out.to_str().expect("text");
        let args = ["--prompt-ids", "5,6,7,8", "--steps", "4", "--out", path];
        let output = run_with_model("logits", &[&args[..], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        safetensors(&out).1
    };
    let plain = logits("plain", &[]);
    let listed = logits("listed", &["--kv-config", config]);
    let uniform = logits("uniform", &["--kv-bits", "4", "--kv-group-size", "32"]);
    let late = logits("late", &["--kv-bits", "4", "--quantized-kv-start", "5000"]);
    let fused = logits("fused", &["--kv-config", config, "--kv-attention", "fused"]);
    assert_ne!(plain, listed);
    assert_eq!(listed, uniform, "every layer in one format is the uniform mode");
    assert_eq!(plain, late);
    assert_ne!(listed, fused);
}

#[rstest]
#[case(&["--kv-bits", "7"], "affine with 7 bits")]
#[case(&["--kv-bits", "4", "--kv-group-size", "128"], "do not divide its head dimension")]
#[case(&["--quantized-kv-start", "1"], "need --kv-bits or --kv-config")]
#[case(&["--kv-attention", "fused"], "need --kv-bits or --kv-config")]
#[case(&["--kv-config", "no/such/file"], "no/such/file")]
fn kv_settings_that_cannot_be_are_refused_at_load(#[case] more: &[&str], #[case] reason: &str) {
    let output = run_with_model("generate", &[&["--raw", "--prompt", "a"], more].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(reason), "{}", stderr(&output));
    assert_eq!(stdout(&output), "");
}
