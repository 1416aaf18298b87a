//! The arguments of quantized keys and values, shared by every command that runs a model.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Args, ValueEnum};
use verbatim_engine::{
    Engine, EngineOptions, Error,
    kv::{KvAttention, KvFormat, KvLayers, KvQuantization},
};

/// mlx-lm's and mlx-optiq's default.
const DEFAULT_GROUP_SIZE: u64 = 64;
/// The file that is read where it lies beside the model and no option says otherwise.
pub(super) const CONFIG_FILE: &str = "kv_config.json";
/// What `--kv-config` names to leave that file alone.
const NO_FILE: &str = "none";

/// Which layers keep quantized keys and values.
#[derive(Debug, Args)]
#[command(next_help_heading = "Key-value cache")]
pub struct KvArgs {
    /// File that lists bits and group size by layer, as mlx-optiq's kv_config.json does; `none`
    /// leaves a kv_config.json beside the model alone [default: the model's own, if it has one]
    #[arg(long, value_name = "FILE", conflicts_with = "kv_bits")]
    pub kv_config: Option<PathBuf>,
    /// Bits of keys and values in every layer: 2, 3, 4, 5, 6 or 8 [default: unquantized]
    #[arg(long, value_name = "N")]
    pub kv_bits: Option<u64>,
    /// Values that share a scale, for --kv-bits: 32, 64 or 128 [default: 64]
    #[arg(long, value_name = "N", requires = "kv_bits")]
    pub kv_group_size: Option<u64>,
    /// Tokens that a layer holds before it is quantized, once the first call is done [default: 0]
    #[arg(long, value_name = "N")]
    pub quantized_kv_start: Option<usize>,
    /// How attention reads quantized layers [default: stock]
    #[arg(long, value_name = "KIND")]
    pub kv_attention: Option<Attention>,
}

/// `--kv-attention`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Attention {
    /// All scores at once, as mlx-lm does it, and `optiq serve --no-fused-kv`
    Stock,
    /// In tiles wherever mlx-optiq does so, as `optiq serve --kv-config`
    Fused,
}

/// What the arguments and the model's folder say.
#[derive(Debug)]
pub(super) struct KvSetting {
    quantization: KvQuantization,
    /// The file beside the model that was read without being named.
    beside: Option<PathBuf>,
}

impl KvArgs {
    /// The setting for the model in the folder `model`.
    ///
    /// # Errors
    /// A file that is no such list; a format that does not exist; a start without a format.
    pub(super) fn setting(&self, model: &Path) -> Result<KvSetting> {
        let mut beside = None;
        let kv = match (&self.kv_config, self.kv_bits) {
            (Some(file), _) if file.as_os_str() == NO_FILE => None,
            (Some(file), _) => Some(KvQuantization::from_file(file)?),
            (None, Some(bits)) => {
                let format = KvFormat::new(bits, self.kv_group_size.unwrap_or(DEFAULT_GROUP_SIZE))
                    .map_err(|reason| anyhow!("--kv-bits: {reason}"))?;
                Some(KvQuantization { layers: KvLayers::All(format), ..KvQuantization::default() })
            }
            (None, None) => {
                let file = model.join(CONFIG_FILE);
                // A link that leads nowhere is there too, and refused.
                if file.symlink_metadata().is_ok() {
                    let kv = KvQuantization::from_file(&file).context(UNNAMED)?;
                    beside = Some(file);
                    Some(kv)
                } else {
                    None
                }
            }
        };
        ensure!(
            kv.is_some() || (self.quantized_kv_start.is_none() && self.kv_attention.is_none()),
            "--quantized-kv-start and --kv-attention need --kv-bits or --kv-config"
        );
        let mut quantization = kv.unwrap_or_default();
        quantization.start = self.quantized_kv_start.unwrap_or(0);
        if let Some(Attention::Fused) = self.kv_attention {
            quantization.attention = KvAttention::Fused;
        }
        Ok(KvSetting { quantization, beside })
    }
}

/// How to do without a file that nobody asked for.
const UNNAMED: &str = "the kv_config.json beside the model (`--kv-config none` leaves it alone)";

impl KvSetting {
    /// Loads a model with this setting.
    ///
    /// # Errors
    /// As [`Engine::load`]; a file that was not named is told when it does not fit.
    pub(super) fn load(&self, mut options: EngineOptions) -> Result<Engine> {
        options.kv = self.quantization.clone();
        Engine::load(options).map_err(|e| match e {
            Error::Kv(_) if self.beside.is_some() => anyhow::Error::from(e).context(UNNAMED),
            e => e.into(),
        })
    }

    /// Which layers keep quantized keys and values.
    pub(super) fn quantization(&self) -> &KvQuantization {
        &self.quantization
    }

    /// A line about quantized keys and values, where there are any.
    pub(super) fn line(&self) -> Option<String> {
        let kv = &self.quantization;
        let from = match &self.beside {
            Some(file) => format!(" ({})", file.display()),
            None => String::new(),
        };
        (!kv.is_none()).then(|| format!("key-value cache: {kv}{from}\n"))
    }

    /// The file beside the model that was read without being named.
    pub(super) fn beside(&self) -> Option<&Path> {
        self.beside.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> KvArgs {
        KvArgs {
            kv_config: None,
            kv_bits: None,
            kv_group_size: None,
            quantized_kv_start: None,
            kv_attention: None,
        }
    }

    fn model(config: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(CONFIG_FILE), config).expect("written");
        folder
    }

    #[test]
    fn a_file_beside_the_model_is_read_unless_options_say_otherwise() {
        let folder = model(r#"[{"layer_idx": 1, "bits": 4}]"#);
        let setting = |args: &KvArgs| args.setting(folder.path()).expect("a setting");
        let own = setting(&args());
        assert_eq!(own.beside(), Some(folder.path().join(CONFIG_FILE).as_path()));
        let line = own.line().expect("a line");
        assert!(line.starts_with("key-value cache: 4 bits (groups of 64) in 1 layers"), "{line}");
        assert!(line.trim_end().ends_with("kv_config.json)"), "{line}");

        let none = setting(&KvArgs { kv_config: Some("none".into()), ..args() });
        assert!(none.line().is_none() && none.beside().is_none());
        let bits = setting(&KvArgs { kv_bits: Some(8), ..args() });
        assert!(bits.beside().is_none());
        assert!(bits.line().expect("a line").contains("8 bits"));
        let fused = setting(&KvArgs { kv_attention: Some(Attention::Fused), ..args() });
        assert!(fused.line().expect("a line").contains("fused attention"));
    }

    #[test]
    fn a_bad_file_beside_the_model_is_refused_with_the_way_around_it() {
        let folder = model(r#"{"layer_idx": 1}"#);
        let error = format!("{:#}", args().setting(folder.path()).expect_err("refused"));
        assert!(error.contains("--kv-config none"), "{error}");
        assert!(error.contains("expected a JSON list"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }

    #[test]
    fn without_any_file_nothing_is_quantized() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(args().setting(folder.path()).expect("a setting").line().is_none());
        let late = KvArgs { quantized_kv_start: Some(1), ..args() };
        let error = late.setting(folder.path()).expect_err("refused").to_string();
        assert!(error.contains("need --kv-bits or --kv-config"), "{error}");
    }
}
