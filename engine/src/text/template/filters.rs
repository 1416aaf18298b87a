//! Jinja2's filters where minijinja's differ (`jinja2/filters.py`), and transformers' `tojson`.

use minijinja::{
    Environment, Error, ErrorKind, State, Value,
    value::{Rest, Tuple, ValueKind, ValueOrKwargs},
};

use super::{
    methods::join_filter,
    params::Params,
    strings,
    value::{Printer, as_float, charge, to_str},
};
use crate::text::python::{Style, is_space};

/// A filter whose arguments this module binds itself.
type Filter = fn(&mut State, &[Value]) -> Result<Value, Error>;

pub(super) fn register(env: &mut Environment<'static>) {
    let filters: [(&'static str, Filter); 24] = [
        ("capitalize", |s, a| text_filter(s, a, strings::capitalize)),
        ("center", center),
        ("d", default),
        ("default", default),
        ("dictsort", dictsort),
        ("float", float),
        ("forceescape", escape),
        ("e", escape),
        ("escape", escape),
        ("indent", indent),
        ("int", int),
        ("join", join_filter),
        ("list", list),
        ("lower", |s, a| text_filter(s, a, str::to_lowercase)),
        ("replace", replace),
        ("round", round),
        ("safe", |s, a| text_filter(s, a, str::to_owned)),
        ("string", |s, a| text_filter(s, a, str::to_owned)),
        ("title", |s, a| text_filter(s, a, title)),
        ("tojson", tojson),
        ("trim", trim),
        ("truncate", truncate),
        ("upper", |s, a| text_filter(s, a, str::to_uppercase)),
        ("wordcount", wordcount),
    ];
    for (name, filter) in filters {
        env.add_filter(name, move |state: &mut State, args: Rest<ValueOrKwargs>| {
            filter(state, &args.into_values())
        });
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// The filtered value as a string, with the parameters that follow it.
fn subject<'a>(state: &State, args: &'a [Value]) -> Result<(String, Params<'a>), Error> {
    let (value, rest) =
        args.split_first().ok_or_else(|| Error::from(ErrorKind::MissingArgument))?;
    Ok((to_str(state, value)?, Params::new(rest)?))
}

fn text_filter(
    state: &mut State,
    args: &[Value],
    filter: impl Fn(&str) -> String,
) -> Result<Value, Error> {
    let (text, params) = subject(state, args)?;
    params.done()?;
    charge(state, text.len())?;
    Ok(Value::from(filter(&text)))
}

/// `json.dumps(x, ensure_ascii, indent, separators, sort_keys)`, in this order of parameters.
fn tojson(state: &mut State, args: &[Value]) -> Result<Value, Error> {
    let (value, rest) =
        args.split_first().ok_or_else(|| Error::from(ErrorKind::MissingArgument))?;
    let mut params = Params::new(rest)?;
    let mut style =
        Style { ensure_ascii: params.flag("ensure_ascii")?.unwrap_or(false), ..Style::default() };
    if let Some(indent) = params.value("indent")?.filter(|v| !v.is_none()) {
        style.indent = Some(if let Some(text) = indent.as_str() {
            text.to_owned()
        } else {
            let width = i64::try_from(indent).map_err(|_| invalid("bad indent"))?;
            let width = usize::try_from(width).unwrap_or(0);
            charge(state, width)?;
            " ".repeat(width)
        });
        style.item = String::from(",");
    }
    if let Some(pair) = params.value("separators")?.filter(|v| !v.is_none()) {
        let pair: Vec<Value> = pair.try_iter()?.checked().collect::<Result<_, _>>()?;
        match pair.as_slice() {
            [item, key] => (style.item, style.key) = (to_str(state, item)?, to_str(state, key)?),
            _ => return Err(invalid("separators must be a pair of strings")),
        }
    }
    style.sort_keys = params.flag("sort_keys")?.unwrap_or(false);
    params.done()?;
    let mut printer = Printer::new(state);
    printer.json(value, &style, 0)?;
    Ok(Value::from(printer.out))
}

fn trim(state: &mut State, args: &[Value]) -> Result<Value, Error> {
    let (text, mut params) = subject(state, args)?;
    let chars = params.text("chars")?;
    params.done()?;
    let drop = |c: char| chars.as_ref().map_or_else(|| is_space(c), |chars| chars.contains(c));
    Ok(Value::from(text.trim_matches(drop)))
}

fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut start = true;
    for c in text.chars() {
        if start {
            out.extend(c.to_uppercase());
        } else {
            out.extend(c.to_lowercase());
        }
        start = matches!(c, '-' | '(' | '{' | '[' | '<') || is_space(c);
    }
    out
}

fn escape(state: &mut State, args: &[Value]) -> Result<Value, Error> {
    let (text, params) = subject(state, args)?;
    params.done()?;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    Ok(Value::from(out))
}

fn replace(state: &mut State, args: &[Value]) -> Result<Value, Error> {
    let (text, mut params) = subject(state, args)?;
    let (old, new) =
        (to_str(state, &params.required("old")?)?, to_str(state, &params.required("new")?)?);
    let count = params.int("count")?;
    params.done()?;
    strings::replace(state, &text, &old, &new, count).map(Value::from)
}

fn center(state: &mut State, args: &[Value]) -> Result<Value, Error> {
    let (text, mut params) = subject(state, args)?;
    let width = params.int("width")?.unwrap_or(80);
    params.done()?;
    strings::justify(state, &text, "center", width, ' ').map(Value::from)
}

fn indent(state: &mut State, args: &[Value]) -> Result<Value, Error> {
    let (text, mut params) = subject(state, args)?;
    let width = params.value("width")?.unwrap_or_else(|| Value::from(4));
    let first = params.flag("first")?.unwrap_or(false);
    let blank = params.flag("blank")?.unwrap_or(false);
    params.done()?;
    let indent = if let Some(text) = width.as_str() {
        text.to_owned()
    } else {
        let width = i64::try_from(width).map_err(|_| invalid("bad width"))?;
        let width = usize::try_from(width).unwrap_or(0);
        charge(state, width)?;
        " ".repeat(width)
    };
    let text = text + "\n";
    let lines = strings::split_lines(&text, false);
    charge(state, text.len().saturating_add(lines.len().saturating_mul(indent.len())))?;
    let mut out = String::new();
    for (i, line) in lines.iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        if if i == 0 { first } else { blank || !line.is_empty() } {
            out.push_str(&indent);
        }
        out.push_str(line);
    }
    Ok(Value::from(out))
}

fn truncate(state: &mut State, args: &[Value]) -> Result<Value, Error> {
    let (text, mut params) = subject(state, args)?;
    let length = usize::try_from(params.int("length")?.unwrap_or(255)).unwrap_or(0);
    let kill_words = params.flag("killwords")?.unwrap_or(false);
    let end = params.text("end")?.unwrap_or_else(|| "...".to_owned());
    let leeway = usize::try_from(params.int("leeway")?.unwrap_or(5)).unwrap_or(0);
    params.done()?;
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(Value::from(text));
    }
    let keep = length.checked_sub(end.chars().count());
    let keep = keep.ok_or_else(|| invalid("truncate: the length is shorter than the ending"))?;
    let kept: String = text.chars().take(keep).collect();
    let kept = match kept.rsplit_once(' ') {
        Some((words, _)) if !kill_words => words,
        _ => kept.as_str(),
    };
    Ok(Value::from(format!("{kept}{end}")))
}

fn wordcount(state: &mut State, args: &[Value]) -> Result<Value, Error> {
    let (text, params) = subject(state, args)?;
    params.done()?;
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    Ok(Value::from(words.filter(|w| !w.is_empty()).count()))
}

fn default(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let (value, rest) =
        args.split_first().ok_or_else(|| Error::from(ErrorKind::MissingArgument))?;
    let mut params = Params::new(rest)?;
    let default = params.value("default_value")?;
    let boolean = params.flag("boolean")?.unwrap_or(false);
    params.done()?;
    if value.is_undefined() || (boolean && !value.is_true()) {
        return Ok(default.unwrap_or_else(|| Value::from("")));
    }
    Ok(value.clone())
}

fn dictsort(state: &mut State, args: &[Value]) -> Result<Value, Error> {
    let (value, rest) =
        args.split_first().ok_or_else(|| Error::from(ErrorKind::MissingArgument))?;
    let mut params = Params::new(rest)?;
    let case_sensitive = params.flag("case_sensitive")?.unwrap_or(false);
    let by = params.text("by")?.unwrap_or_else(|| "key".to_owned());
    let reverse = params.flag("reverse")?.unwrap_or(false);
    params.done()?;
    if value.kind() != ValueKind::Map || !matches!(by.as_str(), "key" | "value") {
        return Err(invalid("dictsort sorts mappings by 'key' or 'value'"));
    }
    let mut entries = Vec::new();
    for key in value.try_iter()?.checked() {
        let key = key?;
        let item = value.get_item(&key)?;
        let rank = if by == "key" { &key } else { &item };
        let rank = match rank.as_str() {
            Some(text) if !case_sensitive => Value::from(text.to_lowercase()),
            _ => rank.clone(),
        };
        entries.push((rank, Tuple::from([key, item])));
    }
    charge(state, entries.len().saturating_mul(256))?;
    if reverse {
        entries.sort_by(|a, b| b.0.cmp(&a.0));
    } else {
        entries.sort_by(|a, b| a.0.cmp(&b.0));
    }
    Ok(entries.into_iter().map(|(_, entry)| Value::from(entry)).collect())
}

fn list(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let mut params = Params::new(args)?;
    let value = params.value("value")?.unwrap_or_else(|| Value::from(Vec::<Value>::new()));
    params.done()?;
    if value.is_none() {
        return Err(invalid("None is not iterable"));
    }
    let items: Vec<Value> = value.try_iter()?.checked().collect::<Result<_, _>>()?;
    Ok(Value::from(items))
}

fn int(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let (value, rest) =
        args.split_first().ok_or_else(|| Error::from(ErrorKind::MissingArgument))?;
    let mut params = Params::new(rest)?;
    let default = params.value("default")?.unwrap_or_else(|| Value::from(0));
    let base = params.int("base")?.unwrap_or(10);
    params.done()?;
    let read = match value.kind() {
        ValueKind::Undefined => return Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::Bool => Some(Value::from(i64::from(value.is_true()))),
        ValueKind::Number if value.is_integer() => Some(value.clone()),
        ValueKind::Number => truncated(as_float(value)),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            read_int(text, base).map(Value::from).or_else(|| truncated(read_float(text)?))
        }
        _ => None,
    };
    Ok(read.unwrap_or(default))
}

fn truncated(value: f64) -> Option<Value> {
    value.is_finite().then(|| Value::from(value.trunc() as i128))
}

/// `int(text, base)`.
fn read_int(text: &str, base: i64) -> Option<i128> {
    let text = text.trim_matches(is_space).to_lowercase();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(&text)),
    };
    let prefix = match base {
        2 => "0b",
        8 => "0o",
        16 => "0x",
        _ => "",
    };
    let digits = digits.strip_prefix(prefix).unwrap_or(digits);
    // Single underscores may stand between digits.
    let parts: Vec<&str> = digits.split('_').collect();
    if parts.iter().any(|p| p.is_empty() || !p.chars().all(|c| c.is_ascii_alphanumeric())) {
        return None;
    }
    let base = u32::try_from(base).ok().filter(|b| (2..=36).contains(b))?;
    let value = i128::from_str_radix(&parts.concat(), base).ok()?;
    Some(if negative { -value } else { value })
}

/// `float(text)`.
fn read_float(text: &str) -> Option<f64> {
    let text = text.trim_matches(is_space).replace('_', "");
    text.parse().ok()
}

fn float(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let (value, rest) =
        args.split_first().ok_or_else(|| Error::from(ErrorKind::MissingArgument))?;
    let mut params = Params::new(rest)?;
    let default = params.value("default")?.unwrap_or_else(|| Value::from(0.0));
    params.done()?;
    let read = match value.kind() {
        ValueKind::Undefined => return Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        ValueKind::Number => Some(as_float(value)),
        ValueKind::String => read_float(value.as_str().unwrap_or_default()),
        _ => None,
    };
    Ok(read.map_or(default, Value::from))
}

fn round(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let (value, rest) =
        args.split_first().ok_or_else(|| Error::from(ErrorKind::MissingArgument))?;
    let mut params = Params::new(rest)?;
    let precision = params.int("precision")?.unwrap_or(0).clamp(-308, 308) as i32;
    let method = params.text("method")?.unwrap_or_else(|| "common".to_owned());
    params.done()?;
    if !matches!(value.kind(), ValueKind::Number | ValueKind::Bool) {
        return Err(invalid(format!("cannot round a value of type {}", value.kind())));
    }
    let number = as_float(value);
    let scale = 10f64.powi(precision);
    match method.as_str() {
        "common" if value.is_integer() && precision >= 0 => Ok(value.clone()),
        "common" if precision >= 0 => {
            let text = format!("{number:.*}", precision.unsigned_abs() as usize);
            Ok(Value::from(text.parse::<f64>().unwrap_or(number)))
        }
        "common" => Ok(Value::from((number * scale).round_ties_even() / scale)),
        "ceil" => Ok(Value::from((number * scale).ceil() / scale)),
        "floor" => Ok(Value::from((number * scale).floor() / scale)),
        _ => Err(invalid("method must be common, ceil or floor")),
    }
}

/// An attribute by name (dots lead further down) or index.
pub(super) fn attribute(value: &Value, name: &Value) -> Result<Value, Error> {
    let Some(path) = name.as_str() else { return value.get_item(name) };
    let mut value = value.clone();
    for part in path.split('.') {
        value = match part.parse::<usize>() {
            Ok(index) => value.get_item(&Value::from(index))?,
            Err(_) => value.get_attr(part)?,
        };
    }
    Ok(value)
}
