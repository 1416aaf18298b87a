//! Choices from a seed.

use crate::maker::rng::Stream;

/// A sequence of choices; the same seed and name give the same ones everywhere.
#[derive(Debug)]
pub struct Draw {
    stream: Stream,
    next: u64,
}

impl Draw {
    /// The sequence of `name` under `seed`.
    pub fn new(seed: u64, name: &str) -> Self {
        Self { stream: Stream::new(seed, name), next: 0 }
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.next += 1;
        self.stream.bits(self.next - 1)
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        let span = (high - low + 1) as u128;
        low + ((u128::from(self.bits()) * span) >> 64) as usize
    }

    /// From `low` to `high` with small values more likely: the product of two draws.
    pub fn small(&mut self, low: usize, high: usize) -> usize {
        let (a, b) = (self.between(0, high - low), self.between(0, high - low));
        low + a * b / (high - low).max(1)
    }

    /// True in `percent` of a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.between(0, 99) < percent
    }

    /// One of `choices`, which are not empty.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.between(0, choices.len() - 1)]
    }

    /// A multiple of `step` from `low` to `high`, both in steps.
    pub fn multiple(&mut self, step: usize, low: usize, high: usize) -> usize {
        step * self.between(low, high)
    }

    /// Two decimals, from `low` to `high` in hundredths.
    pub fn hundredths(&mut self, low: usize, high: usize) -> f64 {
        self.between(low, high) as f64 / 100.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn draws_stay_within_bounds(seed in any::<u64>(), low in 0_usize..50, span in 0_usize..50) {
            let mut draw = Draw::new(seed, "test");
            for _ in 0..20 {
                prop_assert!((low..=low + span).contains(&draw.between(low, low + span)));
                prop_assert!((low..=low + span).contains(&draw.small(low, low + span)));
            }
        }
    }

    #[test]
    fn every_choice_comes_up() {
        let mut draw = Draw::new(3, "test");
        let seen: std::collections::BTreeSet<usize> =
            (0..200).map(|_| draw.between(2, 6)).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
        assert!((0..50).all(|_| draw.chance(100) && !draw.chance(0)));
    }
}
