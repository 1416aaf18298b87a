//! The prompt cache's store against a naive model that lists what may be there.

use verbatim_engine::{
    internals::{Chunks, History, Kind, Rules, State, Store},
    limits,
};

use crate::input::Input;

/// State of as many bytes as it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sized {
    bytes: usize,
    trimmable: bool,
}

impl State for Sized {
    fn nbytes(&self) -> usize {
        self.bytes
    }

    fn is_trimmable(&self) -> bool {
        self.trimmable
    }
}

const WINDOWED: Rules = Rules { strict: false, window: Some(6), packs_from: None };
const PLAIN: Rules = Rules { strict: false, window: None, packs_from: None };
const PACKED: Rules = Rules { strict: false, window: None, packs_from: Some(3) };
const STRICT: Rules = Rules { strict: true, window: Some(6), packs_from: None };

/// The rules that operations can run under.
pub const RULES: [Rules; 4] = [PLAIN, WINDOWED, PACKED, STRICT];
/// What an entry may be good for.
const KINDS: [Kind; 3] = [Kind::Tail, Kind::Conversation, Kind::Head];

/// Something that happens to the store.
#[derive(Debug, Clone)]
pub enum Operation {
    /// A state comes.
    Insert {
        /// What else it depends on.
        key: u8,
        /// The tokens behind which it is.
        tokens: Vec<u32>,
        /// Lengths of the calls that read them; the last is cut off.
        calls: Vec<usize>,
        /// Index of its kind.
        kind: usize,
        /// Its bytes.
        bytes: usize,
        /// Whether it can be cut back.
        trimmable: bool,
    },
    /// A prompt looks for a state to go on from.
    Find {
        /// What else that state depends on.
        key: u8,
        /// The prompt.
        tokens: Vec<u32>,
        /// Tokens of a chunk.
        step: usize,
        /// A place where a chunk ends early.
        mark: usize,
    },
    /// This many bytes are wanted elsewhere.
    Evict(usize),
    /// What depends on this key goes.
    Forget(u8),
    /// The entry at this place, counted around, goes.
    Remove(usize),
}

/// Runs operations on a store of `cap` bytes.
///
/// # Panics
/// Where the accounted bytes are not those of the states or exceed the cap, an entry is lost or kept
/// against its operation, or a look-up finds another prefix than the longest usable one.
pub fn check(rules: Rules, cap: usize, operations: impl IntoIterator<Item = Operation>) -> usize {
    let mut checked = Checked { rules, cap, store: Store::new(rules, cap), hits: 0 };
    for operation in operations {
        checked.apply(operation);
        let sum: usize = checked.store.entries().iter().map(|entry| entry.state.bytes).sum();
        assert_eq!(checked.store.bytes(), sum);
        assert!(sum <= cap, "{sum} of {cap} bytes");
        assert!(checked.store.entries().len() <= limits::MAX_CACHE_ENTRIES);
    }
    checked.hits
}

struct Checked {
    rules: Rules,
    cap: usize,
    store: Store<u8, Sized>,
    hits: usize,
}

impl Checked {
    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Insert { key, tokens, calls, kind, bytes, trimmable } => {
                let history = called(&self.rules, &calls, tokens.len());
                // A ring that is full cannot be cut back.
                let full = self.rules.window.is_some_and(|window| tokens.len() >= window);
                let state = Sized { bytes, trimmable: trimmable && !full };
                self.insert(key, tokens, history, KINDS[kind % KINDS.len()], state);
            }
            Operation::Find { key, tokens, step, mark } => {
                self.find(key, &tokens, &Chunks::new(tokens.len(), step, &[mark]));
            }
            Operation::Evict(bytes) => {
                let (before, freed) = (self.store.bytes(), self.store.evict(bytes));
                assert_eq!(before - self.store.bytes(), freed);
                assert!(freed >= bytes || self.store.entries().is_empty());
            }
            Operation::Forget(key) => {
                self.store.retain(|other| *other != key);
                assert!(self.store.entries().iter().all(|entry| entry.key != key));
            }
            Operation::Remove(index) => {
                let entries = self.store.entries().len();
                if entries > 0 {
                    self.store.remove(index % entries);
                }
            }
        }
    }

    fn insert(&mut self, key: u8, tokens: Vec<u32>, history: History, kind: Kind, state: Sized) {
        let before = self.store.entries().len();
        let inserted = self.store.insert(key, tokens.clone(), history.clone(), kind, state);
        let kept = inserted.id.is_some();
        assert_eq!(kept, state.bytes <= self.cap);
        assert_eq!(self.store.entries().len() + inserted.gone.len(), before + usize::from(kept));
        assert!(!kept || self.store.position(&key, &tokens, &history).is_some());
    }

    fn find(&mut self, key: u8, tokens: &[u32], chunks: &Chunks) {
        let hit = self.store.find(&key, tokens, chunks);
        let at = hit.as_ref().map_or(0, |hit| hit.history.at());
        assert_eq!(at, self.longest(key, tokens, chunks));
        if let Some(hit) = hit {
            assert!(at < tokens.len());
            assert!(self.store.entries()[hit.index].tokens.starts_with(&tokens[..at]));
            self.store.touch(hit.index);
            self.hits += 1;
        }
    }

    /// The longest usable prefix by trying all of them.
    fn longest(&self, key: u8, prompt: &[u32], chunks: &Chunks) -> usize {
        let cold = History::default().through(&self.rules, chunks);
        let mut best = 0;
        for entry in self.store.entries().iter().filter(|entry| entry.key == key) {
            for at in 1..prompt.len() {
                let same = entry.tokens.len() >= at && entry.tokens[..at] == prompt[..at];
                let held = at == entry.tokens.len() || entry.state.trimmable;
                let leads = |history: History| history.through(&self.rules, chunks) == cold;
                if same && held && entry.history.trimmed(&self.rules, at).is_some_and(leads) {
                    best = best.max(at);
                }
            }
        }
        best
    }
}

/// The history of calls of these lengths, the last of which is cut off.
fn called(rules: &Rules, calls: &[usize], tokens: usize) -> History {
    let mut history = History::default();
    for len in calls.iter().copied().chain([tokens]) {
        let len = len.min(tokens - history.at());
        if len > 0 {
            history.read(rules, len);
        }
    }
    history
}

/// Operations that one input holds at most.
const MAX_OPERATIONS: usize = 300;

/// An input is a byte for the rules, one for the cap, and operations.
pub fn body(input: &[u8]) -> bool {
    let mut input = Input::new(input);
    let rules = input.pick(&RULES);
    let cap = usize::from(input.byte());
    let mut operations = Vec::new();
    while !input.is_empty() && operations.len() < MAX_OPERATIONS {
        operations.push(operation(&mut input));
    }
    check(rules, cap, operations) > 0
}

fn operation(input: &mut Input<'_>) -> Operation {
    match input.below(18) {
        0..8 => Operation::Insert {
            key: input.below(2) as u8,
            tokens: tokens(input),
            calls: (0..input.below(4)).map(|_| 1 + input.below(5)).collect(),
            kind: input.below(KINDS.len()),
            bytes: input.below(64),
            trimmable: input.coin(),
        },
        8..15 => Operation::Find {
            key: input.below(2) as u8,
            tokens: tokens(input),
            step: 1 + input.below(8),
            mark: input.below(24),
        },
        15 => Operation::Evict(input.below(96)),
        16 => Operation::Forget(input.below(2) as u8),
        _ => Operation::Remove(input.below(256)),
    }
}

/// Few tokens and short lists, so that prompts share prefixes: a length and a token a bit.
fn tokens(input: &mut Input<'_>) -> Vec<u32> {
    let bits = u32::from_le_bytes([input.byte(), input.byte(), input.byte(), 0]);
    (0..=input.below(24)).map(|at| bits >> at & 1).collect()
}

pub fn seeds() -> Vec<Vec<u8>> {
    // An insertion and a look-up of the same tokens, under every rule; then eviction.
    let stored = [0, 0, 0b1011, 0, 0, 7, 1, 3, 1, 20, 1];
    let longer = [0, 0, 0b1011, 1, 0, 12, 0, 2, 10, 1];
    let asked = [8, 0, 0b1011, 1, 0, 15, 3, 0];
    let evicted = [15, 15, 16, 0, 17, 0];
    let whole = |rules: u8| [&[rules, 60][..], &stored, &asked, &longer, &asked, &evicted].concat();
    (0..RULES.len() as u8).map(whole).collect()
}
