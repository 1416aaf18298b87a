//! Standard output and standard error. Nothing here panics when the reader has gone.

use std::{
    fs::{self, Permissions},
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

use crate::limits;

/// Writes to standard output at once.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes to standard error; a closed one is nobody's loss.
pub fn note(text: &str) {
    let mut out = io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// One line about what went wrong.
pub fn error(message: &str) {
    note(&format!("verbatim: error: {}\n", one_line(message)));
}

/// Control characters would let a file's contents redraw the terminal.
fn one_line(message: &str) -> String {
    message.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The text itself, or standard input for `-`.
pub fn text_or_stdin(text: &str) -> Result<String> {
    if text != "-" {
        return Ok(text.to_owned());
    }
    let mut input = String::new();
    io::stdin()
        .lock()
        .take(limits::MAX_STDIN_BYTES + 1)
        .read_to_string(&mut input)
        .context("cannot read the prompt from standard input")?;
    if input.len() as u64 > limits::MAX_STDIN_BYTES {
        bail!("the prompt on standard input has more than {} bytes", limits::MAX_STDIN_BYTES);
    }
    Ok(input)
}

/// The contents of a small text file.
pub fn read_text(path: &Path, max_bytes: u64) -> Result<String> {
    let file = fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut text = String::new();
    file.take(max_bytes + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read {}", path.display()))?;
    if text.len() as u64 > max_bytes {
        bail!("{} has more than {max_bytes} bytes", path.display());
    }
    Ok(text)
}

/// A file in the folder of `out`, to be renamed to it when it is complete.
pub fn temporary_beside(out: &Path) -> Result<NamedTempFile> {
    let folder = match out.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_owned(),
        _ => PathBuf::from("."),
    };
    tempfile::Builder::new()
        .prefix(".verbatim-")
        .suffix(".tmp")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(&folder)
        .with_context(|| format!("cannot write in {}", folder.display()))
}

/// Writes a file that appears whole or not at all.
pub fn write_whole(path: &Path, text: &str) -> Result<()> {
    let mut file = temporary_beside(path)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.as_file().sync_all())
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_one_plain_line() {
        assert_eq!(one_line("a\nb\u{1b}[31mc\n"), "a b [31mc");
    }
}
