//! What a request needs beside what the budget has, in figures that a caller can act on.

use std::fmt;

use super::{
    estimate::{Demand, Estimate, MemoryModel},
    size::bytes,
};

/// More than the budget has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// Bytes of weights and adapters; where an adapter is to come, of what runs as well.
    pub resident: u64,
    /// Bytes that the request, or the adapter, takes beside them at most; 0 when they alone are too
    /// much.
    pub request: u64,
    /// Bytes of the budget.
    pub budget: u64,
    /// What would fit.
    pub advice: Advice,
}

/// What would fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Nothing does but a smaller model, or a larger budget.
    SmallerModel,
    /// Adapters were mounted since the request came: fewer of them.
    FewerAdapters,
    /// It is an adapter that has no room beside the others, whatever runs: fewer of them.
    RemoveAdapters,
    /// It is an adapter that has no room beside what runs now.
    TryLater,
    /// So many generated tokens behind this prompt.
    FewerTokens(u64),
    /// A shorter prompt.
    ShorterPrompt {
        /// Tokens of the prompt.
        prompt: u64,
        /// Tokens that it may have.
        most: u64,
    },
}

impl Shortage {
    /// Bytes needed at most, everything together.
    pub fn needed(&self) -> u64 {
        self.resident.saturating_add(self.request)
    }

    /// Whether the same has room once less runs.
    pub fn is_passing(&self) -> bool {
        self.advice == Advice::TryLater
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (resident, request) = (bytes(self.resident), bytes(self.request));
        let (needed, budget) = (bytes(self.needed()), bytes(self.budget));
        match self.advice {
            Advice::SmallerModel if self.request == 0 => write!(
                f,
                "the weights take {resident}, and the memory budget is {budget}; raise \
                 --memory-budget, or use a smaller or quantized model"
            ),
            Advice::SmallerModel => write!(
                f,
                "this request needs up to {needed} ({resident} of weights and {request} beside \
                 them), the memory budget is {budget}, and no shorter one would fit; raise \
                 --memory-budget"
            ),
            Advice::FewerAdapters => write!(
                f,
                "adapters mounted meanwhile leave no room: {resident} of weights and adapters and \
                 {request} for this request, and the memory budget is {budget}; remove adapters, \
                 or ask for less"
            ),
            Advice::RemoveAdapters => write!(
                f,
                "this adapter takes {request} beside {resident} of weights and adapters, and the \
                 memory budget is {budget}; remove adapters, or raise --memory-budget"
            ),
            Advice::TryLater => write!(
                f,
                "this adapter takes {request} beside {resident} of weights, adapters and running \
                 requests, and the memory budget is {budget}; try again when fewer requests run"
            ),
            Advice::FewerTokens(n) => write!(
                f,
                "this request needs up to {needed} ({resident} of weights and {request} beside \
                 them), and the memory budget is {budget}; lower max_tokens to at most {n}"
            ),
            Advice::ShorterPrompt { most, .. } => write!(
                f,
                "this request needs up to {needed} ({resident} of weights and {request} beside \
                 them), and the memory budget is {budget}; shorten the prompt to at most {most} tokens"
            ),
        }
    }
}

impl MemoryModel {
    /// Checks that weights and adapters alone stay within `budget`.
    ///
    /// # Errors
    /// [`Shortage`] when they do not.
    pub fn check_resident(&self, budget: u64) -> Result<(), Shortage> {
        let resident = self.resident();
        if resident <= budget {
            return Ok(());
        }
        Err(Shortage { resident, request: 0, budget, advice: Advice::SmallerModel })
    }

    /// The demand that fits `budget` when nothing else runs, with its estimate: the one asked for,
    /// or where `may_shorten` with fewer tokens to generate.
    ///
    /// # Errors
    /// [`Shortage`] when there is none.
    pub fn admit(
        &self,
        demand: Demand,
        budget: Option<u64>,
        may_shorten: bool,
    ) -> Result<(Demand, Estimate), Shortage> {
        let estimate = self.estimate(demand);
        let Some(budget) = budget else { return Ok((demand, estimate)) };
        let room = budget.saturating_sub(self.resident());
        if estimate.peak() <= room {
            return Ok((demand, estimate));
        }
        let fewer = self.most_tokens(demand, room);
        if let (true, Some(max_tokens)) = (may_shorten, fewer) {
            let demand = Demand { max_tokens, ..demand };
            return Ok((demand, self.estimate(demand)));
        }
        let advice = match fewer {
            Some(n) => Advice::FewerTokens(n),
            None => match self.longest_prompt(demand.step, demand.prompt, room) {
                Some(most) => Advice::ShorterPrompt { prompt: demand.prompt, most },
                None => Advice::SmallerModel,
            },
        };
        Err(Shortage { resident: self.resident(), request: estimate.peak(), budget, advice })
    }
}
