//! The reference's answers as Rust values: a case's trace, a converted model, what is running.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use numpy::{PyArrayDyn, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::prelude::*;
use serde_json::{Value, json};
use verbatim_harness::{
    case::{Backend, Case, Quantization},
    sha256,
    tensor::RawTensor,
};

use crate::{checkout::Checkout, embed};

/// A case's trace.
#[derive(Debug)]
pub struct Trace {
    /// Generated token ids.
    pub tokens: Vec<u32>,
    /// `logits` and layer outputs.
    pub tensors: BTreeMap<String, RawTensor>,
    /// What ran before.
    pub past: Option<PastRun>,
}

/// Tokens, and how many of all that the caches held they forgot again.
pub type PastRun = (Vec<u32>, u32);

/// Tokens by row, and logits by name.
pub type Rows = (Vec<Vec<u32>>, BTreeMap<String, RawTensor>);

/// Dtype and array by tensor name, as they cross.
type Arrays<'py> = BTreeMap<String, (String, Bound<'py, PyAny>)>;

/// Runs a case on the model in `model_dir`, with the adapter in `adapter_dir`; `past` is the prompt
/// of what runs before.
///
/// # Errors
/// The reference's exception.
pub fn trace(
    case: &Case,
    model_dir: &Path,
    adapter_dir: Option<&Path>,
    prompt: &[u32],
    past: Option<&[u32]>,
) -> Result<Trace> {
    let past = case
        .past
        .as_ref()
        .zip(past)
        .map(|(run, prompt)| json!({ "prompt": prompt, "steps": run.steps, "trim": run.trim }));
    let spec = json!({
        "model_dir": model_dir,
        "adapter_dir": adapter_dir,
        "prompt": prompt,
        "past": past,
        "steps": case.steps,
        "prefill_step_size": case.prefill_step_size,
        "sampling": case.sampling,
        "kv": case.kv,
        "logits": case.capture.logits(),
        "layers": case.capture.layers(),
    });
    Python::attach(|py| {
        let result = embed::call(py, "trace", "run", &[spec])?;
        let (tokens, arrays, past): (Vec<u32>, Arrays<'_>, Option<PastRun>) =
            result.extract().map_err(|error: PyErr| embed::describe(py, &error))?;
        Ok(Trace { tokens, tensors: raw_tensors(arrays)?, past })
    })
}

/// Runs a case with its company on the model in `model_dir`; `prompts` holds the case's own first.
/// Logits are `row{i}.logits`, i counting from 0.
///
/// # Errors
/// The reference's exception.
pub fn batch(case: &Case, model_dir: &Path, prompts: &[Vec<u32>]) -> Result<Rows> {
    let greedy = json!({});
    let others = case.company.iter().zip(&prompts[1..]).map(|(companion, prompt)| {
        json!({
            "prompt": prompt, "steps": companion.steps, "join": companion.join, "sampling": greedy,
        })
    });
    let own = json!({
        "prompt": prompts[0], "steps": case.steps, "join": 0, "sampling": case.sampling,
    });
    let spec = json!({
        "model_dir": model_dir,
        "prefill_step_size": case.prefill_step_size,
        "max_rows": prompts.len(),
        "rows": std::iter::once(own).chain(others).collect::<Vec<_>>(),
    });
    Python::attach(|py| {
        let result = embed::call(py, "batch", "run", &[spec])?;
        let (tokens, arrays): (Vec<Vec<u32>>, Arrays<'_>) =
            result.extract().map_err(|error: PyErr| embed::describe(py, &error))?;
        Ok((tokens, raw_tensors(arrays)?))
    })
}

fn raw_tensors(arrays: Arrays<'_>) -> Result<BTreeMap<String, RawTensor>> {
    let tensor = |(name, (dtype, array)): (String, (String, Bound<'_, PyAny>))| {
        let tensor = raw_tensor(dtype, &array).with_context(|| name.clone())?;
        Ok((name, tensor))
    };
    arrays.into_iter().map(tensor).collect()
}

/// The bits of a NumPy array of unsigned integers (see `verbatim_oracle/raw.py`).
fn raw_tensor(dtype: String, array: &Bound<'_, PyAny>) -> Result<RawTensor> {
    if let Ok(array) = array.cast::<PyArrayDyn<u8>>() {
        return Ok(RawTensor { dtype, shape: array.shape().to_vec(), data: array.to_vec()? });
    }
    if let Ok(array) = array.cast::<PyArrayDyn<u16>>() {
        let data = array.to_vec()?.into_iter().flat_map(u16::to_le_bytes).collect();
        return Ok(RawTensor { dtype, shape: array.shape().to_vec(), data });
    }
    if let Ok(array) = array.cast::<PyArrayDyn<u32>>() {
        let data = array.to_vec()?.into_iter().flat_map(u32::to_le_bytes).collect();
        return Ok(RawTensor { dtype, shape: array.shape().to_vec(), data });
    }
    bail!("{dtype} crossed as an array that is not of u8, u16 or u32")
}

/// Writes the quantized model with `mlx_lm.convert` into an empty folder.
///
/// # Errors
/// The reference's exception; trouble moving files.
pub fn convert(dense: &Path, folder: &Path, quantization: &Quantization) -> Result<()> {
    // The reference insists on making the folder itself.
    let made = folder.join("made");
    embed::call_json::<Value>(
        "convert",
        "convert",
        &[json!(dense), json!(made), json!(quantization)],
    )?;
    for entry in fs::read_dir(&made).with_context(|| made.display().to_string())? {
        let from = entry?.path();
        let name = from.file_name().context("a file without a name")?;
        fs::rename(&from, folder.join(name)).with_context(|| from.display().to_string())?;
    }
    fs::remove_dir(&made).with_context(|| made.display().to_string())
}

/// What is running.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Versions by tool.
    pub versions: BTreeMap<String, String>,
    /// MLX's default device.
    pub backend: Backend,
    /// Digest of the libmlx that Python loads, which is the engine's too.
    pub libmlx_sha256: String,
}

impl Setting {
    /// Asks the interpreter and compares the libraries.
    ///
    /// # Errors
    /// When Python's libmlx is not the one the engine links, or the backend has no name here.
    pub fn find(checkout: &Checkout) -> Result<Self> {
        let versions = embed::call_json("compat", "versions", &[])?;
        let name: String = embed::call_json("compat", "backend", &[])?;
        let backend: Backend = serde_json::from_value(json!(name))
            .with_context(|| format!("cases know no backend called {name}"))?;
        let engine = checkout.libmlx();
        let library = engine.file_name().context("libmlx has no name")?;
        let python = checkout.site_packages()?.join("mlx/lib").join(library);
        let digest = |path: &Path| -> Result<String> {
            Ok(sha256(&fs::read(path).with_context(|| path.display().to_string())?))
        };
        let libmlx_sha256 = digest(&python)?;
        ensure!(
            digest(&engine)? == libmlx_sha256,
            "the engine's libmlx and Python's differ; run `./just oracle-setup`"
        );
        Ok(Self { versions, backend, libmlx_sha256 })
    }
}
