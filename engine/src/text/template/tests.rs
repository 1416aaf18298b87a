//! Jinja2's tests where minijinja's differ (`jinja2/tests.py`).

use minijinja::{Environment, Value, value::ValueKind};

use super::strings;

pub(super) fn register(env: &mut Environment<'static>) {
    env.add_test("sequence", is_sequence);
    env.add_test("iterable", is_iterable);
    env.add_test("integer", |v: &Value| v.kind() == ValueKind::Number && v.is_integer());
    env.add_test("float", |v: &Value| v.kind() == ValueKind::Number && !v.is_integer());
    env.add_test("true", |v: &Value| v.kind() == ValueKind::Bool && v.is_true());
    env.add_test("false", |v: &Value| v.kind() == ValueKind::Bool && !v.is_true());
    env.add_test("lower", |v: &Value| strings::is_lower(&v.to_string()));
    env.add_test("upper", |v: &Value| strings::is_upper(&v.to_string()));
    env.add_test("callable", |v: &Value| matches!(v.kind(), ValueKind::Plain) && !v.is_undefined());
    env.add_test("escaped", |_: &Value| false);
}

/// Has a length and items by index: strings and mappings do.
fn is_sequence(value: &Value) -> bool {
    match value.kind() {
        ValueKind::Undefined | ValueKind::String | ValueKind::Seq | ValueKind::Map => true,
        ValueKind::Iterable => value.len().is_some(),
        _ => false,
    }
}

fn is_iterable(value: &Value) -> bool {
    match value.kind() {
        ValueKind::None | ValueKind::Bool | ValueKind::Number => false,
        ValueKind::Plain => value.as_object().is_some_and(|o| o.try_iter().is_some()),
        _ => true,
    }
}
