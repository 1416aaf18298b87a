//! `verbatim get`: a model from a hub.

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use super::{
    args::GetArgs,
    output::{note, print},
};
use crate::hub::{Progress, Settings, fetch};

const BAR: &str =
    "{msg:30!} [{wide_bar}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} ({eta})";

pub(super) fn run(args: &GetArgs) -> Result<()> {
    let fetched = fetch(&Settings::from_env()?, &args.name, &args.revision, &mut Told)?;
    note(&format!("{} files, {} of them new\n", fetched.files, fetched.new));
    print(&format!("{}\n", fetched.dir.display()))?;
    Ok(())
}

/// Progress on standard error; bars only where it is a terminal.
struct Told;

impl Progress for Told {
    fn file(&mut self, file: &str, n: usize, of: usize) {
        note(&format!("{n}/{of} {file}\n"));
    }

    fn bar(&mut self, file: &str, bytes: u64) -> ProgressBar {
        let bar = ProgressBar::new(bytes).with_message(file.to_owned());
        match ProgressStyle::with_template(BAR) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        }
    }

    fn verified(&mut self, _: &str, _: bool) {}
}
