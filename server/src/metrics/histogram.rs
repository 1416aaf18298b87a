//! Counts of durations by size.

/// Upper bounds of the buckets, in seconds: from a token of a small model to a long prompt.
pub(super) const BOUNDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
];

/// How many durations fell into each bucket, and their sum.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Histogram {
    /// By bucket; the last has no upper bound.
    counts: [u64; BOUNDS.len() + 1],
    sum: f64,
}

impl Histogram {
    pub(super) fn observe(&mut self, seconds: f64) {
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        self.counts[bucket] += 1;
        self.sum += seconds;
    }

    pub(super) fn sum(&self) -> f64 {
        self.sum
    }

    /// How many were at most as long as each bound, and how many there were in all.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = BOUNDS.iter().copied().chain([f64::INFINITY]);
        bounds.zip(self.counts.iter().scan(0, |total, count| {
            *total += count;
            Some(*total)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_counts_add_up() {
        let mut h = Histogram::default();
        for seconds in [0.0, 0.005, 0.0051, 1.0, 1e9] {
            h.observe(seconds);
        }
        let counts: Vec<u64> = h.cumulative().map(|(_, n)| n).collect();
        assert_eq!((counts[0], counts[1], *counts.last().unwrap()), (2, 3, 5));
        let at_one = h.cumulative().find(|(bound, _)| *bound == 1.0).unwrap();
        assert_eq!(at_one.1, 4);
        assert!(BOUNDS.is_sorted());
    }
}
