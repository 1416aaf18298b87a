//! The committed suites are sound, and malformed ones are refused.

use std::{collections::HashSet, path::Path};

use rstest::rstest;
use serde_json::json;
use verbatim_harness::{
    case::{Case, ModelSource, Past, Prompt, load_matrix, load_suites, parse_suite},
    maker::plan,
};

fn cases() -> Vec<Case> {
    load_suites(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")).unwrap()
}

#[test]
fn every_case_has_a_row_and_a_column_and_a_makeable_model() {
    let matrix = load_matrix(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")).unwrap();
    for case in cases() {
        assert!(matrix.columns.iter().any(|c| c.id == case.column), "{}: {}", case.id, case.column);
        assert!(
            matrix.families.iter().any(|f| f.id == case.family),
            "{}: {}",
            case.id,
            case.family
        );
        if let ModelSource::Made(made) = &case.model.source {
            plan(made).unwrap_or_else(|e| panic!("{}: {e}", case.id));
        }
    }
}

#[test]
fn no_case_repeats_another() {
    let mut seen = HashSet::new();
    for case in cases() {
        assert!(seen.insert(case.digest()), "{} repeats an earlier case", case.id);
    }
}

#[test]
fn minicpm5_covers_what_its_acceptance_names() {
    let cases = cases();
    for column in ["bf16", "f32", "q4", "q8"] {
        for length in [1, 2, 40, 700] {
            let found = cases.iter().any(|c| {
                c.family == "minicpm5"
                    && c.column == column
                    && c.required
                    && c.steps >= 128
                    && matches!(c.prompt, Prompt::Random { len, .. } if len == length)
            });
            assert!(found, "{column} with a prompt of {length}");
        }
        for chunk in [1, 7, 64, 2048] {
            let found = cases
                .iter()
                .any(|c| c.column == column && c.required && c.prefill_step_size == chunk);
            assert!(found, "{column} in chunks of {chunk}");
        }
    }
}

#[test]
fn qwen3_5_covers_what_its_acceptance_names() {
    let cases: Vec<Case> =
        cases().into_iter().filter(|c| c.family == "qwen3_5" && c.required).collect();
    for column in ["bf16", "f32", "q4", "q8"] {
        let covered = |what: &str, test: fn(&Case) -> bool| {
            assert!(cases.iter().any(|c| c.column == column && test(c)), "{column}: {what}");
        };
        covered("128 greedy steps", |c| c.steps >= 128 && c.sampling.temperature == 0.0);
        covered("sampling", |c| c.sampling.temperature > 0.0);
        for chunk in [1, 7, 64, 2048] {
            let found = cases.iter().any(|c| c.column == column && c.prefill_step_size == chunk);
            assert!(found, "{column} in chunks of {chunk}");
        }
    }
    for column in ["bf16", "f32", "q4"] {
        for path in ["layers", "layout", "geometry"] {
            let found = cases.iter().any(|c| c.column == column && c.path == path);
            assert!(found, "{column}: {path}");
        }
    }
}

#[test]
fn every_family_with_adapters_covers_both_formats_and_kinds() {
    use verbatim_harness::case::{AdapterFormat, AdapterKind};
    let cases = cases();
    let families: HashSet<_> =
        cases.iter().filter(|c| c.adapter.is_some()).map(|c| &c.family).collect();
    assert!(families.len() >= 5, "{families:?}");
    for family in families {
        // MLX's CPU backend multiplies unquantized experts in f32 only.
        let columns: &[&str] =
            if family == "gemma4-26b-a4b" { &["f32", "q4"] } else { &["bf16", "f32", "q4"] };
        for column in columns {
            for (format, kind) in [
                (AdapterFormat::MlxLm, AdapterKind::Lora),
                (AdapterFormat::MlxLm, AdapterKind::Dora),
                (AdapterFormat::Peft, AdapterKind::Lora),
                (AdapterFormat::Peft, AdapterKind::Dora),
            ] {
                let found = cases.iter().any(|c| {
                    c.family == *family
                        && c.column == *column
                        && c.required
                        && c.skip.is_none()
                        && c.adapter.as_ref().is_some_and(|a| (a.format, a.kind) == (format, kind))
                });
                assert!(found, "{family} {column} {format:?} {kind:?}");
            }
        }
    }
}

fn suite() -> serde_json::Value {
    json!({
        "about": "test",
        "base": {
            "family": "f", "column": "c", "path": "p",
            "model": { "source": { "made": { "geometry": { "model_type": "llama" }, "seed": 1, "dtype": "bf16" } } },
            "prompt": { "ids": [1, 2] }, "steps": 3, "prefill_step_size": 4
        },
        "axes": { "n": { "one": { "steps": 1 }, "two": { "steps": 2 } }, "d": { "f32": { "model": { "source": { "made": { "dtype": "f32" } } } } } },
        "products": [{ "id": "f/{n}/{d}", "over": { "n": "*", "d": ["f32"] } }]
    })
}

#[test]
fn products_multiply_in_order() {
    let cases = parse_suite("s", &suite().to_string()).unwrap();
    let ids: Vec<&str> = cases.iter().map(|c| c.id.as_str()).collect();
    assert_eq!(ids, ["f/one/f32", "f/two/f32"]);
    assert_eq!(cases[1].steps, 2);
    assert_eq!(cases[1].suite, "s");
}

#[test]
fn digests_ignore_names_and_follow_content() {
    let case = &parse_suite("s", &suite().to_string()).unwrap()[0];
    let renamed = Case { id: "g".into(), column: "d".into(), required: false, ..case.clone() };
    assert_eq!(case.digest(), renamed.digest());
    let past = Past { prompt: case.prompt.clone(), steps: 1, trim: 1 };
    let continued = Case { past: Some(past), ..case.clone() };
    assert_ne!(case.digest(), continued.digest());
    let longer = Case { steps: case.steps + 1, ..case.clone() };
    assert_ne!(case.digest(), longer.digest());
    let round_trip: Case = serde_json::from_str(&serde_json::to_string(case).unwrap()).unwrap();
    assert_eq!(*case, round_trip);
}

#[rstest]
#[case("/axes/n/two/steps", json!(0), "steps")]
#[case("/base/prompt", json!({ "ids": [] }), "prompt")]
#[case("/base/prefill_step_size", json!(0), "prefill_step_size")]
#[case("/base/sampling", json!({ "temperature": 1.0 }), "seed")]
#[case("/base/sampling", json!({ "temprature": 1.0 }), "temprature")]
#[case("/base/kv", json!("q3"), "q3")]
#[case("/base/adapter", json!("x"), "expected struct Adapter")]
#[case("/base/adapter", json!({ "format": "gguf", "seed": 1 }), "unknown variant")]
#[case("/base/adapter", json!({ "format": "peft", "seed": 1, "rank": 0, "scale": 1 }), "rank must be")]
#[case("/base/adapter", json!({ "format": "peft", "seed": 1, "rank": 4 }), "scale must be")]
#[case(
    "/base/adapter",
    json!({ "format": "mlx_lm", "seed": 1, "rank": 4, "scale": 1, "rank_stabilized": true }),
    "rank_stabilized"
)]
#[case("/base/adapter", json!({ "format": "peft", "kind": "full", "seed": 1 }), "full adapter")]
#[case("/base/skip", json!(" "), "reason")]
#[case("/base/past", json!({ "prompt": { "ids": [1] }, "steps": 1, "trim": 0 }), "trimmed")]
#[case("/base/past", json!({ "prompt": { "ids": [] }, "steps": 1, "trim": 1 }), "past needs")]
#[case("/base/past", json!({ "prompt": { "ids": [1] }, "steps": 0, "trim": 1 }), "past needs")]
#[case("/base/past", json!({ "prompt": { "ids": [1] }, "steps": 1 }), "trim")]
#[case(
    "/axes/d/f32/model/source",
    json!({ "made": null, "directory": { "path": "../elsewhere" } }),
    "inside the checkout"
)]
#[case("/base/model/source/made/geometry/torch_dtype", json!("bfloat16"), "torch_dtype")]
#[case("/base/model/quantization", json!({ "uniform": { "bits": 7, "group_size": 64 } }), "7 bits")]
#[case("/base/model/quantization", json!({ "uniform": { "bits": 4, "group_size": 48 } }), "48")]
#[case("/base/model/quantization", json!({ "recipe": { "name": "mixed_1_2" } }), "mixed_1_2")]
#[case("/products/0/id", json!("f/{n}"), "{d}")]
#[case("/products/0/id", json!("F/{n}/{d}"), "id must be")]
#[case("/products/0/over", json!({ "n": "*", "d": ["bf16"] }), "bf16")]
#[case("/products/0/over", json!({ "m": "*" }), "no axis")]
#[case("/surprise", json!(1), "surprise")]
fn malformed_suites_are_refused(
    #[case] pointer: &str,
    #[case] value: serde_json::Value,
    #[case] names: &str,
) {
    let mut suite = suite();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match suite.pointer_mut(parent).unwrap() {
        serde_json::Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
        object => object[key] = value,
    }
    let error = parse_suite("s", &suite.to_string()).unwrap_err().to_string();
    assert!(error.contains(names), "{error}");
}

#[test]
fn every_family_goes_on_from_a_file_and_from_the_prompt_cache_in_every_mode() {
    let cases = cases();
    let matrix = load_matrix(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")).unwrap();
    for family in matrix.families {
        for (mode, column) in [
            ("unquantized", ""),
            ("uniform", "kv-uniform"),
            ("seq", "kv-seq"),
            ("fused", "kv-fused"),
        ] {
            let expected = column.is_empty() || family.required.iter().any(|c| c == column);
            let found = cases.iter().any(|c| {
                c.family == family.id
                    && c.resumed
                    && c.required
                    && c.skip.is_none()
                    && c.kv.name() == mode
            });
            assert_eq!(found, expected, "{}: {mode}", family.id);
            let cached = cases.iter().any(|c| {
                c.family == family.id
                    && c.cached
                    && c.required
                    && c.skip.is_none()
                    && c.kv.name() == mode
            });
            assert_eq!(cached, expected, "{}: {mode} from the prompt cache", family.id);
        }
    }
}
