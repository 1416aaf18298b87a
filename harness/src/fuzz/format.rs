//! Weights formats.

use super::Draw;
use crate::case::{Affine, Case, Dtype, KvMode, Layout, ModelSpec, Quantization};

/// Dtype and quantization.
pub(super) fn draw(draw: &mut Draw) -> (Dtype, Option<Quantization>) {
    let dtype = draw.pick(&[Dtype::Bf16, Dtype::Bf16, Dtype::F32, Dtype::F16]);
    let quantization = match draw.between(0, 9) {
        0..=4 => None,
        5..=7 => Some(Quantization::Uniform(Affine {
            bits: draw.pick(&[2, 3, 4, 4, 5, 6, 8, 8]),
            group_size: draw.pick(&[32, 64, 128]),
            mode: "affine".into(),
        })),
        8 => {
            let (mode, bits, group_size) =
                draw.pick(&[("mxfp4", 4, 32), ("mxfp8", 8, 32), ("nvfp4", 4, 16)]);
            Some(Quantization::Uniform(Affine { bits, group_size, mode: mode.into() }))
        }
        _ => Some(Quantization::Recipe {
            name: draw.pick(&["mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6"]).into(),
            group_size: draw.pick(&[None, Some(32), Some(64)]),
        }),
    };
    (dtype, quantization)
}

pub(super) fn layout(draw: &mut Draw) -> Layout {
    draw.pick(&[Layout::Hf, Layout::Mlx])
}

/// Column of the matrix that a case belongs to.
pub(super) fn column(case: &Case) -> &'static str {
    match &case.kv {
        KvMode::Bf16 => weights_column(&case.model),
        KvMode::Uniform(_) => "kv-uniform",
        KvMode::Seq(_) => "kv-seq",
        KvMode::Fused(_) => "kv-fused",
    }
}

fn weights_column(model: &ModelSpec) -> &'static str {
    use crate::case::ModelSource;
    match (&model.quantization, &model.source) {
        (Some(Quantization::Uniform(Affine { mode, .. })), _) if mode != "affine" => "mx",
        (Some(Quantization::Uniform(Affine { bits: 4, .. })), _) => "q4",
        (Some(Quantization::Uniform(Affine { bits: 8, .. })), _) => "q8",
        (Some(Quantization::Uniform(_)), _) => "q-other",
        (Some(_), _) => "mixed",
        (None, ModelSource::Made(made)) => match made.dtype {
            Dtype::Bf16 => "bf16",
            Dtype::F16 => "f16",
            Dtype::F32 => "f32",
        },
        (None, ModelSource::Directory(_)) => "bf16",
    }
}
