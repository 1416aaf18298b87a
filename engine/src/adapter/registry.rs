//! The names under which requests find adapters.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{AdapterInfo, AdapterKind, Lease, Selection};
use crate::{Error, Result, limits, weights::first_few};

/// An adapter that requests can name.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedAdapter {
    /// What it is; its name is the one that requests use.
    pub info: AdapterInfo,
    /// Whether requests that do not choose get it.
    pub is_default: bool,
    /// Requests that use it, waiting ones included.
    pub users: usize,
}

/// Names and the adapters behind them. Shared by all threads.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    entries: Mutex<BTreeMap<String, Entry>>,
    defaults: Vec<String>,
}

#[derive(Debug)]
struct Entry {
    info: AdapterInfo,
    /// Absent where the adapter's weights stand in for the model's own.
    lease: Option<Arc<Lease>>,
}

impl Registry {
    /// A registry in which requests that do not choose get `defaults`.
    ///
    /// # Errors
    /// [`Error::Request`] for a default that is not among the adapters or cannot be combined.
    pub(crate) fn new(
        adapters: Vec<(AdapterInfo, Option<Lease>)>,
        defaults: Vec<String>,
    ) -> Result<Self> {
        let entries = adapters
            .into_iter()
            .map(|(info, lease)| (info.name.clone(), Entry { info, lease: lease.map(Arc::new) }));
        let registry = Self { entries: Mutex::new(entries.collect()), defaults };
        registry.resolve(Some(&registry.defaults))?;
        Ok(registry)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        // Every change is one call of a map: a panic elsewhere leaves nothing half done.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adapters that can be named.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// All of them, by name.
    pub(crate) fn list(&self) -> Vec<NamedAdapter> {
        self.lock().values().map(|entry| self.named(entry)).collect()
    }

    fn named(&self, entry: &Entry) -> NamedAdapter {
        NamedAdapter {
            info: entry.info.clone(),
            is_default: self.defaults.contains(&entry.info.name),
            users: entry.lease.as_ref().map_or(0, |lease| Arc::strong_count(lease) - 1),
        }
    }

    /// The adapters that a request asks for; `None` leaves it to the defaults.
    ///
    /// # Errors
    /// [`Error::Request`] for a name that is not registered or comes twice, too many names, a DoRA
    /// adapter beside another, and the bare model where its weights were replaced.
    pub(crate) fn resolve(&self, asked: Option<&[String]>) -> Result<Selection> {
        let names = asked.unwrap_or(&self.defaults);
        let refuse = |text: String| Err(Error::Request(text));
        let most = limits::MAX_ADAPTERS_PER_REQUEST;
        if names.len() > most {
            return refuse(format!("at most {most} adapters can be combined"));
        }
        let entries = self.lock();
        if let Some(full) = entries.values().find(|entry| entry.lease.is_none())
            && names.is_empty()
        {
            return refuse(format!(
                "the base model is not loaded: the weights of {} took its place",
                full.info.name
            ));
        }
        let mut leases = Vec::with_capacity(names.len());
        for (i, name) in names.iter().enumerate() {
            let Some(entry) = entries.get(name) else { return Err(unknown(name, &entries)) };
            if names[..i].contains(name) {
                return refuse(format!("adapter {name:?} is named twice"));
            }
            if names.len() > 1 && entry.info.kind != AdapterKind::Lora {
                let kind = entry.info.kind.name();
                return refuse(format!(
                    "adapter {name:?} is a {kind} adapter and cannot be combined; name it alone"
                ));
            }
            leases.extend(entry.lease.clone());
        }
        Ok(Selection::new(leases))
    }

    /// Refuses a name that cannot be given to another adapter now.
    ///
    /// # Errors
    /// [`Error::AdapterExists`] unless it is to be `replaced`, [`Error::Request`] where the model's
    /// weights were replaced.
    pub(crate) fn check_free(&self, name: &str, replaced: bool) -> Result<()> {
        let entries = self.lock();
        if let Some(full) = entries.values().find(|entry| entry.lease.is_none()) {
            return Err(Error::Request(format!(
                "no adapter can be added: the weights of {} took the place of the model's own",
                full.info.name
            )));
        }
        match entries.get(name) {
            Some(_) if !replaced => Err(Error::AdapterExists(name.to_owned())),
            _ => Ok(()),
        }
    }

    /// Refuses an adapter that cannot stand beside the other defaults, where its name is one of several.
    ///
    /// # Errors
    /// [`Error::Request`].
    pub(crate) fn check_combines(&self, info: &AdapterInfo) -> Result<()> {
        let is_one_of_several = self.defaults.len() > 1 && self.defaults.contains(&info.name);
        if !is_one_of_several || info.kind == AdapterKind::Lora {
            return Ok(());
        }
        Err(Error::Request(format!(
            "{:?} is one of the adapters of requests that do not choose ({}), and a {} adapter cannot \
             be combined; give it another name",
            info.name,
            self.defaults.join("+"),
            info.kind.name()
        )))
    }

    /// Gives the name in `info` to a mounted adapter. One that had it finishes its requests.
    pub(crate) fn insert(&self, info: AdapterInfo, lease: Lease) -> NamedAdapter {
        let entry = Entry { info, lease: Some(Arc::new(lease)) };
        let named = self.named(&entry);
        let before = self.lock().insert(named.info.name.clone(), entry);
        drop(before);
        named
    }

    /// Takes a name away. Requests that use the adapter finish with it.
    ///
    /// # Errors
    /// [`Error::UnknownAdapter`], and [`Error::Request`] for a default and for weights that took the
    /// place of the model's own.
    pub(crate) fn remove(&self, name: &str) -> Result<NamedAdapter> {
        let mut entries = self.lock();
        let Some(entry) = entries.get(name) else {
            return Err(Error::UnknownAdapter(name.to_owned()));
        };
        if entry.lease.is_none() || self.defaults.iter().any(|other| other == name) {
            return Err(Error::Request(format!(
                "adapter {name:?} is what requests get that do not choose; it stays until the end"
            )));
        }
        let named = self.named(entry);
        let entry = entries.remove(name);
        drop(entries);
        drop(entry);
        Ok(named)
    }
}

fn unknown(name: &str, entries: &BTreeMap<String, Entry>) -> Error {
    let short: String = name.chars().take(limits::MAX_ADAPTER_NAME_BYTES).collect();
    let known: Vec<String> = entries.keys().cloned().collect();
    Error::Request(if known.is_empty() {
        format!("adapter {short:?} is not registered, nor is any other")
    } else {
        format!("adapter {short:?} is not registered; there are {}", first_few(&known))
    })
}
