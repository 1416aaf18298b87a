//! How many tokens went into reasoning.

use super::Delta;

/// Counts them. A token counts for what its text, once it is certain, begins with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReasoningTokens {
    /// Tokens whose text is still held back.
    waiting: usize,
    count: usize,
}

impl ReasoningTokens {
    /// Adds a token that released `deltas`.
    pub fn step(&mut self, deltas: &[Delta]) {
        self.waiting += 1;
        self.release(deltas);
    }

    /// Adds output of tokens that were added before.
    pub fn release(&mut self, deltas: &[Delta]) {
        let Some(first) = deltas.first() else { return };
        let waited = std::mem::take(&mut self.waiting);
        if matches!(first, Delta::Reasoning(_)) {
            self.count += waited;
        }
    }

    /// How many they are so far.
    pub fn count(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_text_counts_once_it_is_certain() {
        let mut tokens = ReasoningTokens::default();
        tokens.step(&[]);
        tokens.step(&[Delta::Reasoning("ab".into())]);
        tokens.step(&[]);
        assert_eq!(tokens.count(), 2);
        tokens.step(&[Delta::Content("c".into()), Delta::Reasoning("d".into())]);
        tokens.step(&[]);
        tokens.release(&[Delta::Reasoning("e".into())]);
        assert_eq!(tokens.count(), 3);
    }
}
