//! States that survive a restart: a folder of files under a byte cap of its own.
//!
//! The same [`Store`] as in memory keeps the index, so look-up, cap and order of eviction are one
//! piece of code. The MLX thread copies a state's bytes a piece at a time and hands them to a thread
//! that writes; a file gets its name when it is complete, so a process may be killed at any time.
//! States are read on the MLX thread, when a request goes on from them.
//!
//! Only states of the bare model are written: ids of adapters mean nothing to another process.

mod folder;
mod format;
mod state;
mod writer;

use std::{fs::File, path::PathBuf, thread};

use tracing::{info, warn};

use super::{
    History, Kind, Rules,
    identity::Digest,
    snapshot::Snapshot,
    store::{Entry, Hit, State, Store},
};
use crate::{Result, engine::DiskHealth, generate::Chunks, limits};
pub use folder::Folder;
use folder::{Found, mark_used, open_head, remove, remove_all};
use format::{Description, Head, write_head};
pub use state::Shape;
use state::{Pieces, Taken};
use writer::{Order, Writer};

/// A complete file, as the index knows it.
#[derive(Debug)]
struct Stored {
    path: PathBuf,
    /// Its length.
    file_bytes: usize,
    /// Bytes of the state in it.
    state_bytes: usize,
    /// The description's digest.
    digest: Digest,
    trimmable: bool,
}

impl Stored {
    fn new(path: PathBuf, head: &Head) -> Self {
        let description = &head.description;
        Self {
            path,
            file_bytes: usize::try_from(head.file_bytes).unwrap_or(usize::MAX),
            state_bytes: description.array_bytes().unwrap_or(u64::MAX) as usize,
            digest: head.digest,
            trimmable: description.trimmable,
        }
    }
}

impl State for Stored {
    fn nbytes(&self) -> usize {
        self.file_bytes
    }

    fn is_trimmable(&self) -> bool {
        self.trimmable
    }
}

/// A state on its way to a file.
struct Writing {
    /// The entry in memory that it is.
    id: u64,
    path: PathBuf,
    /// Until it was handed over.
    begin: Option<Vec<u8>>,
    head: Head,
    /// Until the last one was handed over.
    pieces: Option<Pieces>,
}

/// What was read from a file.
pub struct Restored {
    pub tokens: Vec<u32>,
    pub history: History,
    pub kind: Kind,
    pub state: Snapshot,
}

/// The folder's index, and what is on its way there.
pub struct Disk {
    /// Ends before the folder's lock is given back.
    writer: Writer,
    writing: Option<Writing>,
    /// What the writer had no room for.
    order: Option<Order>,
    /// Files that are no part of the index any more.
    doomed: Vec<PathBuf>,
    store: Store<(), Stored>,
    shape: Shape,
    counts: DiskHealth,
    folder: Folder,
}

impl Disk {
    /// The states in `folder`, which look like `shape` and depend on calls by `rules`. The calling
    /// thread is woken when it can hand more over.
    ///
    /// # Errors
    /// [`crate::Error::WorkerDied`] when no thread can be started.
    pub fn new(mut folder: Folder, rules: Rules, shape: Shape) -> Result<Self> {
        let found = folder.take_found();
        let cap = usize::try_from(folder.cap()).unwrap_or(usize::MAX);
        let rejected = folder.rejected();
        let mut disk = Self {
            writer: Writer::start(thread::current())?,
            writing: None,
            order: None,
            doomed: Vec::new(),
            store: Store::new(rules, cap).with_entries(limits::MAX_DISK_CACHE_ENTRIES),
            shape,
            counts: DiskHealth { cap_bytes: folder.cap(), rejected, ..DiskHealth::default() },
            folder,
        };
        for Found { path, head } in found {
            disk.insert(path, head);
        }
        // Before anything is written.
        remove_all(&std::mem::take(&mut disk.doomed));
        let (entries, bytes) = (disk.store.entries().len(), disk.store.bytes());
        info!(entries, bytes, rejected, "prompt cache on disk");
        Ok(disk)
    }

    fn insert(&mut self, path: PathBuf, head: Head) {
        let stored = Stored::new(path.clone(), &head);
        let Description { tokens, history, kind, .. } = head.description;
        let inserted = self.store.insert((), tokens, history, kind, stored);
        if inserted.id.is_none() {
            self.doomed.push(path);
        }
        self.doom(inserted.gone);
    }

    fn doom(&mut self, gone: Vec<Entry<(), Stored>>) {
        self.doomed.extend(gone.into_iter().map(|entry| entry.state.path));
    }

    /// What the folder holds, and what became of it since the start.
    pub fn health(&self) -> DiskHealth {
        DiskHealth {
            entries: self.store.entries().len(),
            bytes: self.store.bytes() as u64,
            evictions: self.store.evictions(),
            ..self.counts
        }
    }

    /// What `prompt`, read in `chunks`, can go on from.
    pub fn find(&self, prompt: &[u32], chunks: &Chunks) -> Option<Hit> {
        self.store.find(&(), prompt, chunks)
    }

    /// Bytes of an entry's state.
    pub fn bytes_of(&self, hit: &Hit) -> usize {
        self.store.entries()[hit.index].state.state_bytes
    }

    /// Whether these tokens' state is there, as it is or to be cut back.
    pub fn holds(&self, tokens: &[u32], history: &History) -> bool {
        self.store.position(&(), tokens, history).is_some()
            || self.store.covers(&(), tokens, history)
    }

    /// Notes that this state was of use in memory, where it need not be read.
    pub fn touch(&mut self, tokens: &[u32], history: &History) {
        let Some(index) = self.store.position(&(), tokens, history) else { return };
        self.store.touch(index);
        if let Ok(file) = File::open(&self.store.entries()[index].state.path) {
            mark_used(&file);
        }
    }

    /// Reads an entry's state. One that cannot be read is removed.
    pub fn load(&mut self, hit: &Hit) -> Option<Restored> {
        let entry = &self.store.entries()[hit.index];
        match read_state(entry, &self.shape) {
            Ok(state) => {
                self.counts.restored += 1;
                self.counts.restored_tokens += hit.history.at() as u64;
                let Entry { tokens, history, kind, .. } = entry;
                let restored = Restored {
                    tokens: tokens.clone(),
                    history: history.clone(),
                    kind: *kind,
                    state,
                };
                self.store.touch(hit.index);
                Some(restored)
            }
            Err(reason) => {
                let path = entry.state.path.display();
                warn!(file = %path, reason, "removed from the prompt cache's folder");
                self.counts.rejected += 1;
                let entry = self.store.remove(hit.index);
                remove(&entry.state.path);
                None
            }
        }
    }

    /// Whether a state is on its way.
    pub fn is_writing(&self) -> bool {
        self.writing.is_some() || self.order.is_some()
    }

    /// The entry in memory whose state is on its way.
    pub fn writing(&self) -> Option<u64> {
        self.writing.as_ref().map(|writing| writing.id)
    }

    /// Begins to write an entry's state, once [`Self::is_writing`] says that nothing else is on its
    /// way, and makes room for it.
    ///
    /// # Errors
    /// [`crate::Error::Mlx`] for a state that no file holds.
    pub fn begin<K>(&mut self, entry: &Entry<K, Snapshot>) -> Result<()> {
        let Taken { arrays, entries, texts } = state::take(&entry.state)?;
        let (begin, head) = write_head(Description {
            identity: self.folder.identity().to_owned(),
            tokens: entry.tokens.clone(),
            history: entry.history.clone(),
            kind: entry.kind,
            trimmable: entry.state.is_trimmable(),
            texts,
            arrays: entries,
        })?;
        let size = usize::try_from(head.file_bytes).unwrap_or(usize::MAX);
        if size > self.store.cap() || self.writer.is_dead() {
            return Ok(());
        }
        let path = self.folder.path(&entry.tokens, &entry.history)?;
        let gone = self.store.make_room(size);
        self.doom(gone);
        let pieces = Some(Pieces::new(arrays));
        self.writing = Some(Writing { id: entry.id, path, begin: Some(begin), head, pieces });
        Ok(())
    }

    /// Gives up what is on its way, unless all of it was handed over.
    pub fn abort(&mut self) {
        let Some(writing) = self.writing.take_if(|writing| writing.pieces.is_some()) else {
            return;
        };
        match self.order.take() {
            Some(Order::Begin { remove, .. }) => self.doomed.extend(remove),
            _ if writing.begin.is_none() => self.order = Some(Order::Abort),
            _ => {}
        }
    }

    /// Hands at most one piece over, and never waits; false when there was nothing to do.
    pub fn write_on(&mut self) -> bool {
        let ended = self.writer.ended();
        let heard = ended.is_some();
        if let Some(result) = ended {
            self.note_end(result);
        }
        if self.writer.is_dead() {
            (self.order, self.writing) = (None, None);
            return heard;
        }
        let Some(order) = self.order.take().or_else(|| self.next_order()) else { return heard };
        match self.writer.offer(order) {
            Ok(()) => true,
            Err(order) => {
                self.order = Some(order);
                heard
            }
        }
    }

    fn note_end(&mut self, result: std::io::Result<()>) {
        let Some(Writing { path, head, .. }) = self.writing.take() else { return };
        match result {
            Ok(()) => {
                self.counts.written += 1;
                self.insert(path, head);
            }
            Err(e) => {
                warn!(file = %path.display(), error = %e, "a prompt's state is not written to disk");
                self.counts.failed += 1;
            }
        }
    }

    fn next_order(&mut self) -> Option<Order> {
        let Some(writing) = &mut self.writing else {
            let doomed = std::mem::take(&mut self.doomed);
            return (!doomed.is_empty()).then_some(Order::Remove(doomed));
        };
        if let Some(head) = writing.begin.take() {
            return Some(Order::Begin {
                path: writing.path.clone(),
                head,
                digest: writing.head.digest,
                remove: std::mem::take(&mut self.doomed),
            });
        }
        match writing.pieces.as_mut()?.next() {
            Ok(Some(piece)) => Some(Order::Piece(piece)),
            Ok(None) => {
                writing.pieces = None;
                Some(Order::End)
            }
            Err(e) => {
                warn!(error = %e, "a prompt's state is not written to disk");
                self.counts.failed += 1;
                self.writing = None;
                Some(Order::Abort)
            }
        }
    }
}

fn read_state(entry: &Entry<(), Stored>, shape: &Shape) -> Result<Snapshot, String> {
    let (mut file, head) = open_head(&entry.state.path)?;
    if head.digest != entry.state.digest {
        return Err("is another file than at the start".into());
    }
    let state = state::read(&mut file, &head, shape)?;
    mark_used(&file);
    Ok(state)
}

#[cfg(test)]
mod tests;
