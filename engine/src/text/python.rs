//! Python's spelling of values, where the references print or read them.

mod json;
mod number;
mod text;

pub(super) use json::{Style, write_json_string};
pub(super) use number::float_repr;
pub(super) use text::{is_printable, is_space, str_repr};
