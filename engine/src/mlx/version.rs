//! The version of the linked library.
#![allow(unsafe_code)]

use std::ffi::CStr;

/// Version of the MLX library in use, e.g. `0.32.2`.
pub fn mlx_version() -> String {
    // SAFETY: the string is made, filled, read and freed here, in this order; MLX fills it with a
    // NUL-terminated text or leaves it null, which is checked.
    unsafe {
        let mut text = mlx_sys::mlx_string_new();
        let status = mlx_sys::mlx_version(&raw mut text);
        let data = mlx_sys::mlx_string_data(text);
        let version = if status == 0 && !data.is_null() {
            CStr::from_ptr(data).to_string_lossy().into_owned()
        } else {
            "unknown".to_owned()
        };
        mlx_sys::mlx_string_free(text);
        version
    }
}
