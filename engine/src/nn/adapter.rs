//! Adapters on modules: which are mounted, which are selected, and what they compute.
//!
//! Every linear layer, embedding and stack of experts has a [`Site`]. A mounted adapter is a set of
//! [`Patch`]es on sites; it takes part in a forward pass only while it is selected, so adapters can
//! change from call to call and a pass without one is the bare model's, bit for bit.

mod patch;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

pub use patch::{Dora, LowRank, Patch};

use crate::{Error, Result, limits};

/// A mounted adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdapterId(u64);

/// The sites of a model and the adapters on them. Lives on the MLX thread.
#[derive(Default)]
pub struct Adapters {
    sites: BTreeMap<String, Rc<SiteState>>,
    /// By adapter, whether others may be selected beside it.
    mounted: RefCell<BTreeMap<AdapterId, bool>>,
    selected: Rc<RefCell<Vec<AdapterId>>>,
    next: Cell<u64>,
}

struct SiteState {
    patches: RefCell<Vec<(AdapterId, Rc<Patch>)>>,
    selected: Rc<RefCell<Vec<AdapterId>>>,
}

/// Where adapters attach to one module.
pub struct Site(Rc<SiteState>);

impl Site {
    /// The selected adapters' patches of this module, in the order of selection.
    pub fn patches(&self) -> Vec<Rc<Patch>> {
        let selected = self.0.selected.borrow();
        if selected.is_empty() {
            return Vec::new();
        }
        let patches = self.0.patches.borrow();
        let find = |id: &AdapterId| patches.iter().find(|(other, _)| other == id);
        selected.iter().filter_map(|id| Some(find(id)?.1.clone())).collect()
    }
}

impl Adapters {
    /// The site of the module at `path`, made if it is new.
    pub fn site(&mut self, path: &str) -> Site {
        let selected = &self.selected;
        let state = self.sites.entry(path.to_owned()).or_insert_with(|| {
            Rc::new(SiteState { patches: RefCell::default(), selected: Rc::clone(selected) })
        });
        Site(Rc::clone(state))
    }

    /// Puts `patches` on the modules at their paths, all or none. Nothing changes until the adapter
    /// is selected.
    ///
    /// # Errors
    /// [`Error::Adapter`] for a path without a module and when [`limits::MAX_ADAPTERS`] are mounted.
    pub fn mount(&self, patches: Vec<(String, Patch)>) -> Result<AdapterId> {
        if let Some((path, _)) = patches.iter().find(|(path, _)| !self.sites.contains_key(path)) {
            return Err(Error::Adapter(format!("the model has no module {path}")));
        }
        if self.mounted.borrow().len() >= limits::MAX_ADAPTERS {
            let limit = limits::MAX_ADAPTERS;
            return Err(Error::Adapter(format!("{limit} adapters are mounted; unmount one first")));
        }
        let id = AdapterId(self.next.replace(self.next.get() + 1));
        let combines = patches.iter().all(|(_, patch)| patch.dora().is_none());
        self.mounted.borrow_mut().insert(id, combines);
        for (path, patch) in patches {
            if let Some(site) = self.sites.get(&path) {
                site.patches.borrow_mut().push((id, Rc::new(patch)));
            }
        }
        Ok(id)
    }

    /// Takes an adapter off every module, and out of the selection; its arrays are freed.
    #[cfg_attr(not(test), expect(dead_code, reason = "adapters change at run time later"))]
    pub fn unmount(&self, id: AdapterId) {
        self.selected.borrow_mut().retain(|other| *other != id);
        self.mounted.borrow_mut().remove(&id);
        for site in self.sites.values() {
            site.patches.borrow_mut().retain(|(other, _)| *other != id);
        }
    }

    /// Makes the next passes use exactly these adapters, their products added in this order; none
    /// is the bare model.
    ///
    /// # Errors
    /// [`Error::Adapter`] for an adapter that is not mounted, one named twice, and one with DoRA
    /// layers beside another, since those do not add up.
    pub fn select(&self, ids: &[AdapterId]) -> Result<()> {
        let mounted = self.mounted.borrow();
        for (i, id) in ids.iter().enumerate() {
            let refuse = |text: &str| Err(Error::Adapter(text.to_owned()));
            match mounted.get(id) {
                None => return refuse("the adapter is not mounted"),
                Some(_) if ids[..i].contains(id) => return refuse("an adapter is named twice"),
                Some(false) if ids.len() > 1 => {
                    return refuse("a DoRA adapter cannot be combined with another; name it alone");
                }
                Some(_) => {}
            }
        }
        ids.clone_into(&mut self.selected.borrow_mut());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
