//! Responses that can be referred to: bounded in bytes and number, and forgotten in time.
//!
//! Each entry holds all that it takes to go on from it, so that its predecessors may be forgotten
//! before it. Items are shared between entries and yet counted in each of them: what is counted is
//! never less than what is held.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::limits;

/// Bounds of a [`Store`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of all entries.
    pub bytes: usize,
    /// Entries.
    pub entries: usize,
    /// An entry's time, from when it was put.
    pub ttl: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            bytes: limits::DEFAULT_RESPONSES_BYTES,
            entries: limits::DEFAULT_RESPONSES,
            ttl: limits::DEFAULT_RESPONSES_TTL,
        }
    }
}

/// A response and what it answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The response's JSON.
    pub response: Arc<str>,
    /// The items, in JSON, of the conversation that it answered: instructions are not among them.
    pub input: Vec<Arc<str>>,
}

impl Kept {
    /// The items of the conversation up to the response, and those of the response.
    pub fn conversation(&self) -> Vec<Value> {
        let mut items: Vec<Value> =
            self.input.iter().filter_map(|item| serde_json::from_str(item).ok()).collect();
        items.extend(self.output());
        items
    }

    fn output(&self) -> Vec<Value> {
        let response: Value = serde_json::from_str(&self.response).unwrap_or_default();
        response["output"].as_array().cloned().unwrap_or_default()
    }

    /// Bytes that the entry counts for under `id`.
    fn bytes(&self, id: &str) -> usize {
        let item = |item: &Arc<str>| item.len() + limits::STORED_ITEM_BYTES;
        limits::STORED_RESPONSE_BYTES
            + id.len()
            + self.response.len()
            + self.input.iter().map(item).sum::<usize>()
    }

    fn item(&self, id: &str) -> Option<Value> {
        let holds = |json: &str| json.contains(id);
        let parsed = self.input.iter().filter(|item| holds(item));
        parsed
            .filter_map(|item| serde_json::from_str::<Value>(item).ok())
            .chain(holds(&self.response).then(|| self.output()).into_iter().flatten())
            .find(|item| item["id"].as_str() == Some(id))
    }
}

#[derive(Debug)]
struct Entry {
    kept: Kept,
    bytes: usize,
    /// Greater than that of every entry that was used before.
    used: u64,
    expires: Duration,
}

/// The entries. Times are durations since any one moment.
#[derive(Debug)]
pub struct Store {
    bounds: Bounds,
    entries: HashMap<String, Entry>,
    bytes: usize,
    uses: u64,
}

impl Store {
    /// An empty store.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, entries: HashMap::new(), bytes: 0, uses: 0 }
    }

    /// Bytes of all entries.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keeps a response, for which those used longest ago make room. False when it is too large.
    pub fn put(&mut self, id: &str, kept: Kept, now: Duration) -> bool {
        self.forget(id, now);
        let bytes = kept.bytes(id);
        if bytes > self.bounds.bytes || self.bounds.entries == 0 {
            return false;
        }
        while self.bytes + bytes > self.bounds.bytes || self.entries.len() == self.bounds.entries {
            self.evict();
        }
        let (used, expires) = (self.next_use(), now.saturating_add(self.bounds.ttl));
        self.bytes += bytes;
        self.entries.insert(id.to_owned(), Entry { kept, bytes, used, expires });
        true
    }

    /// The response `id`.
    pub fn get(&mut self, id: &str, now: Duration) -> Option<Kept> {
        self.expire(now);
        let used = self.next_use();
        let entry = self.entries.get_mut(id)?;
        entry.used = used;
        Some(entry.kept.clone())
    }

    /// Forgets the response `id`; false when it was not there.
    pub fn forget(&mut self, id: &str, now: Duration) -> bool {
        self.expire(now);
        self.remove(id)
    }

    /// The item `id` of any response.
    pub fn item(&mut self, id: &str, now: Duration) -> Option<Value> {
        self.expire(now);
        self.entries.values().find_map(|entry| entry.kept.item(id))
    }

    fn next_use(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }

    fn expire(&mut self, now: Duration) {
        let bytes = &mut self.bytes;
        self.entries.retain(|_, entry| {
            let stays = now < entry.expires;
            if !stays {
                *bytes -= entry.bytes;
            }
            stays
        });
    }

    fn evict(&mut self) {
        let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used);
        if let Some(id) = oldest.map(|(id, _)| id.clone()) {
            self.remove(&id);
        }
    }

    fn remove(&mut self, id: &str) -> bool {
        let removed = self.entries.remove(id);
        self.bytes -= removed.as_ref().map_or(0, |entry| entry.bytes);
        removed.is_some()
    }
}

/// A store with a clock, for all threads.
#[derive(Debug)]
pub struct Shared {
    store: Mutex<Store>,
    start: Instant,
    bounds: Bounds,
}

impl Shared {
    /// An empty store.
    pub fn new(bounds: Bounds) -> Self {
        Self { store: Mutex::new(Store::new(bounds)), start: Instant::now(), bounds }
    }

    /// Its bounds.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// [`Store::put`].
    pub fn put(&self, id: &str, kept: Kept) -> bool {
        self.with(|store, now| store.put(id, kept, now))
    }

    /// [`Store::get`].
    pub fn get(&self, id: &str) -> Option<Kept> {
        self.with(|store, now| store.get(id, now))
    }

    /// [`Store::forget`].
    pub fn forget(&self, id: &str) -> bool {
        self.with(|store, now| store.forget(id, now))
    }

    /// [`Store::item`].
    pub fn item(&self, id: &str) -> Option<Value> {
        self.with(|store, now| store.item(id, now))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Store, Duration) -> T) -> T {
        // No operation leaves the store half changed, so a panic elsewhere does no harm.
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut store, self.start.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn kept(items: &[&str]) -> Kept {
        let item = |id: &&str| Arc::from(json!({"id": id}).to_string());
        let response = json!({"output": [{"id": "out"}]}).to_string();
        Kept { response: response.into(), input: items.iter().map(item).collect() }
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn store(bytes: usize, entries: usize) -> Store {
        Store::new(Bounds { bytes, entries, ttl: seconds(10) })
    }

    #[test]
    fn entries_expire() {
        let mut store = store(1 << 20, 9);
        assert!(store.put("a", kept(&["x"]), seconds(0)));
        assert_eq!(store.get("a", seconds(9)), Some(kept(&["x"])));
        assert_eq!(store.item("x", seconds(9)), Some(json!({"id": "x"})));
        assert_eq!(store.get("a", seconds(10)), None);
        assert_eq!((store.item("x", seconds(10)), store.bytes(), store.len()), (None, 0, 0));
    }

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let mut store = store(1 << 20, 2);
        for id in ["a", "b"] {
            store.put(id, kept(&[]), seconds(0));
        }
        store.get("a", seconds(1));
        store.put("c", kept(&[]), seconds(2));
        assert!(store.get("b", seconds(3)).is_none());
        assert!(store.get("a", seconds(3)).is_some() && store.get("c", seconds(3)).is_some());
    }

    #[test]
    fn a_conversation_outlives_what_it_began_with() {
        let mut store = store(1 << 20, 1);
        store.put("a", kept(&["x"]), seconds(0));
        let first = store.get("a", seconds(0)).unwrap();
        let input = first.conversation().iter().map(|item| item.to_string().into()).collect();
        store.put("b", Kept { input, ..first }, seconds(1));
        assert!(store.get("a", seconds(1)).is_none());
        let ids = json!([{"id": "x"}, {"id": "out"}, {"id": "out"}]);
        assert_eq!(Value::from(store.get("b", seconds(1)).unwrap().conversation()), ids);
    }

    #[test]
    fn what_can_never_fit_is_not_kept_and_costs_nobody_a_place() {
        let mut store = store(2 * kept(&[]).bytes("a"), 9);
        assert!(store.put("a", kept(&[]), seconds(0)));
        assert!(!store.put("b", kept(&[&"x".repeat(5_000)]), seconds(0)));
        assert!(store.get("a", seconds(0)).is_some());
        assert!(!self::store(1 << 20, 0).put("a", kept(&[]), seconds(0)));
    }

    #[derive(Debug, Clone)]
    enum Op {
        Put(u8, usize),
        Get(u8),
        Forget(u8),
        Item,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (0..12_u8, 0..40_usize).prop_map(|(id, n)| Op::Put(id, n)),
            (0..12_u8).prop_map(Op::Get),
            (0..12_u8).prop_map(Op::Forget),
            Just(Op::Item),
        ]
    }

    proptest! {
        #[test]
        fn bounds_hold_and_bytes_are_those_of_the_entries(
            cap in 0..8_000_usize,
            entries in 0..8_usize,
            ops in prop::collection::vec((op(), 0..4_u64), 0..200),
        ) {
            let mut store = store(cap, entries);
            let mut now = 0;
            for (op, pause) in ops {
                now += pause;
                match op {
                    Op::Put(id, n) => {
                        let size = kept(&vec!["x"; n]).bytes(&id.to_string());
                        let fits = size <= cap && entries > 0;
                        let put = store.put(&id.to_string(), kept(&vec!["x"; n]), seconds(now));
                        prop_assert_eq!(put, fits);
                        prop_assert_eq!(store.get(&id.to_string(), seconds(now)).is_some(), fits);
                    }
                    Op::Get(id) => drop(store.get(&id.to_string(), seconds(now))),
                    Op::Forget(id) => {
                        store.forget(&id.to_string(), seconds(now));
                        prop_assert!(store.get(&id.to_string(), seconds(now)).is_none());
                    }
                    Op::Item => drop(store.item("x", seconds(now))),
                }
                let held: usize =
                    store.entries.iter().map(|(id, entry)| entry.kept.bytes(id)).sum();
                prop_assert_eq!(store.bytes(), held);
                prop_assert!(held <= cap && store.len() <= entries);
            }
        }
    }
}
