//! What the server counts, and `/metrics`.
//!
//! Labels have values of our own only: paths of [`ROUTES`](crate::routes::ROUTES), statuses, reasons.

mod histogram;
mod report;
mod text;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::core::{Event, Outcome};
use histogram::Histogram;

pub use report::{Facts, report};
pub use text::CONTENT_TYPE;

/// Stands for every path that is not a route's.
pub const OTHER: &str = "other";
/// Stands for the status of a request whose client left before it had one.
const CLIENT_LEFT: u16 = 499;

/// The counters of one server.
#[derive(Debug, Default)]
pub struct Metrics {
    counts: Mutex<Counts>,
}

#[derive(Debug, Clone, Default)]
struct Counts {
    requests: BTreeMap<(&'static str, u16), u64>,
    durations: BTreeMap<&'static str, Histogram>,
    in_flight: u64,
    generations: BTreeMap<&'static str, u64>,
    prompt_tokens: u64,
    cached_tokens: u64,
    generated_tokens: u64,
    queue: Histogram,
    prefill: Histogram,
    decode: Histogram,
    first_token: Histogram,
}

impl Metrics {
    /// Counts a request of `endpoint` as in flight until what is returned is dropped.
    pub fn request(self: &Arc<Self>, endpoint: &'static str) -> InFlight {
        self.lock().in_flight += 1;
        let metrics = Arc::clone(self);
        InFlight { metrics, endpoint, started: Instant::now(), status: None }
    }

    /// Counts a generation that starts now and ends when what is returned is dropped.
    pub fn generation(self: &Arc<Self>, choices: usize) -> InGeneration {
        let metrics = Arc::clone(self);
        InGeneration {
            metrics,
            started: Instant::now(),
            waiting: vec![true; choices],
            open: choices,
        }
    }

    fn snapshot(&self) -> Counts {
        self.lock().clone()
    }

    /// Counts stay true if a thread panics while it holds them.
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request until its response is sent or given up.
#[derive(Debug)]
pub struct InFlight {
    metrics: Arc<Metrics>,
    endpoint: &'static str,
    started: Instant,
    status: Option<u16>,
}

impl InFlight {
    /// Notes the response's status.
    pub fn answered(&mut self, status: u16) {
        self.status = Some(status);
        *self.metrics.lock().requests.entry((self.endpoint, status)).or_default() += 1;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let seconds = self.started.elapsed().as_secs_f64();
        let mut counts = self.metrics.lock();
        counts.in_flight -= 1;
        counts.durations.entry(self.endpoint).or_default().observe(seconds);
        if self.status.is_none() {
            *counts.requests.entry((self.endpoint, CLIENT_LEFT)).or_default() += 1;
        }
    }
}

/// The choices of a request while they are generated.
#[derive(Debug)]
pub struct InGeneration {
    metrics: Arc<Metrics>,
    started: Instant,
    /// By choice: no token yet.
    waiting: Vec<bool>,
    /// Choices that have not ended.
    open: usize,
}

impl InGeneration {
    /// Notes an event of the choice `choice`.
    pub fn observe(&mut self, choice: usize, event: &Event) {
        match event {
            Event::Started(start) => {
                let mut counts = self.metrics.lock();
                counts.prompt_tokens += start.prompt_tokens as u64;
                counts.cached_tokens += start.cached_tokens as u64;
            }
            Event::Prefill { .. } => {}
            Event::Step(_) => self.step(choice),
            Event::Finished(outcome) => self.finished(outcome),
            Event::Failed(_) => self.close("failed"),
        }
    }

    fn step(&mut self, choice: usize) {
        let first = self.waiting.get_mut(choice).is_some_and(std::mem::take);
        let mut counts = self.metrics.lock();
        counts.generated_tokens += 1;
        if first {
            counts.first_token.observe(self.started.elapsed().as_secs_f64());
        }
    }

    fn finished(&mut self, outcome: &Outcome) {
        self.open = self.open.saturating_sub(1);
        let stats = &outcome.stats;
        let mut counts = self.metrics.lock();
        *counts.generations.entry(outcome.reason.word()).or_default() += 1;
        counts.queue.observe(stats.queue_seconds);
        counts.prefill.observe(stats.prefill_seconds);
        counts.decode.observe(stats.decode_seconds);
    }

    fn close(&mut self, reason: &'static str) {
        let open = std::mem::take(&mut self.open) as u64;
        if open > 0 {
            *self.metrics.lock().generations.entry(reason).or_default() += open;
        }
    }
}

impl Drop for InGeneration {
    fn drop(&mut self) {
        self.close("cancelled");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Start, Step, StopReason};
    use verbatim_engine::{Error, Stats};

    #[test]
    fn requests_are_counted_once() {
        let metrics = Arc::new(Metrics::default());
        let mut answered = metrics.request("/health");
        let left = metrics.request("/health");
        assert_eq!(metrics.snapshot().in_flight, 2);
        answered.answered(200);
        drop((answered, left));
        let counts = metrics.snapshot();
        assert_eq!(counts.in_flight, 0);
        let requests: Vec<_> = counts.requests.into_iter().collect();
        assert_eq!(requests, [(("/health", 200), 1), (("/health", CLIENT_LEFT), 1)]);
        assert_eq!(counts.durations["/health"].cumulative().last().unwrap().1, 2);
    }

    #[test]
    fn each_choice_ends_in_one_way() {
        let metrics = Arc::new(Metrics::default());
        let step = Event::Step(Step { token: 1, logprob: None, deltas: Vec::new() });
        let start = Event::Started(Start { prompt_tokens: 7, cached_tokens: 5 });
        let outcome =
            Outcome { reason: StopReason::Length, deltas: Vec::new(), stats: Stats::default() };
        let mut generation = metrics.generation(3);
        let events = [
            (0, start),
            (0, step.clone()),
            (0, step.clone()),
            (1, step),
            (0, Event::Finished(outcome)),
            (1, Event::Failed(Error::ShuttingDown)),
        ];
        for (choice, event) in &events {
            generation.observe(*choice, event);
        }
        drop(generation);
        drop(metrics.generation(1));
        let counts = metrics.snapshot();
        assert_eq!(counts.first_token.cumulative().last().unwrap().1, 2);
        let tokens = (counts.prompt_tokens, counts.cached_tokens, counts.generated_tokens);
        assert_eq!(tokens, (7, 5, 3));
        let ends: Vec<_> = counts.generations.into_iter().collect();
        assert_eq!(ends, [("cancelled", 1), ("failed", 2), ("length", 1)]);
    }
}
