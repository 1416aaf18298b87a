//! `verbatim logits`: greedy steps with the logits they were chosen from, as a safetensors file.

use std::{
    fs::File,
    io::{BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tempfile::NamedTempFile;
use verbatim_engine::{Capture, EngineOptions, Event, GenerateRequest, NamedTensor, TokenEvent};

use super::{
    args::LogitsArgs,
    output::{note, temporary_beside, text_or_stdin},
};
use crate::version;

pub(super) fn run(args: &LogitsArgs) -> Result<()> {
    let prompt_text = args.prompt.as_deref().map(text_or_stdin).transpose()?;
    // A folder that cannot be written is told before the model is loaded.
    let out = target(&args.out)?;
    let file = temporary_beside(&out)?;
    let mut options = EngineOptions::new(&args.model);
    options.set_adapter(args.adapter.as_ref());
    options.prefill_step_size = args.prefill_step_size;
    let kv = args.kv.setting(&args.model)?;
    let engine = kv.load(options)?;
    if let Some(line) = kv.line() {
        note(&line);
    }
    let prompt = match prompt_text {
        Some(text) => engine.tokenizer().encode_prompt(&text)?,
        None => args.prompt_ids.clone(),
    };
    let mut request = GenerateRequest::new(prompt.clone(), args.steps);
    request.ignore_eos = true;
    request.capture = Capture { logits: true, layers: false };
    let mut generation = engine.submit(request)?;
    let mut trace = Trace::new(file, &prompt, args.steps)?;
    while let Some(event) = generation.next_blocking() {
        match event {
            Event::Started { .. } | Event::Prefill { .. } | Event::Tensor(_) => {}
            Event::Token(token) => trace.add(&token)?,
            Event::Failed(e) => return Err(e.into()),
            Event::Finished(_) => return trace.save(&out),
        }
    }
    bail!("the MLX thread ended before the last step")
}

/// Where a rename may put the file: `out`, or what it links to.
fn target(out: &Path) -> Result<PathBuf> {
    match std::fs::metadata(out) {
        Ok(meta) if meta.is_file() => {
            std::fs::canonicalize(out).with_context(|| format!("cannot write {}", out.display()))
        }
        Ok(_) => bail!("{} is not a regular file; --out needs one, or a new name", out.display()),
        Err(_) => Ok(out.to_owned()),
    }
}

/// The file while it is written: header, `prompt`, room for `tokens`, then rows of `logits`.
struct Trace {
    file: BufWriter<NamedTempFile>,
    prompt: Vec<u32>,
    steps: usize,
    tokens: Vec<u32>,
    /// dtype and bytes of a row, and where `tokens` begin; known with the first row.
    layout: Option<Layout>,
}

struct Layout {
    dtype: String,
    row_bytes: usize,
    tokens_at: u64,
}

impl Trace {
    fn new(file: NamedTempFile, prompt: &[u32], steps: usize) -> Result<Self> {
        for id in prompt {
            ensure!(i32::try_from(*id).is_ok(), "token id {id} does not fit an int32");
        }
        let file = BufWriter::new(file);
        Ok(Self { file, prompt: prompt.to_owned(), steps, tokens: Vec::new(), layout: None })
    }

    fn add(&mut self, token: &TokenEvent) -> Result<()> {
        let row = token.logits.as_ref().context("the engine sent no logits")?;
        let layout = match self.layout.take() {
            Some(layout) => layout,
            None => self.begin(row)?,
        };
        ensure!(
            row.dtype == layout.dtype && row.data.len() == layout.row_bytes,
            "the logits change their shape from step to step"
        );
        self.file.write_all(&row.data)?;
        self.tokens.push(token.id);
        self.layout = Some(layout);
        Ok(())
    }

    fn begin(&mut self, row: &NamedTensor) -> Result<Layout> {
        let vocab: usize = row.shape.iter().product();
        let (prompt_end, row_bytes) = (self.prompt.len() * 4, row.data.len());
        let tokens_end = prompt_end + self.steps * 4;
        let logits_end = tokens_end + self.steps * row_bytes;
        let header = json!({
            "__metadata__": {"format": "mlx", "producer": format!("verbatim {}", version::VERSION)},
            "prompt": entry("I32", &[self.prompt.len()], 0, prompt_end),
            "tokens": entry("I32", &[self.steps], prompt_end, tokens_end),
            "logits": entry(&row.dtype, &[self.steps, vocab], tokens_end, logits_end),
        });
        let mut header = header.to_string();
        // Data that begins at a multiple of eight can be mapped.
        header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
        self.file.write_all(&(header.len() as u64).to_le_bytes())?;
        self.file.write_all(header.as_bytes())?;
        write_ids(&mut self.file, &self.prompt)?;
        self.file.write_all(&vec![0; self.steps * 4])?;
        let tokens_at = (8 + header.len() + prompt_end) as u64;
        Ok(Layout { dtype: row.dtype.clone(), row_bytes, tokens_at })
    }

    fn save(mut self, out: &Path) -> Result<()> {
        let layout = self.layout.take().context("no step was run")?;
        ensure!(
            self.tokens.len() == self.steps,
            "only {} of {} steps were run",
            self.tokens.len(),
            self.steps
        );
        self.file.seek(SeekFrom::Start(layout.tokens_at))?;
        write_ids(&mut self.file, &self.tokens)?;
        let file = self.file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        File::sync_all(file.as_file())?;
        file.persist(out).with_context(|| format!("cannot write {}", out.display()))?;
        Ok(())
    }
}

fn entry(dtype: &str, shape: &[usize], begin: usize, end: usize) -> serde_json::Value {
    json!({"dtype": dtype, "shape": shape, "data_offsets": [begin, end]})
}

/// Token ids as little-endian int32.
fn write_ids(file: &mut impl Write, ids: &[u32]) -> std::io::Result<()> {
    ids.iter().try_for_each(|id| file.write_all(&id.to_le_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(id: u32, data: &[u8]) -> TokenEvent {
        let logits = NamedTensor {
            name: "logits".to_owned(),
            dtype: "BF16".to_owned(),
            shape: vec![data.len() / 2],
            data: data.to_owned(),
        };
        TokenEvent { id, pieces: Vec::new(), logprob: None, logits: Some(logits) }
    }

    #[test]
    fn the_file_holds_what_was_added() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("l.safetensors");
        let mut trace = Trace::new(temporary_beside(&out).unwrap(), &[7, 8, 9], 2).unwrap();
        trace.add(&token(4, &[1, 2, 3, 4, 5, 6])).unwrap();
        trace.add(&token(5, &[7, 8, 9, 10, 11, 12])).unwrap();
        trace.save(&out).unwrap();

        let bytes = std::fs::read(&out).unwrap();
        let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        assert_eq!(header_len % 8, 0);
        let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header_len]).unwrap();
        let data = &bytes[8 + header_len..];
        assert_eq!(
            header["prompt"],
            json!({"dtype": "I32", "shape": [3], "data_offsets": [0, 12]})
        );
        assert_eq!(header["tokens"]["data_offsets"], json!([12, 20]));
        assert_eq!(header["logits"]["shape"], json!([2, 3]));
        assert_eq!(data[..12], [7, 0, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0]);
        assert_eq!(data[12..20], [4, 0, 0, 0, 5, 0, 0, 0]);
        assert_eq!(data[20..], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_short_run_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("l.safetensors");
        let mut trace = Trace::new(temporary_beside(&out).unwrap(), &[7], 2).unwrap();
        trace.add(&token(4, &[1, 2])).unwrap();
        assert!(trace.save(&out).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
