//! Methods of Python's `str`, `dict` and `list`. Those that change an object are refused, as in
//! the reference's sandbox.

use minijinja::{
    Error, ErrorKind, State, Value,
    formatting::{FormatStyle, format},
    value::{Tuple, ValueKind},
};

use super::{
    params::Params,
    strings,
    value::{charge, to_str},
};
use crate::text::python::{is_printable, is_space};

/// Entry point for minijinja: a method it does not know itself.
pub(super) fn call(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::String => string(state, value.as_str().unwrap_or_default(), method, args),
        ValueKind::Map => dict(value, method, args),
        ValueKind::Seq | ValueKind::Iterable => list(value, method, args),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn dict(value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let mut params = Params::new(args)?;
    if method == "get" {
        let key = params.required("key")?;
        let default = params.value("default")?;
        params.done()?;
        let object = value.as_object().and_then(|o| o.get_value(&key));
        return Ok(object.or(default).unwrap_or_else(|| Value::from(())));
    }
    if !matches!(method, "keys" | "values" | "items" | "copy") {
        return Err(Error::from(ErrorKind::UnknownMethod));
    }
    params.done()?;
    if method == "copy" {
        return Ok(value.clone());
    }
    let mut out = Vec::new();
    for key in value.try_iter()?.checked() {
        let key = key?;
        out.push(match method {
            "keys" => key,
            "values" => value.get_item(&key)?,
            _ => {
                let item = value.get_item(&key)?;
                Value::from(Tuple::from([key, item]))
            }
        });
    }
    Ok(Value::from(out))
}

fn list(value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let mut params = Params::new(args)?;
    match method {
        "copy" => params.done().map(|()| value.clone()),
        "count" | "index" => {
            let wanted = params.required("value")?;
            params.done()?;
            let mut count = 0;
            for (i, item) in value.try_iter()?.checked().enumerate() {
                if item? == wanted {
                    if method == "index" {
                        return Ok(Value::from(i));
                    }
                    count += 1;
                }
            }
            if method == "index" {
                return Err(Error::new(ErrorKind::InvalidOperation, "value is not in list"));
            }
            Ok(Value::from(count))
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn string(state: &State, s: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let tested = match method {
        "isalnum" => Some(all(s, char::is_alphanumeric)),
        "isalpha" => Some(all(s, char::is_alphabetic)),
        "isascii" => Some(s.is_ascii()),
        "isdecimal" | "isdigit" | "isnumeric" => Some(all(s, char::is_numeric)),
        "isidentifier" => Some(strings::is_identifier(s)),
        "islower" => Some(strings::is_lower(s)),
        "isprintable" => Some(s.chars().all(is_printable)),
        "isspace" => Some(all(s, is_space)),
        "istitle" => Some(strings::is_title(s)),
        "isupper" => Some(strings::is_upper(s)),
        _ => None,
    };
    let changed = match method {
        "capitalize" => Some(strings::capitalize(s)),
        "casefold" | "lower" => Some(s.to_lowercase()),
        "swapcase" => Some(strings::swap_case(s)),
        "title" => Some(strings::title(s)),
        "upper" => Some(s.to_uppercase()),
        _ => None,
    };
    if tested.is_some() || changed.is_some() {
        Params::new(args)?.done()?;
        return Ok(tested.map_or_else(|| Value::from(changed), Value::from));
    }
    match method {
        "format" => {
            strings::check_format(s)?;
            return format(FormatStyle::StrFormat, s, args).map(Value::from);
        }
        "join" => return join(state, s, args),
        _ => {}
    }
    let params = Params::new(args)?;
    match method {
        "count" | "find" | "rfind" | "index" | "rindex" => search(s, method, params),
        "startswith" | "endswith" => affix(s, method == "startswith", params),
        "removeprefix" | "removesuffix" => remove_affix(s, method == "removeprefix", params),
        "strip" | "lstrip" | "rstrip" => strip(s, method, params),
        "split" | "rsplit" => split(s, method == "rsplit", params),
        "splitlines" => split_lines(s, params),
        "partition" | "rpartition" => partition(s, method == "rpartition", params),
        "replace" => replace(state, s, params),
        "center" | "ljust" | "rjust" => justify(state, s, method, params),
        "zfill" => zero_fill(state, s, params),
        "expandtabs" => expand_tabs(state, s, params),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn all(s: &str, test: impl Fn(char) -> bool) -> bool {
    !s.is_empty() && s.chars().all(test)
}

fn join(state: &State, separator: &str, args: &[Value]) -> Result<Value, Error> {
    let mut params = Params::new(args)?;
    let items = params.required("iterable")?;
    params.done()?;
    let mut out = String::new();
    for (i, item) in items.try_iter()?.checked().enumerate() {
        let item = item?;
        let text = item.as_str().ok_or_else(|| {
            let message = format!("sequence item {i}: expected str, {} found", item.kind());
            Error::new(ErrorKind::InvalidOperation, message)
        })?;
        charge(state, separator.len() + text.len())?;
        if i > 0 {
            out.push_str(separator);
        }
        out.push_str(text);
    }
    Ok(Value::from(out))
}

fn search(s: &str, method: &str, mut params: Params) -> Result<Value, Error> {
    let wanted = params.required_text("sub")?;
    let (offset, part) = strings::range(s, params.int("start")?, params.int("end")?);
    params.done()?;
    let Some(part) = part else {
        return if method == "count" { Ok(Value::from(0)) } else { not_found(method) };
    };
    if method == "count" {
        let gaps = if wanted.is_empty() { part.chars().count() + 1 } else { 0 };
        return Ok(Value::from(gaps.max(part.matches(wanted.as_str()).count())));
    }
    let found = match method.strip_prefix('r') {
        Some(_) => part.rfind(&wanted),
        None => part.find(&wanted),
    };
    match found {
        Some(at) => Ok(Value::from(offset + part[..at].chars().count())),
        None => not_found(method),
    }
}

fn not_found(method: &str) -> Result<Value, Error> {
    if method.ends_with("index") {
        return Err(Error::new(ErrorKind::InvalidOperation, "substring not found"));
    }
    Ok(Value::from(-1))
}

fn affix(s: &str, start: bool, mut params: Params) -> Result<Value, Error> {
    let wanted = params.required("prefix")?;
    let (_, part) = strings::range(s, params.int("start")?, params.int("end")?);
    params.done()?;
    let Some(part) = part else { return Ok(Value::from(false)) };
    let matches = |value: &Value| {
        if let Some(text) = value.as_str() {
            Ok(if start { part.starts_with(text) } else { part.ends_with(text) })
        } else {
            let message = format!("expected a string or a tuple of strings, not {}", value.kind());
            Err(Error::new(ErrorKind::InvalidOperation, message))
        }
    };
    if !wanted.is_tuple() {
        return matches(&wanted).map(Value::from);
    }
    for item in wanted.try_iter()?.checked() {
        if matches(&item?)? {
            return Ok(Value::from(true));
        }
    }
    Ok(Value::from(false))
}

fn remove_affix(s: &str, prefix: bool, mut params: Params) -> Result<Value, Error> {
    let affix = params.required_text("affix")?;
    params.done()?;
    let rest = if prefix { s.strip_prefix(&affix) } else { s.strip_suffix(&affix) };
    Ok(Value::from(rest.unwrap_or(s)))
}

fn strip(s: &str, method: &str, mut params: Params) -> Result<Value, Error> {
    let chars = params.text("chars")?;
    params.done()?;
    let drop = |c: char| chars.as_ref().map_or_else(|| is_space(c), |chars| chars.contains(c));
    let s = if method == "rstrip" { s } else { s.trim_start_matches(drop) };
    Ok(Value::from(if method == "lstrip" { s } else { s.trim_end_matches(drop) }))
}

fn split(s: &str, from_right: bool, mut params: Params) -> Result<Value, Error> {
    let separator = params.text("sep")?;
    let limit = usize::try_from(params.int("maxsplit")?.unwrap_or(-1)).unwrap_or(usize::MAX);
    params.done()?;
    let parts: Vec<&str> = match separator.as_deref() {
        Some("") => return Err(Error::new(ErrorKind::InvalidOperation, "empty separator")),
        None if from_right => strings::split_space_right(s, limit),
        None => strings::split_space(s, limit),
        Some(sep) if from_right => {
            let mut parts: Vec<_> = s.rsplitn(limit.saturating_add(1), sep).collect();
            parts.reverse();
            parts
        }
        Some(sep) => s.splitn(limit.saturating_add(1), sep).collect(),
    };
    Ok(parts.into_iter().map(Value::from).collect())
}

fn split_lines(s: &str, mut params: Params) -> Result<Value, Error> {
    let keep = params.flag("keepends")?.unwrap_or(false);
    params.done()?;
    Ok(strings::split_lines(s, keep).into_iter().map(Value::from).collect())
}

fn partition(s: &str, from_right: bool, mut params: Params) -> Result<Value, Error> {
    let separator = params.required_text("sep")?;
    params.done()?;
    if separator.is_empty() {
        return Err(Error::new(ErrorKind::InvalidOperation, "empty separator"));
    }
    let sep = separator.as_str();
    let parts = match if from_right { s.rsplit_once(sep) } else { s.split_once(sep) } {
        Some((before, after)) => [before, sep, after],
        None if from_right => ["", "", s],
        None => [s, "", ""],
    };
    Ok(Value::from(Tuple::from(parts.map(Value::from))))
}

fn replace(state: &State, s: &str, mut params: Params) -> Result<Value, Error> {
    let (old, new) = (params.required_text("old")?, params.required_text("new")?);
    let count = params.int("count")?;
    params.done()?;
    strings::replace(state, s, &old, &new, count).map(Value::from)
}

fn justify(state: &State, s: &str, method: &str, mut params: Params) -> Result<Value, Error> {
    let width = params.int("width")?.unwrap_or(0);
    let fill = params.text("fillchar")?.unwrap_or_else(|| " ".to_owned());
    params.done()?;
    let mut chars = fill.chars();
    let (Some(fill), None) = (chars.next(), chars.next()) else {
        let message = "the fill character must be exactly one character long";
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    };
    strings::justify(state, s, method, width, fill).map(Value::from)
}

fn zero_fill(state: &State, s: &str, mut params: Params) -> Result<Value, Error> {
    let width = params.int("width")?.unwrap_or(0);
    params.done()?;
    let (sign, digits) = s.split_at(usize::from(s.starts_with(['+', '-'])));
    let filled = strings::justify(state, digits, "rjust", width - sign.len() as i64, '0')?;
    Ok(Value::from(format!("{sign}{filled}")))
}

fn expand_tabs(state: &State, s: &str, mut params: Params) -> Result<Value, Error> {
    let size = usize::try_from(params.int("tabsize")?.unwrap_or(8)).unwrap_or(0);
    params.done()?;
    let (mut out, mut column) = (String::new(), 0);
    for c in s.chars() {
        match c {
            '\t' if size > 0 => {
                let gap = size - column % size;
                charge(state, gap)?;
                out.extend(std::iter::repeat_n(' ', gap));
                column += gap;
            }
            '\t' => {}
            c => {
                out.push(c);
                column = if matches!(c, '\n' | '\r') { 0 } else { column + 1 };
            }
        }
    }
    Ok(Value::from(out))
}

/// `str.join` of a filter: items are turned into strings first.
pub(super) fn join_filter(state: &mut State, args: &[Value]) -> Result<Value, Error> {
    let mut params = Params::new(args)?;
    let items = params.value("value")?.unwrap_or_else(|| Value::from(""));
    let separator = match params.value("d")? {
        Some(d) => to_str(state, &d)?,
        None => String::new(),
    };
    let attribute = params.value("attribute")?;
    params.done()?;
    let mut out = String::new();
    for (i, item) in items.try_iter()?.checked().enumerate() {
        let mut item = item?;
        if let Some(attribute) = attribute.as_ref().filter(|a| !a.is_none()) {
            item = super::filters::attribute(&item, attribute)?;
        }
        let text = to_str(state, &item)?;
        charge(state, separator.len() + text.len())?;
        if i > 0 {
            out.push_str(&separator);
        }
        out.push_str(&text);
    }
    Ok(Value::from(out))
}
