//! `verbatim kv-plan`, and the `kv_config.json` that commands find beside the model.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use common::{model, verbatim};
use rstest::rstest;
use serde_json::{Value, json};

const FILES: [&str; 3] = ["kv_config.json", "kv_sensitivity.html", "kv_sensitivity.json"];

fn run(args: &[&str], folder: &Path) -> Output {
    let mut command = verbatim();
    command.args(args).current_dir(folder).stdin(Stdio::null());
    command.output().expect("the command runs")
}

fn plan(folder: &Path, more: &[&str]) -> Output {
    let model = model().canonicalize().expect("a folder");
    let model = model.to_str().expect("text");
    run(&[&["kv-plan", model, "--quiet"], more].concat(), folder)
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|e| e.expect("an entry").file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).expect("a file")).expect("JSON")
}

/// Two sequences of token ids in a file.
fn ids(folder: &Path) -> PathBuf {
    let sequences: Vec<Vec<u32>> =
        vec![(40..72).collect(), (0..32).map(|i| 200 + i * 37 % 901).collect()];
    let path = folder.join("ids.json");
    fs::write(&path, json!(sequences).to_string()).expect("written");
    path
}

/// The model in a folder of its own, to lay files beside.
fn own_model(folder: &Path) -> PathBuf {
    let own = folder.join("model");
    fs::create_dir(&own).expect("a folder");
    for entry in fs::read_dir(model().canonicalize().expect("a folder")).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name");
        std::os::unix::fs::symlink(&path, own.join(name)).expect("a link");
    }
    own
}

#[test]
fn the_files_say_what_was_measured_and_chosen() {
    let dir = tempfile::tempdir().expect("a folder");
    let ids = ids(dir.path());
    let ids = ids.to_str().expect("text");
    let output = plan(dir.path(), &["--calibration", ids, "--out", "a/b"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("bits on average, 5 asked for"));
    let out = dir.path().join("a/b");
    assert_eq!(names(&out), FILES);

    let config = read(&out.join("kv_config.json"));
    let config = config.as_array().expect("a list");
    let bits: Vec<u64> = config.iter().map(|l| l["bits"].as_u64().expect("a number")).collect();
    let average = bits.iter().sum::<u64>() as f64 / bits.len() as f64;
    assert!((5.0..6.0).contains(&average), "{bits:?}");
    let sensitivity = read(&out.join("kv_sensitivity.json"));
    let layers = sensitivity.as_array().expect("a list");
    assert_eq!(layers.len(), bits.len());
    for (i, layer) in layers.iter().enumerate() {
        assert_eq!(layer["layer_idx"], i);
        let kl = |bits: &str| layer["sensitivities"][bits].as_f64().expect("a number");
        assert!(kl("4") > kl("8") && kl("8") > 0.0, "{layer}");
    }
    let html = fs::read_to_string(out.join("kv_sensitivity.html")).expect("a file");
    assert_eq!(html.matches("<rect").count(), 2 * bits.len());

    // A second time into the same folder, from the default one's name.
    let again = plan(dir.path(), &["--calibration", ids, "--target-bits", "8"]);
    assert_eq!(again.status.code(), Some(0), "{}", text(&again.stderr));
    let default = dir.path().join("optiq_output/kv_cache");
    assert_eq!(names(&default), FILES);
    assert_eq!(read(&default.join("kv_sensitivity.json")), sensitivity);
    let config = read(&default.join("kv_config.json"));
    assert!(config.as_array().expect("a list").iter().all(|l| l["bits"] == 8), "{config}");
}

#[test]
fn the_built_in_text_and_a_users_are_cut_into_sequences() {
    let dir = tempfile::tempdir().expect("a folder");
    let short = ["--n-samples", "2", "--seq-len", "24", "--out", "o"];
    let output = plan(dir.path(), &short);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let built_in = read(&dir.path().join("o/kv_sensitivity.json"));
    fs::write(dir.path().join("mine.txt"), "one two three four five\n".repeat(40))
        .expect("written");
    let output = plan(dir.path(), &[&["--calibration", "mine.txt"], &short[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_ne!(read(&dir.path().join("o/kv_sensitivity.json")), built_in);
}

#[rstest]
#[case(&["--candidate-bits", "4,4"], "", "listed once")]
#[case(&["--candidate-bits", "7"], "", "affine with 7 bits")]
#[case(&["--group-size", "48"], "", "group_size 48")]
#[case(&["--group-size", "128"], "[[1, 2]]", "do not divide its head dimension")]
#[case(&["--n-samples", "9"], "[[1, 2]]", "holds 1 sequences")]
#[case(&[], "[[1, 2], []]", "must have 1 to")]
#[case(&[], "[]", "has 0 tokens")]
#[case(&[], "[[]]", "must have 1 to")]
#[case(&[], "[[1, -2]]", "is no JSON list of token ids")]
#[case(&[], "[[1, 2.5]]", "is no JSON list of token ids")]
#[case(&[], "{\"ids\": [1]}", "is no JSON list of token ids")]
#[case(&[], "one two", "is no JSON list of token ids")]
#[case(&[], "[1, 2, 3]", "enough for 0 sequences of 512, not 5")]
#[case(&[], "[[1, 4000000]]", "outside the model's vocabulary")]
fn what_cannot_be_measured_is_refused_in_one_line(
    #[case] more: &[&str],
    #[case] calibration: &str,
    #[case] reason: &str,
) {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("ids.json"), calibration).expect("written");
    let output = plan(dir.path(), &[&["--calibration", "ids.json"], more].concat());
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.starts_with("verbatim: error: ") && message.contains(reason), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[rstest]
#[case(&["kv-plan"], "MODEL")]
#[case(&["kv-plan", "m", "--target-bits", "0"], "must be a number above 0")]
#[case(&["kv-plan", "m", "--candidate-bits", "a"], "invalid value")]
#[case(&["kv-plan", "m", "--n-samples", "0"], "must be a whole number from 1")]
#[case(&["kv-plan", "m", "--seq-len", "99999999"], "must be a whole number from 1")]
fn wrong_usage(#[case] args: &[&str], #[case] part: &str) {
    let dir = tempfile::tempdir().expect("a folder");
    let output = run(args, dir.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains(part), "{}", text(&output.stderr));
}

#[rstest]
#[case(&["kv-plan", "no/such/model"], "no/such/model")]
#[case(&["kv-plan", "no/such/model", "--calibration", "no.txt"], "no/such/model")]
fn a_model_that_is_not_there_leaves_nothing_behind(#[case] args: &[&str], #[case] part: &str) {
    let dir = tempfile::tempdir().expect("a folder");
    let output = run(args, dir.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(part), "{}", text(&output.stderr));
    assert!(names(dir.path()).is_empty());
}

#[test]
fn a_file_beside_the_model_is_in_force_until_told_otherwise() {
    let dir = tempfile::tempdir().expect("a folder");
    let own = own_model(dir.path());
    let own = own.to_str().expect("text");
    let logits = |name: &str, more: &[&str]| {
        let args =
            ["logits", "--model", own, "--prompt-ids", "5,6,7", "--steps", "3", "--out", name];
        let output = run(&[&args[..], more].concat(), dir.path());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        (fs::read(dir.path().join(name)).expect("a file"), text(&output.stderr).to_owned())
    };
    let (plain, quiet) = logits("plain", &[]);
    assert_eq!(quiet, "");
    let list = json!([{"layer_idx": 1, "bits": 4, "group_size": 32}]).to_string();
    fs::write(dir.path().join("elsewhere.json"), &list).expect("written");
    fs::write(dir.path().join("model/kv_config.json"), &list).expect("written");
    let (beside, told) = logits("beside", &[]);
    assert!(told.starts_with("key-value cache: 4 bits (groups of 32) in 1 layers"), "{told}");
    assert!(told.contains("model/kv_config.json"), "{told}");
    let (named, told) = logits("named", &["--kv-config", "elsewhere.json"]);
    assert!(told.starts_with("key-value cache: 4 bits"), "{told}");
    let (off, quiet) = logits("off", &["--kv-config", "none"]);
    assert_eq!(quiet, "");
    assert!(beside == named && off == plain && beside != plain);
}

#[rstest]
#[case("{}", "expected a JSON list")]
#[case(r#"[{"layer_idx": 99, "bits": 4}]"#, "caches, counted from 0")]
#[case(r#"[{"layer_idx": 0, "bits": 4, "group_size": 128}]"#, "do not divide its head dimension")]
fn a_bad_file_beside_the_model_is_refused_at_load(#[case] config: &str, #[case] reason: &str) {
    let dir = tempfile::tempdir().expect("a folder");
    let own = own_model(dir.path());
    fs::write(own.join("kv_config.json"), config).expect("written");
    let own = own.to_str().expect("text");
    let output = run(&["generate", "--model", own, "--raw", "--prompt", "a"], dir.path());
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains(reason) && message.contains("--kv-config none"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}
