//! Answers with tool calls: however the text is divided, the calls are the same.

use std::sync::LazyLock;

use serde_json::Value;
use verbatim_engine::{
    Event, FinishReason, Finished, Piece, Stats, TokenEvent, internals,
    text::{Channel, ToolFormat},
};
use verbatim_server::core::{Answer, Event as CoreEvent, Part, StopReason, Translator};

use crate::{
    input::{Input, split},
    scratch,
};

const FORMATS: [ToolFormat; 4] =
    [ToolFormat::Gemma4, ToolFormat::Json, ToolFormat::MiniCpm5, ToolFormat::Qwen3Coder];
/// The formats' names in the recorded cases.
const NAMES: [&str; 4] = ["gemma4", "json_tools", "minicpm5", "qwen3_coder"];

static RECORDED: LazyLock<Value> = LazyLock::new(|| scratch::json("engine/tests/data/tools.json"));

/// How an answer is read.
#[derive(Debug, Clone)]
struct Reading {
    format: ToolFormat,
    thinking: Option<[&'static str; 2]>,
    start: Channel,
    stops: Vec<String>,
    tools: Vec<Value>,
}

/// An answer without the ids of its calls, which are drawn, and why it ended.
type Read = (Vec<Part>, StopReason);

/// An input is a byte for the format, one for how it is divided, one for how it is read, and text.
pub fn body(input: &[u8]) -> bool {
    let mut input = Input::new(input);
    let format = input.pick(&FORMATS);
    let seed = input.byte();
    let options = input.byte();
    let Ok(text) = std::str::from_utf8(input.rest()) else { return false };
    let reading = Reading::new(format, options);
    let whole = reading.read(&[text]);
    assert_eq!(reading.read(&split(text, seed)), whole, "{text:?} {reading:?}");
    let called = whole.0.iter().any(|part| matches!(part, Part::Call(_)));
    if !called && reading.thinking.is_none() && reading.stops.is_empty() {
        let kept: String = whole.0.iter().map(text_of).collect();
        assert_eq!(kept, text, "what is no call is content");
    }
    called
}

impl Reading {
    fn new(format: ToolFormat, options: u8) -> Self {
        let set = |bit: u8| options & (1 << bit) != 0;
        let markers = match format {
            ToolFormat::Gemma4 => ["<|channel>thought", "<channel|>"],
            _ => ["<think>", "</think>"],
        };
        let thinking = set(0).then_some(markers);
        let start = if set(0) && set(1) { Channel::Reasoning } else { Channel::Content };
        let stops = if set(2) { vec!["stop".to_owned(), "}\n".to_owned()] } else { Vec::new() };
        let tools = RECORDED["tools"].as_array().expect("tools").clone();
        Self { format, thinking, start, stops, tools }
    }

    fn read(&self, chunks: &[&str]) -> Read {
        let (pieces, stopped) = internals::pieces(
            Some(self.format),
            self.thinking,
            &self.stops,
            self.start,
            chunks.iter().copied(),
        );
        let reason = stopped.map_or(FinishReason::EndOfSequence, FinishReason::StopString);
        let mut translator = Translator::new(Some(self.format), self.tools.clone());
        let mut answer = Answer::default();
        let mut pieces = pieces.into_iter();
        let last = pieces.next_back().unwrap_or_default();
        for pieces in pieces {
            if let Some(CoreEvent::Step(step)) = translator.translate(token(pieces)) {
                answer.step(step);
            }
        }
        let finished = Finished { reason, pieces: last, stats: Stats::default() };
        match translator.translate(Event::Finished(finished)) {
            Some(CoreEvent::Finished(outcome)) => answer.finish(outcome),
            other => panic!("an answer that does not end: {other:?}"),
        }
        let mut parts = answer.parts;
        for part in &mut parts {
            if let Part::Call(call) = part {
                call.id.clear();
            }
        }
        (parts, answer.outcome.expect("an outcome").reason)
    }
}

fn token(pieces: Vec<Piece>) -> Event {
    Event::Token(TokenEvent { id: 0, pieces, logprob: None, logits: None })
}

fn text_of(part: &Part) -> &str {
    match part {
        Part::Content(text) | Part::Reasoning(text) => text,
        Part::Call(_) => "",
    }
}

/// Recorded bodies of each format beyond which more would add little.
const SEEDS_OF_A_FORMAT: usize = 40;

pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (at, (name, format)) in NAMES.iter().zip(FORMATS).enumerate() {
        let cases = RECORDED[*name].as_array().expect("cases");
        for (i, case) in cases.iter().step_by(cases.len() / SEEDS_OF_A_FORMAT).enumerate() {
            let body = case[0].as_str().expect("a body");
            let text = format!("Well, {}{body}{} and so on", format.start(), format.end());
            let head = [at as u8, i as u8, i as u8 % 8];
            seeds.push([&head, text.as_bytes()].concat());
        }
    }
    seeds
}
