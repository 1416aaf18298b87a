//! Who waits and who runs, as admission to the queue counts them.

use crate::{Error, Result};

/// Places of the queue and beside the model. A request waits at no cost to others as long as there is
/// a free place to run in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Places {
    /// Requests that wait.
    pub(super) queued: usize,
    /// Requests that run.
    pub(super) active: usize,
    /// Requests that could run beside them: none while one waits for memory.
    pub(super) free: usize,
    max_active: usize,
    queue_limit: usize,
}

impl Places {
    /// No request yet.
    pub(crate) fn new(max_active: usize, queue_limit: usize) -> Self {
        let (max_active, queue_limit) = (max_active.max(1), queue_limit.max(1));
        Self { queued: 0, active: 0, free: max_active, max_active, queue_limit }
    }

    /// Requests that may run and wait at the same time.
    pub(crate) fn capacity(&self) -> usize {
        self.max_active.saturating_add(self.queue_limit)
    }

    /// Takes places in the queue for `n` requests, all or none.
    ///
    /// # Errors
    /// [`Error::QueueFull`].
    pub(super) fn reserve(&mut self, n: usize) -> Result<()> {
        let queued = self.queued.saturating_add(n);
        if queued > self.queue_limit.saturating_add(self.free) {
            return Err(Error::QueueFull { limit: self.queue_limit });
        }
        self.queued = queued;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0, 2, 3, true)]
    #[case(0, 2, 4, false)]
    #[case(1, 2, 2, true)]
    #[case(1, 2, 3, false)]
    #[case(1, 0, 0, true)]
    #[case(1, 0, 1, false)]
    fn all_or_none(#[case] queued: usize, #[case] free: usize, #[case] n: usize, #[case] ok: bool) {
        let mut places = Places { queued, free, ..Places::new(2, 1) };
        let before = places.queued;
        assert_eq!(places.reserve(n).is_ok(), ok);
        assert_eq!(places.queued, if ok { before + n } else { before });
    }

    #[test]
    fn there_is_always_a_place() {
        assert_eq!(Places::new(0, 0).capacity(), 2);
        assert!(Places::new(usize::MAX, usize::MAX).reserve(usize::MAX).is_ok());
    }
}
