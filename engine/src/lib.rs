//! Bit-exact inference of a few model families on MLX, without Python.
//!
//! An [`Engine`] owns one OS thread; that thread alone touches MLX, the model, its caches and the
//! random state. Callers hand it a [`GenerateRequest`] and read [`Event`]s; only tokens, text and
//! bytes cross the thread's border.
//!
//! ```no_run
//! use verbatim_engine::{Engine, EngineOptions, Event, GenerateRequest};
//!
//! let engine = Engine::load(EngineOptions::new("path/to/model"))?;
//! let prompt = engine.tokenizer().encode("The capital of France is", true)?;
//! let mut generation = engine.submit(GenerateRequest::new(prompt, 32))?;
//! while let Some(event) = generation.next_blocking() {
//!     if let Event::Token(token) = event {
//!         for piece in token.pieces {
//!             // … show piece.text
//!         }
//!     }
//! }
//! # Ok::<(), verbatim_engine::Error>(())
//! ```
//!
//! With bf16 key-value caches the tokens and logits equal those of mlx-lm 0.32.2 bit for bit.

pub mod adapter;
mod cache;
pub mod constrain;
mod engine;
mod error;
mod generate;
#[doc(hidden)]
pub mod internals;
pub mod kv;
pub mod limits;
pub mod memory;
mod mlx;
mod models;
mod nn;
mod prompt_cache;
pub mod quantize;
mod request;
mod scheduler;
pub mod text;
pub mod weights;

pub use engine::{
    CacheHealth, DiskHealth, Engine, EngineOptions, Generation, Health, ModelInfo, WorkerState,
};
pub use error::{Error, Result};
#[doc(hidden)]
pub use generate::{Draw, draw_rows, process_row};
pub use mlx::{exit_at_once, map_large_buffers, mlx_version};
#[doc(hidden)]
pub use models::Mutation;
pub use request::{
    Capture, Conversion, Detour, Event, FinishReason, Finished, GenerateRequest, KvUse,
    NamedTensor, Past, Piece, Routing, Sampling, Stats, TokenEvent, TokenLogprob,
};
