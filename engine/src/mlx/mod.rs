//! The one place that speaks to MLX's C interface; everything else uses safe `mlx_rs` or this.

pub mod ops;
mod process;
pub mod quantized;
mod version;

pub use mlx_rs::{Array, Dtype};
pub use process::{exit_at_once, map_large_buffers};
pub use version::mlx_version;

use mlx_rs::{Device, DeviceType};

use crate::{Error, NamedTensor, Result};

/// Copies an evaluated or lazy array's values out as row-major little-endian bytes.
pub fn to_named_tensor(name: impl Into<String>, array: &Array) -> Result<NamedTensor> {
    let (dtype, data) = to_bytes(array)?;
    let shape = array.shape().iter().map(|&d| d as usize).collect();
    Ok(NamedTensor { name: name.into(), dtype: dtype.to_owned(), shape, data })
}

/// Safetensors' name of a dtype.
pub fn dtype_name(dtype: Dtype) -> Result<&'static str> {
    Ok(match dtype {
        Dtype::Bool => "BOOL",
        Dtype::Uint8 => "U8",
        Dtype::Uint16 => "U16",
        Dtype::Uint32 => "U32",
        Dtype::Uint64 => "U64",
        Dtype::Int8 => "I8",
        Dtype::Int16 => "I16",
        Dtype::Int32 => "I32",
        Dtype::Int64 => "I64",
        Dtype::Float16 => "F16",
        Dtype::Bfloat16 => "BF16",
        Dtype::Float32 => "F32",
        other => return Err(Error::Mlx(format!("no file format holds {other:?}"))),
    })
}

/// A float array of row-major little-endian `bytes`; `dtype` is safetensors' name.
pub fn from_bytes(dtype: &str, shape: &[usize], bytes: &[u8]) -> Result<Array> {
    match dtype {
        "BF16" | "F16" | "F32" => state_from_bytes(dtype, shape, bytes),
        other => Err(Error::Mlx(format!("{other} is no float dtype"))),
    }
}

/// The dtypes that caches consist of, by safetensors' names.
fn state_dtype(name: &str) -> Option<Dtype> {
    Some(match name {
        "BF16" => Dtype::Bfloat16,
        "F16" => Dtype::Float16,
        "F32" => Dtype::Float32,
        "U32" => Dtype::Uint32,
        "I32" => Dtype::Int32,
        _ => return None,
    })
}

/// Bytes of a value of a dtype that caches consist of, by safetensors' name.
pub fn state_width(dtype: &str) -> Option<usize> {
    state_dtype(dtype).map(|dtype| match dtype {
        Dtype::Bfloat16 | Dtype::Float16 => 2,
        _ => 4,
    })
}

/// An array of row-major little-endian `bytes` whose dtype is one that caches consist of; `dtype` is
/// safetensors' name.
pub fn state_from_bytes(dtype: &str, shape: &[usize], bytes: &[u8]) -> Result<Array> {
    let unknown = || Error::Mlx(format!("{dtype} is no dtype of a cache"));
    let width = state_width(dtype).ok_or_else(unknown)?;
    let dtype = state_dtype(dtype).ok_or_else(unknown)?;
    let dims: Option<Vec<i32>> = shape.iter().map(|&n| i32::try_from(n).ok()).collect();
    let fits = i32::try_from(bytes.len()).is_ok()
        && shape.iter().try_fold(width, |all, &n| n.checked_mul(all)) == Some(bytes.len());
    match dims.filter(|_| fits) {
        Some(dims) if bytes.is_empty() => Ok(mlx_rs::ops::zeros_dtype(&dims, dtype)?),
        Some(dims) => {
            let flat = Array::from_slice(bytes, &[(bytes.len() / width) as i32, width as i32]);
            Ok(flat.view_dtype(dtype)?.reshape(&dims)?)
        }
        None => Err(Error::Mlx(format!("{} bytes do not make a {shape:?} array", bytes.len()))),
    }
}

/// An evaluated or lazy array's row-major little-endian bytes, as an array of them.
pub fn as_bytes(array: &Array) -> Result<Array> {
    Ok(array.reshape(&[-1])?.view_dtype(Dtype::Uint8)?)
}

/// Values `from..to` of what [`as_bytes`] gave.
pub fn bytes_between(bytes: &Array, from: usize, to: usize) -> Result<Vec<u8>> {
    values::<u8>(&ops::slice(bytes, &[from as i32], &[to as i32])?)
}

/// Row-major little-endian bytes of any array, with its dtype's name.
fn to_bytes(array: &Array) -> Result<(&'static str, Vec<u8>)> {
    let name = dtype_name(array.dtype())?;
    // A view as unsigned integers of the same width moves bits only; flattening makes it row-major.
    let flat = array.reshape(&[-1])?;
    let data = match array.dtype() {
        Dtype::Float16 | Dtype::Bfloat16 | Dtype::Uint16 | Dtype::Int16 => {
            values::<u16>(&flat.view::<u16>()?)?.into_iter().flat_map(u16::to_le_bytes).collect()
        }
        Dtype::Float32 | Dtype::Uint32 | Dtype::Int32 => {
            values::<u32>(&flat.view::<u32>()?)?.into_iter().flat_map(u32::to_le_bytes).collect()
        }
        Dtype::Uint64 | Dtype::Int64 => {
            values::<u64>(&flat.view::<u64>()?)?.into_iter().flat_map(u64::to_le_bytes).collect()
        }
        _ => values::<u8>(&flat.view::<u8>()?)?,
    };
    Ok((name, data))
}

fn values<T: mlx_rs::ArrayElement + Clone>(array: &Array) -> Result<Vec<T>> {
    array.to_vec_exact::<T>().map_err(|e| Error::Mlx(e.to_string()))
}

/// Whether computations run on MLX's CPU backend, which lacks some kernels.
pub fn runs_on_cpu() -> Result<bool> {
    Ok(matches!(Device::try_default()?.get_type()?, DeviceType::Cpu))
}

/// Whether computations run on MLX's Metal backend, which has kernels of its own.
pub fn runs_on_metal() -> Result<bool> {
    Ok(cfg!(target_os = "macos") && !runs_on_cpu()?)
}

/// Values of an integer or float array as `f32`, row-major.
pub fn to_f32(array: &Array) -> Result<Vec<f32>> {
    values::<f32>(&array.as_dtype(Dtype::Float32)?)
}

/// Values of an array as `u32`, row-major.
pub fn to_u32(array: &Array) -> Result<Vec<u32>> {
    values::<u32>(&array.as_dtype(Dtype::Uint32)?)
}
