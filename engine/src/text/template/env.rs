//! minijinja set up to behave as transformers' Jinja2 environment.

use std::borrow::Cow;

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value, functions,
    syntax::SyntaxConfig,
    value::{Kwargs, Rest, ValueOrKwargs},
};
use minijinja_contrib::globals;

use super::{filters, methods, operators, rewrite, tests, time, value::to_str};
use crate::{Result, limits};

/// An environment without templates.
pub(super) fn environment() -> Result<Environment<'static>> {
    let mut env = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    env.set_syntax(syntax.map_err(|e| message(&e))?);
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_undefined_behavior(UndefinedBehavior::Lenient);
    env.set_fuel(Some(limits::TEMPLATE_FUEL));
    env.set_recursion_limit(limits::TEMPLATE_RECURSION);
    env.set_formatter(print);
    env.set_unknown_method_callback(methods::call);
    filters::register(&mut env);
    tests::register(&mut env);
    env.add_function("raise_exception", raise_exception);
    env.add_function("strftime_now", |format: Cow<'_, str>| time::strftime_now(&format));
    env.add_function("cycler", |items: Rest<Value>| globals::cycler(items.to_vec()));
    env.add_function("joiner", globals::joiner);
    env.add_function(operators::MOD, operators::modulo);
    env.add_function("namespace", namespace);
    env.add_function(rewrite::GENERATION, |state: &mut State, kwargs: Kwargs| {
        kwargs.get::<Value>("caller")?.call(state, &[])
    });
    Ok(env)
}

/// `namespace(mapping, **more)`.
#[allow(clippy::needless_pass_by_value)] // minijinja calls functions with owned arguments.
fn namespace(args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let mut pairs = Vec::new();
    for source in args.iter() {
        for key in source.try_iter()?.checked() {
            let key = key?;
            let value = source.get_item(&key)?;
            pairs.push((key, value));
        }
    }
    functions::namespace(Some(Value::from_pairs(pairs).into()))
}

/// What `raise_exception` was called with.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

fn raise_exception(state: &mut State, message: &Value) -> Result<Value, Error> {
    let raised = Raised(to_str(state, message)?);
    Err(Error::new(ErrorKind::InvalidOperation, "raised by the template").with_source(raised))
}

/// `{{ value }}`.
fn print(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    match value.as_str() {
        Some(text) => out.write_str(text)?,
        None => out.write_str(&to_str(state, value)?)?,
    }
    Ok(())
}

/// The engine's error for one of minijinja's: the template's own words where it raised it.
pub(super) fn message(error: &Error) -> crate::Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(raised) = current.downcast_ref::<Raised>() {
            return crate::Error::Template(raised.0.clone());
        }
        cause = current.source();
    }
    let mut text = match error.kind() {
        ErrorKind::OutOfFuel => "it takes too many steps to render".to_owned(),
        ErrorKind::WriteFailure => {
            format!("the prompt is longer than the allowed {} bytes", limits::MAX_RENDERED_BYTES)
        }
        kind => match error.detail() {
            Some(detail) => format!("{kind}: {detail}"),
            None => kind.to_string(),
        },
    };
    if let Some(line) = error.line() {
        text = format!("{text} (line {line})");
    }
    crate::Error::Template(text)
}
