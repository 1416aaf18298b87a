//! What operators rely on: keys, metrics, logs, the configuration file, the API's description.

#[path = "../common/mod.rs"]
mod common;
mod keys;
mod metrics;
mod openapi;
