//! Deliberate mistakes, made on the committed goldens: every one is caught, where it should be.
//!
//! Goldens exist for Linux on x86-64; elsewhere these tests count as skipped.

use std::path::Path;

use rstest::rstest;
use verbatim_engine::Mutation;
use verbatim_harness::{
    replay::{RunOptions, run},
    report::{CellStatus, What},
    selftest,
};

fn options() -> RunOptions {
    RunOptions::new(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap())
}

#[test]
#[cfg_attr(not(all(target_os = "linux", target_arch = "x86_64")), ignore = "no goldens here")]
fn every_mistake_is_caught_where_it_is_made() {
    let trials = selftest::self_test(&options(), |_| {}).unwrap();
    for trial in &trials {
        assert!(trial.caught, "{trial:#?}");
    }
    assert!(trials.len() >= 25, "{}", trials.len());
}

#[rstest]
#[case::swiglu(Mutation::SwigluSwapped, "minicpm5/bf16/layers", Some("model.layers.0"))]
#[case::rope(Mutation::RopeBaseOff, "minicpm5/bf16/layers", Some("model.layers.0"))]
#[case::norm(Mutation::NormEpsDoubled, "minicpm5/f32/layers", Some("model.layers.0"))]
#[case::residual(Mutation::ResidualInF32, "minicpm5/bf16/layers", Some("model.layers.0"))]
#[case::offset(Mutation::OffsetByOne, "minicpm5/bf16/layers", Some("model.layers.0"))]
#[case::scale(Mutation::AttentionScaleOff, "minicpm5/f32/layers", Some("model.layers.0"))]
#[case::adapter_scale(
    Mutation::AdapterScaleOff,
    "minicpm5/bf16/adapter-lora-layers",
    Some("model.layers.0")
)]
#[case::adapter_cast(
    Mutation::AdapterNotCast,
    "minicpm5/bf16/adapter-lora-layers",
    Some("model.layers.0")
)]
#[case::adapter_of_experts(
    Mutation::AdapterScaleOff,
    "gemma4-26b-a4b/f32/adapter-lora-experts-layers",
    Some("language_model.model.layers.0")
)]
#[case::argmax(Mutation::ArgmaxOverLogits, "minicpm5/bf16/near-ties", None)]
#[cfg_attr(not(all(target_os = "linux", target_arch = "x86_64")), ignore = "no goldens here")]
fn a_mistaken_engine_turns_its_cell_red(
    #[case] mutation: Mutation,
    #[case] case: &str,
    #[case] layer: Option<&str>,
) {
    let options = RunOptions { mutation, filter: Some(case.into()), ..options() };
    let report = run(&options, |_, _, _| {}).unwrap();
    assert!(!report.is_green());
    let cell = report.cells.iter().find(|c| c.failed > 0).expect("a red cell");
    assert_eq!(cell.status, CellStatus::Red);
    let first = cell.first_failure.as_ref().and_then(|f| f.mismatch.as_ref()).unwrap();
    match layer {
        Some(layer) => assert_eq!((first.call, &first.what), (0, &What::Layer(layer.into()))),
        None => assert_eq!(first.what, What::Token),
    }
    let faithful = RunOptions { mutation: Mutation::None, ..options };
    assert!(run(&faithful, |_, _, _| {}).unwrap().is_green());
}

#[test]
#[cfg_attr(not(all(target_os = "linux", target_arch = "x86_64")), ignore = "no goldens here")]
fn caches_that_lose_a_token_in_a_file_turn_their_cell_red() {
    let filter = Some("minicpm5/kv/seq-bf16-continued".into());
    let options = RunOptions { mutation: Mutation::LoadedOneShort, filter, ..options() };
    let report = run(&options, |_, _, _| {}).unwrap();
    assert!(!report.is_green());
    let totals = report.resumed()[&("minicpm5", "seq")];
    assert_eq!((totals.equal, totals.differing, totals.runs), (0, 1, 1));
    let cell = report.cells.iter().find(|c| c.failed > 0).expect("a red cell");
    let first = cell.first_failure.as_ref().unwrap();
    assert!(first.message.contains("caches saved and loaded after call 1"), "{}", first.message);
}

#[test]
#[cfg_attr(not(all(target_os = "linux", target_arch = "x86_64")), ignore = "no goldens here")]
fn a_cached_prompt_taken_for_a_longer_one_turns_its_cell_red() {
    let filter = Some("minicpm5/kv/seq-bf16-p100-c48".into());
    let options = RunOptions { mutation: Mutation::CachedOneLate, filter, ..options() };
    let report = run(&options, |_, _, _| {}).unwrap();
    assert!(!report.is_green());
    let cached = report.cached()[&("minicpm5", "seq")];
    assert_eq!((cached.equal, cached.differing, cached.runs), (0, 1, 7));
    let cell = report.cells.iter().find(|c| c.failed > 0).expect("a red cell");
    let message = &cell.first_failure.as_ref().unwrap().message;
    assert!(message.contains("cached"), "{message}");
}
