//! The thread that writes files, so that the MLX thread never waits for a disk.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::PathBuf,
    sync::mpsc,
    thread::{self, Thread},
};

use super::{
    super::identity::Digest,
    folder::{remove, remove_all, stage},
    format::Checksum,
};
use crate::{Error, Result, limits};

/// What the thread is to do next.
#[derive(Debug)]
pub enum Order {
    /// Begin a file, once others have made room for it.
    Begin {
        /// Its name when it is complete.
        path: PathBuf,
        /// What stands before the arrays.
        head: Vec<u8>,
        /// The description's digest.
        digest: Digest,
        /// Files to be removed first.
        remove: Vec<PathBuf>,
    },
    /// The next bytes of its arrays.
    Piece(Vec<u8>),
    /// That was all.
    End,
    /// The file is not wanted any more.
    Abort,
    /// Remove files.
    Remove(Vec<PathBuf>),
}

/// The thread and the ways to it and back. Dropping it takes what was not ended away.
#[derive(Debug)]
pub struct Writer {
    orders: Option<mpsc::SyncSender<Order>>,
    ended: mpsc::Receiver<io::Result<()>>,
    thread: Option<thread::JoinHandle<()>>,
    dead: bool,
}

impl Writer {
    /// Starts the thread, which wakes `owner` whenever it has room for the next order.
    ///
    /// # Errors
    /// [`Error::WorkerDied`] when it cannot be started.
    pub fn start(owner: Thread) -> Result<Self> {
        let (orders, queue) = mpsc::sync_channel(limits::CACHE_PIECES_AHEAD);
        let (report, ended) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("prompt-cache".into())
            .spawn(move || {
                let mut file = None;
                while let Ok(order) = queue.recv() {
                    if let Some(result) = obey(order, &mut file) {
                        // Nobody waits when the engine ends.
                        let _ = report.send(result);
                    }
                    owner.unpark();
                }
            })
            .map_err(|e| Error::WorkerDied(format!("a thread could not be started: {e}")))?;
        Ok(Self { orders: Some(orders), ended, thread: Some(thread), dead: false })
    }

    /// One whose thread is gone.
    #[cfg(test)]
    pub fn dead() -> Self {
        let ended = mpsc::channel().1;
        Self { orders: Some(mpsc::sync_channel(1).0), ended, thread: None, dead: false }
    }

    /// Whether the thread was found to be gone: nothing is written any more.
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// Hands an order over, or back when there is no room for it now.
    pub fn offer(&self, order: Order) -> std::result::Result<(), Order> {
        let Some(orders) = &self.orders else { return Err(order) };
        orders.try_send(order).map_err(|e| match e {
            mpsc::TrySendError::Full(order) | mpsc::TrySendError::Disconnected(order) => order,
        })
    }

    /// What became of the file whose [`Order::End`] was obeyed, if that is new; once, that the thread
    /// is gone.
    pub fn ended(&mut self) -> Option<io::Result<()>> {
        match self.ended.try_recv() {
            Ok(result) => Some(result),
            Err(mpsc::TryRecvError::Empty) => None,
            Err(mpsc::TryRecvError::Disconnected) => {
                let before = std::mem::replace(&mut self.dead, true);
                (!before).then(|| Err(io::Error::other("the thread that writes has died")))
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A file that is being written, taken away when it is dropped before its end.
struct Staged {
    path: PathBuf,
    staged: PathBuf,
    file: File,
    checksum: Checksum,
    complete: bool,
}

impl Staged {
    fn begin(path: PathBuf, head: &[u8], digest: &Digest) -> io::Result<Self> {
        let (file, staged) = stage(&path)?;
        let mut new = Self { path, staged, file, checksum: Checksum::new(digest), complete: false };
        new.file.write_all(head)?;
        Ok(new)
    }

    fn append(mut self, bytes: &[u8]) -> io::Result<Self> {
        self.checksum.update(bytes);
        self.file.write_all(bytes)?;
        Ok(self)
    }

    fn end(mut self) -> io::Result<()> {
        self.file.write_all(&self.checksum.clone().finish())?;
        fs::rename(&self.staged, &self.path)?;
        self.complete = true;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.complete {
            remove(&self.staged);
        }
    }
}

/// Does what is asked for with the file that was begun last; at a file's end, tells how it went.
fn obey(order: Order, file: &mut Option<io::Result<Staged>>) -> Option<io::Result<()>> {
    match order {
        Order::Begin { path, head, digest, remove: first } => {
            remove_all(&first);
            *file = Some(Staged::begin(path, &head, &digest));
        }
        Order::Piece(bytes) => {
            // An error stays until the end, where it is told.
            *file = file.take().map(|begun| begun.and_then(|begun| begun.append(&bytes)));
        }
        Order::End => return file.take().map(|begun| begun.and_then(Staged::end)),
        Order::Abort => *file = None,
        Order::Remove(paths) => remove_all(&paths),
    }
    None
}
