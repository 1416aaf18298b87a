//! The arguments of the prompt cache.

use std::path::PathBuf;

use clap::Args;
use verbatim_engine::{EngineOptions, limits as engine_limits, memory::parse_bytes};

use crate::limits;

/// State kept of earlier prompts.
#[derive(Debug, Args)]
#[command(next_help_heading = "Prompt cache")]
pub struct PromptCacheArgs {
    /// State kept of earlier requests, for those that begin alike, e.g. 512MB or 4GiB; 0 keeps none
    /// [default: 2GiB]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub prompt_cache_bytes: Option<u64>,
    /// Folder in which that state survives a restart; one for each server
    #[arg(long, value_name = "DIR")]
    pub prompt_cache_dir: Option<PathBuf>,
    /// Files in that folder, all together [default: 16GiB]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, requires = "prompt_cache_dir")]
    pub prompt_cache_disk_bytes: Option<u64>,
}

impl PromptCacheArgs {
    /// Sets the engine's options.
    pub(super) fn apply(&self, options: &mut EngineOptions) {
        let bytes = self.prompt_cache_bytes.unwrap_or(limits::DEFAULT_PROMPT_CACHE_BYTES);
        options.prompt_cache_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        options.prompt_cache_dir.clone_from(&self.prompt_cache_dir);
        let files = self.prompt_cache_disk_bytes;
        options.prompt_cache_disk_bytes =
            files.unwrap_or(engine_limits::DEFAULT_PROMPT_CACHE_DISK_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Cli, Command};
    use clap::Parser;
    use rstest::rstest;

    fn options(args: &[&str]) -> Result<EngineOptions, String> {
        let args = [&["verbatim", "serve", "--model", "m"], args].concat();
        let cli = Cli::try_parse_from(args).map_err(|e| e.to_string())?;
        let Command::Serve(args) = cli.command else { panic!("not serve") };
        let mut options = EngineOptions::new("m");
        args.prompt_cache.apply(&mut options);
        Ok(options)
    }

    #[rstest]
    #[case(&[], 2 << 30, 16 << 30)]
    #[case(&["--prompt-cache-bytes", "64MB"], 64_000_000, 16 << 30)]
    #[case(&["--prompt-cache-bytes", "1000"], 1_000, 16 << 30)]
    #[case(&["--prompt-cache-bytes", "0"], 0, 16 << 30)]
    #[case(&["--prompt-cache-dir", "d", "--prompt-cache-disk-bytes", "1.5GiB"], 2 << 30, 3 << 29)]
    fn sizes(#[case] args: &[&str], #[case] memory: usize, #[case] disk: u64) {
        let options = options(args).unwrap();
        assert_eq!((options.prompt_cache_bytes, options.prompt_cache_disk_bytes), (memory, disk));
        assert_eq!(options.prompt_cache_dir.is_some(), args.contains(&"--prompt-cache-dir"));
    }

    #[rstest]
    #[case(&["--prompt-cache-bytes", "64XB"], "expected a size such as")]
    #[case(&["--prompt-cache-disk-bytes", "1GB"], "--prompt-cache-dir")]
    fn mistakes(#[case] args: &[&str], #[case] says: &str) {
        let error = options(args).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}
