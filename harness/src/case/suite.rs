//! Suites: hand-written JSON that expands to cases, and the matrix that they fill.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Case, MAX_CASES};
use crate::{Error, Result, digest::merge_patch, files::read_text, fuzz};

/// Largest suite file, in bytes.
const MAX_SUITE_BYTES: u64 = 1 << 20;

/// Named choices, in order; each is a merge patch on the case.
type Axis = serde_json::Map<String, Value>;

/// A suite as written: every product multiplies some axes out over a base.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// What the suite is for.
    pub about: String,
    /// Fields that every case shares.
    base: Value,
    /// Axes by name: label → patch.
    #[serde(default)]
    axes: BTreeMap<String, Axis>,
    /// The products.
    products: Vec<Product>,
}

/// Cases for every combination of the chosen labels.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Product {
    /// Id with `{axis}` where the axis's label belongs.
    id: String,
    /// Axis → labels to take, in this order; `"*"` takes all.
    #[serde(default)]
    over: serde_json::Map<String, Value>,
    /// Patch applied before the axes'.
    #[serde(default)]
    set: Value,
}

/// The report's rows and columns.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// Columns, left to right.
    pub columns: Vec<MatrixColumn>,
    /// Families, top to bottom.
    pub families: Vec<MatrixFamily>,
    /// Kinds of machine-independent traces that must be there: folders of `golden/any`.
    pub portable: Vec<String>,
}

/// A column of the matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatrixColumn {
    /// What cases call it.
    pub id: String,
    /// What readers see.
    pub label: String,
}

/// A family's row.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatrixFamily {
    /// What cases call it.
    pub id: String,
    /// What readers see.
    pub label: String,
    /// Columns that must hold at least one green case.
    pub required: Vec<String>,
}

impl Suite {
    /// Every case, in the order written, the last axis varying fastest.
    ///
    /// # Errors
    /// [`Error::Case`] for unknown axes or labels, malformed or invalid cases, and too many of them.
    pub fn expand(&self, name: &str) -> Result<Vec<Case>> {
        let mut cases = Vec::new();
        for product in &self.products {
            let mut start = self.base.clone();
            if !product.set.is_null() {
                merge_patch(&mut start, &product.set);
            }
            let mut partial = vec![(product.id.clone(), start)];
            for (axis, choice) in &product.over {
                partial = self.multiply(&product.id, partial, axis, choice)?;
                if cases.len() + partial.len() > MAX_CASES {
                    return Err(Error::case(
                        &product.id,
                        format!("the suite has more than {MAX_CASES} cases"),
                    ));
                }
            }
            for (id, value) in partial {
                cases.push(finish(name, id, value)?);
            }
        }
        Ok(cases)
    }

    fn multiply(
        &self,
        product: &str,
        partial: Vec<(String, Value)>,
        axis: &str,
        choice: &Value,
    ) -> Result<Vec<(String, Value)>> {
        let choices = self
            .axes
            .get(axis)
            .ok_or_else(|| Error::case(product, format!("no axis is called {axis}")))?;
        let placeholder = format!("{{{axis}}}");
        if !product.contains(&placeholder) {
            return Err(Error::case(product, format!("the id needs {placeholder}")));
        }
        let mut labels = Vec::new();
        match choice {
            Value::String(all) if all == "*" => labels.extend(choices.iter()),
            Value::Array(wanted) => {
                for label in wanted {
                    let found =
                        label.as_str().and_then(|l| choices.iter().find(|(name, _)| *name == l));
                    labels.push(found.ok_or_else(|| {
                        Error::case(product, format!("axis {axis} has no {label}"))
                    })?);
                }
            }
            _ => {
                return Err(Error::case(
                    product,
                    format!("over.{axis} must be \"*\" or a list of labels"),
                ));
            }
        }
        let mut out = Vec::with_capacity(partial.len() * labels.len());
        for (id, value) in partial {
            for (label, patch) in &labels {
                let mut value = value.clone();
                merge_patch(&mut value, patch);
                out.push((id.replace(&placeholder, label), value));
            }
        }
        Ok(out)
    }
}

fn finish(suite: &str, id: String, mut value: Value) -> Result<Case> {
    merge_patch(&mut value, &serde_json::json!({ "id": id, "suite": suite }));
    let case: Case = serde_json::from_value(value).map_err(|e| Error::case(&id, e))?;
    case.validate()?;
    Ok(case)
}

/// Cases of a suite's text; `name` becomes their suite.
///
/// # Errors
/// [`Error::Case`], with the suite's name where no case is to blame.
pub fn parse_suite(name: &str, text: &str) -> Result<Vec<Case>> {
    let suite: Suite = serde_json::from_str(text).map_err(|e| Error::case(name, e))?;
    suite.expand(name)
}

/// Cases of every `*.json` in `folder/suites`, and in `folder/fuzz` where there is one, by file
/// name, ids unique.
///
/// # Errors
/// [`Error::File`] for unreadable files, [`Error::Case`] for malformed suites and repeated ids.
pub fn load_suites(folder: &Path) -> Result<Vec<Case>> {
    let mut files = suite_files(&folder.join("suites"))?;
    let found = folder.join(fuzz::FOLDER);
    if found.is_dir() {
        files.extend(suite_files(&found)?);
    }
    load(files)
}

fn suite_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| Error::file(folder, e))? {
        let path = entry.map_err(|e| Error::file(folder, e))?.path();
        if path.extension().is_some_and(|e| e == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn load(files: Vec<PathBuf>) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    let mut seen = BTreeMap::new();
    for path in files {
        let name = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        for case in parse_suite(&name, &read_text(&path, MAX_SUITE_BYTES)?)? {
            if let Some(other) = seen.insert(case.id.clone(), name.clone()) {
                return Err(Error::case(&case.id, format!("is in suites {other} and {name}")));
            }
            cases.push(case);
        }
    }
    Ok(cases)
}

/// The matrix declared in `folder/matrix.json`.
///
/// # Errors
/// [`Error::File`] when it cannot be read or requires a column that it does not have.
pub fn load_matrix(folder: &Path) -> Result<Matrix> {
    let path = folder.join("matrix.json");
    let matrix: Matrix = serde_json::from_str(&read_text(&path, MAX_SUITE_BYTES)?)
        .map_err(|e| Error::file(&path, e))?;
    for family in &matrix.families {
        for column in &family.required {
            if !matrix.columns.iter().any(|c| c.id == *column) {
                return Err(Error::file(
                    &path,
                    format!("{} requires unknown column {column}", family.id),
                ));
            }
        }
    }
    Ok(matrix)
}
