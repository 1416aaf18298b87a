//! Gives the executable an rpath to the interpreter that the environment was made with; the loader
//! would otherwise take whichever libpython it finds first.

use std::{env, process::Command};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=PYO3_PYTHON");
    let python = env::var("PYO3_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = "import sysconfig; print(sysconfig.get_config_var('LIBDIR') or '')";
    let folder = Command::new(&python)
        .args(["-c", script])
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok());
    match folder.as_deref().map(str::trim) {
        Some(folder) if !folder.is_empty() => {
            println!("cargo:rustc-link-arg-bins=-Wl,-rpath,{folder}");
        }
        _ => println!(
            "cargo:warning={python} did not say where its libpython is; run `./just oracle-setup`"
        ),
    }
}
