//! The content blocks of a stream.

use bytes::Bytes;
use serde_json::{Value, json};

use super::reply::{SIGNATURE, tool_use_id};
use crate::{core::Delta, sse};

/// What a block is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    ToolUse,
}

/// Writes deltas as content blocks, one after another.
///
/// A block of text or thinking begins with its first character that is not whitespace: what
/// templates put between parts makes no block of its own, and no client could send it back.
#[derive(Debug)]
pub struct Blocks {
    open: Option<Kind>,
    /// Blocks that have begun.
    count: usize,
    /// Whitespace that waits for text of its kind.
    held: (Option<Kind>, String),
    shows_thinking: bool,
}

impl Blocks {
    /// No blocks so far; thinking is shown or left out.
    pub fn new(shows_thinking: bool) -> Self {
        Self { open: None, count: 0, held: (None, String::new()), shows_thinking }
    }

    /// The events of `deltas`.
    ///
    /// A call that turns out to be void has its block closed where it broke off, with arguments
    /// that are no JSON, and its text follows as text: events cannot be taken back.
    pub fn write(&mut self, deltas: Vec<Delta>) -> Vec<Bytes> {
        let mut out = Vec::new();
        for delta in deltas {
            match delta {
                Delta::Content(text) => self.text(Kind::Text, text, &mut out),
                Delta::Reasoning(text) => self.text(Kind::Thinking, text, &mut out),
                Delta::CallStart { id, name } => {
                    let id = tool_use_id(&id);
                    let block = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
                    self.begin(Kind::ToolUse, &block, &mut out);
                }
                Delta::CallArguments(json) if json.is_empty() => {}
                Delta::CallArguments(json) => {
                    let delta = json!({"type": "input_json_delta", "partial_json": json});
                    out.push(self.delta(&delta));
                }
                Delta::CallEnd { .. } => self.close(&mut out),
            }
        }
        out
    }

    /// The events that close the last block.
    pub fn end(&mut self) -> Vec<Bytes> {
        let mut out = Vec::new();
        self.close(&mut out);
        out
    }

    fn text(&mut self, kind: Kind, mut text: String, out: &mut Vec<Bytes>) {
        let held = std::mem::take(&mut self.held);
        if self.open != Some(kind) {
            text = match held {
                (Some(held), before) if held == kind => before + &text,
                _ => text,
            };
            if text.trim().is_empty() {
                self.held = (Some(kind), text);
                return;
            }
            let block = match kind {
                Kind::Thinking => json!({"type": "thinking", "thinking": "", "signature": ""}),
                _ => json!({"type": "text", "text": ""}),
            };
            self.begin(kind, &block, out);
        }
        match kind {
            Kind::Thinking if !self.shows_thinking => {}
            Kind::Thinking => {
                out.push(self.delta(&json!({"type": "thinking_delta", "thinking": text})));
            }
            _ => out.push(self.delta(&json!({"type": "text_delta", "text": text}))),
        }
    }

    fn begin(&mut self, kind: Kind, block: &Value, out: &mut Vec<Bytes>) {
        self.close(out);
        self.held = (None, String::new());
        self.open = Some(kind);
        self.count += 1;
        out.push(self.event("content_block_start", "content_block", block));
    }

    fn close(&mut self, out: &mut Vec<Bytes>) {
        let Some(kind) = self.open.take() else { return };
        if kind == Kind::Thinking {
            out.push(self.delta(&json!({"type": "signature_delta", "signature": SIGNATURE})));
        }
        let stop = json!({"type": "content_block_stop", "index": self.count - 1});
        out.push(sse::event("content_block_stop", &stop));
    }

    fn delta(&self, delta: &Value) -> Bytes {
        self.event("content_block_delta", "delta", delta)
    }

    /// An event about the last block.
    fn event(&self, name: &str, key: &str, value: &Value) -> Bytes {
        let index = self.count.saturating_sub(1);
        sse::event(name, &json!({"type": name, "index": index, key: value}))
    }
}
