//! Who may run beside whom: what running requests come to, held against the budget.

use std::collections::BTreeMap;

use super::{
    budget::{Advice, Shortage},
    estimate::Estimate,
};

/// A running request's place in the books.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u64);

/// What a request may take: its own for as long as it runs, and during its turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Bytes that it holds at most between two turns.
    pub held: u64,
    /// Bytes that a turn takes at most beside them.
    pub turn: u64,
}

impl From<Estimate> for Cost {
    fn from(estimate: Estimate) -> Self {
        Self { held: estimate.held, turn: estimate.turn() }
    }
}

/// What the budget allows a request now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It fits beside what runs.
    Fits,
    /// It fits once the prompt cache has given up this many bytes.
    Evict(u64),
    /// It has to wait until something that runs has ended.
    Wait,
    /// It does not fit even alone.
    Never,
}

/// What the requests that run share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// They take turns: no two calls run at once.
    Turns,
    /// They share calls, padded to the longest: each takes what the largest takes.
    Calls,
}

/// Budget, what is there anyway, and what each running request may come to.
#[derive(Debug)]
pub struct Ledger {
    budget: Option<u64>,
    resident: u64,
    sharing: Sharing,
    running: BTreeMap<Place, Cost>,
    places: u64,
}

impl Ledger {
    /// Books without an entry; `resident` bytes are there whatever runs.
    pub fn new(budget: Option<u64>, resident: u64, sharing: Sharing) -> Self {
        Self { budget, resident, sharing, running: BTreeMap::new(), places: 0 }
    }

    /// What `cost` lacks beside weights and adapters when nothing else runs.
    pub fn shortage(&self, cost: Cost) -> Shortage {
        Shortage {
            resident: self.resident,
            request: cost.held.saturating_add(cost.turn),
            budget: self.budget.unwrap_or(u64::MAX),
            advice: Advice::FewerAdapters,
        }
    }

    /// Adapters came or went.
    pub fn set_resident(&mut self, bytes: u64) {
        self.resident = bytes;
    }

    /// What a request of `cost` may do while the prompt cache holds `cached` bytes.
    pub fn judge(&self, cost: Cost, cached: u64) -> Verdict {
        let Some(budget) = self.budget else { return Verdict::Fits };
        let with = self.total(self.running.values().copied().chain([cost]));
        if with > budget {
            let alone = self.total([cost].into_iter());
            return if alone > budget { Verdict::Never } else { Verdict::Wait };
        }
        match with.saturating_add(cached).checked_sub(budget) {
            None | Some(0) => Verdict::Fits,
            Some(surplus) => Verdict::Evict(surplus),
        }
    }

    /// Whether the prompt cache, which holds `cached` bytes, may take in `bytes` more.
    pub fn judge_kept(&self, bytes: u64, cached: u64) -> Verdict {
        let Some(budget) = self.budget else { return Verdict::Fits };
        let room = budget.saturating_sub(self.reserved());
        if bytes > room {
            return Verdict::Wait;
        }
        match cached.saturating_add(bytes).checked_sub(room) {
            None | Some(0) => Verdict::Fits,
            Some(surplus) => Verdict::Evict(surplus),
        }
    }

    /// Enters a request that was let in.
    pub fn reserve(&mut self, cost: Cost) -> Place {
        self.places += 1;
        let place = Place(self.places);
        self.running.insert(place, cost);
        place
    }

    /// Strikes a request that has ended.
    pub fn release(&mut self, place: Place) {
        self.running.remove(&place);
    }

    /// What weights, adapters and everything that runs may come to.
    pub fn reserved(&self) -> u64 {
        self.total(self.running.values().copied())
    }

    fn total(&self, costs: impl Iterator<Item = Cost>) -> u64 {
        let (mut n, mut sum, mut most) = (0_u64, 0_u64, Cost::default());
        let mut turns = 0_u64;
        for cost in costs {
            n += 1;
            sum = sum.saturating_add(cost.held);
            turns = turns.saturating_add(cost.turn);
            most = Cost { held: most.held.max(cost.held), turn: most.turn.max(cost.turn) };
        }
        let running = match self.sharing {
            Sharing::Turns => sum.saturating_add(most.turn),
            Sharing::Calls => n.saturating_mul(most.held).saturating_add(turns),
        };
        self.resident.saturating_add(running)
    }
}

#[cfg(test)]
mod tests;
