//! Files that cannot be meant, and settings that do not fit a model, are refused in one line.

use rstest::rstest;

use super::{KvAttention, KvFormat, KvLayers, KvQuantization};

fn read(text: &str) -> Result<KvQuantization, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kv_config.json");
    std::fs::write(&path, text).unwrap();
    KvQuantization::from_file(&path).map_err(|e| e.to_string())
}

#[test]
fn the_group_size_is_64_unless_told() {
    let kv =
        read(r#"[{"layer_idx": 3, "bits": 4}, {"layer_idx": 1, "bits": 8, "group_size": 32}]"#)
            .unwrap();
    let KvLayers::Listed(layers) = &kv.layers else { panic!("a list of layers") };
    let formats: Vec<_> = layers.iter().map(|(i, f)| (*i, f.bits(), f.group_size())).collect();
    assert_eq!(formats, [(1, 8, 32), (3, 4, 64)]);
    assert_eq!((kv.start, kv.attention), (0, KvAttention::Stock));
    assert_eq!(
        kv.to_string(),
        "4 bits (groups of 64) in 1 layers, 8 bits (groups of 32) in 1 layers, stock attention"
    );
}

#[rstest]
#[case::empty("", "is not valid JSON")]
#[case::cut(r#"[{"layer_idx": 0"#, "is not valid JSON")]
#[case::object(r#"{"layer_idx": 0, "bits": 4}"#, "holds an object; expected a JSON list")]
#[case::null("null", "holds null; expected a JSON list")]
#[case::number("4", "holds a number; expected a JSON list")]
#[case::text(r#""[]""#, "holds a string; expected a JSON list")]
#[case::trailing("[] []", "is not valid JSON")]
#[case::nan(r#"[{"layer_idx": 0, "bits": NaN}]"#, "is not valid JSON")]
#[case::entry_number("[4]", "entry 0 is a number; expected an object")]
#[case::entry_list("[[0, 4, 64]]", "entry 0 is a list; expected an object")]
#[case::entry_null("[null]", "entry 0 is null; expected an object")]
#[case::no_layer(r#"[{"bits": 4}]"#, "entry 0.layer_idx is missing")]
#[case::no_bits(r#"[{"layer_idx": 0}]"#, "entry 0.bits is missing")]
#[case::negative(r#"[{"layer_idx": -1, "bits": 4}]"#, "entry 0.layer_idx is -1")]
#[case::fraction(r#"[{"layer_idx": 0.5, "bits": 4}]"#, "entry 0.layer_idx is 0.5")]
#[case::layer_text(r#"[{"layer_idx": "0", "bits": 4}]"#, "entry 0.layer_idx is \"0\"")]
#[case::layer_null(r#"[{"layer_idx": null, "bits": 4}]"#, "entry 0.layer_idx is null")]
#[case::layer_true(r#"[{"layer_idx": true, "bits": 4}]"#, "entry 0.layer_idx is true")]
#[case::layer_huge(r#"[{"layer_idx": 9223372036854775808, "bits": 4}]"#, "entry 0.layer_idx is")]
#[case::bits_text(r#"[{"layer_idx": 0, "bits": "4"}]"#, "entry 0.bits is \"4\"")]
#[case::bits_float(r#"[{"layer_idx": 0, "bits": 4.5}]"#, "entry 0.bits is 4.5")]
#[case::bits_zero(r#"[{"layer_idx": 0, "bits": 0}]"#, "affine with 0 bits")]
#[case::bits_one(r#"[{"layer_idx": 0, "bits": 1}]"#, "affine with 1 bits")]
#[case::bits_seven(r#"[{"layer_idx": 0, "bits": 7}]"#, "affine with 7 bits")]
#[case::bits_sixteen(r#"[{"layer_idx": 0, "bits": 16}]"#, "affine with 16 bits")]
#[case::bits_huge(r#"[{"layer_idx": 0, "bits": 18446744073709551615}]"#, "entry 0.bits is")]
#[case::group_zero(r#"[{"layer_idx": 0, "bits": 4, "group_size": 0}]"#, "group_size 0")]
#[case::group_odd(r#"[{"layer_idx": 0, "bits": 4, "group_size": 48}]"#, "group_size 48")]
#[case::group_wide(r#"[{"layer_idx": 0, "bits": 4, "group_size": 256}]"#, "group_size 256")]
#[case::group_text(r#"[{"layer_idx": 0, "bits": 4, "group_size": "64"}]"#, "entry 0.group_size is")]
#[case::unknown_key(r#"[{"layer_idx": 0, "bits": 4, "mode": "nvfp4"}]"#, "does not know: mode")]
#[case::key_twice(r#"[{"layer_idx": 0, "bits": 4, "bits": 8}]"#, "duplicate key")]
#[case::layer_twice(
    r#"[{"layer_idx": 0, "bits": 4}, {"layer_idx": 0, "bits": 8}]"#,
    "entry 1 lists layer_idx 0 a second time"
)]
fn malformed_files_are_refused(#[case] text: &str, #[case] reason: &str) {
    let error = read(text).unwrap_err();
    assert!(error.contains(reason), "{error}");
    assert!(error.contains("kv_config.json"), "{error} names the file");
    assert_eq!(error.lines().count(), 1, "{error}");
}

fn listed(layer: usize, bits: u64, group_size: u64) -> KvQuantization {
    let format = KvFormat::new(bits, group_size).unwrap();
    KvQuantization {
        layers: KvLayers::Listed([(layer, format)].into()),
        ..KvQuantization::default()
    }
}

fn all(bits: u64, group_size: u64) -> KvQuantization {
    let layers = KvLayers::All(KvFormat::new(bits, group_size).unwrap());
    KvQuantization { layers, ..KvQuantization::default() }
}

#[rstest]
#[case(listed(0, 4, 64), "it keeps recurrent state")]
#[case(listed(3, 4, 64), "the model has 3 caches, counted from 0")]
#[case(listed(1_000, 4, 64), "the model has 3 caches")]
#[case(listed(1, 4, 128), "groups of 128 do not divide its head dimension 64")]
#[case(listed(2, 8, 64), "groups of 64 do not divide its head dimension 96")]
#[case(all(8, 64), "layer_idx 2 cannot be quantized: groups of 64")]
fn settings_that_do_not_fit_the_model_are_refused(
    #[case] kv: KvQuantization,
    #[case] reason: &str,
) {
    let error = kv.check(&[None, Some(64), Some(96)]).unwrap_err().to_string();
    assert!(error.contains(reason), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[rstest]
#[case(KvQuantization::default())]
#[case(listed(1, 4, 64))]
#[case(listed(2, 3, 32))]
#[case(all(5, 32))]
fn settings_that_fit_are_taken(#[case] kv: KvQuantization) {
    kv.check(&[None, Some(64), Some(96)]).unwrap();
}
