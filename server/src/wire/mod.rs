//! The protocols: each translates its JSON to a [`core::Request`](crate::core::Request) and
//! [`core::Event`](crate::core::Event)s back to its JSON.

pub mod adapters;
pub mod anthropic;
pub mod fields;
pub mod openai;
pub mod protocol;
pub mod responses;
pub mod strict;
