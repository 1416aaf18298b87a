//! Python's spelling of values, where the references print or read them.

mod json;
mod literal;
mod loads;
mod number;
mod redump;
mod text;
mod value;

pub(super) use json::{Style, write_json_char, write_json_string};
pub(super) use literal::{LiteralError, literal_eval};
pub(super) use loads::json_loads;
pub(crate) use number::float_repr;
pub(super) use redump::{Reading, Redump};
pub(super) use text::{is_printable, is_space, str_repr};
pub(super) use value::{Dict, PyValue, parse_float, parse_int};
