//! A cache with a folder against random operations, kills and files that nobody should have written.

use std::{
    fs,
    io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use mlx_rs::{Array, Dtype};
use proptest::prelude::*;
use rstest::rstest;

use super::{super::PromptCache, folder::open_head, *};
use crate::{
    cache::{KvCache, LayerCache},
    generate::Chunks,
    kv::KvQuantization,
    memory::{CacheFacts, Heads, MemoryFacts, MemoryModel, WorkFacts},
    mlx,
    models::Mutation,
    prompt_cache::Start,
    scheduler::Status,
    weights,
};

const RULES: Rules = Rules { strict: false, window: None, packs_from: None };
/// What a state of these tests takes in memory, and room for more than five of them.
const STATE: usize = 2 * 256 * 2 * 4 * 2;
const CAP: usize = 6 * STATE;
/// Nothing here takes as long, however slow the machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// Keys and values that tell which tokens they are of.
fn caches(tokens: &[u32]) -> Vec<LayerCache> {
    let values: Vec<f32> =
        (0..2).flat_map(|_| tokens.iter().flat_map(|&token| [token as f32; 4])).collect();
    let shape = [1, 2, tokens.len() as i32, 4];
    let rows = Array::from_slice(&values, &shape).as_dtype(Dtype::Float16).unwrap();
    let mut cache = LayerCache::Kv(KvCache::default());
    cache.update_and_fetch(&rows, &rows).unwrap();
    vec![cache]
}

fn shape() -> Shape {
    let heads = Heads { count: 2, width: 4 };
    let model = MemoryModel {
        facts: MemoryFacts { caches: vec![CacheFacts::Growing(heads)], work: WorkFacts::default() },
        weights: 0,
        adapters: 0,
        dtype: weights::Dtype::F16,
        kv: KvQuantization::default(),
    };
    Shape::new(&model, Dtype::Float16, vec![LayerCache::Kv(KvCache::default())], Mutation::None)
}

fn history(tokens: &[u32]) -> History {
    let mut history = History::default();
    history.read(&RULES, tokens.len());
    history
}

struct Cache {
    cache: PromptCache,
    status: Arc<Status>,
}

impl Cache {
    fn in_memory() -> Self {
        let status = Arc::new(Status::new(None));
        let cache = PromptCache::new(RULES, CAP, Arc::clone(&status), Mutation::None);
        Self { cache, status }
    }

    /// Bytes of all arrays of all entries.
    fn held(&self) -> usize {
        let entries = self.cache.store.entries().iter();
        let caches = entries.flat_map(|entry| {
            let tokens = entry.tokens.len();
            entry.state.caches(tokens, tokens).unwrap().unwrap()
        });
        caches.map(|cache| cache.state().iter().map(|array| array.nbytes()).sum::<usize>()).sum()
    }

    fn open(dir: &Path, disk_cap: u64) -> Self {
        let status = Arc::new(Status::new(None));
        let mut cache = PromptCache::new(RULES, CAP, Arc::clone(&status), Mutation::None);
        let folder = Folder::open(dir, disk_cap, "this model".into()).unwrap();
        cache.keep_on_disk(folder, shape());
        Self { cache, status }
    }

    fn keep(&mut self, tokens: &[u32]) {
        let own = caches(tokens);
        self.cache.keep_end(&vec![], tokens.to_vec(), own, &history(tokens), tokens.len());
    }

    /// Tokens of `prompt` that are found; their state has to be theirs.
    fn find(&mut self, prompt: &[u32]) -> usize {
        let chunks = Chunks::new(prompt.len(), 64, &[]);
        let Some(Start { caches, history }) =
            self.cache.start(&vec![], prompt, &chunks, &|_, _| true)
        else {
            return 0;
        };
        let at = history.at();
        assert_eq!(caches[0].offset(), at);
        for array in caches[0].state() {
            let found = mlx::to_f32(&mlx::ops::slice_rows(array, 0, at as i32).unwrap()).unwrap();
            let expected: Vec<f32> =
                (0..2).flat_map(|_| prompt[..at].iter().flat_map(|&t| [t as f32; 4])).collect();
            assert_eq!(found, expected);
        }
        at
    }

    fn finish(&mut self) {
        self.cache.finish_writing(Instant::now() + PATIENCE);
    }

    /// Waits until the files in `dir` are those of the index: removals are handed over like pieces.
    fn settle(&self, dir: &Path) {
        let start = Instant::now();
        loop {
            let ((complete, bytes), told) = (files(dir), self.told());
            if (complete.len(), bytes) == (told.entries, told.bytes) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{complete:?}, {bytes} bytes, for {told:?}");
            thread::yield_now();
        }
    }

    fn told(&self) -> DiskHealth {
        self.status.health().cache.disk
    }
}

/// Complete files, and the bytes of all files.
fn files(dir: &Path) -> (Vec<PathBuf>, u64) {
    let all: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|f| f.unwrap().path()).collect();
    // A file may be renamed meanwhile.
    let bytes = all.iter().filter_map(|path| fs::metadata(path).ok()).map(|m| m.len()).sum();
    let complete = |path: &PathBuf| path.extension().is_some_and(|e| e == "state");
    let mut complete: Vec<PathBuf> = all.into_iter().filter(complete).collect();
    complete.sort();
    (complete, bytes)
}

#[test]
fn states_survive_a_restart_and_branch_off_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let tokens: Vec<u32> = (0..40).collect();
    let mut cache = Cache::open(dir.path(), 1 << 20);
    cache.keep(&tokens);
    assert_eq!(cache.told().entries, 0, "nothing is written before its turn");
    cache.finish();
    let told = cache.told();
    assert_eq!((told.entries, told.written, told.bytes), (1, 1, files(dir.path()).1));
    drop(cache);

    let mut cache = Cache::open(dir.path(), 1 << 20);
    assert_eq!((cache.told().entries, cache.cache.bytes()), (1, 0));
    let other: Vec<u32> = (0..25).chain([9; 5]).collect();
    assert_eq!(cache.find(&other), 25);
    assert_eq!(cache.find(&tokens), 39, "its other branch is in memory now");
    let told = cache.told();
    assert_eq!((told.restored, told.restored_tokens), (1, 25));
    cache.finish();
    assert_eq!(cache.told().written, 0, "what comes from disk is not written again");
}

#[test]
fn an_entry_that_may_not_come_to_memory_stays_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut cache = Cache::open(dir.path(), 1 << 20);
    cache.keep(&[1, 2, 3]);
    cache.finish();
    drop(cache);
    let mut cache = Cache::open(dir.path(), 1 << 20);
    let chunks = Chunks::new(3, 64, &[]);
    let asked = std::cell::Cell::new(0);
    let refuse = |_: &mut PromptCache, bytes| {
        asked.set(bytes);
        false
    };
    assert!(cache.cache.start(&vec![], &[1, 2, 3], &chunks, &refuse).is_none());
    assert!((STATE..STATE + 100).contains(&asked.get()), "{}", asked.get());
    assert_eq!(cache.find(&[1, 2, 3]), 2);
}

#[test]
fn states_of_adapters_stay_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut cache = Cache::open(dir.path(), 1 << 20);
    let adapters = crate::nn::Adapters::default();
    let key = vec![adapters.mount(vec![]).unwrap()];
    cache.keep(&[1, 2, 3]);
    cache.cache.keep_end(&key, vec![5, 6, 7], caches(&[5, 6, 7]), &history(&[5, 6, 7]), 3);
    cache.finish();
    assert_eq!((cache.told().entries, cache.told().written), (1, 1));
    drop(cache);
    let mut cache = Cache::open(dir.path(), 1 << 20);
    let chunks = Chunks::new(3, 64, &[]);
    assert!(cache.cache.start(&key, &[1, 2, 3], &chunks, &|_, _| true).is_none());
    assert_eq!(cache.find(&[5, 6, 7]), 0);
    assert_eq!(cache.find(&[1, 2, 3]), 2);
}

#[test]
fn one_process_has_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let first = Cache::open(dir.path(), 1 << 20);
    let second = Folder::open(dir.path(), 1, "this model".into()).unwrap_err().to_string();
    assert!(second.contains("another process"), "{second}");
    drop(first);
    Folder::open(dir.path(), 1, "this model".into()).unwrap();
}

#[test]
fn a_folder_that_everybody_can_write_to_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let grant = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
    grant(0o777);
    let refused = Folder::open(dir.path(), 1, "this model".into()).unwrap_err().to_string();
    assert!(refused.contains("chmod 700"), "{refused}");
    grant(0o775);
    Folder::open(dir.path(), 1, "this model".into()).unwrap();
}

#[test]
fn what_is_used_in_memory_stays_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut cache = Cache::open(dir.path(), 1 << 20);
    for first in [1, 2] {
        cache.keep(&[first, 2, 3]);
        cache.finish();
    }
    let one = cache.told().bytes / 2;
    assert_eq!(cache.find(&[1, 2, 3, 4]), 3, "the older one");
    assert_eq!(cache.told().restored, 0);
    drop(cache);
    // Room for one: after a restart too, the other goes.
    let mut cache = Cache::open(dir.path(), one * 3 / 2);
    assert_eq!((cache.find(&[2, 2, 3, 4]), cache.find(&[1, 2, 3, 4])), (0, 3));
}

#[test]
fn what_is_foreign_or_left_over_goes_and_other_files_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mut cache = Cache::open(dir.path(), 1 << 20);
    cache.keep(&[1, 2, 3]);
    cache.finish();
    drop(cache);
    let id = "0123456789abcdef0123456789abcdef";
    fs::write(dir.path().join(format!("prompt-{id}.tmp")), "half").unwrap();
    fs::create_dir(dir.path().join(format!("prompt-{id}.state"))).unwrap();
    let link = dir.path().join("prompt-ffffffffffffffffffffffffffffffff.state");
    std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
    let own = ["notes.txt", "prompt-1.state", "prompt-notes.tmp"];
    for name in own {
        fs::write(dir.path().join(name), "not an entry").unwrap();
    }
    let cache = Cache::open(dir.path(), 1 << 20);
    assert_eq!((cache.told().entries, cache.told().rejected), (1, 2));
    assert!(!link.is_symlink() && !dir.path().join(format!("prompt-{id}.tmp")).exists());
    assert!(own.iter().all(|name| dir.path().join(name).exists()));
    drop(cache);
    let folder = Folder::open(dir.path(), 1 << 20, "another model".into()).unwrap();
    assert_eq!(folder.rejected(), 2, "the entry, and the folder that cannot be removed");
    drop(folder);
    assert_eq!(Cache::open(dir.path(), 1 << 20).told().entries, 0);
}

#[test]
fn a_smaller_cap_holds_from_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut cache = Cache::open(dir.path(), 1 << 20);
    for first in 0..4 {
        cache.keep(&[first, 2, 3]);
        cache.finish();
    }
    let one = cache.told().bytes / 4;
    drop(cache);
    let cache = Cache::open(dir.path(), one * 5 / 2);
    assert_eq!((cache.told().entries, files(dir.path()).0.len()), (2, 2));
    drop(cache);
    let mut cache = Cache::open(dir.path(), one - 1);
    assert_eq!((cache.told().entries, files(dir.path()).1), (0, 0));
    cache.keep(&[1, 2, 3]);
    cache.finish();
    assert_eq!((cache.told().entries, files(dir.path()).1), (0, 0), "it is larger than the cap");
    assert_eq!(cache.find(&[1, 2, 3]), 2);
}

/// Rewrites an entry's description and arrays with checksums that are right.
fn forge(path: &Path, change: Change) {
    let (mut file, head) = open_head(path).unwrap();
    let mut description = head.description.clone();
    let mut arrays = Vec::new();
    format::read_arrays(&mut file, &head, |_, bytes| {
        arrays.extend(bytes);
        Ok(())
    })
    .unwrap();
    change(&mut description, &mut arrays);
    let (mut bytes, head) = write_head(description).unwrap();
    let mut checksum = format::Checksum::new(&head.digest);
    checksum.update(&arrays);
    bytes.extend(arrays);
    bytes.extend(checksum.finish());
    fs::write(path, bytes).unwrap();
}

type Change = fn(&mut Description, &mut Vec<u8>);

fn edit(change: Change) -> Change {
    change
}

#[rstest]
#[case::unchanged(edit(|_, _| ()), 2)]
#[case::another_class(edit(|d, _| { d.texts.insert("1.0".into(), "ArraysCache".into()); }), 0)]
#[case::unknown_class(edit(|d, _| { d.texts.insert("1.0".into(), "Other".into()); }), 0)]
#[case::no_cache(edit(|d, _| d.texts.clear()), 0)]
#[case::more_tokens_than_rows(edit(|d, _| { d.tokens.push(4); d.history = history(&[0; 4]); }), 0)]
#[case::more_heads(edit(|d, _| for i in 0..2 { d.arrays[i].shape = vec![1, 4, 128, 4] }), 0)]
#[case::wider_heads(edit(|d, _| for i in 0..2 { d.arrays[i].shape = vec![1, 2, 128, 8] }), 0)]
#[case::two_sequences(edit(|d, _| for i in 0..2 { d.arrays[i].shape = vec![2, 2, 128, 4] }), 0)]
#[case::another_dtype(edit(|d, _| for i in 0..2 { d.arrays[i].dtype = "BF16".into() }), 0)]
#[case::integers(edit(|d, _| for i in 0..2 { (d.arrays[i].dtype, d.arrays[i].shape[3]) = ("U32".into(), 2) }), 0)]
#[case::cannot_be_cut_back(edit(|d, _| d.trimmable = false), 0)]
#[case::no_arrays(edit(|d, a| { d.arrays.clear(); a.clear(); }), 0)]
#[case::negative_offset(edit(|_, a| { let n = a.len(); a[n - 1] = 0x80; }), 0)]
fn forged_states_are_not_used(#[case] change: Change, #[case] expected: usize) {
    let dir = tempfile::tempdir().unwrap();
    let mut cache = Cache::open(dir.path(), 1 << 20);
    cache.keep(&[1, 2, 3]);
    cache.finish();
    drop(cache);
    let path = files(dir.path()).0.remove(0);
    forge(&path, change);
    let mut cache = Cache::open(dir.path(), 1 << 20);
    assert_eq!(cache.told().entries, 1, "its checksums are right");
    // What cannot be cut back is looked for with more behind it.
    assert_eq!(cache.find(&[1, 2, 3]).max(cache.find(&[1, 2, 3, 4, 5]).min(expected)), expected);
    assert_eq!((path.exists(), cache.told().rejected), (expected > 0, u64::from(expected == 0)));
}

#[test]
fn a_folder_that_takes_no_files_costs_nothing_but_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let mut cache = Cache::open(dir.path(), 1 << 20);
    fs::remove_dir_all(dir.path()).unwrap();
    cache.keep(&[1, 2, 3]);
    cache.finish();
    assert_eq!((cache.told().failed, cache.told().entries), (1, 0));
    assert_eq!(cache.find(&[1, 2, 3]), 2);
}

#[derive(Debug, Clone)]
enum Operation {
    Keep(Vec<u32>),
    Find(Vec<u32>),
    /// Hand so many pieces over.
    Write(usize),
    Finish,
    Evict(usize),
    /// Flip a bit of some file.
    Spoil(usize, usize),
    /// Start anew, with what was on its way lost.
    Restart,
}

fn tokens() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(0..3_u32, 1..8)
}

/// What needs no folder.
fn in_memory() -> impl Strategy<Value = Operation> {
    prop_oneof![
        8 => tokens().prop_map(Operation::Keep),
        8 => tokens().prop_map(Operation::Find),
        1 => (1..4 * STATE).prop_map(Operation::Evict),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        17 => in_memory(),
        6 => (1..8_usize).prop_map(Operation::Write),
        2 => Just(Operation::Finish),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(file, at)| Operation::Spoil(file, at)),
        1 => Just(Operation::Restart),
    ]
}

/// Flips a bit in place, unless the writer has just removed the file: it must not come back.
fn spoil(dir: &Path, file: usize, at: usize) {
    let (complete, _) = files(dir);
    if complete.is_empty() {
        return;
    }
    let path = &complete[file % complete.len()];
    let mut file = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return,
        Err(e) => panic!("{e}"),
    };
    let at = at as u64 % file.metadata().unwrap().len();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[byte[0] ^ 1]).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// [`Cache::find`] checks what is found.
    #[test]
    fn files_are_those_of_the_index_and_within_the_cap(
        states in 0..5_u64,
        operations in prop::collection::vec(operation(), 100),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let cap = states * (STATE as u64 + 1_000);
        let mut cache = Some(Cache::open(dir.path(), cap));
        for operation in operations {
            let here = cache.as_mut().unwrap();
            match operation {
                Operation::Keep(tokens) => here.keep(&tokens),
                Operation::Find(prompt) => prop_assert!(here.find(&prompt) < prompt.len()),
                Operation::Write(pieces) => (0..pieces).for_each(|_| { here.cache.write_on(); }),
                Operation::Finish => {
                    here.finish();
                    here.settle(dir.path());
                }
                Operation::Evict(bytes) => { here.cache.evict(bytes); }
                Operation::Spoil(file, at) => spoil(dir.path(), file, at),
                Operation::Restart => {
                    drop(cache.take());
                    cache = Some(Cache::open(dir.path(), cap));
                }
            }
            let here = cache.as_ref().unwrap();
            prop_assert!(here.cache.bytes() <= CAP && here.cache.bytes() == here.held());
            prop_assert!(here.told().bytes <= cap && files(dir.path()).1 <= cap);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// 100,000 operations on arrays.
    #[test]
    fn the_bytes_in_the_books_are_those_of_the_arrays(
        operations in prop::collection::vec(in_memory(), 500),
    ) {
        let mut cache = Cache::in_memory();
        for operation in operations {
            match operation {
                Operation::Keep(tokens) => cache.keep(&tokens),
                Operation::Find(prompt) => prop_assert!(cache.find(&prompt) < prompt.len()),
                Operation::Evict(bytes) => { cache.cache.evict(bytes); }
                _ => {}
            }
            prop_assert!(cache.cache.bytes() <= CAP && cache.cache.bytes() == cache.held());
        }
    }
}

#[test]
fn a_dead_writer_costs_the_disk_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut cache = Cache::open(dir.path(), 1 << 20);
    cache.cache.disk.as_mut().unwrap().writer = Writer::dead();
    cache.keep(&[1; 20]);
    assert!(cache.cache.write_on(), "the failure is noted");
    assert!(!cache.cache.write_on(), "and then there is nothing to do");
    cache.keep(&[2; 20]);
    cache.finish();
    assert!(!cache.cache.write_on());
    assert_eq!(cache.find(&[2; 24]), 20, "memory goes on");
    let disk = cache.cache.disk.as_ref().unwrap().health();
    assert_eq!((disk.entries, disk.failed, disk.written), (0, 1, 0));
}
