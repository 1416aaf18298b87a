//! Versions, for `--version` and `system_fingerprint`.

/// Version of the command, the server and the engine: they are released together.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `0.1.0 (engine 0.1.0, MLX 0.32.2)`.
pub fn long() -> String {
    format!("{VERSION} (engine {VERSION}, MLX {})", verbatim_engine::mlx_version())
}

/// What answers depend on: versions, and the machine's system and architecture.
pub fn fingerprint() -> String {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    format!("{VERSION}-{}-{os}-{arch}", verbatim_engine::mlx_version())
}
