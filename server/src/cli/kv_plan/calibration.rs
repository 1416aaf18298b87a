//! The token ids that layers are measured on: the user's, or of a text of our own.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use verbatim_engine::text::Tokenizer;

use crate::{
    cli::{args::KvPlanArgs, output::read_text},
    limits,
};

/// Prose, talk, thinking, code, tool calls and numbers, written for this purpose.
const BUILT_IN: &str = include_str!("../../../assets/calibration.txt");
/// Sequences that a text is cut into (mlx-optiq's default).
const DEFAULT_SEQUENCES: usize = 5;

/// A file of token ids.
#[derive(Deserialize)]
#[serde(untagged)]
enum Ids {
    /// To be cut into sequences.
    Stream(Vec<u32>),
    /// Sequences.
    Sequences(Vec<Vec<u32>>),
}

/// The sequences that the arguments ask for.
///
/// # Errors
/// An unreadable file; fewer sequences than asked for.
pub(super) fn sequences(args: &KvPlanArgs, tokenizer: &Tokenizer) -> Result<Vec<Vec<u32>>> {
    let stream = match &args.calibration {
        None => tokenizer.encode(BUILT_IN, false)?,
        Some(file) => {
            let text = read_text(file, limits::MAX_CALIBRATION_BYTES)?;
            if file.extension().is_some_and(|e| e == "json") {
                let ids = serde_json::from_str(&text).with_context(|| {
                    format!("{} is no JSON list of token ids, nor of such lists", file.display())
                })?;
                match ids {
                    Ids::Sequences(sequences) => return first(sequences, args.n_samples),
                    Ids::Stream(stream) => stream,
                }
            } else {
                tokenizer.encode(&text, false)?
            }
        }
    };
    cut(&stream, args.n_samples.unwrap_or(DEFAULT_SEQUENCES), args.seq_len)
}

/// The first `wanted` sequences, or all.
fn first(mut sequences: Vec<Vec<u32>>, wanted: Option<usize>) -> Result<Vec<Vec<u32>>> {
    if let Some(wanted) = wanted {
        let n = sequences.len();
        ensure!(
            n >= wanted,
            "the calibration file holds {n} sequences; lower --n-samples {wanted}"
        );
        sequences.truncate(wanted);
    }
    Ok(sequences)
}

/// `wanted` sequences of `length` ids, spread evenly over the stream.
fn cut(stream: &[u32], wanted: usize, length: usize) -> Result<Vec<Vec<u32>>> {
    let whole: Vec<&[u32]> = stream.chunks_exact(length).collect();
    ensure!(
        whole.len() >= wanted,
        "the calibration text has {} tokens, enough for {} sequences of {length}, not {wanted}; \
         lower --n-samples or --seq-len, or give a longer --calibration",
        stream.len(),
        whole.len()
    );
    Ok((0..wanted).map(|i| whole[i * whole.len() / wanted].to_vec()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_spread_over_the_stream() {
        let stream: Vec<u32> = (0..23).collect();
        assert_eq!(cut(&stream, 2, 5).unwrap(), [[0, 1, 2, 3, 4], [10, 11, 12, 13, 14]]);
        assert_eq!(cut(&stream, 4, 5).unwrap()[3], [15, 16, 17, 18, 19]);
        let error = cut(&stream, 5, 5).unwrap_err().to_string();
        assert!(error.contains("23 tokens, enough for 4 sequences of 5, not 5"), "{error}");
    }

    #[test]
    fn lists_of_sequences_are_taken_as_they_are() {
        let lists = || vec![vec![1], vec![2, 3], vec![4]];
        assert_eq!(first(lists(), None).unwrap(), lists());
        assert_eq!(first(lists(), Some(2)).unwrap(), [vec![1], vec![2, 3]]);
        assert!(first(lists(), Some(4)).is_err());
    }

    #[test]
    fn the_built_in_text_is_long_enough() {
        // Tokenizers of large vocabularies take about four bytes to a token.
        assert!(BUILT_IN.len() / 512 / 4 > DEFAULT_SEQUENCES, "{} bytes", BUILT_IN.len());
    }
}
