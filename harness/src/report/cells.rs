//! From cases to the cells of the matrix.

use serde::{Deserialize, Serialize};

use super::{CaseReport, Mismatch, Outcome};
use crate::case::Matrix;

/// Where a family meets a column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The family.
    pub family: String,
    /// The column.
    pub column: String,
    /// Whether the run fails unless it is green.
    pub required: bool,
    /// What it shows.
    pub status: CellStatus,
    /// Cases that are equal.
    pub equal: usize,
    /// Cases that differ or could not be compared.
    pub failed: usize,
    /// Cases without a golden.
    pub missing: usize,
    /// Cases that were skipped.
    pub skipped: usize,
    /// Tokens compared.
    pub steps: usize,
    /// The first case that failed; one with a layer trace, if any of those did.
    pub first_failure: Option<Failure>,
}

/// A case that failed, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Its id.
    pub case: String,
    /// What differs first; absent when it could not be compared.
    pub mismatch: Option<Mismatch>,
    /// A sentence.
    pub message: String,
}

impl Failure {
    fn of(case: &CaseReport) -> Option<Self> {
        let (mismatch, message) = match &case.outcome {
            Outcome::Differs { first } => (Some(first.clone()), first.to_string()),
            Outcome::Error { message } => (None, message.clone()),
            _ => return None,
        };
        Some(Self { case: case.id.clone(), mismatch, message })
    }
}

/// What a cell shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CellStatus {
    /// Something was compared, everything compared is equal, and nothing required is missing.
    Green,
    /// Something differs or could not be compared.
    Red,
    /// A golden that must be there is not, or nothing was compared at all.
    Missing,
    /// Everything in it is skipped, with reasons.
    Skipped,
    /// Nothing is planned for it.
    Empty,
}

impl Cell {
    /// The cell of some cases.
    pub fn of<'a>(
        family: &str,
        column: &str,
        must: bool,
        cases: impl IntoIterator<Item = &'a CaseReport>,
    ) -> Self {
        let mut cell = Self {
            family: family.into(),
            column: column.into(),
            required: must,
            status: CellStatus::Empty,
            equal: 0,
            failed: 0,
            missing: 0,
            skipped: 0,
            steps: 0,
            first_failure: None,
        };
        let mut required_missing = false;
        let mut failure_has_layers = false;
        for case in cases {
            // What cannot run makes no cell required; the matrix says which cells must be there.
            cell.required |= case.required && !matches!(case.outcome, Outcome::Skipped { .. });
            cell.steps += case.compared.steps;
            match case.outcome {
                Outcome::Equal => cell.equal += 1,
                Outcome::Missing { .. } => {
                    cell.missing += 1;
                    required_missing |= case.required;
                }
                Outcome::Skipped { .. } => cell.skipped += 1,
                Outcome::Differs { .. } | Outcome::Error { .. } => {
                    cell.failed += 1;
                    let layers = case.facts.capture.layers();
                    if cell.first_failure.is_none() || (layers && !failure_has_layers) {
                        cell.first_failure = Failure::of(case);
                        failure_has_layers = layers;
                    }
                }
            }
        }
        cell.status = if cell.failed > 0 {
            CellStatus::Red
        } else if required_missing {
            CellStatus::Missing
        } else if cell.equal > 0 {
            CellStatus::Green
        } else if cell.missing > 0 || (must && cell.skipped == 0) {
            CellStatus::Missing
        } else if cell.skipped > 0 {
            CellStatus::Skipped
        } else {
            CellStatus::Empty
        };
        cell
    }
}

/// Every cell of the matrix, family by family. With a selection, only cells that hold a chosen case
/// can be required.
pub(crate) fn cells(matrix: &Matrix, cases: &[CaseReport], selected: bool) -> Vec<Cell> {
    let mut cells = Vec::new();
    for family in &matrix.families {
        for column in &matrix.columns {
            let here = || cases.iter().filter(|c| c.family == family.id && c.column == column.id);
            let must =
                family.required.contains(&column.id) && (!selected || here().next().is_some());
            cells.push(Cell::of(&family.id, &column.id, must, here()));
        }
    }
    cells
}
