//! Lets requests in, in the order they came, as far as the memory budget goes.

use std::{cell::RefCell, rc::Rc};

use crate::{
    memory::{Cost, Ledger, Place, Shortage, Verdict},
    prompt_cache::PromptCache,
};

/// Something that takes memory and can do with less: the prompt cache.
pub(crate) trait Evictable {
    /// Bytes that it holds.
    fn bytes(&self) -> u64;

    /// Gives up at least `bytes`, or everything.
    fn evict(&mut self, bytes: u64);
}

impl Evictable for PromptCache {
    fn bytes(&self) -> u64 {
        Self::bytes(self) as u64
    }

    fn evict(&mut self, bytes: u64) {
        Self::evict(self, usize::try_from(bytes).unwrap_or(usize::MAX));
    }
}

/// What may run beside whom.
pub(super) struct Admission {
    ledger: Rc<RefCell<Ledger>>,
}

/// A running request's share of the budget, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    ledger: Rc<RefCell<Ledger>>,
    place: Place,
}

impl Reservation {
    /// Whether `kept` may take in so many bytes beside what runs; it gives up others for them if it
    /// has to.
    pub(super) fn make_room(&self, bytes: usize, kept: &mut dyn Evictable) -> bool {
        let verdict = self.ledger.borrow().judge_kept(bytes as u64, kept.bytes());
        match verdict {
            Verdict::Fits => true,
            Verdict::Evict(bytes) => {
                kept.evict(bytes);
                true
            }
            Verdict::Wait | Verdict::Never => false,
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.ledger.borrow_mut().release(self.place);
    }
}

impl Admission {
    pub(super) fn new(ledger: Ledger) -> Self {
        Self { ledger: Rc::new(RefCell::new(ledger)) }
    }

    /// The share of a request of `cost`, for which `kept` gives up what it has to; `Err` says
    /// whether the request has to wait or can never run.
    pub(super) fn enter(
        &self,
        cost: Cost,
        kept: &mut dyn Evictable,
    ) -> Result<Reservation, Verdict> {
        match self.ledger.borrow().judge(cost, kept.bytes()) {
            Verdict::Fits => {}
            Verdict::Evict(bytes) => kept.evict(bytes),
            verdict => return Err(verdict),
        }
        let place = self.ledger.borrow_mut().reserve(cost);
        Ok(Reservation { ledger: Rc::clone(&self.ledger), place })
    }

    /// Makes room for an adapter of `bytes`, for which `kept` gives up what it has to.
    ///
    /// # Errors
    /// [`Shortage`] when there is none beside what runs.
    pub(super) fn make_room(&self, bytes: u64, kept: &mut dyn Evictable) -> Result<(), Shortage> {
        match self.ledger.borrow().judge_resident(bytes, kept.bytes())? {
            0 => {}
            surplus => kept.evict(surplus),
        }
        Ok(())
    }

    /// Has `kept` give up what it has come to hold beyond the budget while requests run.
    pub(super) fn hold(&self, kept: &mut dyn Evictable) {
        let surplus = self.ledger.borrow().surplus(kept.bytes());
        if surplus > 0 {
            kept.evict(surplus);
        }
    }

    /// Weights and adapters take this many bytes now.
    pub(super) fn set_resident(&self, bytes: u64) {
        self.ledger.borrow_mut().set_resident(bytes);
    }

    /// Why a request of `cost` can never run.
    pub(super) fn shortage(&self, cost: Cost) -> Shortage {
        self.ledger.borrow().shortage(cost)
    }

    /// What weights, adapters and everything that runs may come to.
    pub(super) fn reserved(&self) -> u64 {
        self.ledger.borrow().reserved()
    }
}
