//! mlx-c declares its 16-bit float accessors only for ARM compilers, but mlx-rs always imports
//! them. Both formats are 16 bits of storage, so the `uint16` accessors serve.

use crate::{mlx_array, mlx_array_data_uint16, mlx_array_item_uint16};

/// IEEE binary16 bits. A newtype because mlx-rs reads field 0.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct float16_t(pub u16);

/// bfloat16 bits.
pub type bfloat16_t = u16;

/// # Safety
/// As for every mlx-c call: `res` is writable and `arr` a live one-element array handle.
pub unsafe fn mlx_array_item_float16(res: *mut float16_t, arr: mlx_array) -> ::std::os::raw::c_int {
    unsafe { mlx_array_item_uint16(res.cast(), arr) }
}

/// # Safety
/// As for every mlx-c call: `res` is writable and `arr` a live one-element array handle.
pub unsafe fn mlx_array_item_bfloat16(
    res: *mut bfloat16_t,
    arr: mlx_array,
) -> ::std::os::raw::c_int {
    unsafe { mlx_array_item_uint16(res, arr) }
}

/// # Safety
/// `arr` must be a live, evaluated array handle; the pointer dies with it.
pub unsafe fn mlx_array_data_float16(arr: mlx_array) -> *const float16_t {
    unsafe { mlx_array_data_uint16(arr).cast() }
}

/// # Safety
/// `arr` must be a live, evaluated array handle; the pointer dies with it.
pub unsafe fn mlx_array_data_bfloat16(arr: mlx_array) -> *const bfloat16_t {
    unsafe { mlx_array_data_uint16(arr) }
}
