//! Operations that `mlx_rs` lacks or wraps in costlier ways.

#![allow(unsafe_code)]

use std::cell::RefCell;

use mlx_rs::{Array, Dtype, Stream, ops};

use crate::{Error, Result};

/// A 0-d array of `dtype`: Python's weak scalar, which takes the other operand's dtype.
///
/// The value goes through `f32` first, as MLX's Python binding converts it.
pub fn scalar(value: f64, dtype: Dtype) -> Result<Array> {
    Ok(Array::from_f32(value as f32).as_dtype(dtype)?)
}

/// [`scalar`] in the dtype of `like`.
pub fn scalar_like(value: f64, like: &Array) -> Result<Array> {
    scalar(value, like.dtype())
}

thread_local! {
    static STREAM: RefCell<Option<Stream>> = const { RefCell::new(None) };
}

/// Runs `f` with this thread's default stream; the handle is made once per thread.
pub(super) fn with_default_stream<T>(f: impl FnOnce(mlx_sys::mlx_stream) -> T) -> T {
    STREAM.with_borrow_mut(|slot| f(slot.get_or_insert_with(Stream::new).as_ptr()))
}

/// Waits until everything dispatched on this thread's default stream is done.
pub fn synchronize() {
    with_default_stream(|s| {
        // SAFETY: a live stream handle. A failure leaves nothing to wait for.
        unsafe { mlx_sys::mlx_synchronize(s) }
    });
}

/// Calls a C function that fills in one array, turning its status into a [`Result`].
///
/// MLX's own message stays with mlx-rs's private handler, so ours names the operation; the callers
/// check shapes first and do not expect failures.
pub(super) fn array_from(
    operation: &str,
    call: impl FnOnce(*mut mlx_sys::mlx_array) -> i32,
) -> Result<Array> {
    // SAFETY: an empty handle; `call` either fills it in or reports failure.
    let mut out = unsafe { mlx_sys::mlx_array_new() };
    let status = call(&raw mut out);
    // SAFETY: the handle is ours alone, filled or empty; `Array` frees it.
    let array = unsafe { Array::from_ptr(out) };
    if status == 0 { Ok(array) } else { Err(Error::Mlx(format!("{operation} failed"))) }
}

/// `a[..., start:stop, :]` along axis -2: `[.., n, d] -> [.., stop - start, d]`.
pub fn slice_rows(a: &Array, start: i32, stop: i32) -> Result<Array> {
    let shape = a.shape();
    let axis = shape.len() - 2;
    let mut from = [0i32; 8];
    let mut to = [0i32; 8];
    to[..shape.len()].copy_from_slice(shape);
    from[axis] = start;
    to[axis] = stop;
    slice(a, &from[..shape.len()], &to[..shape.len()])
}

/// `rows` rows of zeros like those of `like: [.., n, d]`.
pub fn zero_rows(like: &Array, rows: i32) -> Result<Array> {
    let mut shape = like.shape().to_vec();
    let axis = shape.len() - 2;
    shape[axis] = rows;
    Ok(ops::zeros_dtype(&shape, like.dtype())?)
}

/// `a[start:stop]` on every axis, stride 1.
pub fn slice(a: &Array, start: &[i32], stop: &[i32]) -> Result<Array> {
    let strides = [1i32; 8];
    let n = start.len();
    with_default_stream(|s| {
        array_from("slice", |out| {
            // SAFETY: live handles; the three index arrays hold `n` <= 8 values each.
            unsafe {
                mlx_sys::mlx_slice(
                    out,
                    a.as_ptr(),
                    start.as_ptr(),
                    n,
                    stop.as_ptr(),
                    n,
                    strides.as_ptr(),
                    n,
                    s,
                )
            }
        })
    })
}

/// `a[..., start:start+rows, :] = update`, as a new array (in place once evaluated, when `a`'s
/// handle is the last).
pub fn slice_update_rows(a: &Array, update: &Array, start: i32) -> Result<Array> {
    let shape = a.shape();
    let n = shape.len();
    let mut from = [0i32; 8];
    let mut to = [0i32; 8];
    let strides = [1i32; 8];
    to[..n].copy_from_slice(shape);
    from[n - 2] = start;
    to[n - 2] = start + update.dim(-2);
    with_default_stream(|s| {
        array_from("slice_update", |out| {
            // SAFETY: live handles; the three index arrays hold `n` <= 8 values each.
            unsafe {
                mlx_sys::mlx_slice_update(
                    out,
                    a.as_ptr(),
                    update.as_ptr(),
                    from.as_ptr(),
                    n,
                    to.as_ptr(),
                    n,
                    strides.as_ptr(),
                    n,
                    s,
                )
            }
        })
    })
}

/// `x + y` where both already have one dtype.
pub fn add(x: &Array, y: &Array) -> Result<Array> {
    Ok(ops::add(x, y)?)
}

/// `x * sigmoid(x)` (`mlx.nn.silu`).
pub fn silu(x: &Array) -> Result<Array> {
    Ok(ops::multiply(x, ops::sigmoid(x)?)?)
}
