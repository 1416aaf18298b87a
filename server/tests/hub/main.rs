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

fn repo(home: &TempDir) -> PathBuf {
    home.path().join("hub/models--org--model")
}

fn snapshot(home: &TempDir) -> PathBuf {
    repo(home).join("snapshots").join(COMMIT)
}

/// Revisions that `ls` tells.
fn listed(hub: &Hub, home: &TempDir) -> Vec<String> {
    let rows: Value = serde_json::from_slice(&run(hub, home, &["ls", "--json"]).stdout).unwrap();
    let rows = rows.as_array().unwrap();
    rows.iter().map(|row| row["revision"].as_str().unwrap().to_owned()).collect()
}

/// Every file below a folder; links are not followed.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_below(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
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
    assert!(!repo(&home).join("refs").exists(), "no name means what is not there yet");
    assert_eq!(listed(&hub, &home), Vec::<String>::new());
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
fn paths_come_from_the_verified_answer_only() {
    let (hub, home) = setting();
    hub.set(Fault::SecondAnswerHasPaths);
    let fetched = get(&hub, &home);
    assert!(fetched.status.success(), "{}", told(&fetched));
    assert_whole(&home);
    let hub_folder = home.path().join("hub");
    let outside = |path: &PathBuf| {
        !path.starts_with(repo(&home)) && !path.starts_with(hub_folder.join(".locks"))
    };
    assert_eq!(files_below(home.path()).into_iter().find(outside), None);
    assert_eq!(fs::read_dir(repo(&home).join("snapshots")).unwrap().count(), 1);
}

#[test]
fn more_bytes_than_announced_are_an_error_and_nothing_of_them_stays() {
    let (hub, home) = setting();
    hub.set(Fault::TooLong);
    let refused = get(&hub, &home);
    assert!(!refused.status.success());
    assert!(told(&refused).contains("is longer than"), "{}", told(&refused));
    let large = fs::metadata(demo().join(WEIGHTS)).unwrap().len();
    let sizes = files_below(&repo(&home)).into_iter().map(|file| fs::metadata(file).unwrap().len());
    assert!(sizes.max().is_none_or(|bytes| bytes < large));
    hub.set(Fault::None);
    assert!(get(&hub, &home).status.success());
    assert_whole(&home);
}

#[test]
fn a_server_without_ranges_sends_files_again() {
    let (hub, home) = setting();
    hub.set(Fault::BreakAfter(1_000_000));
    assert!(!get(&hub, &home).status.success());
    hub.set(Fault::NoRanges);
    let fetched = get(&hub, &home);
    assert!(fetched.status.success(), "{}", told(&fetched));
    assert_whole(&home);
}

#[test]
fn the_token_is_for_the_hub_alone() {
    let (hub, home) = setting();
    let (other, _) = setting();
    hub.redirect(&other);
    let fetched =
        verbatim(&hub, &home, &["get", "org/model"]).env("HF_TOKEN", "hf_secret").output().unwrap();
    assert!(fetched.status.success(), "{}", told(&fetched));
    assert_whole(&home);
    assert!(hub.tokens().iter().all(|token| token == "Bearer hf_secret"));
    assert!(!hub.tokens().is_empty());
    assert!(!other.requests().is_empty());
    assert_eq!(other.tokens(), Vec::<String>::new());
}

#[test]
fn an_empty_file_is_a_file() {
    let (hub, home) = setting();
    hub.add("added.txt", b"");
    let fetched = get(&hub, &home);
    assert!(fetched.status.success(), "{}", told(&fetched));
    assert_eq!(fs::read(snapshot(&home).join("added.txt")).unwrap(), b"");
}

#[test]
fn revisions_are_listed_but_not_what_lies_beside_them() {
    let (hub, home) = setting();
    assert!(get(&hub, &home).status.success());
    let refs = repo(&home).join("refs");
    fs::create_dir_all(refs.join("refs/pr")).unwrap();
    fs::write(refs.join("refs/pr/1"), COMMIT).unwrap();
    fs::write(refs.join(".tmpA1b2c3"), COMMIT).unwrap();
    fs::write(refs.join("broken"), "../../outside").unwrap();
    assert_eq!(listed(&hub, &home), ["main", "refs/pr/1"]);
}

#[test]
fn others_can_read_what_is_written() {
    use std::os::unix::fs::PermissionsExt;
    let (hub, home) = setting();
    assert!(get(&hub, &home).status.success());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let usual = home.path().join("usual");
    fs::write(&usual, "").unwrap();
    for file in files_below(&home.path().join("hub")) {
        assert_eq!(mode(&file), mode(&usual), "{}", file.display());
    }
    // Only names that the hub's own tools know.
    let mut names: Vec<_> =
        fs::read_dir(repo(&home)).unwrap().flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    assert_eq!(names, ["blobs", "refs", "snapshots"]);
    let target = fs::read_link(snapshot(&home).join("config.json")).unwrap();
    assert!(target.starts_with("../../blobs"), "{}", target.display());
}

#[test]
fn two_do_not_fetch_the_same_file_at_once() {
    let (hub, home) = setting();
    assert!(get(&hub, &home).status.success());
    let blob = fs::canonicalize(snapshot(&home).join("config.json")).unwrap();
    let lock = format!("{}.lock", blob.file_name().unwrap().to_str().unwrap());
    let lock = home.path().join("hub/.locks/models--org--model").join(lock);
    let lock = fs::File::open(lock).unwrap();
    lock.lock().unwrap();
    fs::remove_file(snapshot(&home).join("config.json")).unwrap();
    let refused = get(&hub, &home);
    assert!(told(&refused).contains("another process"), "{}", told(&refused));
    lock.unlock().unwrap();
    let fetched = get(&hub, &home);
    // The file itself was still there.
    assert!(told(&fetched).contains("0 of them new"), "{}", told(&fetched));
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
