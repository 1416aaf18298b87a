//! Adapters on the model while it serves.

use std::collections::BTreeMap;

use tracing::debug;

use super::{Status, contained};
use crate::{
    Result,
    adapter::{Control, LoadedAdapter},
    models::Mutation,
    nn::{AdapterId, Adapters},
};

/// What is mounted and how much room it takes.
pub(super) struct Mounts<'a> {
    mutation: Mutation,
    status: &'a Status,
    /// Bytes of tensors, and of what computing with them takes, by adapter.
    bytes: BTreeMap<AdapterId, (u64, u64)>,
}

impl<'a> Mounts<'a> {
    /// Nothing yet; `status` hears of every change.
    pub(super) fn new(mutation: Mutation, status: &'a Status) -> Self {
        Self { mutation, status, bytes: BTreeMap::new() }
    }

    /// Does what was asked for and answers; returns the adapter that is gone, if one is. `make_room`
    /// is told how many bytes an adapter takes before it is mounted.
    pub(super) fn obey(
        &mut self,
        control: Control,
        adapters: &Adapters,
        make_room: impl FnOnce(u64) -> Result<()>,
    ) -> Option<AdapterId> {
        match control {
            Control::MakeRoom(bytes, reply) => {
                // Nothing is lost when nobody waits any more.
                let _ = reply.send(contained("making room", || make_room(bytes)));
                None
            }
            Control::Mount(adapter, reply) => {
                let mounted = contained("mounting", || {
                    make_room(adapter.info().memory())?;
                    self.mount(*adapter, adapters)
                });
                if let Err(unheard) = reply.send(mounted)
                    && let Ok(id) = unheard.0
                {
                    self.unmount(id, adapters);
                }
                None
            }
            Control::Unmount(id) => {
                self.unmount(id, adapters);
                Some(id)
            }
        }
    }

    /// Puts an adapter on the model.
    pub(super) fn mount(
        &mut self,
        adapter: LoadedAdapter,
        adapters: &Adapters,
    ) -> Result<AdapterId> {
        let (bytes, work) = (adapter.info().bytes, adapter.info().work_bytes);
        let id = adapters.mount(adapter.patches(self.mutation)?)?;
        debug!(?id, bytes, "mounted");
        self.bytes.insert(id, (bytes, work));
        self.report();
        Ok(id)
    }

    fn unmount(&mut self, id: AdapterId, adapters: &Adapters) {
        adapters.unmount(id);
        self.bytes.remove(&id);
        debug!(?id, "unmounted");
        self.report();
    }

    /// Bytes that all that are mounted take of the memory budget. Each of them may compute at a time.
    pub(super) fn memory(&self) -> u64 {
        let work = self.bytes.values().map(|(_, work)| work).max();
        self.tensors() + work.unwrap_or(&0)
    }

    fn tensors(&self) -> u64 {
        self.bytes.values().map(|(tensors, _)| tensors).sum()
    }

    fn report(&self) {
        self.status.set_adapter_bytes(self.tensors(), self.memory());
    }
}
