//! What a run reports and exits with, through the command itself, when something is not as it
//! should be.

mod support;

use std::fs;

use rstest::rstest;
use support::{Checkout, LAYERS, PLAIN, REASON};
use verbatim_harness::{
    golden::{Golden, layer_name},
    report::{CachedRuns, CellStatus, Outcome, PortableOutcome, What},
};

#[test]
fn faithful_goldens_are_green_and_skips_are_counted_not_passed() {
    let run = Checkout::new().parity(&[]);
    assert_eq!(run.status, 0, "{}", run.text);
    assert!(run.report.is_green());
    let totals = run.report.totals();
    assert_eq!((totals.equal, totals.skipped, totals.failed, totals.missing), (3, 1, 0, 0));

    let f32 = run.cell("f32");
    assert_eq!((f32.status, f32.equal, f32.skipped), (CellStatus::Green, 1, 1));
    let q4 = run.cell("q4");
    assert_eq!((q4.status, q4.equal), (CellStatus::Empty, 0), "nothing planned is nothing shown");
    assert!(run.text.contains("3 cases equal, 0 failed, 0 missing, 1 skipped"), "{}", run.text);
    assert!(run.text.contains(REASON) && run.html.contains(REASON));
    let resumed = run.report.resumed();
    assert_eq!(resumed.len(), 1);
    let of_tiny = resumed[&("tiny", "unquantized")];
    assert_eq!((of_tiny.equal, of_tiny.differing, of_tiny.runs), (2, 0, 6));
    assert!(run.text.contains("continued: 2 of 2 cases equal, 6 runs"), "{}", run.text);
    assert!(run.html.contains("<b>2 / 2</b>"), "{}", run.html);
    let cached = run.report.cached();
    let of_tiny = cached[&("tiny", "unquantized")];
    assert_eq!((of_tiny.equal, of_tiny.differing, of_tiny.runs), (2, 0, 14));
    assert!(run.report.not_cached().is_empty());
    let every = |run: &CachedRuns| (run.conversations, run.reused) == (5, 5);
    assert!(run.report.cases.iter().filter_map(|case| case.cached.as_ref()).all(every));
    assert!(run.text.contains("and restored: 2 of 2 cases equal, 14 runs"), "{}", run.text);
    assert!(run.html.contains("Prompts from the cache"), "{}", run.html);
    assert!(run.junit.contains("classname=\"prompt-cache.tiny.unquantized\""), "{}", run.junit);
    assert!(run.junit.contains(&format!("<skipped message=\"{REASON}\"/>")), "{}", run.junit);
    assert!(run.junit.contains("failures=\"0\"") && run.junit.contains("tests=\"7\""));
}

/// Flips the lowest bit of a value in the middle of `bytes`' part `index` of `parts`.
fn flip(bytes: &mut [u8], index: usize, parts: usize) {
    let size = bytes.len() / parts;
    bytes[index * size + (size / 2).next_multiple_of(4)] ^= 1;
}

#[rstest]
#[case::logits(PLAIN, |g: &mut Golden| flip(&mut g.logits.as_mut().unwrap().data, 2, 6), Some(2), 4, What::Logits)]
#[case::token(PLAIN, |g: &mut Golden| g.tokens[3] ^= 1, Some(3), 5, What::Token)]
#[case::prefill_layer(
    LAYERS,
    |g: &mut Golden| flip(&mut g.layers.get_mut(&layer_name(1, "model.layers.0")).unwrap().data, 0, 1),
    None,
    1,
    What::Layer("model.layers.0".into())
)]
#[case::decode_layer(
    LAYERS,
    |g: &mut Golden| flip(&mut g.layers.get_mut(&layer_name(4, "model.norm")).unwrap().data, 0, 1),
    Some(2),
    4,
    What::Layer("model.norm".into())
)]
fn one_flipped_bit_turns_its_cell_red(
    #[case] id: &str,
    #[case] change: fn(&mut Golden),
    #[case] step: Option<usize>,
    #[case] call: usize,
    #[case] what: What,
    #[values(false, true)] listed: bool,
) {
    let checkout = Checkout::new();
    checkout.spoil(id, change);
    if listed {
        checkout.list();
    }
    let run = checkout.parity(&[]);
    assert_eq!(run.status, 1, "{}", run.text);
    let Outcome::Differs { first } = &run.case(id).outcome else { panic!("{:?}", run.case(id)) };
    assert_eq!((first.step, first.call, &first.what), (step, call, &what));
    if what != What::Token {
        let difference = first.difference.as_ref().unwrap();
        assert_eq!((difference.differing, difference.max_ulp), (1, Some(1)));
    }
    let cell = run.cell("bf16");
    assert_eq!((cell.status, cell.failed), (CellStatus::Red, 1));
    assert_eq!(cell.first_failure.as_ref().unwrap().mismatch.as_ref(), Some(first));
    assert_eq!(run.cell("f32").status, CellStatus::Green);
    assert!(run.text.contains(&format!("{id}: {first}")), "{}", run.text);
    assert!(run.junit.contains("failures=\"1\""), "{}", run.junit);
    let unlisted = run.case(id).notes.iter().any(|note| note.contains("manifest.json"));
    assert_eq!(unlisted, !listed, "{:?}", run.case(id).notes);
}

#[test]
fn an_unlisted_change_that_no_bit_shows_is_still_noticed() {
    let checkout = Checkout::new();
    checkout.spoil(PLAIN, |g| drop(g.provenance.versions.insert("mlx-lm".into(), "9".into())));
    let run = checkout.parity(&[]);
    assert_eq!((run.status, run.cell("bf16").status), (1, CellStatus::Red));
    assert!(run.error(PLAIN).contains("manifest.json"), "{}", run.error(PLAIN));
}

#[test]
fn a_golden_without_a_manifest_entry_is_an_error() {
    let checkout = Checkout::new();
    let path = checkout.golden_path(PLAIN);
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    checkout.list();
    fs::write(&path, bytes).unwrap();
    let run = checkout.parity(&[]);
    assert_eq!(run.status, 1);
    assert!(run.error(PLAIN).contains("not listed"), "{}", run.error(PLAIN));
}

#[rstest]
#[case::one(false, CellStatus::Missing)]
#[case::all_of_the_cell(true, CellStatus::Missing)]
fn a_missing_golden_is_missing_never_green(#[case] all: bool, #[case] status: CellStatus) {
    let checkout = Checkout::new();
    fs::remove_file(checkout.golden_path(PLAIN)).unwrap();
    if all {
        fs::remove_file(checkout.golden_path(LAYERS)).unwrap();
    }
    checkout.list();
    let run = checkout.parity(&[]);
    assert_eq!(run.status, 1, "{}", run.text);
    assert!(matches!(run.case(PLAIN).outcome, Outcome::Missing { .. }));
    assert_eq!(run.cell("bf16").status, status);
    assert_eq!(run.report.totals().missing, 1 + usize::from(all));
    assert!(run.text.contains("NOT equal") && run.text.contains("no golden at"));
    assert!(run.junit.contains("no golden at"));
}

#[test]
fn a_required_cell_of_skipped_cases_is_not_green() {
    let run = Checkout::new().parity(&["--filter", "f32/skipped"]);
    assert_eq!((run.status, run.cell("f32").status), (1, CellStatus::Skipped), "{}", run.text);
    assert!(!run.cell("bf16").required, "nothing of it was chosen");
}

#[test]
fn choosing_nothing_shows_nothing() {
    let run = Checkout::new().parity(&["--filter", "no such case"]);
    assert_eq!(run.status, 1, "{}", run.text);
}

#[rstest]
#[case::library(|g: &mut Golden| g.provenance.libmlx_sha256 = "0123456789abcdef".into(), "libmlx 0123456789ab")]
#[case::weights(|g: &mut Golden| g.provenance.model_sha256 = "other".into(), "weights")]
#[case::case(|g: &mut Golden| g.provenance.case_digest = "other".into(), "another version")]
fn goldens_from_elsewhere_are_errors_that_say_what_to_do(
    #[case] change: fn(&mut Golden),
    #[case] says: &str,
) {
    let checkout = Checkout::new();
    checkout.spoil(PLAIN, change);
    checkout.list();
    let run = checkout.parity(&[]);
    if cfg!(not(target_os = "linux")) && says.contains("libmlx") {
        return; // the system does not tell which library is loaded
    }
    assert_eq!((run.status, run.cell("bf16").status), (1, CellStatus::Red), "{}", run.text);
    assert!(run.error(PLAIN).contains(says), "{}", run.error(PLAIN));
    assert!(matches!(run.case(LAYERS).outcome, Outcome::Equal), "{:?}", run.case(LAYERS));
}

#[test]
fn one_flipped_digit_of_a_portable_table_fails_the_run() {
    let checkout = Checkout::new();
    let path = checkout.golden().join("any/samplers/processors.json");
    let text = fs::read_to_string(&path).unwrap();
    let (before, digest) = text.split_once("\"sha256\":\"").unwrap();
    let other = if digest.starts_with('0') { "1" } else { "0" };
    fs::write(&path, format!("{before}\"sha256\":\"{other}{}", &digest[1..])).unwrap();
    let run = checkout.parity(&[]);
    assert_eq!(run.status, 1);
    let table = &run.report.portable[0];
    assert!(matches!(table.outcome, PortableOutcome::Differs { rows: 1, .. }), "{table:?}");
    assert!(run.report.cells.iter().all(|c| c.status != CellStatus::Red));
}

#[test]
fn a_kind_of_portable_table_that_is_gone_fails_the_run() {
    let checkout = Checkout::new();
    fs::remove_file(checkout.golden().join("any/samplers/processors.json")).unwrap();
    let run = checkout.parity(&[]);
    assert_eq!(run.status, 1);
    assert_eq!(run.report.portable[0].outcome, PortableOutcome::Missing);
}

#[test]
fn whole_runs_are_remembered_and_shown_partial_ones_are_not() {
    let checkout = Checkout::new();
    checkout.parity(&["--filter", "plain"]);
    let history = checkout.root().join("reports/history.jsonl");
    assert!(!history.exists());
    checkout.parity(&[]);
    checkout.spoil(PLAIN, |g| g.tokens[3] ^= 1);
    let run = checkout.parity(&[]);
    let runs = verbatim_harness::report::history::read(&checkout.root().join("reports")).unwrap();
    let found: Vec<_> = runs.iter().map(|r| (r.green, r.equal, r.failed, r.skipped)).collect();
    assert_eq!(found, [(true, 3, 0, 1), (false, 2, 1, 1)]);
    assert_eq!(runs[1].versions["mlx-lm"], "0.0");
    assert!(run.html.contains("2 equal, 1 failed, 0 missing, 1 skipped"), "{}", run.html);
}
