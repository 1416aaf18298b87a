//! One choice's output, collected.

use verbatim_engine::TokenLogprob;

use super::{Delta, Outcome, ReasoningTokens, Step};

/// A call of a tool that the client offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// Unique name of this call.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Arguments as JSON text.
    pub arguments: String,
}

/// A run of output of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Of the answer.
    Content(String),
    /// Of the thinking before it.
    Reasoning(String),
    /// A complete call.
    Call(ToolCall),
}

/// What one choice said, in order. Neighbouring parts are of different kinds, calls excepted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// The output.
    pub parts: Vec<Part>,
    /// Tokens with their log-probabilities, where those were asked for.
    pub logprobs: Vec<(u32, TokenLogprob)>,
    /// How it ended; `None` until it has.
    pub outcome: Option<Outcome>,
    call: Option<ToolCall>,
    reasoning: ReasoningTokens,
}

impl Answer {
    /// Adds a token.
    pub fn step(&mut self, step: Step) {
        self.logprobs.extend(step.logprob.map(|logprob| (step.token, logprob)));
        self.reasoning.step(&step.deltas);
        self.deltas(step.deltas);
    }

    /// Adds the end.
    pub fn finish(&mut self, outcome: Outcome) {
        self.reasoning.release(&outcome.deltas);
        self.deltas(outcome.deltas.clone());
        self.outcome = Some(outcome);
    }

    /// Adds output.
    pub fn deltas(&mut self, deltas: Vec<Delta>) {
        for delta in deltas {
            self.delta(delta);
        }
    }

    fn delta(&mut self, delta: Delta) {
        match delta {
            Delta::Content(text) => match self.parts.last_mut() {
                Some(Part::Content(last)) => last.push_str(&text),
                _ => self.parts.push(Part::Content(text)),
            },
            Delta::Reasoning(text) => match self.parts.last_mut() {
                Some(Part::Reasoning(last)) => last.push_str(&text),
                _ => self.parts.push(Part::Reasoning(text)),
            },
            Delta::CallStart { id, name } => {
                self.call = Some(ToolCall { id, name, arguments: String::new() });
            }
            Delta::CallArguments(text) => {
                if let Some(call) = &mut self.call {
                    call.arguments.push_str(&text);
                }
            }
            Delta::CallEnd { complete } => {
                self.parts.extend(self.call.take().filter(|_| complete).map(Part::Call));
            }
        }
    }

    /// All content, joined.
    pub fn content(&self) -> String {
        self.joined(|part| match part {
            Part::Content(text) => Some(text),
            _ => None,
        })
    }

    /// All reasoning, joined.
    pub fn reasoning(&self) -> String {
        self.joined(|part| match part {
            Part::Reasoning(text) => Some(text),
            _ => None,
        })
    }

    /// Tokens that went into reasoning.
    pub fn reasoning_tokens(&self) -> usize {
        self.reasoning.count()
    }

    /// The calls.
    pub fn calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.parts.iter().filter_map(|part| match part {
            Part::Call(call) => Some(call),
            _ => None,
        })
    }

    fn joined(&self, pick: impl Fn(&Part) -> Option<&String>) -> String {
        self.parts.iter().filter_map(pick).map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(name: &str) -> Delta {
        Delta::CallStart { id: "1".into(), name: name.into() }
    }

    #[test]
    fn parts_are_joined_and_void_calls_dropped() {
        let mut answer = Answer::default();
        answer.deltas(vec![
            Delta::Reasoning("a".into()),
            Delta::Reasoning("b".into()),
            Delta::Content("c".into()),
            start("f"),
            Delta::CallArguments("{".into()),
            Delta::CallArguments("}".into()),
            Delta::CallEnd { complete: true },
            start("g"),
            Delta::CallArguments("{".into()),
            Delta::CallEnd { complete: false },
            Delta::Content("g{".into()),
        ]);
        let call = ToolCall { id: "1".into(), name: "f".into(), arguments: "{}".into() };
        assert_eq!(
            answer.parts,
            [
                Part::Reasoning("ab".into()),
                Part::Content("c".into()),
                Part::Call(call.clone()),
                Part::Content("g{".into()),
            ]
        );
        assert_eq!((answer.content(), answer.reasoning()), ("cg{".into(), "ab".into()));
        assert_eq!(answer.calls().collect::<Vec<_>>(), [&call]);
    }
}
