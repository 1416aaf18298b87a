//! Where a prompt is cut into calls of the model.

use crate::limits;

/// The calls that read a prompt: chunks of at most `step` tokens, ended early by marks, and the last
/// token alone, as mlx-lm's server reads a prompt's segments (`insert_segments` of
/// `mlx_lm/generate.py`).
///
/// A function of the request alone: what is cached decides where reading begins, never where it is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunks {
    /// Tokens of the prompt.
    len: usize,
    step: usize,
    /// Ascending positions within the prompt.
    marks: Vec<usize>,
}

impl Chunks {
    /// Cuts a prompt of `len` tokens. Marks outside of it and those closer than
    /// [`limits::CACHE_MARK_SPACING`] to the one before are left out.
    pub fn new(len: usize, step: usize, marks: &[usize]) -> Self {
        let mut sorted = marks.to_vec();
        sorted.sort_unstable();
        let mut kept: Vec<usize> = Vec::new();
        for mark in sorted {
            let before = kept.last().copied().unwrap_or(0);
            if mark < len && mark - before >= limits::CACHE_MARK_SPACING {
                kept.push(mark);
            }
        }
        Self { len, step: step.max(1), marks: kept }
    }

    /// Where the call that begins at `at` ends, the prompt's last token excepted.
    pub fn end(&self, at: usize) -> usize {
        let begun = self.marks.iter().rev().find(|&&mark| mark <= at).copied().unwrap_or(0);
        let full = begun + ((at - begun) / self.step + 1) * self.step;
        let mark = self.marks.iter().find(|&&mark| mark > at).copied();
        full.min(mark.unwrap_or(full)).min(self.last())
    }

    /// Position of the prompt's last token, which is read alone.
    pub fn last(&self) -> usize {
        self.len.saturating_sub(1)
    }

    /// Tokens of a chunk at most.
    pub fn step(&self) -> usize {
        self.step
    }

    /// The positions that marks name.
    pub fn marks(&self) -> &[usize] {
        &self.marks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::whole(30, 64, &[], &[29])]
    #[case::single_token(1, 64, &[], &[])]
    #[case::chunks(130, 64, &[], &[64, 128, 129])]
    #[case::marks_begin_anew(130, 64, &[20, 90], &[20, 84, 90, 129])]
    #[case::unsorted_twice_and_outside(100, 64, &[50, 50, 20, 100, 300], &[20, 50, 99])]
    #[case::too_close(100, 64, &[3, 40, 42], &[40, 99])]
    #[case::at_the_last_token(100, 64, &[99], &[64, 99])]
    fn calls(
        #[case] len: usize,
        #[case] step: usize,
        #[case] marks: &[usize],
        #[case] ends: &[usize],
    ) {
        let chunks = Chunks::new(len, step, marks);
        let mut found = Vec::new();
        let mut at = 0;
        while at < chunks.last() {
            at = chunks.end(at);
            found.push(at);
        }
        assert_eq!(found, ends);
    }

    #[test]
    fn reading_that_begins_within_a_chunk_ends_where_the_chunk_does() {
        let chunks = Chunks::new(300, 64, &[20]);
        assert_eq!([0, 19, 20, 50, 84, 290].map(|at| chunks.end(at)), [20, 20, 84, 84, 148, 299]);
    }
}
