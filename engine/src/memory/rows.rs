//! How many rows the buffers of keys and values have: what `cache/kv.rs` and `cache/rotating.rs`
//! do with a prompt in chunks and single tokens behind it.

/// Rows by which buffers grow.
pub(super) const STEP: u64 = 256;

/// The sizes of buffers at a point of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rows {
    /// Tokens seen.
    pub tokens: u64,
    /// Rows of a growing buffer.
    allocated: u64,
    /// Tokens of the call that came last.
    last: u64,
}

impl Rows {
    /// After a further call with `n` tokens.
    #[must_use]
    pub fn after(self, n: u64) -> Self {
        let tokens = self.tokens + n;
        let allocated = if tokens <= self.allocated {
            self.allocated
        } else {
            // Whole steps go behind what is used, so a short call can leave a longer buffer.
            self.tokens + n.next_multiple_of(STEP)
        };
        Self { tokens, allocated, last: n }
    }

    /// After `calls` further calls with `n` tokens each.
    #[must_use]
    pub fn after_calls(mut self, n: u64, mut calls: u64) -> Self {
        if n == 0 {
            return self;
        }
        // Behind a whole step, calls of a divisor or multiple of it keep to whole steps.
        while calls > 0 && !(self.tokens == self.allocated && regular(n)) {
            self = self.after(n);
            calls -= 1;
        }
        if calls == 0 {
            return self;
        }
        let more = n.saturating_mul(calls);
        let allocated = self.allocated + more.next_multiple_of(STEP);
        Self { tokens: self.tokens + more, allocated, last: n }
    }

    /// Rows of a growing buffer.
    pub fn growing(self) -> u64 {
        self.allocated
    }

    /// Rows of a ring for `window` tokens. Several tokens at once are appended to the last
    /// `window - 1`; the single tokens that follow cut the ring back.
    pub fn window(self, window: u64) -> u64 {
        if self.last > 1 {
            return self.tokens.min(window - 1 + self.last);
        }
        // One at a time it grows by steps.
        self.tokens.next_multiple_of(STEP).min(window).max(self.tokens.min(window))
    }
}

/// Whether calls of `n` tokens fill whole steps.
fn regular(n: u64) -> bool {
    STEP.is_multiple_of(n) || n.is_multiple_of(STEP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(&[1], 256)]
    #[case(&[256], 256)]
    #[case(&[257], 512)]
    #[case(&[256, 1], 512)]
    #[case(&[100, 100], 256)]
    #[case(&[200, 100], 456)]
    #[case(&[200, 100, 156, 1], 712)]
    #[case(&[2048, 2048, 5], 4352)]
    fn growing_buffers(#[case] calls: &[u64], #[case] expected: u64) {
        let rows = calls.iter().fold(Rows::default(), |rows, &n| rows.after(n));
        assert_eq!(rows.growing(), expected);
    }

    #[rstest]
    #[case(&[10], 64, 10)]
    #[case(&[100], 64, 100)]
    #[case(&[100, 100], 64, 163)]
    #[case(&[100, 100, 1], 64, 64)]
    #[case(&[10, 1], 64, 64)]
    #[case(&[10, 1], 512, 256)]
    fn rings(#[case] calls: &[u64], #[case] window: u64, #[case] expected: u64) {
        let rows = calls.iter().fold(Rows::default(), |rows, &n| rows.after(n));
        assert_eq!(rows.window(window), expected);
    }

    proptest::proptest! {
        #[test]
        fn many_calls_at_once(start in 0_u64..600, n in 1_u64..600, calls in 0_u64..40) {
            let start = if start == 0 { Rows::default() } else { Rows::default().after(start) };
            let one_by_one = (0..calls).fold(start, |rows, _| rows.after(n));
            proptest::prop_assert_eq!(start.after_calls(n, calls), one_by_one);
        }
    }
}
