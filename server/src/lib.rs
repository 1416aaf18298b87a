//! The `verbatim` command: an HTTP server and a command line over
//! [`verbatim_engine`].
//!
//! A request passes [`guard`], is parsed by its protocol in [`wire`] to a [`core::Request`], runs as
//! [`core::Running`], and its [`core::Event`]s become the protocol's JSON again. [`accept`] owns the
//! connections, [`limits`] every bound.

pub mod accept;
pub mod adapters;
pub mod cli;
pub mod core;
pub mod error;
pub mod generate;
pub mod guard;
pub mod health;
pub mod http;
pub mod hub;
pub mod keys;
pub mod limits;
pub mod logging;
pub mod metrics;
pub mod openapi;
pub mod origin;
pub mod routes;
pub mod sse;
pub mod state;
pub mod version;
pub mod vocabulary;
pub mod wire;
