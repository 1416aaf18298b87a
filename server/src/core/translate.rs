//! From the engine's events to core events: text is sorted by channel, tool calls are parsed.

use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;
use verbatim_engine::{
    Event as EngineEvent, FinishReason, Finished, Piece, TokenEvent,
    text::{CallDelta, Channel, ToolFormat, ToolStream},
};

use super::{Delta, Event, Outcome, Start, Step, StopReason};

/// Reads the events of one generation.
///
/// A tool call is shown while it is written, where tools were offered. What turns out to be no call,
/// malformed or cut off, is content, markers included: nothing the model wrote gets lost.
#[derive(Debug, Clone)]
pub struct Translator {
    format: Option<ToolFormat>,
    tools: Arc<[Value]>,
    /// The body that is being written.
    body: Option<Body>,
    called: bool,
}

/// What stands between a call's markers.
#[derive(Debug, Clone)]
enum Body {
    Calls(Box<ToolStream>),
    /// No tools were offered, so it is text.
    Text,
}

impl Translator {
    /// A translator for a request that offered `tools`.
    pub fn new(format: Option<ToolFormat>, tools: Vec<Value>) -> Self {
        Self { format, tools: tools.into(), body: None, called: false }
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
        if let Some(Body::Calls(stream)) = self.body.take() {
            let mut news = Vec::new();
            let text = stream.cut(&mut news);
            self.tell(news, &mut deltas);
            push_content(&mut deltas, self.start_marker() + &text);
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
                Channel::ToolCall => self.read_call(piece, deltas),
            }
        }
    }

    fn read_call(&mut self, piece: Piece, deltas: &mut Vec<Delta>) {
        let mut news = Vec::new();
        let body = self.body.take().unwrap_or_else(|| self.begin_body(deltas));
        match body {
            Body::Text => {
                push_content(deltas, piece.text);
                if piece.ends_call {
                    push_content(deltas, self.end_marker());
                } else {
                    self.body = Some(Body::Text);
                }
            }
            Body::Calls(mut stream) => {
                stream.push(&piece.text, &mut news);
                if piece.ends_call {
                    self.end_calls(stream, news, deltas);
                } else {
                    self.body = Some(Body::Calls(stream));
                    self.tell(news, deltas);
                }
            }
        }
    }

    fn begin_body(&self, deltas: &mut Vec<Delta>) -> Body {
        match self.format {
            Some(format) if !self.tools.is_empty() => {
                Body::Calls(Box::new(ToolStream::new(format, Arc::clone(&self.tools))))
            }
            _ => {
                push_content(deltas, self.start_marker());
                Body::Text
            }
        }
    }

    fn end_calls(
        &mut self,
        stream: Box<ToolStream>,
        mut news: Vec<CallDelta>,
        deltas: &mut Vec<Delta>,
    ) {
        let ended = stream.end(&mut news);
        self.tell(news, deltas);
        if let Err(no_call) = ended {
            let error = no_call.error.to_string();
            tracing::warn!(error = ?error, "a tool call is malformed; it stays text");
            push_content(deltas, self.start_marker() + &no_call.text + &self.end_marker());
        }
    }

    fn tell(&mut self, news: Vec<CallDelta>, deltas: &mut Vec<Delta>) {
        deltas.extend(news.into_iter().map(|delta| match delta {
            CallDelta::Start { name, id } => {
                let id = id.unwrap_or_else(|| format!("call_{}", Uuid::new_v4().simple()));
                Delta::CallStart { id, name }
            }
            CallDelta::Arguments(text) => Delta::CallArguments(text),
            CallDelta::End { complete } => {
                self.called |= complete;
                Delta::CallEnd { complete }
            }
        }));
    }

    fn start_marker(&self) -> String {
        self.format.map_or("", ToolFormat::start).to_owned()
    }

    fn end_marker(&self) -> String {
        self.format.map_or("", ToolFormat::end).to_owned()
    }
}

fn push_content(deltas: &mut Vec<Delta>, text: String) {
    match deltas.last_mut() {
        _ if text.is_empty() => {}
        Some(Delta::Content(last)) => last.push_str(&text),
        _ => deltas.push(Delta::Content(text)),
    }
}
