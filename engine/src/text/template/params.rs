//! Arguments of a call, bound to parameters as Python binds them.

use minijinja::{
    Error, ErrorKind, Value,
    value::{Kwargs, ValueKind, from_args},
};

/// Arguments not bound yet.
pub(super) struct Params<'a> {
    positional: std::slice::Iter<'a, Value>,
    named: Kwargs,
}

impl<'a> Params<'a> {
    pub fn new(args: &'a [Value]) -> Result<Self, Error> {
        let (positional, named): (&[Value], Kwargs) = from_args(args)?;
        Ok(Self { positional: positional.iter(), named })
    }

    /// The next parameter, if it was given and is not undefined.
    pub fn value(&mut self, name: &str) -> Result<Option<Value>, Error> {
        let value = match self.positional.next() {
            Some(value) => Some(value.clone()),
            None if self.named.has(name) => Some(self.named.get::<Value>(name)?),
            None => None,
        };
        Ok(value.filter(|v| !v.is_undefined()))
    }

    /// The same, where `None` counts as not given.
    fn given(&mut self, name: &str) -> Result<Option<Value>, Error> {
        Ok(self.value(name)?.filter(|v| !v.is_none()))
    }

    /// A string that may be left out.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Error> {
        let Some(value) = self.given(name)? else { return Ok(None) };
        match value.as_str() {
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(type_error(name, "a string", &value)),
        }
    }

    /// A string that must be there.
    pub fn required_text(&mut self, name: &str) -> Result<String, Error> {
        self.text(name)?.ok_or_else(|| Error::new(ErrorKind::MissingArgument, name.to_owned()))
    }

    /// A value that must be there.
    pub fn required(&mut self, name: &str) -> Result<Value, Error> {
        self.value(name)?.ok_or_else(|| Error::new(ErrorKind::MissingArgument, name.to_owned()))
    }

    /// An integer that may be left out.
    pub fn int(&mut self, name: &str) -> Result<Option<i64>, Error> {
        let Some(value) = self.given(name)? else { return Ok(None) };
        match i64::try_from(value.clone()) {
            Ok(number) if value.kind() != ValueKind::String => Ok(Some(number)),
            _ => Err(type_error(name, "an integer", &value)),
        }
    }

    /// Anything true.
    pub fn flag(&mut self, name: &str) -> Result<Option<bool>, Error> {
        Ok(self.value(name)?.map(|v| v.is_true()))
    }

    /// Refuses arguments that no parameter took.
    pub fn done(self) -> Result<(), Error> {
        if self.positional.len() > 0 {
            return Err(Error::from(ErrorKind::TooManyArguments));
        }
        self.named.assert_all_used()
    }
}

fn type_error(name: &str, expected: &str, value: &Value) -> Error {
    let message = format!("`{name}` must be {expected}, not {}", value.kind());
    Error::new(ErrorKind::InvalidOperation, message)
}
