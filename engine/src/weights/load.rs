//! Lazy loading through MLX.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use mlx_rs::Array;

use super::{ModelDir, TensorInfo};
use crate::{Error, Result};

/// Every tensor of `dir`, unread: MLX reads a tensor when it is evaluated.
///
/// Call it on the MLX thread. Names, shapes and dtypes are those that the header check of
/// [`ModelDir::open`] saw.
///
/// # Errors
/// [`Error::File`] when MLX refuses a file, or when a file changed since it was checked.
pub fn load_lazy(dir: &ModelDir) -> Result<BTreeMap<String, Array>> {
    let mut arrays = BTreeMap::new();
    for file in dir.weight_files() {
        arrays.extend(load_file(file)?);
    }
    same(&arrays, dir.tensors(), dir.path())?;
    Ok(arrays)
}

/// Every tensor of one file whose checked header says `infos`, unread; errors as [`load_lazy`].
fn load_checked(
    file: &Path,
    infos: &BTreeMap<String, TensorInfo>,
) -> Result<BTreeMap<String, Array>> {
    let arrays = load_file(file)?.into_iter().collect();
    same(&arrays, infos, file)?;
    Ok(arrays)
}

/// The tensors that stand in for some of the model's own, unread; errors as [`load_lazy`].
pub(crate) fn load_replaced(dir: &ModelDir) -> Result<BTreeMap<String, Array>> {
    match dir.replaced().values().next() {
        None => Ok(BTreeMap::new()),
        Some(first) => load_checked(&first.file, dir.replaced()),
    }
}

fn load_file(file: &Path) -> Result<HashMap<String, Array>> {
    Array::load_safetensors(file).map_err(|e| Error::file(file, e))
}

/// Holds what MLX read against the checked headers.
fn same(
    arrays: &BTreeMap<String, Array>,
    infos: &BTreeMap<String, TensorInfo>,
    path: &Path,
) -> Result<()> {
    let equal = arrays.len() == infos.len()
        && infos.iter().all(|(name, info)| {
            arrays.get(name).is_some_and(|array| {
                array.ndim() == info.shape.len()
                    && array.shape().iter().zip(&info.shape).all(|(&a, &b)| a as usize == b)
            })
        });
    if equal {
        return Ok(());
    }
    Err(Error::file(path, "the weight files changed while they were loaded"))
}
