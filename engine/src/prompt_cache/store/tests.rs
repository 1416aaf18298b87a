//! The store against a naive model that lists what may be there.

use proptest::prelude::*;

use super::*;

/// State of as many bytes as it says.
#[derive(Debug, Clone, PartialEq, Eq)]
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

const RULES: Rules = Rules { strict: false, window: Some(6), packs_from: None };

fn history(rules: &Rules, calls: &[usize]) -> History {
    let mut history = History::default();
    for &len in calls {
        history.read(rules, len);
    }
    history
}

fn whole(rules: &Rules, len: usize) -> History {
    history(rules, &[len])
}

fn trimmable(bytes: usize) -> Sized {
    Sized { bytes, trimmable: true }
}

fn fixed(bytes: usize) -> Sized {
    Sized { bytes, trimmable: false }
}

const PLAIN: Rules = Rules { strict: false, window: None, packs_from: None };

fn store(cap: usize) -> Store<u8, Sized> {
    Store::new(PLAIN, cap)
}

fn add(store: &mut Store<u8, Sized>, key: u8, tokens: &[u32], kind: Kind, state: Sized) {
    store.insert(key, tokens.to_vec(), whole(&PLAIN, tokens.len()), kind, state);
}

fn found(store: &Store<u8, Sized>, key: u8, prompt: &[u32]) -> Option<usize> {
    let hit = store.find(&key, prompt, &Chunks::new(prompt.len(), 64, &[]));
    hit.map(|hit| hit.history.at())
}

#[test]
fn a_prompt_is_never_found_as_a_whole() {
    let mut store = store(100);
    add(&mut store, 0, &[1, 2, 3, 4], Kind::Tail, fixed(1));
    // mlx-lm's server dies of this one: nothing is left to be read.
    assert_eq!(found(&store, 0, &[1, 2, 3, 4]), None);
    assert_eq!(found(&store, 0, &[1, 2, 3, 4, 5]), Some(4));
    assert_eq!(found(&store, 0, &[1, 2, 3]), None, "it cannot be cut back");
    add(&mut store, 1, &[1, 2, 3, 4], Kind::Tail, trimmable(1));
    assert_eq!(found(&store, 1, &[1, 2, 3, 4]), Some(3));
    assert_eq!(found(&store, 1, &[1, 2, 9, 9]), Some(2));
    assert_eq!(found(&store, 1, &[1]), None);
    assert_eq!(found(&store, 2, &[1, 2, 3, 4, 5]), None, "another key");
}

#[test]
fn what_can_be_cut_back_stands_in_for_its_prefixes() {
    let mut store = store(100);
    add(&mut store, 0, &[1, 2], Kind::Tail, fixed(10));
    add(&mut store, 0, &[1, 2, 3], Kind::Tail, fixed(10));
    assert_eq!(store.entries().len(), 2);
    add(&mut store, 0, &[1, 2, 3, 4], Kind::Tail, trimmable(10));
    assert_eq!((store.entries().len(), store.bytes()), (1, 10));
    add(&mut store, 0, &[1, 2, 3, 5], Kind::Tail, trimmable(10));
    assert_eq!(store.entries().len(), 2, "branches stay");
    assert!(store.covers(&0, &[1, 2, 3], &whole(&PLAIN, 3)));
}

#[test]
fn an_entry_beyond_the_cap_is_not_kept() {
    let mut store = store(10);
    add(&mut store, 0, &[1], Kind::Tail, fixed(8));
    add(&mut store, 0, &[2], Kind::Tail, fixed(11));
    assert_eq!((store.entries().len(), store.bytes(), store.evictions()), (1, 8, 0));
}

#[test]
fn tails_go_before_conversations_and_heads() {
    let mut store = store(4);
    add(&mut store, 0, &[1], Kind::Head, fixed(1));
    add(&mut store, 0, &[1, 2], Kind::Conversation, fixed(1));
    add(&mut store, 0, &[1, 2, 3], Kind::Tail, fixed(1));
    add(&mut store, 0, &[1, 2, 4], Kind::Tail, fixed(1));
    let first_tail = store.position(&0, &[1, 2, 3], &whole(&PLAIN, 3)).unwrap();
    store.touch(first_tail);
    add(&mut store, 0, &[9], Kind::Tail, fixed(1));
    let tokens: Vec<&[u32]> = store.entries().iter().map(|e| e.tokens.as_slice()).collect();
    assert!(!tokens.contains(&[1, 2, 4].as_slice()), "the tail used longest ago: {tokens:?}");
    assert_eq!(store.evict(2), 2);
    let kinds: Vec<Kind> = store.entries().iter().map(|e| e.kind).collect();
    assert!(kinds.contains(&Kind::Head) && kinds.contains(&Kind::Conversation), "{kinds:?}");
    assert_eq!(store.evict(usize::MAX), 2);
    assert_eq!(store.bytes(), 0);
}

#[test]
fn calls_that_matter_decide() {
    // Read alone behind a full ring: no chunk gives that.
    let alone = history(&RULES, &[8, 1]);
    let mut ring = Store::new(RULES, 100);
    ring.insert(0, (0..9).collect(), alone, Kind::Tail, fixed(1));
    let prompt: Vec<u32> = (0..20).collect();
    assert_eq!(ring.find(&0, &prompt, &Chunks::new(20, 64, &[])), None);
    let apart = Chunks::new(20, 1, &[]);
    assert_eq!(ring.find(&0, &prompt, &apart), None, "tokens 6 and 7 were read together");
    ring.insert(0, (0..9).collect(), history(&RULES, &[4, 2, 1, 1, 1]), Kind::Tail, fixed(1));
    assert_eq!(ring.find(&0, &prompt, &apart).unwrap().history.at(), 9);

    // Packed behind the first call: a prompt whose first call ends there goes on from it.
    let packing = Rules { strict: false, window: None, packs_from: Some(0) };
    let mut packed = Store::new(packing, 100);
    let first = history(&packing, &[18, 3]);
    packed.insert(0, (0..21).collect(), first, Kind::Tail, trimmable(1));
    let prompt: Vec<u32> = (0..60).collect();
    let at = |marks: &[usize]| packed.find(&0, &prompt, &Chunks::new(60, 64, marks));
    assert_eq!(at(&[]), None);
    assert_eq!(at(&[18]).unwrap().history.at(), 21);
    assert_eq!(at(&[17]).unwrap().history.at(), 17, "cut back to where it would be packed");
    assert_eq!(at(&[20]), None, "two tokens saw packed keys too early");

    // Every call counts.
    let strict = Rules { strict: true, window: None, packs_from: None };
    let mut exact = Store::new(strict, 100);
    exact.insert(0, (0..40).collect(), history(&strict, &[16, 16, 8]), Kind::Tail, trimmable(1));
    let at = |step| exact.find(&0, &prompt, &Chunks::new(60, step, &[])).map(|h| h.history.at());
    assert_eq!([at(16), at(32), at(40), at(64)], [Some(32), None, None, None]);
}

#[derive(Debug, Clone)]
enum Operation {
    Insert { key: u8, tokens: Vec<u32>, calls: Vec<usize>, kind: u8, bytes: usize, trimmable: bool },
    Find { key: u8, tokens: Vec<u32>, step: usize, mark: usize },
    Evict(usize),
    Retain(u8),
    Remove(usize),
}

/// Few tokens and short lists, so that prompts share prefixes.
fn tokens() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(0..2_u32, 1..10)
}

fn operation() -> impl Strategy<Value = Operation> {
    let insert = (
        0..2_u8,
        tokens(),
        prop::collection::vec(1..6_usize, 10),
        0..3_u8,
        0..40_usize,
        any::<bool>(),
    )
        .prop_map(|(key, tokens, calls, kind, bytes, trimmable)| Operation::Insert {
            key,
            tokens,
            calls,
            kind,
            bytes,
            trimmable,
        });
    let find = (0..2_u8, tokens(), 1..8_usize, 0..10_usize)
        .prop_map(|(key, tokens, step, mark)| Operation::Find { key, tokens, step, mark });
    prop_oneof![
        8 => insert,
        8 => find,
        1 => (0..80_usize).prop_map(Operation::Evict),
        1 => (0..2_u8).prop_map(Operation::Retain),
        1 => any::<usize>().prop_map(Operation::Remove),
    ]
}

/// The history of calls of these lengths, the last of which is cut off.
fn called(rules: &Rules, calls: &[usize], tokens: usize) -> History {
    let mut history = History::default();
    for &len in calls {
        let len = len.min(tokens - history.at());
        if len > 0 {
            history.read(rules, len);
        }
    }
    if history.at() < tokens {
        history.read(rules, tokens - history.at());
    }
    history
}

/// The longest usable prefix by trying all of them.
fn naive(
    store: &Store<u8, Sized>,
    rules: &Rules,
    key: u8,
    prompt: &[u32],
    chunks: &Chunks,
) -> usize {
    let cold = History::default().through(rules, chunks);
    let mut best = 0;
    for entry in store.entries().iter().filter(|entry| entry.key == key) {
        for at in 1..prompt.len() {
            let same = entry.tokens.len() >= at && entry.tokens[..at] == prompt[..at];
            let held = at == entry.tokens.len() || (same && entry.state.trimmable);
            let leads = |history: History| history.through(rules, chunks) == cold;
            if same && held && entry.history.trimmed(rules, at).is_some_and(leads) {
                best = best.max(at);
            }
        }
    }
    best
}

/// Operations of one run: with the number of runs, 100,000.
const OPERATIONS: usize = 500;
const RUNS: u32 = 200;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(RUNS))]

    #[test]
    fn bytes_are_those_of_the_states_and_within_the_cap(
        cap in 0..200_usize,
        windowed in any::<bool>(),
        operations in prop::collection::vec(operation(), OPERATIONS),
    ) {
        let rules = if windowed { RULES } else { PLAIN };
        let mut store = Store::new(rules, cap);
        for operation in operations {
            match operation {
                Operation::Insert { key, tokens, calls, kind, bytes, trimmable } => {
                    let history = called(&rules, &calls, tokens.len());
                    // A ring that is full cannot be cut back.
                    let full = rules.window.is_some_and(|window| tokens.len() >= window);
                    let state = Sized { bytes, trimmable: trimmable && !full };
                    let before = store.entries().len();
                    let kind = KINDS[usize::from(kind)];
                    let Inserted { id, gone } =
                        store.insert(key, tokens.clone(), history.clone(), kind, state);
                    prop_assert_eq!(id.is_some(), bytes <= cap);
                    prop_assert_eq!(store.entries().len() + gone.len(),
                        before + usize::from(id.is_some()));
                    prop_assert!(id.is_none() || store.position(&key, &tokens, &history).is_some());
                }
                Operation::Find { key, tokens, step, mark } => {
                    let chunks = Chunks::new(tokens.len(), step, &[mark]);
                    let hit = store.find(&key, &tokens, &chunks);
                    let at = hit.as_ref().map_or(0, |hit| hit.history.at());
                    prop_assert!(at < tokens.len());
                    prop_assert_eq!(at, naive(&store, &rules, key, &tokens, &chunks));
                    if let Some(hit) = hit {
                        prop_assert!(store.entries()[hit.index].tokens.starts_with(&tokens[..at]));
                        store.touch(hit.index);
                    }
                }
                Operation::Evict(bytes) => {
                    let (before, freed) = (store.bytes(), store.evict(bytes));
                    prop_assert_eq!(before - store.bytes(), freed);
                    prop_assert!(freed >= bytes || store.entries().is_empty());
                }
                Operation::Retain(key) => {
                    store.retain(|other| *other != key);
                    prop_assert!(store.entries().iter().all(|entry| entry.key != key));
                }
                Operation::Remove(index) => {
                    if !store.entries().is_empty() {
                        store.remove(index % store.entries().len());
                    }
                }
            }
            let sum: usize = store.entries().iter().map(|entry| entry.state.bytes).sum();
            prop_assert_eq!(store.bytes(), sum);
            prop_assert!(sum <= cap);
            prop_assert!(store.entries().len() <= limits::MAX_CACHE_ENTRIES);
        }
    }
}
