//! `verbatim get` and `verbatim ls` against an imitation of a hub.

mod imitation;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use rstest::rstest;
use serde_json::Value;
use tempfile::TempDir;

use imitation::{COMMIT, Fault, Hub};

const WEIGHTS: &str = "model.safetensors";

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/model")
}

/// A hub with the demo model, and an empty cache.
fn setting() -> (Hub, TempDir) {
    let files = fs::read_dir(demo())
        .unwrap()
        .flatten()
        .map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap()));
    (Hub::start(files), tempfile::tempdir().unwrap())
}

fn verbatim(hub: &Hub, home: &TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_verbatim"));
    command
        .args(args)
        .env("HF_ENDPOINT", &hub.endpoint)
        .env("HF_HOME", home.path())
        .env_remove("HF_HUB_CACHE")
        .env_remove("HF_HUB_OFFLINE")
        .env_remove("HF_TOKEN");
    command
}

fn run(hub: &Hub, home: &TempDir, args: &[&str]) -> Output {
    verbatim(hub, home, args).output().unwrap()
}

fn get(hub: &Hub, home: &TempDir) -> Output {
    run(hub, home, &["get", "org/model"])
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn snapshot(home: &TempDir) -> PathBuf {
    home.path().join("hub/models--org--model/snapshots").join(COMMIT)
}

/// The model in the cache is the demo model, byte for byte.
fn assert_whole(home: &TempDir) {
    for file in ["config.json", "tokenizer.json", WEIGHTS] {
        assert!(
            fs::read(snapshot(home).join(file)).unwrap() == fs::read(demo().join(file)).unwrap(),
            "{file}"
        );
    }
}

#[test]
fn a_model_is_fetched_verified_listed_and_used_by_name() {
    let (hub, home) = setting();
    hub.add("README.md", b"not needed");
    hub.add("pytorch_model.bin", b"not wanted");
    let fetched = get(&hub, &home);
    assert!(fetched.status.success(), "{}", told(&fetched));
    assert_eq!(String::from_utf8_lossy(&fetched.stdout).trim(), snapshot(&home).to_str().unwrap());
    assert_whole(&home);
    assert!(!snapshot(&home).join("README.md").exists());
    assert!(!snapshot(&home).join("pytorch_model.bin").exists());

    let listed = run(&hub, &home, &["ls", "--json"]);
    let rows: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
    assert_eq!((&rows[0]["id"], &rows[0]["revision"]), (&"org/model".into(), &"main".into()));
    assert_eq!(rows[0]["supported"], true);

    let inspected = run(&hub, &home, &["inspect", "org/model", "--json"]);
    assert!(inspected.status.success(), "{}", told(&inspected));
    let said = run(
        &hub,
        &home,
        &["generate", "--model", "org/model", "--prompt", "Hi", "--max-tokens", "2", "--json"],
    );
    assert!(said.status.success(), "{}", told(&said));
}

#[test]
fn what_is_there_is_not_fetched_again() {
    let (hub, home) = setting();
    assert!(get(&hub, &home).status.success());
    hub.requests();
    let again = get(&hub, &home);
    assert!(told(&again).contains("0 of them new"), "{}", told(&again));
    // Each file's hash is asked for, with one byte, and nothing else.
    assert!(
        hub.requests().iter().all(|(path, range)| path.starts_with("/api/") || *range == Some(0))
    );
}

#[test]
fn a_broken_fetch_goes_on_where_it_ended() {
    let (hub, home) = setting();
    hub.set(Fault::BreakAfter(1_000_000));
    let broken = get(&hub, &home);
    assert!(!broken.status.success());
    assert!(!home.path().join("hub/models--org--model/refs/main").exists(), "it is not there yet");
    let unknown = run(&hub, &home, &["inspect", "org/model"]);
    assert!(told(&unknown).contains("verbatim get org/model"), "{}", told(&unknown));
    hub.set(Fault::None);
    hub.requests();
    let rest = get(&hub, &home);
    assert!(rest.status.success(), "{}", told(&rest));
    let resumed =
        hub.requests().into_iter().any(|(path, range)| path.ends_with(WEIGHTS) && range > Some(0));
    assert!(resumed);
    assert_whole(&home);
}

#[test]
fn a_killed_fetch_leaves_a_cache_that_works() {
    let (hub, home) = setting();
    for millis in [20, 60, 120, 250] {
        let mut child = verbatim(&hub, &home, &["get", "org/model"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(millis));
        let _ = child.kill();
        child.wait().unwrap();
    }
    let fetched = get(&hub, &home);
    assert!(fetched.status.success(), "{}", told(&fetched));
    assert_whole(&home);
}

#[test]
fn a_changed_byte_is_noticed_and_nothing_of_it_stays() {
    let (hub, home) = setting();
    hub.set(Fault::Flip);
    let flipped = get(&hub, &home);
    assert!(!flipped.status.success());
    assert!(told(&flipped).contains("not what the hub announced"), "{}", told(&flipped));
    assert!(!snapshot(&home).join(WEIGHTS).exists());
    hub.set(Fault::None);
    assert!(get(&hub, &home).status.success());
    assert_whole(&home);
}

#[test]
fn a_file_that_was_damaged_later_is_fetched_again() {
    let (hub, home) = setting();
    assert!(get(&hub, &home).status.success());
    fs::write(fs::canonicalize(snapshot(&home).join("config.json")).unwrap(), "{}").unwrap();
    assert!(get(&hub, &home).status.success());
    assert_whole(&home);
}

#[rstest]
#[case(Fault::EtagIsPath, "no hash")]
#[case(Fault::LostRedirect, "makes no sense")]
fn a_hub_that_misbehaves_writes_nothing_elsewhere(#[case] fault: Fault, #[case] reason: &str) {
    let (hub, home) = setting();
    hub.set(fault);
    let refused = get(&hub, &home);
    assert!(!refused.status.success());
    assert!(told(&refused).contains(reason), "{}", told(&refused));
    assert!(!home.path().join("escaped").exists());
}

#[test]
fn files_with_paths_are_left_alone() {
    let (hub, home) = setting();
    hub.add("../outside.json", b"{}");
    hub.add("folder/config.json", b"{}");
    assert!(get(&hub, &home).status.success());
    assert!(hub.requests().iter().all(|(path, _)| !path.contains("outside")));
}

#[rstest]
#[case(&["get", "org/other"], &[], "there is no org/other")]
#[case(&["get", "org/model", "--revision", "v9"], &[], "no such revision")]
#[case(&["get", "org/model", "--revision", "../v9"], &[], "ORG/NAME is expected")]
#[case(&["get", "org/model"], &[("HF_HUB_OFFLINE", "1")], "HF_HUB_OFFLINE")]
#[case(&["get", "org/model"], &[("HF_ENDPOINT", "file:///")], "HF_ENDPOINT")]
#[case(&["get", "model"], &[], "ORG/NAME")]
#[case(&["generate", "--model", "org/unknown", "--prompt", "x"], &[], "verbatim get org/unknown")]
fn refusals_say_what_to_do(
    #[case] args: &[&str],
    #[case] variables: &[(&str, &str)],
    #[case] reason: &str,
) {
    let (hub, home) = setting();
    let output = verbatim(&hub, &home, args).envs(variables.iter().copied()).output().unwrap();
    assert!(!output.status.success());
    assert!(told(&output).contains(reason), "{}", told(&output));
}

#[test]
fn a_repository_without_weights_is_refused() {
    let hub = Hub::start([("config.json".to_owned(), b"{}".to_vec())]);
    let home = tempfile::tempdir().unwrap();
    let refused = get(&hub, &home);
    assert!(told(&refused).contains("no .safetensors file"), "{}", told(&refused));
}

#[test]
fn an_empty_cache_is_listed_as_such() {
    let (hub, home) = setting();
    let listed = run(&hub, &home, &["ls"]);
    assert!(listed.status.success());
    assert!(told(&listed).contains("verbatim get ORG/NAME"), "{}", told(&listed));
}
