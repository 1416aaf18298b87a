//! Every refusal of a safetensors header and of a directory's layout.

mod weights_support;

use std::{io::Cursor, path::Path, sync::Arc};

use rstest::rstest;
use serde_json::json;
use verbatim_engine::{
    Result, limits,
    weights::{Dtype, ModelDir, TensorInfo, check_header},
};
use weights_support::{Tensor, config, config_with, dir_of, raw_safetensors, safetensors, text};

fn check(file: &[u8]) -> Result<Vec<TensorInfo>> {
    let path: Arc<Path> = Path::new("model.safetensors").into();
    check_header(&mut Cursor::new(file), file.len() as u64, &path)
}

#[test]
fn a_valid_file_is_described_in_order_of_name() {
    let file = safetensors(&[
        Tensor::new("b", Dtype::Bf16, &[2, 3]),
        Tensor::new("a", Dtype::U32, &[]),
        Tensor::new("empty", Dtype::F32, &[0, 4]),
    ]);
    let tensors = check(&file).unwrap();
    let names: Vec<_> = tensors.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "empty"]);
    assert_eq!(tensors[1].shape, [2, 3]);
    assert_eq!(tensors[1].len_bytes(), 12);
    assert_eq!(tensors[0].bytes.end, file.len() as u64);
    assert_eq!(tensors[2].elements(), 0);
}

#[rstest]
#[case(
    r#"{"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,8]}}"#,
    "needs 4 bytes but occupies 8"
)]
#[case(
    r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#,
    "ends at 0, before it begins at 8"
)]
#[case(
    r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
    "tensor a leaves a gap at byte"
)]
#[case(
    r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
    "4 bytes at the end belong to no tensor"
)]
#[case(
    r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}"#,
    "4 bytes are missing at the end"
)]
#[case(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, "tensor b overlaps another tensor")]
#[case(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, "tensor \"a\" appears twice")]
#[case(
    r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"dtype":"F32"}}"#,
    "duplicate field"
)]
#[case(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"stride":[1]}}"#, "unknown field")]
#[case(r#"{"a":{"dtype":"F32","shape":[2]}}"#, "missing field `data_offsets`")]
#[case(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}}"#, "tensor \"a\"")]
#[case(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,9]}}"#, "tensor \"a\"")]
#[case(r#"{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#, "tensor \"a\"")]
#[case(r#"{"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}"#, "tensor \"a\"")]
#[case(
    r#"{"a":{"dtype":"F32","shape":[2147483648],"data_offsets":[0,8]}}"#,
    "MLX stops at 2^31 - 1"
)]
#[case(
    r#"{"a":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,8]}}"#,
    "MLX stops at 2^31 - 1"
)]
#[case(
    r#"{"a":{"dtype":"F32","shape":[2147483647,2147483647,2147483647],"data_offsets":[0,8]}}"#,
    "size overflows"
)]
#[case(
    r#"{"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8]}}"#,
    "9 dimensions; the limit is 8"
)]
#[case(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[18446744073709551608,18446744073709551616]}}"#, "tensor \"a\"")]
#[case(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[18446744073709551600,18446744073709551608]}}"#, "offset that overflows")]
#[case(
    r#"{"a":{"dtype":"F8_E5M2","shape":[8],"data_offsets":[0,8]}}"#,
    "has dtype \"F8_E5M2\"; MLX reads"
)]
#[case(r#"{"a":{"dtype":"f32","shape":[2],"data_offsets":[0,8]}}"#, "has dtype \"f32\"")]
#[case(r#"{"a":{"dtype":4,"shape":[2],"data_offsets":[0,8]}}"#, "tensor \"a\"")]
#[case(r#"{"a":null}"#, "tensor \"a\"")]
#[case(r#"{"":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, "a tensor's name has 0 bytes")]
#[case(r#"{"a\u0000b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, "control character")]
#[case(r#"{"a\u001b[2J":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, "control character")]
#[case(
    r#"{"__metadata__":{"n":1},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
    "malformed"
)]
#[case(
    r#"{"__metadata__":{},"__metadata__":{},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
    "__metadata__ appears twice"
)]
#[case(r#"{"__metadata__":[]}"#, "malformed")]
#[case("{}", "8 bytes at the end belong to no tensor")]
#[case("[]", "does not start with '{'")]
#[case(" {}", "does not start with '{'")]
#[case("", "does not start with '{'")]
#[case("{\"a\":", "malformed")]
#[case("{}{}", "malformed")]
fn a_bad_header_is_refused(#[case] header: &str, #[case] says: &str) {
    let error = check(&raw_safetensors(header.as_bytes(), &[0; 8])).unwrap_err().to_string();
    assert!(error.contains(says), "{error}\nshould contain: {says}");
    assert!(!error.contains('\u{1b}') && !error.contains('\0'), "{error:?}");
}

#[rstest]
#[case(&[], "is 0 bytes long")]
#[case(&[2, 0, 0], "is 3 bytes long")]
#[case(&[2, 0, 0, 0, 0, 0, 0, 0, b'{'], "claims a header of 2 bytes but is only 9 bytes long")]
#[case(&[255; 16], "claims a header of 18446744073709551615 bytes; the limit is")]
#[case(&[0, 0, 0, 0, 0, 0, 0, 128, b'{', b'}'], "claims a header of 9223372036854775808 bytes")]
fn a_bad_length_is_refused(#[case] file: &[u8], #[case] says: &str) {
    let error = check(file).unwrap_err().to_string();
    assert!(error.contains(says), "{error}\nshould contain: {says}");
}

#[test]
fn trailing_spaces_pad_a_header() {
    let header = br#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}       "#;
    assert_eq!(check(&raw_safetensors(header, &[0; 8])).unwrap().len(), 1);
}

#[test]
fn a_long_name_is_refused_without_repeating_it() {
    let name = "n".repeat(limits::MAX_TENSOR_NAME_BYTES + 1);
    let error = check(&safetensors(&[Tensor::new(name, Dtype::U8, &[1])])).unwrap_err().to_string();
    assert!(error.len() < 300 && error.contains("513 bytes"), "{error}");
}

#[test]
fn too_many_tensors_are_refused_while_they_are_counted() {
    let entries: Vec<String> = (0..=limits::MAX_TENSORS)
        .map(|i| format!(r#""{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#))
        .collect();
    let header = format!("{{{}}}", entries.join(","));
    let error = check(&raw_safetensors(header.as_bytes(), &[])).unwrap_err().to_string();
    assert!(error.contains("more than 200000 tensors"), "{error}");
}

#[test]
fn shards_are_merged_and_must_not_repeat_a_tensor() {
    let one = safetensors(&[Tensor::new("a", Dtype::F32, &[1])]);
    let two = safetensors(&[Tensor::new("b", Dtype::F32, &[1])]);
    let config = text(&config());
    let (first, second) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    let dir = dir_of(&[
        ("config.json", &config),
        (first, &one),
        (second, &two),
        // mlx-lm's pattern does not find these, and it never reads the index.
        ("consolidated.safetensors", b"junk"),
        ("model.safetensors.index.json", b"junk"),
        (".model.safetensors", b"junk"),
    ]);
    let opened = ModelDir::open(dir.path()).unwrap();
    assert_eq!(opened.tensors().keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(opened.weight_files().len(), 2);

    weights_support::put(dir.path(), second, &one);
    let error = ModelDir::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("tensor a is also in model-00001-of-00002"), "{error}");
}

#[rstest]
#[case(&[], "has no config.json")]
#[case(&[("config.json", "{\"model_type\": \"llama\"}")], "no model*.safetensors")]
#[case(&[("config.json", "{\"model_type\": \"llama\"}"), ("weights.npz", "")], "weights.npz is MLX's old format")]
#[case(&[("config.json", "{\"model_type\": \"llama\"}"), ("m.gguf", "")], "m.gguf is llama.cpp's format")]
#[case(&[("config.json", "{\"model_type\": \"llama\"}"), ("pytorch_model.bin", "")], "is a pickle, which is never loaded")]
#[case(&[("config.json", "{\"model_type\": \"llama\"}"), ("weights.safetensors", "")], "rename it")]
#[case(&[("config.json", "{\"model_type\": \"llama\"}"), ("model.safetensors.index.json", "{}")], "finish the download")]
#[case(&[("config.json", "{\"model_type\": \"llama\"}"), ("model.safetensors", "")], "is 0 bytes long")]
#[case(&[("config.json", "{}")], "model_type is missing")]
#[case(&[("config.json", "{\"model_type\": 3}")], "model_type is 3")]
#[case(&[("config.json", "{\"model_type\": \"\"}")], "expected a family's name")]
#[case(&[("config.json", "{\"model_type\": \"../x\"}")], "expected a family's name")]
#[case(&[("config.json", "{\"model_type\": \"llama\", \"model_file\": \"m.py\"}")], "Python code of its own")]
#[case(&[("config.json", "{\"model_type\": \"llama\"}"), ("generation_config.json", "{")], "generation_config.json: is not valid JSON")]
#[case(&[("config.json", "{\"model_type\": \"llama\"}"), ("hf_quant_config.json", "[]")], "hf_quant_config.json: holds a list")]
fn a_bad_directory_is_refused(#[case] files: &[(&str, &str)], #[case] says: &str) {
    let dir = dir_of(&[]);
    for (name, content) in files {
        weights_support::put(dir.path(), name, content.as_bytes());
    }
    let error = ModelDir::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains(says), "{error}\nshould contain: {says}");
}

#[test]
fn a_path_that_is_no_directory_is_refused() {
    let dir = dir_of(&[("m.gguf", b"")]);
    let error = ModelDir::open(dir.path().join("m.gguf")).unwrap_err().to_string();
    assert!(error.contains("is not a folder"), "{error}");
    let error = ModelDir::open(dir.path().join("nowhere")).unwrap_err().to_string();
    assert!(error.contains("expected the folder of a downloaded model"), "{error}");
}

#[test]
fn directories_in_the_place_of_files_are_refused() {
    for name in ["config.json", "model.safetensors", "generation_config.json"] {
        let dir = dir_of(&[]);
        if name != "config.json" {
            weights_support::put(dir.path(), "config.json", &text(&config()));
        }
        std::fs::create_dir(dir.path().join(name)).unwrap();
        let error = ModelDir::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("is not a regular file"), "{name}: {error}");
    }
}

#[test]
fn an_oversized_config_is_refused_unread() {
    let dir = dir_of(&[]);
    let file = std::fs::File::create(dir.path().join("config.json")).unwrap();
    file.set_len(limits::MAX_CONFIG_BYTES + 1).unwrap();
    let error = ModelDir::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("larger than the limit of 4194304 bytes"), "{error}");
}

#[test]
fn too_many_weight_files_are_refused() {
    let dir = dir_of(&[("config.json", &text(&config()))]);
    for i in 0..=limits::MAX_WEIGHT_FILES {
        weights_support::put(dir.path(), &format!("model-{i}.safetensors"), b"");
    }
    let error = ModelDir::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("more than 1000 weight files"), "{error}");
}

#[rstest]
#[case(json!([1, 7]), None, &[1, 7])]
#[case(json!(5), None, &[5])]
#[case(json!(null), None, &[])]
#[case(json!([1]), Some(json!({"eos_token_id": [2, 3]})), &[2, 3])]
// Python takes 0 and [] for "not set".
#[case(json!([1]), Some(json!({"eos_token_id": 0})), &[1])]
#[case(json!([1]), Some(json!({"eos_token_id": []})), &[1])]
#[case(json!([1]), Some(json!({"temperature": 0.5})), &[1])]
fn end_tokens_are_merged_as_mlx_lm_does(
    #[case] eos: serde_json::Value,
    #[case] generation: Option<serde_json::Value>,
    #[case] ids: &[u32],
) {
    let weights = safetensors(&[Tensor::new("a", Dtype::F32, &[1])]);
    let config = text(&config_with("eos_token_id", eos));
    let dir = dir_of(&[("config.json", &config), ("model.safetensors", &weights)]);
    if let Some(generation) = generation {
        let generation = serde_json::to_vec(&generation).unwrap();
        weights_support::put(dir.path(), "generation_config.json", &generation);
    }
    assert_eq!(ModelDir::open(dir.path()).unwrap().eos_token_ids().unwrap(), ids);
}

#[rstest]
fn bad_end_tokens_are_refused(
    #[values(json!("</s>"), json!(-1), json!(1u64 << 32), json!([1, null]), json!(1.5), json!({}))]
    eos: serde_json::Value,
) {
    let weights = safetensors(&[Tensor::new("a", Dtype::F32, &[1])]);
    let config = text(&config_with("eos_token_id", eos));
    let dir = dir_of(&[("config.json", &config), ("model.safetensors", &weights)]);
    let error = ModelDir::open(dir.path()).unwrap().eos_token_ids().unwrap_err().to_string();
    assert!(error.contains("eos_token_id is"), "{error}");
}

#[test]
fn quantization_elsewhere_is_found() {
    let weights = safetensors(&[Tensor::new("a", Dtype::F32, &[1])]);
    let nested = text(&config_with(
        "text_config/quantization_config",
        json!({"quant_method": "compressed-tensors"}),
    ));
    let dir = dir_of(&[("config.json", &nested), ("model.safetensors", &weights)]);
    let error = ModelDir::open(dir.path()).unwrap().quantization().unwrap_err().to_string();
    assert!(error.contains("compressed-tensors is a container"), "{error}");

    let dir = dir_of(&[
        ("config.json", &text(&config())),
        ("model.safetensors", &weights),
        ("hf_quant_config.json", br#"{"quantization": {"quant_algo": "NVFP4"}}"#),
    ]);
    let error = ModelDir::open(dir.path()).unwrap().quantization().unwrap_err().to_string();
    assert!(error.contains("ModelOpt"), "{error}");
}
