//! API keys of `verbatim serve`: from arguments, files and the environment.

use std::{
    env, fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;

use super::{args::up_to, output::read_text};
use crate::{
    keys::{Keys, Secret},
    limits,
};

/// The variable that may hold one key.
const VARIABLE: &str = "VERBATIM_API_KEY";

/// Who may use the server.
#[derive(Debug, Args)]
#[command(next_help_heading = "API keys")]
pub struct KeyArgs {
    /// Key that opens the server; may be repeated. Other users of the machine see arguments: prefer
    /// the file, or the variable VERBATIM_API_KEY
    #[arg(long, value_name = "KEY")]
    pub api_key: Vec<Secret>,
    /// File with a key per line, as KEY or NAME:KEY; # starts a comment
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// Let everyone in, even on an address that others can reach
    #[arg(long, conflicts_with_all = ["api_key", "api_key_file", "max_requests_per_key"])]
    pub no_auth: bool,
    /// Requests that each key may have running; more are answered 429
    #[arg(long, value_name = "N", value_parser = up_to::<{ limits::MAX_REQUESTS_PER_KEY }>)]
    pub max_requests_per_key: Option<usize>,
    /// Answer /metrics without a key
    #[arg(long)]
    pub public_metrics: bool,
}

impl KeyArgs {
    /// The keys of all sources.
    pub(super) fn keys(&self) -> Result<Keys> {
        let from_variable = env::var_os(VARIABLE).filter(|key| !key.is_empty());
        if self.no_auth {
            if from_variable.is_some() {
                bail!(
                    "--no-auth lets everyone in, but {VARIABLE} holds a key: leave out --no-auth to \
                     ask for the key, or unset {VARIABLE}"
                );
            }
            return Ok(Keys::default());
        }
        let mut named = Vec::new();
        for (i, key) in self.api_key.iter().enumerate() {
            named.push((format!("api-key-{}", i + 1), key.clone()));
        }
        if let Some(key) = from_variable {
            let key = key.into_string().map_err(|_| anyhow!("{VARIABLE} is not UTF-8"))?;
            named.push((VARIABLE.to_owned(), Secret::new(key)));
        }
        if let Some(file) = &self.api_key_file {
            named.extend(read(file)?);
        }
        if named.is_empty() && self.max_requests_per_key.is_some() {
            bail!("--max-requests-per-key needs --api-key or --api-key-file");
        }
        Keys::new(&named, self.max_requests_per_key).map_err(|e| anyhow!(e))
    }

    /// Refuses to open the model to a network by accident.
    pub(super) fn check_address(&self, address: IpAddr, keys: &Keys) -> Result<()> {
        if keys.is_empty() && !self.no_auth && !address.to_canonical().is_loopback() {
            bail!(
                "refusing to listen on {address} without an API key, since others can reach it: \
                 give --api-key-file, --api-key or {VARIABLE}, or say --no-auth"
            );
        }
        Ok(())
    }
}

/// The keys of a file, with the names that it gives them or those of their lines.
fn read(file: &Path) -> Result<Vec<(String, Secret)>> {
    warn_if_others_can_read(file)?;
    let text = read_text(file, limits::MAX_KEY_FILE_BYTES)?;
    let keys = parse(&text);
    if keys.is_empty() {
        bail!("{} has no key", file.display());
    }
    Ok(keys)
}

fn parse(text: &str) -> Vec<(String, Secret)> {
    let lines = text.lines().enumerate().map(|(i, line)| (i + 1, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| match line.split_once(':') {
            Some((name, key)) if is_name(name.trim()) => {
                (name.trim().to_owned(), Secret::new(key.trim()))
            }
            _ => (format!("line-{number}"), Secret::new(line)),
        })
        .collect()
}

/// Names are logged, so they are plain.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= limits::MAX_KEY_NAME_BYTES
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.@".contains(&b))
}

fn warn_if_others_can_read(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let meta = fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?;
    if meta.permissions().mode() & 0o077 != 0 {
        tracing::warn!(file = ?file, "others can read the key file; chmod 600 it");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn files_name_keys() {
        let keys = parse("# ours\n\nsk-1\nalice: sk-2 \n a b:sk-3\n");
        let shown: Vec<_> = keys.iter().map(|(n, k)| (n.as_str(), k.reveal())).collect();
        assert_eq!(shown, [("line-3", "sk-1"), ("alice", "sk-2"), ("line-5", "a b:sk-3")]);
    }

    #[rstest]
    #[case("127.0.0.1", false, false, true)]
    #[case("::1", false, false, true)]
    #[case("::ffff:127.0.0.1", false, false, true)]
    #[case("0.0.0.0", false, false, false)]
    #[case("::", false, false, false)]
    #[case("192.168.1.2", false, false, false)]
    #[case("0.0.0.0", true, false, true)]
    #[case("0.0.0.0", false, true, true)]
    fn networks_need_a_key(
        #[case] address: IpAddr,
        #[case] with_key: bool,
        #[case] no_auth: bool,
        #[case] fine: bool,
    ) {
        let args = KeyArgs {
            api_key: Vec::new(),
            api_key_file: None,
            no_auth,
            max_requests_per_key: None,
            public_metrics: false,
        };
        let named = [("a".to_owned(), Secret::new("k"))];
        let keys = Keys::new(if with_key { &named } else { &[] }, None).unwrap();
        let checked = args.check_address(address, &keys);
        assert_eq!(checked.is_ok(), fine);
        if let Err(e) = checked {
            assert!(e.to_string().contains("--no-auth"));
        }
    }
}
