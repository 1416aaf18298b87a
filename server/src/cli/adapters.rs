//! Adapters of `verbatim serve`.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser},
};
use verbatim_engine::{
    EngineOptions,
    adapter::{AdapterSource, check_name},
};

use crate::{adapters::AdapterRoot, wire::adapters::split_names};

/// Which adapters requests can use.
#[derive(Debug, Args)]
#[command(next_help_heading = "Adapters")]
pub struct AdapterArgs {
    /// Folder of an adapter, mlx-lm's or PEFT's, that requests can use; may be repeated. NAME is
    /// what requests call it [default: the folder's name]
    #[arg(
        long = "adapter",
        value_name = "[NAME=]DIR",
        value_parser = OsStringValueParser::new().map(source)
    )]
    pub adapters: Vec<AdapterSource>,
    /// Adapter of requests that do not choose: a name, several joined by +, or none
    /// [default: the one that --adapter gives; none if it gives several]
    #[arg(long, value_name = "NAME")]
    pub default_adapter: Option<String>,
    /// Folder below which lie the adapters that /v1/adapters may add while the server runs
    #[arg(long, value_name = "DIR")]
    pub adapter_root: Option<PathBuf>,
}

impl AdapterArgs {
    /// Puts the adapters into an engine's options.
    pub(super) fn apply(&self, options: &mut EngineOptions) -> Result<()> {
        options.adapters.clone_from(&self.adapters);
        options.default_adapters = match (&self.default_adapter, self.adapters.as_slice()) {
            (Some(names), _) => split_names(names).context("--default-adapter")?,
            (None, [only]) => vec![only.name.clone()],
            (None, _) => Vec::new(),
        };
        Ok(())
    }

    /// Where adapters may be added from.
    pub(super) fn root(&self) -> Result<Option<AdapterRoot>> {
        let open = |dir: &PathBuf| {
            AdapterRoot::open(dir).with_context(|| format!("--adapter-root {}", dir.display()))
        };
        self.adapter_root.as_ref().map(open).transpose()
    }
}

/// `NAME=DIR`, where what stands before the sign can be a name, or `DIR`.
fn source(value: OsString) -> AdapterSource {
    let named = value.to_str().and_then(|text| text.split_once('='));
    match named.filter(|(name, _)| check_name(name).is_ok()) {
        Some((name, path)) => AdapterSource { name: name.to_owned(), path: path.into() },
        None => AdapterSource::at(Path::new(&value)),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("runs/sql", "sql", "runs/sql")]
    #[case("sql=runs/1", "sql", "runs/1")]
    #[case("sql=a=b", "sql", "a=b")]
    #[case("./sql=1", "sql-1", "./sql=1")]
    fn folders_and_names(#[case] value: &str, #[case] name: &str, #[case] path: &str) {
        let expected = AdapterSource { name: name.into(), path: path.into() };
        assert_eq!(source(value.into()), expected);
    }

    #[rstest]
    #[case(&["a"], None, &["a"])]
    #[case(&["a", "b"], None, &[])]
    #[case(&["a"], Some("none"), &[])]
    #[case(&["a", "b"], Some("b"), &["b"])]
    #[case(&["a", "b"], Some("b+a"), &["b", "a"])]
    fn one_adapter_is_the_default(
        #[case] adapters: &[&str],
        #[case] default: Option<&str>,
        #[case] expected: &[&str],
    ) {
        let args = AdapterArgs {
            adapters: adapters.iter().map(|name| source(name.into())).collect(),
            default_adapter: default.map(str::to_owned),
            adapter_root: None,
        };
        let mut options = EngineOptions::new("model");
        args.apply(&mut options).expect("applied");
        assert_eq!(options.default_adapters, expected);
    }
}
