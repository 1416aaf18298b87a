//! From the engine's events to core events: text is sorted by channel, tool calls are parsed.

use serde_json::Value;
use uuid::Uuid;
use verbatim_engine::{
    Event as EngineEvent, FinishReason, Finished, Piece, TokenEvent,
    text::{Channel, ToolFormat},
};

use super::{Delta, Event, Outcome, Start, Step, StopReason, ToolCall};

/// Reads the events of one generation.
///
/// A tool call becomes a call's deltas when it is complete, well-formed, and tools were
/// offered. Otherwise its text, markers included, is content: nothing the model wrote gets lost.
#[derive(Debug, Clone)]
pub struct Translator {
    format: Option<ToolFormat>,
    tools: Vec<Value>,
    /// The body of the call that is being written.
    call: Option<String>,
    called: bool,
}

impl Translator {
    /// A translator for a request that offered `tools`.
    pub fn new(format: Option<ToolFormat>, tools: Vec<Value>) -> Self {
        Self { format, tools, call: None, called: false }
    }

    /// The core event of an engine event; `None` for events that no protocol shows.
    pub fn translate(&mut self, event: EngineEvent) -> Option<Event> {
        Some(match event {
            EngineEvent::Started { prompt_tokens, cached_tokens } => {
                Event::Started(Start { prompt_tokens, cached_tokens })
            }
            EngineEvent::Prefill { done, total } => Event::Prefill { done, total },
            EngineEvent::Token(token) => Event::Step(self.step(token)),
            EngineEvent::Tensor(_) => return None,
            EngineEvent::Finished(finished) => self.finish(finished),
            EngineEvent::Failed(e) => Event::Failed(e),
        })
    }

    fn step(&mut self, token: TokenEvent) -> Step {
        let mut deltas = Vec::new();
        self.read(token.pieces, &mut deltas);
        Step { token: token.id, logprob: token.logprob, deltas }
    }

    fn finish(&mut self, finished: Finished) -> Event {
        let mut deltas = Vec::new();
        self.read(finished.pieces, &mut deltas);
        if let Some(body) = self.call.take() {
            push_content(&mut deltas, self.markup(&body, false));
        }
        let reason = match finished.reason {
            FinishReason::Cancelled => return Event::Failed(verbatim_engine::Error::ShuttingDown),
            FinishReason::Length => StopReason::Length,
            FinishReason::EndOfSequence | FinishReason::StopString(_) if self.called => {
                StopReason::ToolCalls
            }
            FinishReason::EndOfSequence => StopReason::EndOfTurn,
            FinishReason::StopString(text) => StopReason::StopString(text),
        };
        Event::Finished(Outcome { reason, deltas, stats: finished.stats })
    }

    fn read(&mut self, pieces: Vec<Piece>, deltas: &mut Vec<Delta>) {
        for piece in pieces {
            match piece.channel {
                Channel::Content => push_content(deltas, piece.text),
                Channel::Reasoning if piece.text.is_empty() => {}
                Channel::Reasoning => deltas.push(Delta::Reasoning(piece.text)),
                Channel::ToolCall => {
                    self.call.get_or_insert_default().push_str(&piece.text);
                    if piece.ends_call {
                        self.end_call(deltas);
                    }
                }
            }
        }
    }

    fn end_call(&mut self, deltas: &mut Vec<Delta>) {
        let Some(body) = self.call.take() else { return };
        match self.parse(&body) {
            Some(calls) => {
                self.called = true;
                for ToolCall { id, name, arguments } in calls {
                    deltas.push(Delta::CallStart { id, name });
                    deltas.push(Delta::CallArguments(arguments));
                    deltas.push(Delta::CallEnd { complete: true });
                }
            }
            None => push_content(deltas, self.markup(&body, true)),
        }
    }

    fn parse(&self, body: &str) -> Option<Vec<ToolCall>> {
        if self.tools.is_empty() {
            return None;
        }
        match self.format?.parser().parse(body, &self.tools) {
            Ok(calls) => Some(
                calls
                    .into_iter()
                    .map(|call| ToolCall {
                        id: call.id.unwrap_or_else(|| format!("call_{}", Uuid::new_v4().simple())),
                        name: call.name,
                        arguments: call.arguments,
                    })
                    .collect(),
            ),
            Err(e) => {
                tracing::warn!(error = ?e.to_string(), "a tool call is malformed; it stays text");
                None
            }
        }
    }

    /// The text that the model wrote for a call.
    fn markup(&self, body: &str, ended: bool) -> String {
        let (start, end) = self.format.map_or(("", ""), |f| (f.start(), f.end()));
        format!("{start}{body}{}", if ended { end } else { "" })
    }
}

fn push_content(deltas: &mut Vec<Delta>, text: String) {
    match deltas.last_mut() {
        _ if text.is_empty() => {}
        Some(Delta::Content(last)) => last.push_str(&text),
        _ => deltas.push(Delta::Content(text)),
    }
}
