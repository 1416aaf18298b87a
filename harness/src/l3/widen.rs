//! A model in f32: what is left of a difference then is not rounding of activations.

use std::{fs, path::Path};

use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::{
    Error, Result, compare,
    tensor::{TensorFile, weight_files},
};

/// Writes the unquantized model of `folder` with every float as f32; the copy lives as long as what
/// is returned.
pub(super) fn widen(folder: &Path) -> Result<TempDir> {
    let copy = tempfile::tempdir().map_err(|e| Error::file(std::env::temp_dir(), e))?;
    for path in weight_files(folder)? {
        let mut file = TensorFile::read(&path)?;
        for tensor in file.tensors.values_mut() {
            if let Some(values) = compare::floats(&tensor.dtype, &tensor.data) {
                tensor.data = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                tensor.dtype = "F32".into();
            }
        }
        file.write(&copy.path().join(path.file_name().unwrap_or_default()))?;
    }
    let config = folder.join("config.json");
    let text = fs::read_to_string(&config).map_err(|e| Error::file(&config, e))?;
    let mut fields: Map<String, Value> =
        serde_json::from_str(&text).map_err(|e| Error::file(&config, e))?;
    fields.insert("torch_dtype".into(), "float32".into());
    let target = copy.path().join("config.json");
    fs::write(&target, Value::Object(fields).to_string()).map_err(|e| Error::file(&target, e))?;
    for name in ["generation_config.json", "tokenizer.json", "tokenizer_config.json"] {
        let (from, to) = (folder.join(name), copy.path().join(name));
        if from.is_file() {
            fs::copy(&from, &to).map_err(|e| Error::file(&to, e))?;
        }
    }
    Ok(copy)
}
