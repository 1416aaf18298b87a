//! Finds markers in text that arrives.

use std::{iter::Chain, option, str::Chars};

/// Looks for an ASCII marker whose first character does not come again in it.
#[derive(Debug, Clone)]
pub(super) struct Seek {
    marker: &'static str,
    matched: usize,
}

/// Text that turned out not to belong to a marker.
pub(super) type Passed = Chain<Chars<'static>, option::IntoIter<char>>;

impl Seek {
    pub fn new(marker: &'static str) -> Self {
        debug_assert!(!marker[1..].contains(&marker[..1]), "{marker} may begin within itself");
        Self { marker, matched: 0 }
    }

    /// Reads a character; gives text as soon as it belongs to no marker, `None` where one ends.
    pub fn push(&mut self, c: char) -> Option<Passed> {
        if self.marker[self.matched..].starts_with(c) {
            self.matched += 1;
            if self.matched < self.marker.len() {
                return Some("".chars().chain(None));
            }
            self.matched = 0;
            return None;
        }
        let begun = &self.marker[..self.matched];
        self.matched = usize::from(self.marker.starts_with(c));
        Some(begun.chars().chain((self.matched == 0).then_some(c)))
    }

    /// Whether a marker ends with this character.
    pub fn ends(&mut self, c: char) -> bool {
        self.push(c).is_none()
    }
}
