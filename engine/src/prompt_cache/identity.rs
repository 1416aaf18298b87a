//! What states on disk belong to: the same model, settings and software alone.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use sha2::{Digest as _, Sha256};

use crate::{Error, Result, kv::KvQuantization, mlx, models::Mutation, weights::ModelDir};

/// Bytes that are read at once.
const BLOCK: usize = 1 << 20;

/// A SHA-256.
pub type Digest = [u8; 32];

/// A digest of everything that decides a state's bits beside tokens and calls: configuration and
/// weights of the model, byte for byte; how keys and values are kept; this build, MLX, the machine's
/// kind.
///
/// It reads all weights: as long as a disk takes for that.
///
/// # Errors
/// [`Error::File`] for a file that cannot be read; [`Error::Adapter`] for a model whose weights an
/// adapter replaces.
pub fn identity(dir: &ModelDir, kv: &KvQuantization, mutation: Mutation) -> Result<String> {
    if !dir.replaced().is_empty() {
        return Err(Error::Adapter(
            "takes the place of the model's weights, so no state may go to the prompt cache's \
             folder: start without the folder, or fuse the adapter into a model"
                .into(),
        ));
    }
    let mut digest = Sha256::new();
    let device = if mlx::runs_on_cpu()? { "cpu" } else { "gpu" };
    part(&mut digest, device.as_bytes());
    part(&mut digest, software());
    part(&mut digest, format!("{kv:?} {mutation:?}").as_bytes());
    part(&mut digest, serde_json::Value::from(dir.config().clone()).to_string().as_bytes());
    for file in dir.weight_files() {
        part(&mut digest, &digest_of(file).map_err(|e| Error::file(file, e))?);
    }
    Ok(hex(&digest.finalize()))
}

/// A digest of what computes: this build and MLX, on this kind of machine.
fn software() -> &'static Digest {
    static SOFTWARE: OnceLock<Digest> = OnceLock::new();
    SOFTWARE.get_or_init(|| {
        let mut digest = Sha256::new();
        let platform = [std::env::consts::OS, std::env::consts::ARCH];
        let versions = [env!("CARGO_PKG_VERSION"), &mlx::mlx_version()];
        for text in platform.into_iter().chain(versions) {
            part(&mut digest, text.as_bytes());
        }
        for file in std::env::current_exe().ok().into_iter().chain(libmlx()) {
            // Where the system hides them, versions have to do.
            if let Ok(of_file) = digest_of(&file) {
                part(&mut digest, &of_file);
            }
        }
        digest.finalize().into()
    })
}

/// The library that does the arithmetic, where the system tells.
fn libmlx() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let paths = maps.lines().filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])));
    let is_libmlx = |path: &&Path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libmlx."))
    };
    paths.into_iter().find(is_libmlx).map(Path::to_owned)
}

/// Adds bytes so that no other parts give the same sequence.
fn part(digest: &mut Sha256, bytes: &[u8]) {
    digest.update((bytes.len() as u64).to_le_bytes());
    digest.update(bytes);
}

fn digest_of(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut block = vec![0; BLOCK];
    loop {
        let n = file.read(&mut block)?;
        if n == 0 {
            return Ok(digest.finalize().into());
        }
        digest.update(&block[..n]);
    }
}

/// In hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
