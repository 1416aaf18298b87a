//! Compiles mlx-c against the headers of MLX's wheel and generates its Rust bindings.
//!
//! Inputs, laid out by `setup/bootstrap.py` under `.deps` (or `$VERBATIM_DEPS`):
//! `mlx/active/mlx/{include,lib}`, `mlx-c/mlx/c/*.{h,cpp}` and, optionally, `libclang`.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::{self, Command},
};

/// The results of a build; kept under `.deps` because cargo runs this script anew for every profile
/// and feature set, and the C++ files take a minute.
const OUTPUTS: [&str; 2] = ["libmlxc.a", "bindings.rs"];

/// The C files of mlx-c that need compiling, and the headers that bindgen reads.
struct MlxC {
    root: PathBuf,
    sources: Vec<PathBuf>,
    headers: Vec<PathBuf>,
}

impl MlxC {
    fn find(root: PathBuf) -> Self {
        let folder = root.join("mlx/c");
        let entries = fs::read_dir(&folder)
            .unwrap_or_else(|e| panic!("{}: {e}; run `./just setup` first", folder.display()));
        let mut files: Vec<PathBuf> = entries.map(|e| e.expect("readable folder").path()).collect();
        files.sort();
        let with = |ext: &str| -> Vec<PathBuf> {
            files.iter().filter(|f| f.extension().is_some_and(|e| e == ext)).cloned().collect()
        };
        Self { sources: with("cpp"), headers: with("h"), root }
    }
}

fn deps_root() -> PathBuf {
    println!("cargo:rerun-if-env-changed=VERBATIM_DEPS");
    let root = env::var_os("VERBATIM_DEPS")
        .map_or_else(|| manifest_dir().join("../../.deps"), PathBuf::from);
    root.canonicalize().unwrap_or_else(|e| {
        panic!("MLX is not set up ({}: {e}); run `./just setup` first", root.display())
    })
}

fn manifest_dir() -> PathBuf {
    PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"))
}

fn out_dir() -> PathBuf {
    PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"))
}

/// Builds `libmlxc.a`. `compat.h` supplies `std::format` where the C++ library lacks it (gcc 12).
fn compile(mlx_c: &MlxC, include: &Path) {
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .opt_level(2)
        .debug(false)
        .warnings(false)
        .flag("-include")
        .flag(manifest_dir().join("build/compat.h"))
        .include(&mlx_c.root)
        .include(include)
        .files(&mlx_c.sources)
        .compile("mlxc");
}

/// Names everything that the outputs depend on.
fn build_key(mlx_c: &MlxC, include: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    let own = [manifest_dir().join("build/main.rs"), manifest_dir().join("build/compat.h")];
    for file in mlx_c.sources.iter().chain(&mlx_c.headers).chain(&own) {
        file.file_name().hash(&mut hasher);
        fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display())).hash(&mut hasher);
    }
    // The wheels of one MLX version share headers, whatever their backend.
    fs::read(include.join("mlx/version.h")).unwrap_or_default().hash(&mut hasher);
    for variable in ["TARGET", "CXX", "CXXFLAGS", "LIBCLANG_PATH"] {
        env::var_os(variable).hash(&mut hasher);
    }
    let compiler = Command::new("c++").arg("--version").output().map(|o| o.stdout);
    compiler.unwrap_or_default().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Copies earlier outputs into `OUT_DIR`; false when there are none.
fn restore(cache: &Path) -> bool {
    OUTPUTS.iter().all(|name| fs::copy(cache.join(name), out_dir().join(name)).is_ok())
}

/// Keeps the outputs for later builds; they appear whole or not at all.
fn keep(cache: &Path) {
    let staged = cache.with_extension(format!("{}.tmp", process::id()));
    let copied = fs::create_dir_all(&staged).and_then(|()| {
        OUTPUTS.iter().try_for_each(|n| fs::copy(out_dir().join(n), staged.join(n)).map(|_| ()))
    });
    // A cache that cannot be written, or that another build filled first, costs time only.
    if copied.and_then(|()| fs::rename(&staged, cache)).is_err() {
        let _ = fs::remove_dir_all(&staged);
    }
}

/// The compiler's own header folder: the libclang wheel does not carry `stdbool.h` and friends.
fn compiler_include() -> Option<String> {
    let output = Command::new("cc").arg("-print-file-name=include").output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    Path::new(&path).is_dir().then_some(path)
}

fn generate_bindings(mlx_c: &MlxC, deps: &Path) {
    let libclang = deps.join("libclang");
    if env::var_os("LIBCLANG_PATH").is_none() && libclang.is_dir() {
        // SAFETY: a build script is single-threaded at this point.
        unsafe { env::set_var("LIBCLANG_PATH", &libclang) };
    }
    let mut builder = bindgen::Builder::default()
        .clang_arg(format!("-I{}", mlx_c.root.display()))
        .blocklist_function("malloc|realloc")
        .allowlist_item("mlx_.*|_mlx_.*")
        // The half types differ by platform; `src/half_types.rs` supplies them where C lacks them.
        .layout_tests(false);
    if let Some(include) = compiler_include() {
        builder = builder.clang_arg(format!("-I{include}"));
    }
    for header in &mlx_c.headers {
        builder = builder.header(header.to_string_lossy());
    }
    let out = out_dir().join("bindings.rs");
    builder
        .generate()
        .expect("bindgen failed on mlx-c's headers")
        .write_to_file(&out)
        .unwrap_or_else(|e| panic!("{}: {e}", out.display()));
}

fn main() {
    let deps = deps_root();
    let mlx = deps.join("mlx/active/mlx");
    let mlx_c = MlxC::find(deps.join("mlx-c"));
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed={}", mlx_c.root.join("stamp").display());
    let include = mlx.join("include");
    let cache = deps.join("mlx-c-build").join(build_key(&mlx_c, &include));
    if !restore(&cache) {
        compile(&mlx_c, &include);
        generate_bindings(&mlx_c, &deps);
        keep(&cache);
    }
    println!("cargo:rustc-link-search=native={}", out_dir().display());
    println!("cargo:rustc-link-lib=static=mlxc");
    println!("cargo:rustc-link-search=native={}", mlx.join("lib").display());
    println!("cargo:rustc-link-lib=dylib=mlx");
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo:rustc-link-lib=dylib=stdc++");
    }
}
