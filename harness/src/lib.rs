//! Holds the engine against the reference: cases, tiny models made from numbers, golden traces,
//! and (feature `replay`) the comparison and its reports. Nothing here needs Python.
//!
//! A [`case::Case`] is data. The oracle runs it through mlx-lm and writes a [`golden::Golden`]; the
//! harness runs it through the engine and compares bits. Both build the same model with [`maker`].

pub mod case;
pub mod compare;
mod digest;
mod error;
pub mod files;
#[cfg(feature = "replay")]
pub mod fit;
pub mod fuzz;
pub mod golden;
#[cfg(feature = "replay")]
pub mod l3;
pub mod maker;
pub mod plan;
pub mod readme;
#[cfg(feature = "replay")]
pub mod replay;
#[cfg(feature = "replay")]
pub mod report;
#[cfg(feature = "replay")]
pub mod selftest;
pub mod tensor;

pub use digest::{canonical_json, hex, sha256};
pub use error::{Error, Result};
