//! Who may run beside whom: what running requests come to, held against the budget.

use std::collections::BTreeMap;

use super::{
    budget::{Advice, Shortage},
    estimate::{Demand, Estimate, MemoryModel},
    facts::CacheFacts,
    rows,
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
    /// The same of a turn that may be shared: see [`Estimate::shared`].
    pub shared: u64,
}

impl From<Estimate> for Cost {
    fn from(estimate: Estimate) -> Self {
        Self { held: estimate.held, turn: estimate.turn(), shared: estimate.shared }
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
    /// They share calls, in which each row is padded to the longest: a row is at most as long as
    /// the longest, and at most [`MAX_PADDING`] times what it is alone, or takes `floor` bytes.
    Calls {
        /// Bytes that [`FREE_ROW_TOKENS`] tokens take.
        floor: u64,
        /// Bytes by which a row may be longer than one of a single request: those grow to whole
        /// steps, a batch's by whole steps from wherever a row joined.
        room: u64,
    },
}

/// Tokens that a row of a batch may be padded to, however short it is.
pub const FREE_ROW_TOKENS: u64 = 512;
/// How many times its own length a longer row of a batch may have with its padding.
pub const MAX_PADDING: u64 = 2;

impl Sharing {
    /// How up to `max_batch` requests of a model run side by side where batches are exact.
    pub fn of(model: &MemoryModel, max_batch: usize) -> Self {
        let rings = model.facts.caches.iter().any(|c| matches!(c, CacheFacts::Window(..)));
        if max_batch < 2 || rings {
            return Self::Turns;
        }
        let free = Demand { prompt: FREE_ROW_TOKENS - 1, max_tokens: 1, step: FREE_ROW_TOKENS };
        let room = model.token_bytes().saturating_mul(rows::STEP);
        Self::Calls { floor: model.estimate(free).held, room }
    }

    /// What `n` requests of `cost` take together.
    pub fn alike(self, n: u64, cost: Cost) -> u64 {
        let each = match self {
            Self::Calls { room, .. } if n > 1 => {
                cost.held.saturating_add(room).saturating_add(cost.shared)
            }
            Self::Calls { .. } | Self::Turns => cost.held,
        };
        n.saturating_mul(each).saturating_add(cost.turn)
    }

    /// What these requests take together.
    pub fn together(self, costs: &[Cost]) -> u64 {
        let most = |of: fn(&Cost) -> u64| costs.iter().map(of).max().unwrap_or(0);
        let (longest, turn) = (most(|c| c.held), most(|c| c.turn));
        let sum = |of: &dyn Fn(&Cost) -> u64| costs.iter().map(of).fold(turn, u64::saturating_add);
        match self {
            Self::Calls { floor, room } if costs.len() > 1 => sum(&|cost| {
                let padded = cost.held.saturating_mul(MAX_PADDING).max(floor).min(longest);
                padded.saturating_add(room).saturating_add(cost.shared)
            }),
            Self::Calls { .. } | Self::Turns => sum(&|cost| cost.held),
        }
    }
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

    /// What the prompt cache, which holds `cached` bytes, has to give up for `bytes` more that stay.
    ///
    /// # Errors
    /// [`Shortage`] when there is no room for them beside what runs.
    pub fn judge_resident(&self, bytes: u64, cached: u64) -> Result<u64, Shortage> {
        let Some(budget) = self.budget else { return Ok(0) };
        let stages = [(self.resident, Advice::RemoveAdapters), (self.reserved(), Advice::TryLater)];
        for (resident, advice) in stages {
            if resident.saturating_add(bytes) > budget {
                return Err(Shortage { resident, request: bytes, budget, advice });
            }
        }
        let all = self.reserved().saturating_add(bytes).saturating_add(cached);
        Ok(all.saturating_sub(budget))
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
        if self.surplus(bytes) > 0 {
            return Verdict::Wait;
        }
        match self.surplus(cached.saturating_add(bytes)) {
            0 => Verdict::Fits,
            surplus => Verdict::Evict(surplus),
        }
    }

    /// By how many bytes `cached` bytes of prompts' state are too many beside what runs.
    pub fn surplus(&self, cached: u64) -> u64 {
        let budget = self.budget.unwrap_or(u64::MAX);
        self.reserved().saturating_add(cached).saturating_sub(budget)
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
        let costs: Vec<Cost> = costs.collect();
        self.resident.saturating_add(self.sharing.together(&costs))
    }
}

#[cfg(test)]
mod tests;
