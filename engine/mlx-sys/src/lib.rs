//! Raw bindings to mlx-c 0.7.0, linked against the libmlx of MLX's official wheel.
//!
//! Takes the place of the published `mlx-sys`, which clones and compiles MLX and links only on
//! Apple systems. Engine and Python oracle so load the very same library file.

#![allow(non_upper_case_globals, non_camel_case_types, non_snake_case, clippy::all, missing_docs)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));

#[cfg(not(target_arch = "aarch64"))]
mod half_types;
#[cfg(not(target_arch = "aarch64"))]
pub use half_types::*;

#[cfg(not(target_vendor = "apple"))]
mod mach_time;
