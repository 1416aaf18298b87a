//! The embedded interpreter: started with the environment's packages, called with JSON.

use std::{env, process::Command};

use anyhow::{Context, Result, anyhow};
use pyo3::{prelude::*, types::PyString};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::checkout::Checkout;

/// Set in the process that embeds Python; the first one only prepares its environment.
const MARK: &str = "VERBATIM_ORACLE_EMBEDDED";

/// Replaces this process with one whose environment names the interpreter's home and packages.
/// Returns when that has happened already.
///
/// # Errors
/// When there is no Python environment, or the process cannot be replaced.
pub fn enter(checkout: &Checkout) -> Result<()> {
    if env::var_os(MARK).is_some() {
        return Ok(());
    }
    let packages =
        env::join_paths([checkout.site_packages()?, checkout.root.join("oracle/python")])
            .context("the checkout's path has a ':' in it, which PYTHONPATH cannot carry")?;
    let mut command = Command::new(env::current_exe().context("this executable's path")?);
    command
        .args(env::args_os().skip(1))
        .env(MARK, "1")
        .env("PYTHONHOME", checkout.python_home()?)
        .env("PYTHONPATH", packages)
        .env("PYTHONNOUSERSITE", "1")
        .env("PYTHONHASHSEED", "0")
        .env("HF_HUB_OFFLINE", "1")
        .env("TRANSFORMERS_OFFLINE", "1")
        .env("TRANSFORMERS_VERBOSITY", "error")
        .env("TOKENIZERS_PARALLELISM", "false");
    replace(command)
}

#[cfg(unix)]
fn replace(mut command: Command) -> Result<()> {
    use std::os::unix::process::CommandExt;
    Err(anyhow!(command.exec()).context("starting this executable again"))
}

#[cfg(not(unix))]
fn replace(mut command: Command) -> Result<()> {
    let status = command.status().context("starting this executable again")?;
    std::process::exit(status.code().unwrap_or(1));
}

/// Calls `verbatim_oracle.<module>.<function>(*arguments)`; each argument is JSON.
///
/// # Errors
/// The Python exception with its traceback.
pub fn call<'py>(
    py: Python<'py>,
    module: &str,
    function: &str,
    arguments: &[Value],
) -> Result<Bound<'py, PyAny>> {
    let run = || -> PyResult<Bound<'py, PyAny>> {
        let loads = py.import("json")?.getattr("loads")?;
        let mut values = Vec::with_capacity(arguments.len());
        for argument in arguments {
            values.push(loads.call1((PyString::new(py, &argument.to_string()),))?);
        }
        let function =
            py.import(format!("verbatim_oracle.{module}").as_str())?.getattr(function)?;
        function.call1(pyo3::types::PyTuple::new(py, values)?)
    };
    run().map_err(|error| describe(py, &error)).with_context(|| format!("{module}.{function}"))
}

/// [`call`], with a result that JSON can carry.
///
/// # Errors
/// As [`call`]; also when the result is not what `T` expects.
pub fn call_json<T: DeserializeOwned>(
    module: &str,
    function: &str,
    arguments: &[Value],
) -> Result<T> {
    Python::attach(|py| {
        let result = call(py, module, function, arguments)?;
        let text: String = py
            .import("json")
            .and_then(|json| json.getattr("dumps")?.call1((result,))?.extract())
            .map_err(|error| describe(py, &error))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{module}.{function} returned something else"))
    })
}

/// The exception and its traceback as an error.
pub fn describe(py: Python<'_>, error: &PyErr) -> anyhow::Error {
    let trace = error.traceback(py).and_then(|t| t.format().ok()).unwrap_or_default();
    anyhow!("{trace}{error}")
}
