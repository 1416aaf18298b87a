//! What ships must not need Python: no crate under engine, server or harness may embed it.

use std::process::Command;

use rstest::rstest;

/// Crates that bring a Python interpreter or its C interface.
const PYTHON_CRATES: [&str; 6] =
    ["pyo3", "pyo3-ffi", "numpy", "python3-sys", "cpython", "inline-python"];

fn tree(package: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--prefix", "none", "--format", "{p}"])
        .args(["--edges", "normal,build,dev", "--package", package])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo prints UTF-8");
    text.lines().filter_map(|l| l.split(' ').next()).map(str::to_owned).collect()
}

#[rstest]
fn no_python_under(
    #[values("verbatim-engine", "verbatim-server", "verbatim-harness")] package: &str,
) {
    let crates = tree(package);
    assert!(
        crates.contains(&"mlx-rs".to_owned()),
        "the tree of {package} is not what it should be"
    );
    let python: Vec<_> = crates.iter().filter(|c| PYTHON_CRATES.contains(&c.as_str())).collect();
    assert!(python.is_empty(), "{package} depends on {python:?}");
}

#[test]
fn the_oracle_is_where_python_is() {
    assert!(tree("verbatim-oracle").contains(&"pyo3".to_owned()));
}
