//! The operator `%`, which formats strings in Python, becomes a call; a sign `+` goes away.

use minijinja::{
    Error, ErrorKind, State, Value,
    formatting::{FormatStyle, format},
    value::ValueKind,
};

use super::{
    strings,
    value::{as_float, to_str},
};

/// Name of the function that does what `%` does.
pub(super) const MOD: &str = "__mod";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Space,
    Text,
    Number,
    Name,
    /// An operator that binds less than `%`, a separator or a keyword: an operand ends here.
    Boundary,
    /// `*`, `/`, `//`.
    Factor,
    Percent,
    Sign,
    Open,
    Close,
    /// `.`, `|`, `**`: part of an operand.
    Other,
}

/// One pair of brackets, or the whole tag.
#[derive(Debug, Default)]
struct Frame {
    /// Where, in the output, the operand chain began that a `%` would take.
    chain: usize,
    /// A call is open whose last argument is being read.
    in_call: bool,
}

/// A tag with its `%` operators as calls.
pub(super) fn rewrite(tag: &str) -> String {
    let (open, rest) = tag.split_at(2);
    let (inner, close) = rest.split_at(rest.len() - 2);
    if !inner.contains(['%', '+']) {
        return tag.to_owned();
    }
    // The signs of whitespace control belong to the delimiters.
    let (start, inner) = inner.split_at(usize::from(inner.starts_with(['-', '+'])));
    let (inner, end) = inner.split_at(inner.len() - usize::from(inner.ends_with(['-', '+'])));
    format!("{open}{start}{}{end}{close}", rewrite_expression(inner))
}

fn rewrite_expression(source: &str) -> String {
    let tokens = tokenize(source);
    let mut out = String::with_capacity(source.len());
    let mut frames = vec![Frame::default()];
    let mut before = Kind::Boundary;
    for (i, &(kind, text)) in tokens.iter().enumerate() {
        let Some(frame) = frames.last_mut() else { break };
        let unary = matches!(
            before,
            Kind::Boundary | Kind::Factor | Kind::Percent | Kind::Sign | Kind::Open
        );
        match kind {
            Kind::Space => {
                out.push_str(text);
                continue;
            }
            Kind::Sign if unary => {
                if text == "-" {
                    out.push_str(text);
                }
                before = kind;
                continue;
            }
            Kind::Boundary | Kind::Sign => {
                end_call(frame, &mut out);
                out.push_str(text);
                frame.chain = out.len();
            }
            Kind::Factor => {
                end_call(frame, &mut out);
                out.push_str(text);
            }
            Kind::Percent => {
                end_call(frame, &mut out);
                let next = tokens[i + 1..].iter().find(|t| t.0 != Kind::Space);
                let left = out.split_off(frame.chain);
                if next.is_some_and(|t| t.0 == Kind::Number) && !left.contains(['"', '\'']) {
                    out.push_str(&left);
                    out.push_str(text);
                } else {
                    let operand = left.trim_start();
                    out.push_str(&left[..left.len() - operand.len()]);
                    out.extend([MOD, "(", operand.trim_end(), ","]);
                    frame.in_call = true;
                }
            }
            Kind::Open => {
                out.push_str(text);
                frames.push(Frame { chain: out.len(), in_call: false });
            }
            Kind::Close => {
                end_call(frame, &mut out);
                out.push_str(text);
                if frames.len() > 1 {
                    frames.pop();
                }
            }
            Kind::Text | Kind::Number | Kind::Name | Kind::Other => out.push_str(text),
        }
        before = kind;
    }
    if let Some(frame) = frames.last_mut() {
        end_call(frame, &mut out);
    }
    out
}

/// Closes the call before the spaces that end its last argument.
fn end_call(frame: &mut Frame, out: &mut String) {
    if std::mem::take(&mut frame.in_call) {
        let end = out.trim_end().len();
        let spaces = out.split_off(end);
        // `a % b` reads `__mod(a, b)`: the space after the operator goes.
        out.push(')');
        out.push_str(&spaces);
    }
}

const KEYWORDS: [&str; 20] = [
    "and",
    "block",
    "call",
    "elif",
    "else",
    "filter",
    "for",
    "if",
    "in",
    "macro",
    "not",
    "or",
    "print",
    "recursive",
    "set",
    "with",
    "do",
    "import",
    "include",
    "from",
];

fn tokenize(source: &str) -> Vec<(Kind, &str)> {
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let run = |test: &dyn Fn(char) -> bool| rest.find(|c| !test(c)).unwrap_or(rest.len());
        let (kind, length) = match c {
            c if c.is_whitespace() => (Kind::Space, run(&char::is_whitespace)),
            '"' | '\'' => (Kind::Text, string_length(rest, c)),
            '0'..='9' => (Kind::Number, run(&|c| c.is_alphanumeric() || c == '_')),
            c if c.is_alphabetic() || c == '_' => {
                let length = run(&|c| c.is_alphanumeric() || c == '_');
                let keyword = KEYWORDS.contains(&&rest[..length]);
                let attribute = tokens.last().is_some_and(|&(_, text)| text == ".");
                (if keyword && !attribute { Kind::Boundary } else { Kind::Name }, length)
            }
            '(' | '[' | '{' => (Kind::Open, 1),
            ')' | ']' | '}' => (Kind::Close, 1),
            '%' => (Kind::Percent, 1),
            '+' | '-' => (Kind::Sign, 1),
            '*' if rest.starts_with("**") => (Kind::Other, 2),
            '/' if rest.starts_with("//") => (Kind::Factor, 2),
            '*' | '/' => (Kind::Factor, 1),
            '.' | '|' => (Kind::Other, 1),
            c => (Kind::Boundary, c.len_utf8()),
        };
        let (token, after) = rest.split_at(length);
        tokens.push((kind, token));
        rest = after;
    }
    tokens
}

fn string_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Python's `%`: formatting where the left side is a string, else the remainder.
pub(super) fn modulo(state: &mut State, left: &Value, right: &Value) -> Result<Value, Error> {
    if let Some(text) = left.as_str() {
        return percent_format(state, text, right);
    }
    let number = |v: &Value| matches!(v.kind(), ValueKind::Number | ValueKind::Bool);
    if !number(left) || !number(right) {
        let message =
            format!("unsupported operand types for %: {} and {}", left.kind(), right.kind());
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    let zero = || Error::new(ErrorKind::InvalidOperation, "modulo by zero");
    let float = |v: &Value| v.kind() == ValueKind::Number && !v.is_integer();
    if float(left) || float(right) {
        let (a, b) = (as_float(left), as_float(right));
        let rest = a % b;
        return match b {
            0.0 => Err(zero()),
            b if rest != 0.0 && (rest < 0.0) != (b < 0.0) => Ok(Value::from(rest + b)),
            b if rest == 0.0 => Ok(Value::from(0f64.copysign(b))),
            _ => Ok(Value::from(rest)),
        };
    }
    let (a, b) = (i128::try_from(left.clone())?, i128::try_from(right.clone())?);
    let rest = a.checked_rem(b).ok_or_else(zero)?;
    Ok(Value::from(if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }))
}

fn percent_format(state: &State, text: &str, right: &Value) -> Result<Value, Error> {
    strings::check_format(text)?;
    let args: Vec<Value> = if right.is_tuple() {
        right.try_iter()?.checked().collect::<Result<_, _>>()?
    } else {
        vec![right.clone()]
    };
    let args = args.into_iter().map(|arg| match arg.kind() {
        ValueKind::Number | ValueKind::String | ValueKind::Map => Ok(arg),
        _ => to_str(state, &arg).map(Value::from),
    });
    let args: Vec<Value> = args.collect::<Result<_, _>>()?;
    format(FormatStyle::Printf, text, &args).map(Value::from)
}

#[cfg(test)]
mod tests {
    use super::rewrite;

    #[rstest::rstest]
    #[case("{{ 'a%s' % x }}", "{{ __mod('a%s', x) }}")]
    #[case("{{ a % 2 == 0 }}", "{{ a % 2 == 0 }}")]
    #[case("{{ a%b }}", "{{ __mod(a,b) }}")]
    #[case(
        "{{ x + a * b % c(d % e)[f] | g ~ h }}",
        "{{ x + __mod(a * b, c(__mod(d, e))[f] | g) ~ h }}"
    )]
    #[case("{{ a % b % c * d }}", "{{ __mod(__mod(a, b), c) * d }}")]
    #[case("{{ '%d' % 5 }}", "{{ __mod('%d', 5) }}")]
    #[case("{%- if not a % b -%}", "{%- if not __mod(a, b) -%}")]
    #[case("{% set x = -a % +b %}", "{% set x = __mod(-a, b) %}")]
    #[case("{{ +5 - +x + y }}", "{{ 5 - x + y }}")]
    #[case("{{ x['if'] % m.in }}", "{{ __mod(x['if'], m.in) }}")]
    #[case("{{+ 'é' + \"%\" +}}", "{{+ 'é' + \"%\" +}}")]
    fn percent_becomes_a_call(#[case] tag: &str, #[case] expected: &str) {
        assert_eq!(rewrite(tag), expected);
    }
}
