//! Writes the seeds of a fuzz target, or runs it on single inputs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::Parser;
use verbatim_fuzz::{TARGETS, Target, dictionary, target};

#[derive(Debug, Parser)]
enum Command {
    /// Name the targets.
    List,
    /// Write the inputs that a target begins with to `FOLDER/seeds`, and `FOLDER/dictionary`.
    Seeds {
        /// The target.
        target: String,
        /// Folder to write to.
        folder: PathBuf,
    },
    /// Run a target on inputs, such as one that cargo-fuzz has found.
    Run {
        /// The target.
        target: String,
        /// Files with an input each.
        files: Vec<PathBuf>,
    },
}

#[expect(clippy::print_stdout, reason = "the command's output")]
fn main() -> Result<()> {
    match Command::parse() {
        Command::List => TARGETS.iter().for_each(|target| println!("{}", target.name)),
        Command::Seeds { target, folder } => write_seeds(named(&target)?, &folder)?,
        Command::Run { target, files } => {
            let target = named(&target)?;
            for file in files {
                let input = fs::read(&file).with_context(|| file.display().to_string())?;
                let accepted = (target.body)(&input);
                println!("{}: {}", file.display(), if accepted { "accepted" } else { "refused" });
            }
        }
    }
    Ok(())
}

fn named(name: &str) -> Result<&'static Target> {
    target(name).with_context(|| format!("there is no target {name}"))
}

fn write_seeds(target: &Target, folder: &Path) -> Result<()> {
    let seeds = folder.join("seeds");
    fs::create_dir_all(&seeds)?;
    for (at, seed) in (target.seeds)().into_iter().enumerate() {
        fs::write(seeds.join(format!("{at:03}")), seed)?;
    }
    fs::write(folder.join("dictionary"), dictionary(target))?;
    Ok(())
}
