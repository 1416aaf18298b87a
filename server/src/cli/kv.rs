//! The arguments of quantized keys and values, shared by every command that runs a model.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use verbatim_engine::kv::{KvAttention, KvFormat, KvLayers, KvQuantization};

/// Which layers keep quantized keys and values.
#[derive(Debug, Args)]
#[command(next_help_heading = "Key-value cache")]
pub struct KvArgs {
    /// File that lists bits and group size by layer, as mlx-optiq's kv_config.json does
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

impl KvArgs {
    /// The setting these arguments describe.
    ///
    /// # Errors
    /// A file that is no such list; a format that does not exist; a start without a format.
    pub fn quantization(&self) -> Result<KvQuantization> {
        let mut kv = match (&self.kv_config, self.kv_bits) {
            (Some(file), _) => KvQuantization::from_file(file)?,
            (None, Some(bits)) => {
                let format = KvFormat::new(bits, self.kv_group_size.unwrap_or(DEFAULT_GROUP_SIZE))
                    .map_err(|reason| anyhow::anyhow!("--kv-bits: {reason}"))?;
                KvQuantization { layers: KvLayers::All(format), ..KvQuantization::default() }
            }
            (None, None) => KvQuantization::default(),
        };
        anyhow::ensure!(
            self.kv_config.is_some()
                || self.kv_bits.is_some()
                || (self.quantized_kv_start.is_none() && self.kv_attention.is_none()),
            "--quantized-kv-start and --kv-attention need --kv-bits or --kv-config"
        );
        kv.start = self.quantized_kv_start.unwrap_or(0);
        if let Some(Attention::Fused) = self.kv_attention {
            kv.attention = KvAttention::Fused;
        }
        Ok(kv)
    }
}

/// mlx-lm's and mlx-optiq's default.
const DEFAULT_GROUP_SIZE: u64 = 64;
