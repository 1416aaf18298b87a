//! Single cases; `fuzz/src/prompt_cache.rs` holds the store against a naive model.

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
