//! Golden traces: what the reference computed for a case, bit for bit, and where it was computed.

mod manifest;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

pub use manifest::{FileRecord, MANIFEST_FILE, Manifest};

use crate::{
    Error, Result,
    case::{Backend, Case},
    tensor::{RawTensor, TensorFile},
};

/// Folder of `golden/` for traces that no machine influences.
pub const ANY_MACHINE: &str = "any";

/// Prefix of layer outputs: `call{c}.{layer}`, `c` counting the model's calls from 0.
const CALL: &str = "call";

/// Folder of `golden/` for traces made on this kind of machine: `linux-x86_64-cpu`.
pub fn machine_key(backend: Backend) -> String {
    format!("{}-{}-{}", std::env::consts::OS, std::env::consts::ARCH, backend.name())
}

/// Path of a case's golden below `golden/`, with forward slashes.
pub fn relative_path(machine: &str, case: &Case) -> String {
    format!("{machine}/{}/{}.safetensors", case.suite, case.id)
}

/// A case's trace.
///
/// Stored as safetensors: `prompt` int32 `[P]`, `tokens` int32 `[N]`, `logits` `[N, vocab]` in the
/// model's dtype (row i is what token i was chosen from, before any processor), and layer outputs
/// `call{c}.{layer}`, e.g. `call0.model.layers.3`, `[1, length, hidden]`. Batches have the same of
/// companion i as `row{i}.prompt`, `.tokens` and `.logits`, i counting from 1. A past has `past.prompt`,
/// `past.tokens` and `past.trimmed` int32 `[1]`. Provenance is metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Golden {
    /// Prompt token ids.
    pub prompt: Vec<u32>,
    /// Generated token ids.
    pub tokens: Vec<u32>,
    /// Logits, when the case captures them.
    pub logits: Option<RawTensor>,
    /// Layer outputs by name, when the case captures them.
    pub layers: BTreeMap<String, RawTensor>,
    /// What ran before on the same caches.
    pub past: Option<PastRun>,
    /// The other sequences of a batch, in the case's order.
    pub company: Vec<Row>,
    /// Where it comes from.
    pub provenance: Provenance,
}

/// What ran before on the same caches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastRun {
    /// Prompt token ids.
    pub prompt: Vec<u32>,
    /// Generated token ids.
    pub tokens: Vec<u32>,
    /// Tokens that the caches forgot again; 0 where they cannot.
    pub trimmed: u32,
}

/// Another sequence of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Prompt token ids.
    pub prompt: Vec<u32>,
    /// Generated token ids.
    pub tokens: Vec<u32>,
    /// Logits.
    pub logits: RawTensor,
}

/// Where a golden comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Provenance {
    /// [`Case::digest`] of the case.
    pub case_digest: String,
    /// [`crate::tensor::weights_sha256`] of the model that ran, after quantization.
    pub model_sha256: String,
    /// [`crate::tensor::adapter_sha256`] of the adapter that was mounted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter_sha256: Option<String>,
    /// `linux-x86_64`.
    pub platform: String,
    /// `cpu`.
    pub backend: String,
    /// SHA-256 of the MLX library.
    pub libmlx_sha256: String,
    /// Versions of the tools, by name: `python`, `mlx`, `mlx-lm`, ….
    pub versions: BTreeMap<String, String>,
}

impl Golden {
    /// Reads and checks a golden.
    ///
    /// # Errors
    /// [`Error::File`] for unreadable files, [`Error::Golden`] for tensors or metadata that do not
    /// fit the format.
    pub fn read(path: &Path) -> Result<Self> {
        Self::from_file(TensorFile::read(path)?).map_err(|e| Error::file(path, e))
    }

    /// Understands a golden's tensors.
    ///
    /// # Errors
    /// [`Error::Golden`].
    pub fn from_file(mut file: TensorFile) -> Result<Self> {
        let prompt = ids(&mut file, "prompt")?;
        let tokens = ids(&mut file, "tokens")?;
        let logits = file.tensors.remove("logits");
        check_rows(logits.as_ref(), &tokens)?;
        let past = PastRun::take(&mut file)?;
        let mut company = Vec::new();
        while file.tensors.contains_key(&row_name(company.len(), "prompt")) {
            company.push(Row::take(&mut file, company.len())?);
        }
        for name in file.tensors.keys() {
            if parse_layer_name(name).is_none() {
                return Err(Error::Golden(format!("tensor {name} has no meaning")));
            }
        }
        let provenance = Provenance::from_metadata(&file.metadata)?;
        Ok(Self { prompt, tokens, logits, layers: file.tensors, past, company, provenance })
    }

    /// The golden as tensors and metadata.
    pub fn to_file(&self) -> TensorFile {
        let mut tensors = self.layers.clone();
        tensors.insert("prompt".into(), int32(&self.prompt));
        tensors.insert("tokens".into(), int32(&self.tokens));
        if let Some(logits) = &self.logits {
            tensors.insert("logits".into(), logits.clone());
        }
        tensors.extend(self.past.iter().flat_map(PastRun::tensors));
        for (index, row) in self.company.iter().enumerate() {
            tensors.insert(row_name(index, "prompt"), int32(&row.prompt));
            tensors.insert(row_name(index, "tokens"), int32(&row.tokens));
            tensors.insert(row_name(index, "logits"), row.logits.clone());
        }
        TensorFile { tensors, metadata: self.provenance.to_metadata() }
    }

    /// The golden of companion `index` on its own.
    #[must_use]
    pub fn companion(&self, index: usize) -> Self {
        let Row { prompt, tokens, logits } = self.company[index].clone();
        Self {
            prompt,
            tokens,
            logits: Some(logits),
            layers: BTreeMap::new(),
            past: None,
            company: Vec::new(),
            provenance: self.provenance.clone(),
        }
    }

    /// Writes the golden where it belongs below `golden`, and says where that is.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write(&self, golden: &Path, machine: &str, case: &Case) -> Result<PathBuf> {
        let path = golden.join(relative_path(machine, case));
        self.to_file().write(&path)?;
        Ok(path)
    }
}

const PAST_PROMPT: &str = "past.prompt";
const PAST_TOKENS: &str = "past.tokens";
const PAST_TRIMMED: &str = "past.trimmed";

impl PastRun {
    /// Names of what the engine reports of it.
    pub const COMPARED: [&str; 2] = [PAST_TOKENS, PAST_TRIMMED];

    fn take(file: &mut TensorFile) -> Result<Option<Self>> {
        if !file.tensors.contains_key(PAST_PROMPT) {
            return Ok(None);
        }
        let prompt = ids(file, PAST_PROMPT)?;
        let tokens = ids(file, PAST_TOKENS)?;
        let [trimmed] = ids(file, PAST_TRIMMED)?[..] else {
            return Err(Error::Golden(format!("{PAST_TRIMMED} must be one number")));
        };
        Ok(Some(Self { prompt, tokens, trimmed }))
    }

    /// It as int32 vectors by name.
    pub fn tensors(&self) -> [(String, RawTensor); 3] {
        [
            (PAST_PROMPT.into(), int32(&self.prompt)),
            (PAST_TOKENS.into(), int32(&self.tokens)),
            (PAST_TRIMMED.into(), int32(&[self.trimmed])),
        ]
    }
}

impl Row {
    fn take(file: &mut TensorFile, index: usize) -> Result<Self> {
        let prompt = ids(file, &row_name(index, "prompt"))?;
        let tokens = ids(file, &row_name(index, "tokens"))?;
        let name = row_name(index, "logits");
        let logits = file
            .tensors
            .remove(&name)
            .ok_or_else(|| Error::Golden(format!("{name} is missing")))?;
        check_rows(Some(&logits), &tokens)?;
        Ok(Self { prompt, tokens, logits })
    }
}

/// Name of a tensor of companion `index`.
pub fn row_name(index: usize, what: &str) -> String {
    format!("row{}.{what}", index + 1)
}

fn check_rows(logits: Option<&RawTensor>, tokens: &[u32]) -> Result<()> {
    match logits {
        Some(logits) if !matches!(logits.shape[..], [rows, _] if rows == tokens.len()) => {
            Err(Error::Golden(format!(
                "logits have shape {:?} for {} tokens",
                logits.shape,
                tokens.len()
            )))
        }
        _ => Ok(()),
    }
}

/// Call and layer of a layer output's name.
pub fn parse_layer_name(name: &str) -> Option<(usize, &str)> {
    let (call, layer) = name.strip_prefix(CALL)?.split_once('.')?;
    (!layer.is_empty()).then_some((call.parse().ok()?, layer))
}

/// Name of a layer output.
pub fn layer_name(call: usize, layer: &str) -> String {
    format!("{CALL}{call}.{layer}")
}

fn ids(file: &mut TensorFile, name: &str) -> Result<Vec<u32>> {
    let tensor = file
        .tensors
        .remove(name)
        .filter(|t| t.dtype == "I32" && t.shape.len() == 1 && !t.data.is_empty())
        .ok_or_else(|| Error::Golden(format!("{name} must be a non-empty int32 vector")))?;
    tensor
        .data
        .chunks_exact(4)
        .map(|b| {
            u32::try_from(i32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .map_err(|_| Error::Golden(format!("{name} holds a negative id")))
        })
        .collect()
}

fn int32(ids: &[u32]) -> RawTensor {
    RawTensor {
        dtype: "I32".into(),
        shape: vec![ids.len()],
        data: ids.iter().flat_map(|id| id.to_le_bytes()).collect(),
    }
}

const VERSION: &str = "version.";
const ADAPTER: &str = "adapter_sha256";

impl Provenance {
    fn to_metadata(&self) -> BTreeMap<String, String> {
        let mut metadata = BTreeMap::from([
            ("case_digest".to_owned(), self.case_digest.clone()),
            ("model_sha256".to_owned(), self.model_sha256.clone()),
            ("platform".to_owned(), self.platform.clone()),
            ("backend".to_owned(), self.backend.clone()),
            ("libmlx_sha256".to_owned(), self.libmlx_sha256.clone()),
        ]);
        metadata.extend(self.adapter_sha256.iter().map(|d| (ADAPTER.to_owned(), d.clone())));
        metadata
            .extend(self.versions.iter().map(|(tool, v)| (format!("{VERSION}{tool}"), v.clone())));
        metadata
    }

    fn from_metadata(metadata: &BTreeMap<String, String>) -> Result<Self> {
        let field = |key: &str| {
            metadata
                .get(key)
                .cloned()
                .filter(|v| !v.is_empty())
                .ok_or_else(|| Error::Golden(format!("metadata lacks {key}")))
        };
        let versions = metadata
            .iter()
            .filter_map(|(key, v)| Some((key.strip_prefix(VERSION)?.to_owned(), v.clone())))
            .collect();
        Ok(Self {
            case_digest: field("case_digest")?,
            model_sha256: field("model_sha256")?,
            adapter_sha256: metadata.get(ADAPTER).cloned(),
            platform: field("platform")?,
            backend: field("backend")?,
            libmlx_sha256: field("libmlx_sha256")?,
            versions,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden() -> Golden {
        let f32s = |n: usize| (0..n).flat_map(|i| (i as f32).to_le_bytes()).collect::<Vec<u8>>();
        let tensor = |shape: &[usize]| RawTensor {
            dtype: "F32".into(),
            shape: shape.to_vec(),
            data: f32s(shape.iter().product()),
        };
        Golden {
            prompt: vec![5, 6, 7],
            tokens: vec![1, 2],
            logits: Some(tensor(&[2, 4])),
            layers: BTreeMap::from([(layer_name(0, "model.layers.0"), tensor(&[1, 2, 3]))]),
            past: Some(PastRun { prompt: vec![4], tokens: vec![6, 0], trimmed: 3 }),
            company: vec![Row { prompt: vec![3], tokens: vec![7], logits: tensor(&[1, 4]) }],
            provenance: Provenance {
                case_digest: "c".into(),
                model_sha256: "m".into(),
                adapter_sha256: Some("a".into()),
                platform: "linux-x86_64".into(),
                backend: "cpu".into(),
                libmlx_sha256: "l".into(),
                versions: BTreeMap::from([("mlx-lm".into(), "0.32.2".into())]),
            },
        }
    }

    #[test]
    fn goldens_survive_a_round_trip_and_are_reproducible() {
        let file = golden().to_file();
        let bytes = file.to_bytes().unwrap();
        assert_eq!(bytes, file.to_bytes().unwrap());
        assert_eq!(Golden::from_file(TensorFile::parse(&bytes).unwrap()).unwrap(), golden());
    }

    #[test]
    fn goldens_that_lack_something_are_refused() {
        let spoil = |change: fn(&mut TensorFile)| {
            let mut file = golden().to_file();
            change(&mut file);
            Golden::from_file(file).unwrap_err().to_string()
        };
        assert!(spoil(|f| drop(f.tensors.remove("tokens"))).contains("tokens"));
        assert!(spoil(|f| drop(f.metadata.remove("model_sha256"))).contains("model_sha256"));
        assert!(
            spoil(|f| f.tensors.get_mut("logits").unwrap().shape = vec![8, 1]).contains("shape")
        );
        assert!(
            spoil(|f| f.tensors.get_mut("prompt").unwrap().data[3] = 0x80).contains("negative")
        );
        assert!(
            spoil(|f| {
                let tensor = f.tensors["logits"].clone();
                f.tensors.insert("other".into(), tensor);
            })
            .contains("other")
        );
    }

    #[test]
    fn layer_names_carry_call_and_layer() {
        assert_eq!(parse_layer_name("call12.model.layers.3"), Some((12, "model.layers.3")));
        assert_eq!(parse_layer_name("call.model"), None);
        assert_eq!(parse_layer_name("call1."), None);
        assert_eq!(parse_layer_name("logits"), None);
    }
}
