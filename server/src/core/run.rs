//! A running request as a stream of core events.

use std::{
    future::poll_fn,
    task::{Context, Poll},
};

use verbatim_engine::{Engine, Error, Generation, Result};

use super::{Event, Prepared, Translator};

/// A running request. Dropping it cancels the work within one token.
#[derive(Debug)]
pub struct Running {
    choices: Vec<Choice>,
    /// The choice that is asked first next time, so that none is starved.
    turn: usize,
}

/// One of its generations; `None` once the last event was seen.
#[derive(Debug)]
struct Choice(Option<(Generation, Translator)>);

impl Running {
    /// Submits a prepared request: all its choices or none.
    pub fn start(engine: &Engine, prepared: Prepared) -> Result<Self> {
        let (requests, translators): (Vec<_>, Vec<_>) = prepared.generations.into_iter().unzip();
        let generations = engine.submit_all(requests)?.into_iter();
        let choices = generations.zip(translators).map(|running| Choice(Some(running))).collect();
        Ok(Self { choices, turn: 0 })
    }

    /// The next event and its choice, awaited; `None` when every choice has ended.
    pub async fn next(&mut self) -> Option<(usize, Event)> {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<(usize, Event)>> {
        let n = self.choices.len();
        for at in (0..n).map(|i| (self.turn + i) % n) {
            if let Poll::Ready(event) = self.choices[at].poll_next(context) {
                self.turn = at + 1;
                return Poll::Ready(Some((at, event)));
            }
        }
        let all_ended = self.choices.iter().all(|choice| choice.0.is_none());
        if all_ended { Poll::Ready(None) } else { Poll::Pending }
    }

    /// The next event of the first choice, waited for on this thread (not inside an async task).
    pub fn next_blocking(&mut self) -> Option<Event> {
        let choice = self.choices.first_mut()?;
        loop {
            let event = choice.0.as_mut()?.0.next_blocking();
            if let Some(event) = choice.read(event) {
                return Some(event);
            }
        }
    }
}

impl Choice {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        loop {
            let Some((generation, _)) = &mut self.0 else { return Poll::Pending };
            let Poll::Ready(event) = generation.poll_next(context) else { return Poll::Pending };
            if let Some(event) = self.read(event) {
                return Poll::Ready(event);
            }
        }
    }

    /// Translates; the worker drops its side without a last event only when it dies.
    fn read(&mut self, event: Option<verbatim_engine::Event>) -> Option<Event> {
        let event = match event {
            Some(event) => self.0.as_mut()?.1.translate(event)?,
            None => Event::Failed(Error::WorkerDied(
                "it ended without finishing the request".to_owned(),
            )),
        };
        if matches!(event, Event::Finished(_) | Event::Failed(_)) {
            self.0 = None;
        }
        Some(event)
    }
}
