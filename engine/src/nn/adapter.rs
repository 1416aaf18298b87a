//! Adapters on modules: which are mounted, which are selected, and what they compute.
//!
//! Every linear layer, embedding and stack of experts has a [`Site`]. A mounted adapter is a set of
//! [`Patch`]es on sites; it takes part in a forward pass only while it is selected, so adapters can
//! change from call to call and a pass without one is the bare model's, bit for bit. The rows of a
//! batch may differ in what they select: each gets the operations that it gets alone.

mod patch;
mod selected;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use mlx_rs::{Array, ops};

pub use patch::{Dora, LowRank, Patch};

use self::selected::{Mixed, Selected};
use crate::{Error, Result, limits};

/// A mounted adapter. Never given twice, so what was computed with one can be told apart for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdapterId(u64);

/// The sites of a model and the adapters on them. Lives on the MLX thread.
#[derive(Default)]
pub struct Adapters {
    sites: BTreeMap<String, Rc<SiteState>>,
    mounted: RefCell<BTreeMap<AdapterId, Mounted>>,
    selected: Rc<RefCell<Selected>>,
    next: Cell<u64>,
}

/// What an adapter allows.
#[derive(Clone, Copy)]
struct Mounted {
    /// Others may be selected beside it.
    combines: bool,
    /// Other rows of a pass may select others.
    mixes: bool,
}

struct SiteState {
    patches: RefCell<Vec<(AdapterId, Rc<Patch>)>>,
    selected: Rc<RefCell<Selected>>,
}

impl SiteState {
    /// The patches of the adapters `ids` on this module, in that order.
    fn patches(&self, ids: &[AdapterId]) -> Vec<Rc<Patch>> {
        if ids.is_empty() {
            return Vec::new();
        }
        let patches = self.patches.borrow();
        let find = |id: &AdapterId| patches.iter().find(|(other, _)| other == id);
        ids.iter().filter_map(|id| Some(find(id)?.1.clone())).collect()
    }
}

/// Where adapters attach to one module.
pub struct Site(Rc<SiteState>);

impl Site {
    /// The selected patch, if it takes the module's own product over: DoRA.
    pub fn dora(&self) -> Option<Rc<Patch>> {
        let Selected::Alike(ids) = &*self.0.selected.borrow() else { return None };
        match self.0.patches(ids).as_slice() {
            [patch] if patch.dora().is_some() => Some(Rc::clone(patch)),
            _ => None,
        }
    }

    /// The module's own output `y` for the input `x`, with the selected adapters' products: `add`
    /// gives the sum of a product and an output, for an output and an input of as many rows.
    pub fn add_products(
        &self,
        y: Array,
        x: &Array,
        add: impl Fn(&LowRank, &Array, &Array) -> Result<Array>,
    ) -> Result<Array> {
        let add_all = |y: Array, x: &Array, patches: &[Rc<Patch>]| {
            patches.iter().try_fold(y, |y, patch| add(patch.low_rank(), &y, x))
        };
        match &*self.0.selected.borrow() {
            Selected::Alike(ids) => add_all(y, x, &self.0.patches(ids)),
            Selected::Mixed(mixed) => self.add_by_row(mixed, y, x, add_all),
        }
    }

    /// Rows with the same selection go together; those without a product stay what they are.
    fn add_by_row(
        &self,
        mixed: &Mixed,
        y: Array,
        x: &Array,
        add_all: impl Fn(Array, &Array, &[Rc<Patch>]) -> Result<Array>,
    ) -> Result<Array> {
        let groups = mixed.groups().iter().map(|(ids, rows)| (self.0.patches(ids), rows));
        let groups: Vec<_> = groups.filter(|(patches, _)| !patches.is_empty()).collect();
        if groups.is_empty() {
            return Ok(y);
        }
        let all = mixed.rows();
        if (y.dim(0), x.dim(0)) != (all, all) {
            return Err(Error::Adapter("this module cannot tell a batch's rows apart".into()));
        }
        let bare: Vec<i32> =
            (0..all).filter(|row| groups.iter().all(|(_, rows)| !rows.contains(row))).collect();
        let mut order = bare.clone();
        let mut parts = if bare.is_empty() { Vec::new() } else { vec![take(&y, &bare)?] };
        for (patches, rows) in groups {
            parts.push(add_all(take(&y, rows)?, &take(x, rows)?, &patches)?);
            order.extend(rows);
        }
        let mut places = vec![0; order.len()];
        for (place, row) in order.into_iter().enumerate() {
            places[row as usize] = place as i32;
        }
        take(&ops::concatenate(&parts, 0)?, &places)
    }
}

/// The rows `rows` of `a: [B, ..]`.
fn take(a: &Array, rows: &[i32]) -> Result<Array> {
    Ok(a.take_axis(Array::from_slice(rows, &[rows.len() as i32]), 0)?)
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
        let facts = Mounted {
            combines: patches.iter().all(|(_, patch)| patch.dora().is_none()),
            mixes: patches.iter().all(|(_, patch)| patch.is_by_row()),
        };
        self.mounted.borrow_mut().insert(id, facts);
        for (path, patch) in patches {
            if let Some(site) = self.sites.get(&path) {
                site.patches.borrow_mut().push((id, Rc::new(patch)));
            }
        }
        Ok(id)
    }

    /// Takes an adapter off every module; a selection that names it is forgotten. Its arrays are
    /// freed.
    pub fn unmount(&self, id: AdapterId) {
        self.selected.borrow_mut().forget(id);
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
        if self.selected.borrow().is(ids) {
            return Ok(());
        }
        self.check(ids)?;
        *self.selected.borrow_mut() = Selected::Alike(ids.to_vec());
        Ok(())
    }

    /// Makes the next passes use these adapters row by row: a batch of as many rows.
    ///
    /// # Errors
    /// As [`Self::select`], and for rows that differ where one uses an adapter that does not
    /// [mix](Self::mixes).
    pub fn select_rows(&self, rows: &[&[AdapterId]]) -> Result<()> {
        match rows {
            [] => return Ok(()),
            [first, rest @ ..] if rest.iter().all(|other| other == first) => {
                return self.select(first);
            }
            _ if self.selected.borrow().is_by_row(rows) => return Ok(()),
            _ => {}
        }
        for ids in rows {
            self.check(ids)?;
            if !self.mixes(ids) {
                return Err(Error::Adapter("an adapter needs a batch of its own".into()));
            }
        }
        *self.selected.borrow_mut() = Selected::Mixed(Mixed::new(rows));
        Ok(())
    }

    /// Whether rows that use these adapters may share a pass with rows that use others. DoRA and
    /// products of experts may not: they compute the whole pass in another way.
    pub fn mixes(&self, ids: &[AdapterId]) -> bool {
        let mounted = self.mounted.borrow();
        ids.iter().all(|id| mounted.get(id).is_some_and(|facts| facts.mixes))
    }

    fn check(&self, ids: &[AdapterId]) -> Result<()> {
        let mounted = self.mounted.borrow();
        for (i, id) in ids.iter().enumerate() {
            let refuse = |text: &str| Err(Error::Adapter(text.to_owned()));
            match mounted.get(id) {
                None => return refuse("the adapter is not mounted"),
                Some(_) if ids[..i].contains(id) => return refuse("an adapter is named twice"),
                Some(facts) if !facts.combines && ids.len() > 1 => {
                    return refuse("a DoRA adapter cannot be combined with another; name it alone");
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
