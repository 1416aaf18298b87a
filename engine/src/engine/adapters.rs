//! Adapters of a loaded engine: mounted at load or later, used by name.

use std::{
    path::Path,
    sync::{Arc, PoisonError},
};

use super::Engine;
use crate::{
    Error, Result,
    adapter::{
        self, AdapterDir, AdapterInfo, AdapterSource, Controls, Lease, LoadedAdapter, NamedAdapter,
        Registry, check_name,
    },
    nn::AdapterId,
    weights::ModelDir,
};

/// Adapters that are there from the start.
pub(super) struct Start {
    /// All of them, and whether they are mounted; the others' weights stand in for the model's.
    pub(super) infos: Vec<(AdapterInfo, bool)>,
    /// What is to be mounted, in the same order.
    pub(super) loaded: Vec<LoadedAdapter>,
}

/// Reads the adapters to start with. One that replaces weights changes `dir`.
pub(super) fn read_all(sources: &[AdapterSource], dir: &mut ModelDir) -> Result<Start> {
    let mut start = Start { infos: Vec::new(), loaded: Vec::new() };
    for (i, source) in sources.iter().enumerate() {
        check_name(&source.name)?;
        if sources[..i].iter().any(|other| other.name == source.name) {
            return Err(Error::AdapterExists(source.name.clone()));
        }
        let plan = AdapterDir::open(&source.path)?.fit(dir)?;
        let info = AdapterInfo { name: source.name.clone(), ..plan.info.clone() };
        let replaces = plan.replaced().is_some();
        if replaces && sources.len() > 1 {
            return Err(Error::Adapter(format!(
                "{} is fully fine-tuned and takes the place of the model's weights; load it alone",
                source.name
            )));
        }
        if let Some(tensors) = plan.replaced() {
            dir.replace(tensors.clone());
        } else {
            start.loaded.push(LoadedAdapter::read(plan)?);
        }
        start.infos.push((info, !replaces));
    }
    Ok(start)
}

/// The registry of adapters that the MLX thread mounted under `ids`.
pub(super) fn register(
    infos: Vec<(AdapterInfo, bool)>,
    ids: &[AdapterId],
    controls: &Arc<Controls>,
    defaults: Vec<String>,
) -> Result<Registry> {
    let mut ids = ids.iter();
    let adapters = infos.into_iter().map(|(info, mounted)| {
        let id = if mounted { ids.next() } else { None };
        (info, id.map(|id| Lease::new(*id, controls)))
    });
    Registry::new(adapters.collect(), defaults)
}

impl Engine {
    /// Mounts the adapter in the folder `path`, for requests to use as `name` from now on. What runs
    /// goes on meanwhile.
    ///
    /// It reads files and waits for the MLX thread's current turn: call it where that may block, not
    /// in an async task.
    ///
    /// # Errors
    /// [`Error::AdapterExists`] for a name that is taken; [`Error::Request`] for one that is not
    /// [plain](check_name); [`Error::File`] and [`Error::Adapter`] for a folder that is no adapter,
    /// does not fit the model, or holds fully fine-tuned weights, which can only be loaded with the
    /// model; [`Error::Memory`] where the budget has no room for it beside what runs;
    /// [`Error::ShuttingDown`], [`Error::WorkerDied`].
    pub fn mount_adapter(&self, name: &str, path: &Path) -> Result<NamedAdapter> {
        self.mount(name, path, false)
    }

    /// [`Self::mount_adapter`], but another adapter may have the name: requests from now on get the
    /// new one, those that wait or run finish with the old one.
    ///
    /// # Errors
    /// As [`Self::mount_adapter`].
    pub fn replace_adapter(&self, name: &str, path: &Path) -> Result<NamedAdapter> {
        self.mount(name, path, true)
    }

    fn mount(&self, name: &str, path: &Path, replaces: bool) -> Result<NamedAdapter> {
        let shared = &*self.shared;
        check_name(name)?;
        let _turn = shared.mounting.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.status.is_draining() {
            return Err(Error::ShuttingDown);
        }
        shared.adapters.check_free(name, replaces)?;
        let plan = AdapterDir::open(path)?.fit(&shared.dir)?;
        if plan.replaced().is_some() {
            return Err(Error::Adapter(
                "is fully fine-tuned: its weights take the place of the model's own, which only a \
                 start with this adapter can do"
                    .into(),
            ));
        }
        let info = AdapterInfo { name: name.to_owned(), ..plan.info.clone() };
        shared.adapters.check_combines(&info)?;
        shared.controls.make_room(adapter::memory_of([&info]))?;
        let id = shared.controls.mount(LoadedAdapter::read(plan)?)?;
        Ok(shared.adapters.insert(info, Lease::new(id, &shared.controls)))
    }

    /// Takes a name away at once. Requests that use the adapter finish with it; its memory is freed
    /// with the last of them.
    ///
    /// # Errors
    /// [`Error::UnknownAdapter`]; [`Error::Request`] for an adapter that requests get that do not
    /// choose.
    pub fn unmount_adapter(&self, name: &str) -> Result<NamedAdapter> {
        self.shared.adapters.remove(name)
    }

    /// The adapters that requests can name, by name.
    pub fn adapters(&self) -> Vec<NamedAdapter> {
        self.shared.adapters.list()
    }
}
