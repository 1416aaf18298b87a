//! Allocations and means against those that mlx-optiq 0.7.7 and `NumPy` gave for the same numbers.

use rstest::rstest;

use super::{
    KvPlan, LayerSensitivity, PlanOptions, check_measured, measure::mean, plan, solver::allocate,
};

fn layers<R: AsRef<[f64]>>(bits: &[u64], rows: &[R]) -> Vec<LayerSensitivity> {
    let layer = |(layer, row): (usize, &R)| LayerSensitivity {
        layer,
        kv_heads: 2,
        head_dim: 64,
        divergences: bits.iter().zip(row.as_ref()).map(|(&b, &kl)| (b as u32, kl)).collect(),
    };
    rows.iter().enumerate().map(layer).collect()
}

const STEPS: &[&[f64]] =
    &[&[0.5, 0.25, 0.125, 0.125, 0.0], &[0.25, 0.25, 0.25, 0.0, 0.0], &[1.0, 0.75, 0.5, 0.25, 0.0]];

#[rstest]
#[case(&[4, 8], 5.0, &[&[3e-3, 1e-4], &[1e-3, 2e-4], &[8e-3, 1e-3], &[2e-3, 1e-3]], &[4, 4, 8, 4])]
#[case::ties_go_to_lower_layers(&[4, 8], 6.5, &[&[1e-3, 5e-4]; 4], &[8, 8, 8, 4])]
#[case::nothing_to_save(
    &[4, 8], 8.0, &[&[1e-3, 2e-3], &[1e-3, 1e-3], &[5e-4, 1e-4]], &[4, 4, 8]
)]
#[case::three_candidates(
    &[2, 4, 8], 5.0,
    &[&[0.125, 0.0625, 0.0], &[0.5, 0.25, 0.0], &[1.0, 0.125, 0.0625], &[0.25, 0.0, 0.0]],
    &[4, 8, 4, 4]
)]
#[case::any_order(&[8, 4], 6.0, &[&[0.0, 0.125], &[0.0625, 0.5], &[0.25, 0.5]], &[4, 8, 8])]
#[case::a_step_that_saves_nothing_bars_the_next(&[2, 3, 4, 6, 8], 4.0, STEPS, &[4, 2, 6])]
#[case::target_out_of_reach(&[2, 3, 4, 6, 8], 16.0, STEPS, &[4, 2, 8])]
#[case::one_candidate(&[4], 5.0, &[&[0.5], &[0.25]], &[4, 4])]
#[case::target_met_at_once(&[4, 8], 4.0, &[&[0.3, 0.1], &[0.2, 0.1]], &[4, 4])]
fn bits_go_where_mlx_optiq_puts_them(
    #[case] candidates: &[u64],
    #[case] target_bits: f64,
    #[case] rows: &[impl AsRef<[f64]>],
    #[case] expected: &[u32],
) {
    assert_eq!(allocate(&layers(candidates, rows), target_bits), expected);
}

#[rstest]
#[case(1, 0.0)]
#[case(2, 0.213_899_5)]
#[case(7, 0.426_251_571_428_571_4)]
#[case(8, 0.497_293_500_000_000_05)]
#[case(9, 0.488_970_111_111_111_16)]
#[case(40, 0.542_057_1)]
#[case(128, 0.516_719_054_687_5)]
#[case(129, 0.518_590_302_325_581_5)]
#[case(300, 0.509_093_493_333_333_3)]
fn means_are_numpys(#[case] n: u64, #[case] expected: f64) {
    let values: Vec<f64> = (0..n).map(|i| (i * 2_654_435_761 % 1_000_003) as f64 / 1e6).collect();
    assert_eq!(mean(&values).to_bits(), expected.to_bits());
}

#[test]
fn files_are_those_of_python() {
    let plan = KvPlan {
        layers: 2,
        group_size: 32,
        sensitivities: layers(&[8, 4], &[&[1e-5, 0.25], &[0.0, 1.0]]),
        bits: vec![4, 8],
    };
    assert_eq!(
        plan.config_json(),
        "[\n  {\n    \"layer_idx\": 0,\n    \"bits\": 4,\n    \"group_size\": 32\n  },\n  {\n    \
         \"layer_idx\": 1,\n    \"bits\": 8,\n    \"group_size\": 32\n  }\n]"
    );
    let sensitivity = plan.sensitivity_json();
    assert!(
        sensitivity.starts_with(
            "[\n  {\n    \"layer_idx\": 0,\n    \"layer_name\": \"model.layers.0\",\n    \
             \"sensitivities\": {\n      \"8\": 1e-05,\n      \"4\": 0.25\n    },\n    \
             \"n_kv_heads\": 2,\n    \"head_dim\": 64\n  },\n  {"
        ),
        "{sensitivity}"
    );
    serde_json::from_str::<serde_json::Value>(&sensitivity).unwrap();
}

#[rstest]
#[case(&[], 5.0, 64, "at least one candidate")]
#[case(&[4, 4], 5.0, 64, "listed once")]
#[case(&[7], 5.0, 64, "affine with 7 bits")]
#[case(&[16], 5.0, 64, "affine with 16 bits")]
#[case(&[4], 5.0, 48, "group_size 48")]
#[case(&[4], 0.0, 64, "positive number of bits")]
#[case(&[4], f64::NAN, 64, "positive number of bits")]
#[case(&[4], f64::INFINITY, 64, "positive number of bits")]
fn options_that_cannot_be_are_refused(
    #[case] candidates: &[u64],
    #[case] target_bits: f64,
    #[case] group_size: u64,
    #[case] reason: &str,
) {
    let options = PlanOptions { candidate_bits: candidates.to_vec(), target_bits, group_size };
    let error = options.formats().unwrap_err().to_string();
    assert!(error.contains(reason), "{error}");
}

#[rstest]
#[case(&[], "no calibration sequence")]
#[case(&[vec![1], vec![]], "must have 1 to")]
#[case(&[vec![1; 20_000]], "must have 1 to")]
#[case(&vec![vec![1]; 2_000], "the limit is")]
fn sequences_that_cannot_be_are_refused(#[case] sequences: &[Vec<u32>], #[case] reason: &str) {
    let nowhere = std::path::Path::new("nowhere");
    let error = plan(nowhere, sequences, &PlanOptions::default(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains(reason), "{error}");
}

#[rstest]
#[case(&[&[0.0, 9e-7], &[0.0, 0.0]], "no layer's bits change the predictions")]
#[case(&[&[0.5, f64::NAN]], "not finite")]
#[case(&[&[f64::INFINITY, 0.5]], "not finite")]
fn measurements_of_nothing_are_refused(#[case] rows: &[impl AsRef<[f64]>], #[case] reason: &str) {
    let error = check_measured(&layers(&[4, 8], rows)).unwrap_err().to_string();
    assert!(error.contains(reason), "{error}");
}
