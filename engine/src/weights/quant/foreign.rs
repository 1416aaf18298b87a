//! `quantization_config` as other tools write it: what has an MLX meaning, and why the rest has not.

use super::{Fields, ModuleQuantization, QuantMode, QuantizationSpec};
use crate::{Error, Result};

/// Reads a configuration whose `quant_method` is `method`.
pub(super) fn read(fields: &Fields<'_>, method: &str) -> Result<QuantizationSpec> {
    let mode = match method {
        "mxfp4" => QuantMode::Mxfp4,
        "mxfp8" => QuantMode::Mxfp8,
        "fp8" if is_mxfp8(fields) => QuantMode::Mxfp8,
        other => return Err(refusal(fields, other)),
    };
    let (group_size, bits) = mode.defaults();
    Ok(QuantizationSpec::uniform(ModuleQuantization { mode, bits, group_size }))
}

/// Power-of-two scales over 32 × 32 blocks are what MLX calls mxfp8.
fn is_mxfp8(fields: &Fields<'_>) -> bool {
    let blocks = fields.raw("weight_block_size").and_then(|v| v.as_array());
    fields.raw("scale_fmt").and_then(|v| v.as_str()) == Some("ue8m0")
        && blocks.is_some_and(|b| b.len() == 2 && b.iter().all(|v| v.as_u64() == Some(32)))
}

fn refusal(fields: &Fields<'_>, method: &str) -> Error {
    let reason = match method {
        "gptq" | "awq" => "packs weights in another order than MLX",
        "compressed-tensors" => "is a container whose packed formats are not read here",
        "fp8" => "scales 8-bit floats in blocks that MLX has no kernel for",
        "bitnet" => "stores ternary weights that need layers of their own",
        "modelopt" => "is NVIDIA ModelOpt's export, which is not read here",
        "bitsandbytes" => "is a run-time format of another library",
        _ => "is not a format of MLX",
    };
    let expected = format!(
        "MLX's own layout: {method:.40} {reason}; convert the original model with \
         `mlx_lm.convert -q`, or use its unquantized weights"
    );
    fields.wrong("quant_method", &method.into(), &expected)
}
