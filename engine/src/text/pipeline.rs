//! From token ids to routed text: what the scheduler owns per sequence.

use super::{Channel, Detokenizer, Tokenizer, router::Router};
use crate::{Piece, Routing};

/// Text that one step released.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// Runs of text, in order.
    pub pieces: Vec<Piece>,
    /// The stop string that completed; the generation is to end here.
    pub stopped: Option<String>,
}

/// Detokenizer, channel router and stop strings of one sequence.
#[derive(Debug)]
pub struct TextPipeline {
    detokenizer: Detokenizer,
    router: Router,
    stops: Vec<String>,
}

impl TextPipeline {
    /// A pipeline for one generation. Empty stop strings are ignored.
    pub fn new(tokenizer: &Tokenizer, routing: &Routing, stops: &[String]) -> Self {
        let stops: Vec<String> = stops.iter().filter(|s| !s.is_empty()).cloned().collect();
        let (thinking, tools) = if routing.markers {
            (tokenizer.thinking(), tokenizer.tool_format())
        } else {
            (None, None)
        };
        let start = if routing.markers { routing.start } else { Channel::Content };
        let router = Router::new(thinking, tools, &stops, start).exclusive(routing.exclusive);
        let mut detokenizer = tokenizer.detokenizer();
        if routing.continues {
            detokenizer.keep_leading_space();
        }
        Self { detokenizer, router, stops }
    }

    /// Reads one generated token. Do not push the end-of-sequence token that ends a generation.
    pub fn push(&mut self, token: u32) -> Output {
        self.detokenizer.add_token(token);
        self.route(false)
    }

    /// Ends the generation and releases everything held back. Call it once, however the generation
    /// ended; a stop string may complete only here.
    pub fn finish(&mut self) -> Output {
        self.detokenizer.finalize();
        self.route(true)
    }

    fn route(&mut self, last: bool) -> Output {
        let before = self.router.stopped();
        let mut pieces = Vec::new();
        self.router.push(&self.detokenizer.take_segment(), &mut pieces);
        if last {
            self.router.flush(&mut pieces);
        }
        let stopped = self.router.stopped().filter(|_| before.is_none());
        Output { pieces, stopped: stopped.map(|index| self.stops[index].clone()) }
    }
}
