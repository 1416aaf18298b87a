//! Lazy loading through MLX.

use std::collections::BTreeMap;

use mlx_rs::Array;

use super::ModelDir;
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
        let loaded = Array::load_safetensors(file).map_err(|e| Error::file(file, e))?;
        arrays.extend(loaded);
    }
    let same = arrays.len() == dir.tensors().len()
        && dir.tensors().iter().all(|(name, info)| {
            arrays.get(name).is_some_and(|array| {
                array.ndim() == info.shape.len()
                    && array.shape().iter().zip(&info.shape).all(|(&a, &b)| a as usize == b)
            })
        });
    if !same {
        return Err(Error::file(dir.path(), "the weight files changed while they were loaded"));
    }
    Ok(arrays)
}
