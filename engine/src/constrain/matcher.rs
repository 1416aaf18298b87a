//! A compiled grammar and one sequence's way through it.

use std::{fmt, sync::Arc};

use llguidance::{Matcher as Inner, TokenParser, toktrie::SimpleVob};

use crate::{Error, Result};

/// A compiled [`Grammar`](super::Grammar), to be set as
/// [`GenerateRequest::grammar`](crate::GenerateRequest::grammar). Cheap to clone; any number of
/// generations can use it. Two are equal when one is a clone of the other.
#[derive(Clone)]
pub struct Constraint(Arc<Inner>);

impl Constraint {
    pub(super) fn new(parser: TokenParser) -> Result<Self> {
        let matcher = Inner::new(Ok(parser));
        match matcher.get_error() {
            None => Ok(Self(Arc::new(matcher))),
            Some(reason) => Err(failed(&reason)),
        }
    }

    /// A way through the grammar, from its beginning.
    pub(crate) fn matcher(&self) -> Matcher {
        // Nothing is shared, so that no sequence can spoil another's state.
        Matcher(self.0.deep_clone())
    }
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Constraint").finish_non_exhaustive()
    }
}

impl PartialEq for Constraint {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Where one sequence is in its grammar.
pub(crate) struct Matcher(Inner);

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Matcher").finish_non_exhaustive()
    }
}

impl Matcher {
    /// The tokens that may come next; at least one.
    ///
    /// # Errors
    /// [`Error::Request`] when the grammar takes more work at this place than the limits allow.
    pub fn mask(&mut self) -> Result<Mask> {
        self.0.compute_mask_or_eos().map(Mask).map_err(|e| failed(&e.to_string()))
    }

    /// Goes on with a token of the mask.
    ///
    /// # Errors
    /// [`Error::Request`] for a token that is not allowed, or as [`Self::mask`].
    pub fn accept(&mut self, token: u32) -> Result<()> {
        self.0.consume_token(token).map_err(|e| failed(&e.to_string()))
    }

    /// Whether nothing may follow but the end.
    pub fn is_complete(&self) -> bool {
        self.0.is_stopped()
    }
}

/// A set of tokens.
pub(crate) struct Mask(SimpleVob);

impl Mask {
    /// Whether a token is in the set.
    pub fn allows(&self, token: u32) -> bool {
        (token as usize) < self.0.len() && self.0.is_allowed(token)
    }
}

fn failed(reason: &str) -> Error {
    let reason = plain_reason(reason);
    Error::Request(format!("the answer's grammar cannot be followed any further: {reason}"))
}

/// Longest reason that is passed on, in characters.
const MAX_REASON_CHARS: usize = 300;

/// What llguidance advises whoever uses it as a library, and what helps its clients instead.
const ADVICE: [(&str, &str); 2] = [
    (
        "oneOf constraints are not supported",
        "oneOf is kept only where its alternatives plainly exclude each other; use anyOf",
    ),
    ("Current row has", "too many alternatives at one place; allow fewer"),
];

/// llguidance's reason without the state, the grammar and the place in it that follow or precede it.
pub(super) fn plain_reason(reason: &str) -> String {
    if reason.starts_with("panic:") {
        tracing::error!(reason, "llguidance panicked");
        return "internal error".into();
    }
    // A listing of the grammar follows, line by line.
    let listed = |line: &str| {
        line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).starts_with(" |")
    };
    let lines = reason.lines().take_while(|line| !listed(line) && !line.starts_with('<'));
    let line = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    let is_place = |c: char| c.is_ascii_digit() || "()".contains(c);
    let line = line
        .strip_prefix("at ")
        .map(|rest| rest.trim_start_matches(is_place))
        .and_then(|rest| rest.strip_prefix(": "))
        .unwrap_or(&line);
    let line = ADVICE.iter().find(|(said, _)| line.contains(said)).map_or(line, |(_, told)| told);
    line.chars().take(MAX_REASON_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("Unsatisfiable", "Unsatisfiable")]
    #[case("at 1(8): bad:\n  (\n   1 | start: x\n       ^", "bad: (")]
    #[case(
        "Current row has 5 items; max is 3; x",
        "too many alternatives at one place; allow fewer"
    )]
    #[case(
        "oneOf constraints are not supported. Enable 'coerce_one_of' option",
        "oneOf is kept only where its alternatives plainly exclude each other; use anyOf"
    )]
    #[case("no\n<non-verbose/>", "no")]
    #[case("panic: x\n<backtrace>", "internal error")]
    fn reasons(#[case] reason: &str, #[case] plain: &str) {
        assert_eq!(plain_reason(reason), plain);
    }
}
