//! Packed weights in every quantization mode; `mlx_rs` wraps the affine one only.

#![allow(unsafe_code)]

use std::ffi::CStr;

use mlx_rs::Array;

use super::ops::{array_from, with_default_stream};
use crate::{
    Error, Result,
    weights::{ModuleQuantization, QuantMode},
};

/// A packed weight and what unpacks it.
#[derive(Debug, Clone, Copy)]
pub struct Packed<'a> {
    /// `[.., out, in * bits / 32]` u32.
    pub weight: &'a Array,
    /// `[.., out, in / group_size]`.
    pub scales: &'a Array,
    /// `[.., out, in / group_size]`, in affine mode.
    pub biases: Option<&'a Array>,
    /// Group size, bits and mode.
    pub spec: ModuleQuantization,
}

impl Packed<'_> {
    /// `x Wᵀ`.
    pub fn matmul(&self, x: &Array) -> Result<Array> {
        self.product(x, true)
    }

    /// `x W`.
    pub fn matmul_untransposed(&self, x: &Array) -> Result<Array> {
        self.product(x, false)
    }

    fn product(&self, x: &Array, transpose: bool) -> Result<Array> {
        with_default_stream(|s| {
            array_from("quantized_matmul", |out| {
                // SAFETY: live handles, or an empty one where MLX takes none; a static mode name.
                unsafe {
                    mlx_sys::mlx_quantized_matmul(
                        out,
                        x.as_ptr(),
                        self.weight.as_ptr(),
                        self.scales.as_ptr(),
                        optional(self.biases),
                        transpose,
                        some(self.spec.group_size),
                        some(self.spec.bits as usize),
                        mode_name(self.spec.mode).as_ptr(),
                        s,
                    )
                }
            })
        })
    }

    /// `x Wₑᵀ` with the matrix `e` that `indices` names per row of `x`.
    pub fn gather_matmul(&self, x: &Array, indices: &Array, sorted: bool) -> Result<Array> {
        with_default_stream(|s| {
            array_from("gather_qmm", |out| {
                // SAFETY: live handles, or an empty one where MLX takes none; a static mode name.
                unsafe {
                    mlx_sys::mlx_gather_qmm(
                        out,
                        x.as_ptr(),
                        self.weight.as_ptr(),
                        self.scales.as_ptr(),
                        optional(self.biases),
                        optional(None),
                        indices.as_ptr(),
                        true,
                        some(self.spec.group_size),
                        some(self.spec.bits as usize),
                        mode_name(self.spec.mode).as_ptr(),
                        sorted,
                        s,
                    )
                }
            })
        })
    }

    /// The unpacked weight, in the scales' dtype or, where those are bytes, in bf16.
    pub fn unpack(&self) -> Result<Array> {
        with_default_stream(|s| {
            array_from("dequantize", |out| {
                // SAFETY: live handles, or an empty one where MLX takes none; a static mode name.
                unsafe {
                    mlx_sys::mlx_dequantize(
                        out,
                        self.weight.as_ptr(),
                        self.scales.as_ptr(),
                        optional(self.biases),
                        some(self.spec.group_size),
                        some(self.spec.bits as usize),
                        mode_name(self.spec.mode).as_ptr(),
                        optional(None),
                        mlx_sys::mlx_optional_dtype { value: 0, has_value: false },
                        s,
                    )
                }
            })
        })
    }
}

/// Packs `weight: [.., out, in]` as `spec` says: weight, scales and, in affine mode, biases.
pub fn pack(weight: &Array, spec: ModuleQuantization) -> Result<Vec<Array>> {
    // SAFETY: an empty vector, freed below.
    let mut parts = unsafe { mlx_sys::mlx_vector_array_new() };
    let status = with_default_stream(|s| {
        // SAFETY: live handles, or an empty one where MLX takes none; a static mode name.
        unsafe {
            mlx_sys::mlx_quantize(
                &raw mut parts,
                weight.as_ptr(),
                some(spec.group_size),
                some(spec.bits as usize),
                mode_name(spec.mode).as_ptr(),
                optional(None),
                s,
            )
        }
    });
    // SAFETY: the vector is live; after a failure it is empty.
    let count = if status == 0 { unsafe { mlx_sys::mlx_vector_array_size(parts) } } else { 0 };
    let packed = (0..count).map(|i| {
        // SAFETY: `i` is below the vector's size.
        array_from("quantize", |out| unsafe { mlx_sys::mlx_vector_array_get(out, parts, i) })
    });
    let packed = packed.collect::<Result<Vec<_>>>();
    // SAFETY: ours alone; the arrays taken from it hold references of their own.
    unsafe { mlx_sys::mlx_vector_array_free(parts) };
    let packed = packed?;
    if packed.len() == if spec.has_biases() { 3 } else { 2 } {
        return Ok(packed);
    }
    Err(Error::Mlx("quantize failed".into()))
}

fn mode_name(mode: QuantMode) -> &'static CStr {
    match mode {
        QuantMode::Affine => c"affine",
        QuantMode::Mxfp4 => c"mxfp4",
        QuantMode::Mxfp8 => c"mxfp8",
        QuantMode::Nvfp4 => c"nvfp4",
    }
}

fn some(value: usize) -> mlx_sys::mlx_optional_int {
    mlx_sys::mlx_optional_int { value: value as i32, has_value: true }
}

fn optional(array: Option<&Array>) -> mlx_sys::mlx_array {
    // SAFETY: an empty handle owns nothing.
    array.map_or_else(|| unsafe { mlx_sys::mlx_array_new() }, Array::as_ptr)
}
