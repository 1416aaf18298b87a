//! Predicted peaks against what MLX measures.
#![cfg(feature = "replay")]

use std::path::Path;

use rstest::rstest;
use verbatim_harness::{
    fit::{FitCases, FitRun, measure},
    maker::write_model,
};

/// One run of each family; `just fit-check` makes all of them.
#[rstest]
#[case("MiniCPM5 (llama)")]
#[case("Qwen3.5")]
#[case("Gemma-4 E2B")]
#[case("Gemma-4 E4B")]
#[case("Gemma-4 12B")]
#[case("Gemma-4 26B-A4B")]
fn predictions_are_within_a_tenth_of_what_mlx_measures(#[case] label: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let cases = FitCases::load(&root).unwrap();
    let model = cases.models.iter().find(|m| m.label == label).expect("a model of that name");
    let folder = tempfile::tempdir().unwrap();
    write_model(&model.model, folder.path()).unwrap();
    let run = FitRun { prompt: 385, step: 128, generate: 2, kv: None };
    let row = measure(label, folder.path(), &run).unwrap();
    assert!(row.error_percent().abs() <= 10.0, "{}", row.line());
}
