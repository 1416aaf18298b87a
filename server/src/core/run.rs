//! A running generation as a stream of core events.

use verbatim_engine::{Engine, Error, Generation, Result};

use super::{Event, Prepared, Translator};

/// A running generation. Dropping it cancels the work within one token.
#[derive(Debug)]
pub struct Running {
    generation: Generation,
    translator: Translator,
}

impl Running {
    /// Submits a prepared request.
    pub fn start(engine: &Engine, prepared: Prepared) -> Result<Self> {
        let generation = engine.submit(prepared.request)?;
        Ok(Self { generation, translator: prepared.translator })
    }

    /// The next event, awaited. After `Finished` or `Failed` there is nothing to wait for.
    pub async fn next(&mut self) -> Event {
        loop {
            let Some(event) = self.generation.next().await else {
                return ended_early();
            };
            if let Some(event) = self.translator.translate(event) {
                return event;
            }
        }
    }

    /// The next event, waited for on this thread (not inside an async task).
    pub fn next_blocking(&mut self) -> Event {
        loop {
            let Some(event) = self.generation.next_blocking() else {
                return ended_early();
            };
            if let Some(event) = self.translator.translate(event) {
                return event;
            }
        }
    }
}

/// The worker drops its side without a last event only when it dies.
fn ended_early() -> Event {
    Event::Failed(Error::WorkerDied("it ended without finishing the request".to_owned()))
}
