//! `verbatim fit`'s report.

use std::fs;

use serde_json::{Value, json};
use verbatim_engine::{
    Error,
    kv::{KvFormat, KvLayers, KvQuantization},
    memory::{Fit, FitOptions, fit},
};

/// MiniCPM5-1B's published configuration, as far as memory goes.
fn minicpm5() -> Value {
    json!({
        "model_type": "llama", "torch_dtype": "bfloat16", "hidden_size": 1536,
        "intermediate_size": 4608, "num_hidden_layers": 24, "num_attention_heads": 16,
        "num_key_value_heads": 2, "head_dim": 128, "vocab_size": 130_560,
        "max_position_embeddings": 131_072, "rms_norm_eps": 1e-6, "rope_theta": 5_000_000,
        "tie_word_embeddings": false,
    })
}

fn options(budget: Option<u64>) -> FitOptions {
    FitOptions {
        context: Some(32_768),
        requests: 1,
        max_batch: Some(1),
        prefill_step_size: 2048,
        budget,
    }
}

fn of(config: &Value, kv: &KvQuantization, options: &FitOptions) -> Result<Fit, Error> {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("MiniCPM5-1B");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    fit(&folder, None, kv, options)
}

fn bits(bits: u64, group_size: u64) -> KvQuantization {
    let layers = KvLayers::All(KvFormat::new(bits, group_size).unwrap());
    KvQuantization { layers, ..KvQuantization::default() }
}

#[test]
fn the_report_reads_well() {
    let plain = of(&minicpm5(), &KvQuantization::default(), &options(Some(8 << 30))).unwrap();
    insta::assert_snapshot!("fit_plain", plain.to_string());
    let several = FitOptions { requests: 4, ..options(Some(4 << 30)) };
    let packed = of(&minicpm5(), &bits(4, 64), &several).unwrap();
    insta::assert_snapshot!("fit_four_bits", packed.to_string());
}

#[test]
fn figures_follow_from_the_configuration() {
    let plain = of(&minicpm5(), &KvQuantization::default(), &options(None)).unwrap();
    let layer = 1536 * (2048 + 2 * 256) + 2048 * 1536 + 3 * 1536 * 4608 + 2 * 1536;
    assert_eq!(plain.weights, 2 * (24 * layer + 2 * 130_560 * 1536 + 1536));
    // 32,767 tokens and one behind them, in whole steps; two arrays of logits wait.
    assert_eq!(plain.cache, 24 * 2 * 2 * 128 * 2 * 32_768 + 2 * 130_560 * 2);
    assert_eq!(plain.total, plain.weights + plain.cache + plain.work);
    assert_eq!(plain.budget, None);

    let two = FitOptions { requests: 2, ..options(None) };
    let two = of(&minicpm5(), &KvQuantization::default(), &two).unwrap();
    assert_eq!((two.cache, two.work), (2 * plain.cache, plain.work));
}

#[test]
fn the_greatest_context_fits_and_a_longer_one_does_not() {
    let budget = Some(4 << 30);
    let report = of(&minicpm5(), &bits(8, 64), &options(budget)).unwrap();
    let greatest = report.budget.unwrap().greatest_context;
    assert!(greatest > 8192 && greatest < 131_072, "{greatest}");
    let fits = |context| {
        let options = FitOptions { context: Some(context), ..options(budget) };
        of(&minicpm5(), &bits(8, 64), &options).unwrap().budget.unwrap().fits
    };
    assert!(fits(greatest) && !fits(greatest + 1));
    let larger = report
        .machines
        .windows(2)
        .all(|pair| pair[0].budget.greatest_context <= pair[1].budget.greatest_context);
    assert!(larger, "{:?}", report.machines);
}

#[test]
fn what_does_not_go_together_is_refused() {
    let mut config = minicpm5();
    config["model_type"] = json!("mamba");
    let unknown = of(&config, &KvQuantization::default(), &options(None));
    assert!(matches!(unknown, Err(Error::Config(_))), "{unknown:?}");
    let mut config = minicpm5();
    config["head_dim"] = json!(96);
    let odd = of(&config, &bits(8, 64), &options(None));
    assert!(matches!(odd, Err(Error::Kv(_))), "{odd:?}");
}
