//! The gauge's limits hold for what they are for, and notice what is worse.

use std::{fs, path::Path, process::Command};

use rstest::rstest;
use verbatim_harness::{
    case::KvMode,
    l3::{self, FILE, Gauge, L3Report},
};

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The committed gauge for one model and mode.
fn committed(subject: &str, mode: &str) -> Gauge {
    let mut gauge = Gauge::load(&checkout().join("harness/cases")).unwrap();
    gauge.conversions.clear();
    gauge.subjects.retain(|s| s.id == subject);
    gauge.subjects[0].candidates.retain(|c| c.mode == mode);
    assert_eq!(gauge.subjects[0].candidates.len(), 1);
    gauge
}

fn with_bits(gauge: &mut Gauge, wanted: u64) {
    match &mut gauge.subjects[0].candidates[0].kv {
        KvMode::Uniform(uniform) => uniform.bits = wanted,
        KvMode::Seq(layers) | KvMode::Fused(layers) => {
            for layer in layers.iter_mut() {
                layer.bits = wanted;
            }
        }
        KvMode::Bf16 => panic!("nothing is quantized"),
    }
}

fn run(gauge: &Gauge) -> L3Report {
    l3::run(checkout(), &checkout().join("harness/cases"), gauge, |_| {}).unwrap()
}

#[rstest]
fn two_bits_break_every_limit(
    #[values("minicpm5", "gemma4-e2b", "qwen3_5")] subject: &str,
    #[values("kv-8", "kv-4", "mixed")] mode: &str,
) {
    let mut gauge = committed(subject, mode);
    let faithful = run(&gauge);
    assert!(faithful.is_green(), "{:#?}", faithful.subjects);
    with_bits(&mut gauge, 2);
    let worse = run(&gauge);
    assert!(!worse.is_green(), "{:#?}", worse.subjects);
    let (before, after) = (&faithful.subjects[0].candidates[0], &worse.subjects[0].candidates[0]);
    assert!(after.found.mean > before.found.mean);
    assert!(after.bytes_per_token < before.bytes_per_token);
}

#[test]
fn plain_keys_and_values_are_no_distance_away() {
    let mut gauge = committed("minicpm5", "kv-8");
    gauge.subjects[0].candidates[0].kv = KvMode::Bf16;
    let report = run(&gauge);
    let (subject, found) = (&report.subjects[0], &report.subjects[0].candidates[0]);
    assert_eq!((found.found.mean, found.found.max, found.found.same_top), (0.0, 0.0, 1.0));
    assert_eq!(found.found.positions, subject.positions);
    assert_eq!(found.bytes_per_token, subject.plain_bytes_per_token);
}

#[test]
fn the_command_fails_when_a_limit_is_broken() {
    let root = tempfile::tempdir().unwrap();
    let cases = root.path().join("harness/cases");
    fs::create_dir_all(cases.join("suites")).unwrap();
    let suite = "suites/minicpm5-kv.json";
    fs::copy(checkout().join("harness/cases").join(suite), cases.join(suite)).unwrap();
    let readme = root.path().join("README.md");
    fs::write(&readme, "before\n<!-- l3:begin -->\n<!-- l3:end -->\nafter\n").unwrap();
    let command = |gauge: &Gauge| {
        fs::write(cases.join(FILE), serde_json::to_string(gauge).unwrap()).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_harness"))
            .args(["parity", "--l3", "--readme", "--root"])
            .arg(root.path())
            .output()
            .unwrap();
        let report = fs::read(root.path().join("reports/l3.json")).unwrap();
        let report: L3Report = serde_json::from_slice(&report).unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap(), report)
    };
    let mut gauge = committed("minicpm5", "kv-4");
    let (status, lines, report) = command(&gauge);
    assert_eq!((status, report.is_green()), (Some(0), true), "{lines}");
    assert!(lines.contains("✓ minicpm5 kv-4: KL mean"), "{lines}");

    with_bits(&mut gauge, 2);
    let (status, lines, report) = command(&gauge);
    assert_eq!((status, report.is_green()), (Some(1), false), "{lines}");
    assert!(lines.contains("✗ minicpm5 kv-4: KL mean"), "{lines}");
    let text = fs::read_to_string(readme).unwrap();
    assert!(text.starts_with("before\n<!-- l3:begin -->\nKL(plain ‖ quantized)"), "{text}");
    assert!(text.ends_with("<!-- l3:end -->\nafter\n"), "{text}");
    let html = fs::read_to_string(root.path().join("reports/l3.html")).unwrap();
    assert!(html.contains("beyond the limits") && html.contains(l3::POLICY));
}
