//! Splits decoded text into channels and finds stop strings
//! (`mlx_lm/generate.py`, `TextStateMachine` and `make_text_state_machine`).
//!
//! Unlike the reference, text that cannot be part of a marker any more is released at once, a stop
//! string ends the stream where its text is complete, and [`Router::flush`] returns what is held
//! back instead of dropping it.

use super::{
    Channel, Thinking, ToolFormat,
    automaton::{Automaton, NodeId, ROOT},
};
use crate::Piece;

/// What follows a matched pattern.
#[derive(Debug, Clone, Copy)]
enum Edge {
    Enter(Channel),
    Stop(usize),
}

/// The patterns of one channel.
#[derive(Debug)]
struct State {
    automaton: Automaton,
    edges: Vec<Edge>,
}

impl State {
    fn new(markers: &[(&str, Channel)], stops: &[String]) -> Self {
        // Stop strings come last: of equal patterns the last one counts.
        let patterns = markers.iter().map(|m| m.0).chain(stops.iter().map(String::as_str));
        let automaton = Automaton::new(patterns);
        let enter = markers.iter().map(|m| Edge::Enter(m.1));
        Self { automaton, edges: enter.chain((0..stops.len()).map(Edge::Stop)).collect() }
    }
}

/// A streaming splitter; any division of the text into chunks gives the same result.
#[derive(Debug)]
pub(super) struct Router {
    content: State,
    reasoning: State,
    tool_call: State,
    channel: Channel,
    node: NodeId,
    /// Text that may be the beginning of a pattern.
    held: String,
    stopped: Option<usize>,
    stops: Vec<String>,
    /// Whether content leaves no room for markers.
    exclusive: bool,
    /// There was content other than blanks.
    answered: bool,
}

impl Router {
    /// A router that starts in `start` and knows the given markers and stop strings.
    pub fn new(
        thinking: Option<&Thinking>,
        tools: Option<ToolFormat>,
        stops: &[String],
        start: Channel,
    ) -> Self {
        let think_start = thinking.map(|t| (t.start, Channel::Reasoning));
        let think_end = thinking.map(|t| (t.end, Channel::Content));
        let call_start = tools.map(|t| (t.start(), Channel::ToolCall));
        let call_end = tools.map(|t| (t.end(), Channel::Content));
        let list = |a: Option<_>, b: Option<_>| a.into_iter().chain(b).collect::<Vec<_>>();
        Self {
            content: State::new(&list(think_start, call_start), stops),
            // A tool call may begin inside thinking, but only where thinking is known.
            reasoning: State::new(
                &list(think_end, call_start.filter(|_| thinking.is_some())),
                stops,
            ),
            tool_call: State::new(&list(call_end, None), stops),
            channel: start,
            node: ROOT,
            held: String::new(),
            stopped: None,
            stops: stops.to_vec(),
            exclusive: false,
            answered: false,
        }
    }

    /// The same router, which reads what looks like a marker as content where other content than
    /// blanks came before ([`Routing::exclusive`](crate::Routing::exclusive)).
    pub fn exclusive(mut self, exclusive: bool) -> Self {
        self.exclusive = exclusive;
        self
    }

    /// Index of the stop string that ended the stream.
    pub fn stopped(&self) -> Option<usize> {
        self.stopped
    }

    fn state(&self) -> &State {
        match self.channel {
            Channel::Content => &self.content,
            Channel::Reasoning => &self.reasoning,
            Channel::ToolCall => &self.tool_call,
        }
    }

    /// Reads more text and adds what became certain to `pieces`. After a stop string, does nothing.
    pub fn push(&mut self, text: &str, pieces: &mut Vec<Piece>) {
        if self.stopped.is_some() {
            return;
        }
        let read = self.held.len();
        let mut buffer = std::mem::take(&mut self.held);
        buffer.push_str(text);
        let mut released = 0;
        for (at, &byte) in buffer.as_bytes().iter().enumerate().skip(read) {
            let state = self.state();
            let node = state.automaton.advance(self.node, byte);
            let Some((index, length)) = state.automaton.matched(node) else {
                self.node = node;
                continue;
            };
            let mut edge = state.edges[index];
            let mut length = length;
            if let Edge::Enter(_) = edge
                && self.is_answer(&buffer[released..at + 1 - length])
            {
                // A stop string may end with what looks like a marker.
                let text = &buffer.as_bytes()[..=at];
                let Some(stop) = self.stops.iter().position(|s| text.ends_with(s.as_bytes()))
                else {
                    self.node = node;
                    continue;
                };
                (edge, length) = (Edge::Stop(stop), self.stops[stop].len());
            }
            self.note_content(&buffer[released..at + 1 - length]);
            emit(pieces, self.channel, &buffer[released..at + 1 - length]);
            released = at + 1;
            self.node = ROOT;
            match edge {
                Edge::Stop(stop) => {
                    self.stopped = Some(stop);
                    return;
                }
                Edge::Enter(next) => {
                    if self.channel == Channel::ToolCall {
                        close_call(pieces);
                    }
                    self.channel = next;
                }
            }
        }
        let certain = buffer.len() - self.state().automaton.depth(self.node);
        self.note_content(&buffer[released..certain]);
        emit(pieces, self.channel, &buffer[released..certain]);
        buffer.drain(..certain);
        self.held = buffer;
    }

    /// Whether `text`, which is to be released, or text before it is an answer without markers.
    fn is_answer(&self, text: &str) -> bool {
        let content = self.channel == Channel::Content;
        self.exclusive && content && (self.answered || !text.trim().is_empty())
    }

    fn note_content(&mut self, text: &str) {
        self.answered |= self.channel == Channel::Content && !text.trim().is_empty();
    }

    /// Ends the stream: what is held back is no marker. Inside a tool call the last piece is one of
    /// it, empty if need be: of a call that was only opened nobody would know otherwise.
    pub fn flush(&mut self, pieces: &mut Vec<Piece>) {
        let held = std::mem::take(&mut self.held);
        self.node = ROOT;
        if self.channel == Channel::ToolCall && held.is_empty() {
            return pieces.push(Piece { channel: self.channel, text: held, ends_call: false });
        }
        emit(pieces, self.channel, &held);
    }
}

/// Adds text to the last piece where it continues it.
fn emit(pieces: &mut Vec<Piece>, channel: Channel, text: &str) {
    if text.is_empty() {
        return;
    }
    match pieces.last_mut() {
        Some(last) if last.channel == channel && !last.ends_call => last.text.push_str(text),
        _ => pieces.push(Piece { channel, text: text.to_owned(), ends_call: false }),
    }
}

/// Marks the end of a call's body, on the last piece where it belongs to this call.
fn close_call(pieces: &mut Vec<Piece>) {
    match pieces.last_mut() {
        Some(last) if last.channel == Channel::ToolCall && !last.ends_call => last.ends_call = true,
        _ => {
            pieces.push(Piece { channel: Channel::ToolCall, text: String::new(), ends_call: true });
        }
    }
}

#[cfg(test)]
mod tests;
