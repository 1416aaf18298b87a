//! Streams of every protocol: what is written is read back as the same answer.

mod anthropic;
mod openai;
mod responses;
mod sse;

use bytes::Bytes;
use serde_json::{Value, json};
use verbatim_engine::{Stats, TokenLogprob};
use verbatim_server::{
    core::{Answer, Delta, Outcome, Start, Step, StopReason},
    error::ApiError,
    wire::protocol::Reply,
};

use crate::input::Input;

/// Steps of one answer at most.
const MAX_STEPS: usize = 64;

/// An answer token by token, and how its stream is cut.
#[derive(Debug, Clone)]
struct Script {
    steps: Vec<Step>,
    outcome: Outcome,
    /// The answer breaks off before its end.
    fails: bool,
    model: String,
    seed: u8,
    shows_thinking: bool,
    /// A call was begun and turned out to be none: streams told of it, whole answers do not.
    has_void: bool,
}

/// An input is a byte for the protocol, some for the answer as a whole, and its steps.
pub fn body(input: &[u8]) -> bool {
    let mut input = Input::new(input);
    let check = input.pick(&[
        openai::check_chat as fn(&Script),
        openai::check_text,
        anthropic::check,
        responses::check,
    ]);
    let script = Script::read(&mut input);
    check(&script);
    script.steps.iter().any(|step| !step.deltas.is_empty())
}

impl Script {
    fn read(input: &mut Input<'_>) -> Self {
        let (seed, options) = (input.byte(), input.byte());
        let reason = match input.below(4) {
            0 => StopReason::EndOfTurn,
            1 => StopReason::Length,
            2 => StopReason::ToolCalls,
            _ => StopReason::StopString(input.text(5)),
        };
        let model = input.text(4);
        let mut has_void = false;
        let mut steps = Vec::new();
        while !input.is_empty() && steps.len() < MAX_STEPS {
            steps.push(step(input, &mut has_void));
        }
        // Some output may only be certain at the end.
        let deltas = if options & 1 == 1 { steps.pop().map(|step| step.deltas) } else { None };
        let stats = Stats {
            prompt_tokens: usize::from(options),
            cached_tokens: usize::from(options / 2),
            generated_tokens: steps.len(),
            ..Stats::default()
        };
        let outcome = Outcome { reason, deltas: deltas.unwrap_or_default(), stats };
        let (fails, shows_thinking) = (options & 6 == 6, options & 8 == 0);
        Self { steps, outcome, fails, model, seed, shows_thinking, has_void }
    }

    /// The answer, collected.
    fn answer(&self) -> Answer {
        let mut answer = Answer::default();
        self.steps.iter().cloned().for_each(|step| answer.step(step));
        answer.finish(self.outcome.clone());
        answer
    }

    /// The JSON of the whole answer.
    fn whole(&self, mut reply: Box<dyn Reply>) -> Value {
        self.steps.iter().for_each(|step| reply.observe(0, step));
        let json = reply.whole(vec![self.answer()]).to_string();
        serde_json::from_str(&json).expect("JSON")
    }

    /// The events of the stream as a client reads them; `None` stands for the mark of its end.
    fn stream(&self, mut reply: Box<dyn Reply>) -> Vec<sse::Event> {
        let mut sent: Vec<Bytes> = reply.start(Start {
            prompt_tokens: self.outcome.stats.prompt_tokens,
            cached_tokens: self.outcome.stats.cached_tokens,
        });
        sent.push(reply.keepalive());
        sent.extend(reply.progress(1, 2));
        for step in &self.steps {
            sent.extend(reply.step(0, step.clone()));
        }
        if self.fails {
            sent.extend(reply.fail(&ApiError::bad_request(self.model.as_str())));
        } else {
            sent.extend(reply.finish(0, self.outcome.clone()));
            sent.extend(reply.end());
        }
        let bytes = sent.concat();
        let events = sse::read(&bytes, self.seed);
        assert_eq!(events, sse::read(&bytes, 0), "packets do not matter");
        events
    }

    /// All text of one kind that the answer tells.
    fn told(&self, pick: impl Fn(&Delta) -> Option<&str>) -> String {
        let steps = self.steps.iter().flat_map(|step| &step.deltas);
        let last = self.outcome.deltas.iter().filter(|_| !self.fails);
        steps.chain(last).filter_map(pick).collect()
    }

    fn content(&self) -> String {
        self.told(|delta| match delta {
            Delta::Content(text) => Some(text),
            _ => None,
        })
    }

    fn reasoning(&self) -> String {
        self.told(|delta| match delta {
            Delta::Reasoning(text) => Some(text),
            _ => None,
        })
    }
}

fn step(input: &mut Input<'_>, has_void: &mut bool) -> Step {
    let token = u32::from(input.byte());
    let logprob = input.coin().then(|| TokenLogprob {
        logprob: -f32::from(input.byte()),
        top: vec![(token, f32::NEG_INFINITY), (1, -0.5)],
    });
    let deltas = match input.below(8) {
        0..3 => vec![Delta::Content(text(input))],
        3 => vec![Delta::Reasoning(text(input))],
        4 | 5 => call(input, true),
        6 => {
            *has_void = true;
            [call(input, false), vec![Delta::Content(text(input))]].concat()
        }
        _ => Vec::new(),
    };
    Step { token, logprob, deltas }
}

/// Text that is not empty: empty pieces are never told.
fn text(input: &mut Input<'_>) -> String {
    let length = 1 + input.below(12);
    let text = input.text(length);
    if text.is_empty() { " ".to_owned() } else { text }
}

fn call(input: &mut Input<'_>, complete: bool) -> Vec<Delta> {
    let (id, name) = (format!("call_{}", input.text(3)), text(input));
    let object = json!({text(input): text(input)});
    // Not every call's arguments are an object.
    let arguments = match input.below(4) {
        0 => json!([object]).to_string(),
        1 => "[NaN, -Infinity, \"NaN\"]".to_owned(),
        _ => object.to_string(),
    };
    let shown = if complete { arguments.as_str() } else { "{" };
    let mut deltas = vec![Delta::CallStart { id, name }];
    let pieces = crate::input::split(shown, input.byte());
    deltas.extend(pieces.into_iter().map(|piece| Delta::CallArguments(piece.to_owned())));
    deltas.push(Delta::CallEnd { complete });
    deltas
}

pub fn seeds() -> Vec<Vec<u8>> {
    // Two tokens of content, thinking, a call, a void call, log-probabilities.
    let content = b"\x07\0\0\x04Hello\x08\x01\x03\x01\x05 you\n\r";
    let thinking = b"\x01\0\x03\x03Hmm.";
    let call = b"\x02\0\x04abc\x02get\x01ab\x02cde\x03";
    let void = b"\x02\0\x06abc\x02get\x01ab\x02cde\x03\x02<f>";
    let mut seeds = Vec::new();
    for protocol in 0..4 {
        for options in [0, 1, 7, 8] {
            let head = [protocol, 5 * options + 1, options, options % 4];
            seeds.push([&head[..], b"name", thinking, content, call, content].concat());
            seeds.push([&head[..], b"name", content, void, call, thinking].concat());
        }
    }
    seeds
}
