//! Adapters on the model while it serves.

use std::collections::BTreeMap;

use tracing::debug;

use super::{Status, contained};
use crate::{
    Result,
    adapter::{self, AdapterInfo, Control, LoadedAdapter},
    models::Mutation,
    nn::{AdapterId, Adapters},
};

/// What is mounted and how much room it takes.
pub(super) struct Mounts<'a> {
    mutation: Mutation,
    status: &'a Status,
    mounted: BTreeMap<AdapterId, AdapterInfo>,
}

impl<'a> Mounts<'a> {
    /// Nothing yet; `status` hears of every change.
    pub(super) fn new(mutation: Mutation, status: &'a Status) -> Self {
        Self { mutation, status, mounted: BTreeMap::new() }
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
                    make_room(adapter::memory_of([adapter.info()]))?;
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
        let info = adapter.info().clone();
        let id = adapters.mount(adapter.patches(self.mutation)?)?;
        debug!(?id, bytes = info.bytes, "mounted");
        self.mounted.insert(id, info);
        self.report();
        Ok(id)
    }

    fn unmount(&mut self, id: AdapterId, adapters: &Adapters) {
        adapters.unmount(id);
        self.mounted.remove(&id);
        debug!(?id, "unmounted");
        self.report();
    }

    /// Bytes that all that are mounted take of the memory budget.
    pub(super) fn memory(&self) -> u64 {
        adapter::memory_of(self.mounted.values())
    }

    fn report(&self) {
        let tensors = self.mounted.values().map(|info| info.bytes).sum();
        self.status.set_adapter_bytes(tensors, self.memory());
    }
}
