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

/// llguidance's reason without its additions for developers.
pub(super) fn plain_reason(reason: &str) -> String {
    let end = ["\n<backtrace>", "\n<non-verbose/>", "\n<state>"]
        .iter()
        .filter_map(|mark| reason.find(mark))
        .min()
        .unwrap_or(reason.len());
    let reason = reason[..end].trim();
    if reason.starts_with("panic:") {
        tracing::error!(reason, "llguidance panicked");
        return "internal error".into();
    }
    reason.to_owned()
}
