//! Which adapters the next passes use, for all rows alike or row by row.

use super::AdapterId;

/// What is selected.
pub(super) enum Selected {
    /// The same for every row of a pass; nothing is the bare model.
    Alike(Vec<AdapterId>),
    /// Something else for some rows than for others.
    Mixed(Mixed),
}

impl Default for Selected {
    fn default() -> Self {
        Self::Alike(Vec::new())
    }
}

impl Selected {
    /// Whether every row uses `ids`.
    pub(super) fn is(&self, ids: &[AdapterId]) -> bool {
        matches!(self, Self::Alike(own) if own == ids)
    }

    /// Whether the rows use `rows`, one by one.
    pub(super) fn is_by_row(&self, rows: &[&[AdapterId]]) -> bool {
        matches!(self, Self::Mixed(mixed) if mixed.by_row == rows)
    }

    /// Falls back to the bare model where `id` is selected.
    pub(super) fn forget(&mut self, id: AdapterId) {
        let named = match self {
            Self::Alike(ids) => ids.contains(&id),
            Self::Mixed(mixed) => mixed.by_row.iter().any(|ids| ids.contains(&id)),
        };
        if named {
            *self = Self::default();
        }
    }
}

/// Rows of a batch with what each selects.
pub(super) struct Mixed {
    by_row: Vec<Vec<AdapterId>>,
    groups: Vec<(Vec<AdapterId>, Vec<i32>)>,
}

impl Mixed {
    pub(super) fn new(rows: &[&[AdapterId]]) -> Self {
        let mut groups: Vec<(Vec<AdapterId>, Vec<i32>)> = Vec::new();
        for (row, ids) in rows.iter().enumerate().filter(|(_, ids)| !ids.is_empty()) {
            match groups.iter_mut().find(|(known, _)| known == ids) {
                Some((_, rows)) => rows.push(row as i32),
                None => groups.push((ids.to_vec(), vec![row as i32])),
            }
        }
        Self { by_row: rows.iter().map(|ids| ids.to_vec()).collect(), groups }
    }

    /// Rows of the batch.
    pub(super) fn rows(&self) -> i32 {
        self.by_row.len() as i32
    }

    /// Selections with the rows that share them, ascending; rows of the bare model are in none.
    pub(super) fn groups(&self) -> &[(Vec<AdapterId>, Vec<i32>)] {
        &self.groups
    }
}
