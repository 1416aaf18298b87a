//! Who uses an adapter, so that it leaves the model with its last user.

use std::sync::{Arc, OnceLock, mpsc};
use std::thread::Thread;

use super::LoadedAdapter;
use crate::{Error, Result, nn::AdapterId};

/// What the MLX thread is asked beside generations.
#[derive(Debug)]
pub(crate) enum Control {
    /// Make room for an adapter of so many bytes, before it is read.
    MakeRoom(u64, mpsc::SyncSender<Result<()>>),
    /// Mount an adapter, and say under which id.
    Mount(Box<LoadedAdapter>, mpsc::SyncSender<Result<AdapterId>>),
    /// Free an adapter that nobody uses any more.
    Unmount(AdapterId),
}

/// The way to the MLX thread for [`Control`]s. It holds at most one mount or its room,
/// since those wait for each other, and one unmount per mounted adapter.
#[derive(Debug)]
pub(crate) struct Controls {
    sender: mpsc::Sender<Control>,
    worker: OnceLock<Thread>,
}

impl Controls {
    /// The way and its end.
    pub(crate) fn new() -> (Arc<Self>, mpsc::Receiver<Control>) {
        let (sender, receiver) = mpsc::channel();
        (Arc::new(Self { sender, worker: OnceLock::new() }), receiver)
    }

    /// Names the thread that is woken.
    pub(crate) fn set_worker(&self, worker: Thread) {
        // Set once, at load.
        let _ = self.worker.set(worker);
    }

    /// Wakes the MLX thread, which sleeps when it has nothing to do.
    pub(crate) fn wake(&self) {
        if let Some(worker) = self.worker.get() {
            worker.unpark();
        }
    }

    /// Makes room for an adapter of `bytes`; waits for the MLX thread's current turn.
    ///
    /// # Errors
    /// [`Error::Memory`] when there is none.
    pub(crate) fn make_room(&self, bytes: u64) -> Result<()> {
        self.ask(|reply| Control::MakeRoom(bytes, reply))
    }

    /// Mounts an adapter; waits for the MLX thread's current turn.
    pub(crate) fn mount(&self, adapter: LoadedAdapter) -> Result<AdapterId> {
        self.ask(|reply| Control::Mount(Box::new(adapter), reply))
    }

    fn ask<T>(&self, control: impl FnOnce(mpsc::SyncSender<Result<T>>) -> Control) -> Result<T> {
        let (reply, answer) = mpsc::sync_channel(1);
        let died = || Error::WorkerDied("restart the process".into());
        self.sender.send(control(reply)).map_err(|_| died())?;
        self.wake();
        answer.recv().map_err(|_| died())?
    }
}

/// A mounted adapter; it leaves the model when this is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    id: AdapterId,
    controls: Arc<Controls>,
}

impl Lease {
    /// For an adapter that was just mounted.
    pub(crate) fn new(id: AdapterId, controls: &Arc<Controls>) -> Self {
        Self { id, controls: Arc::clone(controls) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Without an MLX thread there is nothing left to free.
        let _ = self.controls.sender.send(Control::Unmount(self.id));
        self.controls.wake();
    }
}

/// The adapters that a request uses, in the order in which their products are added. They stay on
/// the model as long as this lives.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    ids: Vec<AdapterId>,
    _leases: Vec<Arc<Lease>>,
}

impl Selection {
    /// Of these adapters.
    pub(crate) fn new(leases: Vec<Arc<Lease>>) -> Self {
        Self { ids: leases.iter().map(|lease| lease.id).collect(), _leases: leases }
    }

    /// Their ids; none is the bare model.
    pub(crate) fn ids(&self) -> &[AdapterId] {
        &self.ids
    }
}
