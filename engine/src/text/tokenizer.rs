//! The tokenizer of a model directory, as mlx-lm sees it through transformers
//! (`mlx_lm/tokenizer_utils.py`, `TokenizerWrapper` and `load`).

use std::{
    collections::BTreeSet,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use serde_json::{Map, Value};
use tokenizers::{ModelWrapper, Tokenizer as HfTokenizer};

use super::{
    Channel, Detokenizer,
    detokenizer::{CleanUp, Kind, decode},
    files,
    markers::{Thinking, ToolFormat, infer_thinking},
    special::SpecialTokens,
    template::TemplateSource,
};
use crate::{Error, Result, limits};

/// Tokenizer of a model directory. Cheap to clone and shared by threads.
#[derive(Clone)]
pub struct Tokenizer {
    shared: Arc<Shared>,
}

struct Shared {
    hf: Arc<HfTokenizer>,
    vocab_size: usize,
    special: SpecialTokens,
    eos_ids: BTreeSet<u32>,
    /// Special tokens and markers.
    apart: BTreeSet<u32>,
    kind: Kind,
    clean_up: CleanUp,
    thinking: Option<Thinking>,
    tool_format: Option<ToolFormat>,
    template: TemplateSource,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.shared.vocab_size)
            .field("eos_ids", &self.shared.eos_ids)
            .field("detokenizer", &self.shared.kind)
            .field("thinking", &self.shared.thinking)
            .field("tool_format", &self.shared.tool_format)
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Loads `tokenizer.json` and what `tokenizer_config.json`, `special_tokens_map.json`,
    /// `generation_config.json`, `config.json` and `chat_template.jinja` add to it.
    ///
    /// # Errors
    /// [`Error::File`] for a file that is missing, too large or malformed, [`Error::Tokenizer`] for
    /// contents that are not supported.
    pub fn load(dir: &Path) -> Result<Self> {
        Self::load_with(dir, &[], None)
    }

    /// As [`Self::load`], with more tokens that end a generation, ids in decimal or tokens
    /// (`--extra-eos-token`), and a chat template in place of the files' own (`--chat-template`).
    pub fn load_with(
        dir: &Path,
        extra_eos: &[String],
        chat_template: Option<&str>,
    ) -> Result<Self> {
        let path = dir.join("tokenizer.json");
        let bytes = files::read(&path, limits::MAX_TOKENIZER_BYTES)?
            .ok_or_else(|| Error::file(&path, "no such file; a fast tokenizer is required"))?;
        let content: Value = serde_json::from_slice(&bytes).map_err(|e| Error::file(&path, e))?;
        let hf = HfTokenizer::from_bytes(&bytes).map_err(|e| Error::file(&path, e))?;
        drop(bytes);
        let config = files::read_object(&dir.join("tokenizer_config.json"))?.unwrap_or_default();
        let map = files::read_object(&dir.join("special_tokens_map.json"))?;
        let special = SpecialTokens::read(&config, map.as_ref())?;
        let template = match chat_template {
            Some(text) => TemplateSource::Single(text.to_owned()),
            None => TemplateSource::read(dir, &config)?,
        };
        let eos = configured_eos(dir)?;
        Self::build(hf, content.get("decoder"), &config, special, template, eos, extra_eos)
    }

    fn build(
        mut hf: HfTokenizer,
        decoder: Option<&Value>,
        config: &Map<String, Value>,
        special: SpecialTokens,
        template: TemplateSource,
        eos: Vec<u32>,
        extra_eos: &[String],
    ) -> Result<Self> {
        // Prompts are never cut nor padded, whatever tokenizer.json was saved with.
        hf.with_truncation(None).map_err(|e| Error::Tokenizer(e.to_string()))?;
        hf.with_padding(None);
        let known: BTreeSet<String> =
            hf.get_added_tokens_decoder().into_values().map(|t| t.content).collect();
        let missing = special.missing(|text| known.contains(text));
        hf.add_special_tokens(&missing);

        let clean_up = clean_up(&hf, config);
        let kind = Kind::of(decoder);
        let encode = |text: &str| ids_of(&hf, text, false);
        let thinking = infer_thinking(|token| hf.token_to_id(token), encode)?;
        let tool_format = tool_format(config, &template)?;
        let mut eos_ids: BTreeSet<u32> = eos.into_iter().collect();
        eos_ids.extend(special.get("eos_token").and_then(|token| hf.token_to_id(token)));
        for token in extra_eos {
            let id = token.parse().ok().or_else(|| hf.token_to_id(token));
            eos_ids.insert(id.ok_or_else(|| {
                Error::Tokenizer(format!("`{token}` is not a token of this tokenizer"))
            })?);
        }
        let vocab_size = hf.get_vocab_size(true);
        let apart = apart(&hf, thinking.as_ref(), tool_format);
        let hf = Arc::new(hf);
        Ok(Self {
            shared: Arc::new(Shared {
                hf,
                vocab_size,
                special,
                eos_ids,
                apart,
                kind,
                clean_up,
                thinking,
                tool_format,
                template,
            }),
        })
    }

    /// Token ids of `text`; `add_special_tokens` applies the tokenizer's own post-processing.
    /// Special tokens written out in the text are recognized, as in the reference.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>> {
        ids_of(&self.shared.hf, text, add_special_tokens)
    }

    /// Token ids of a plain prompt: special tokens are added unless the text already begins with
    /// the beginning-of-sequence token (`stream_generate`).
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>> {
        let begun = self.special_token("bos_token").is_some_and(|bos| text.starts_with(bos));
        self.encode(text, !begun)
    }

    /// Text of `ids`, special tokens included.
    pub fn decode(&self, ids: &[u32]) -> String {
        decode(&self.shared.hf, ids, self.shared.clean_up)
    }

    /// The vocabulary's own spelling of a token, e.g. `Ġis`.
    pub fn piece(&self, id: u32) -> Option<String> {
        self.shared.hf.id_to_token(id)
    }

    /// The id of a token spelled as in the vocabulary.
    pub fn token_id(&self, piece: &str) -> Option<u32> {
        self.shared.hf.token_to_id(piece)
    }

    /// Tokens in the vocabulary, added ones included.
    pub fn vocab_size(&self) -> usize {
        self.shared.vocab_size
    }

    /// Text of `bos_token`, `eos_token`, `unk_token`, `sep_token`, `pad_token`, `cls_token` or
    /// `mask_token`, where the model names one.
    pub fn special_token(&self, name: &str) -> Option<&str> {
        self.shared.special.get(name)
    }

    /// All named special tokens, for the chat template.
    pub(super) fn special_tokens(&self) -> &[(&'static str, String)] {
        &self.shared.special.named
    }

    /// Ids that end a generation, ascending.
    pub fn eos_token_ids(&self) -> Vec<u32> {
        self.shared.eos_ids.iter().copied().collect()
    }

    /// Whether `id` ends a generation.
    pub fn is_eos(&self, id: u32) -> bool {
        self.shared.eos_ids.contains(&id)
    }

    /// The markers of thinking, where the vocabulary has them.
    pub fn thinking(&self) -> Option<&Thinking> {
        self.shared.thinking.as_ref()
    }

    /// How the model writes tool calls, where it can and the format is supported.
    pub fn tool_format(&self) -> Option<ToolFormat> {
        self.shared.tool_format
    }

    /// The channel in which a generation after a chat prompt starts.
    pub fn start_channel(&self, prompt: &[u32]) -> Channel {
        match self.thinking() {
            Some(thinking) if thinking.open_at_end_of(prompt) => Channel::Reasoning,
            _ => Channel::Content,
        }
    }

    /// A fresh streaming detokenizer.
    pub fn detokenizer(&self) -> Detokenizer {
        Detokenizer::new(self.shared.kind, self.shared.hf.clone(), self.shared.clean_up)
    }

    pub(super) fn kind(&self) -> Kind {
        self.shared.kind
    }

    /// Whether `id` is no part of any text: a special token, or one of the model's markers.
    pub(crate) fn stands_apart(&self, id: u32) -> bool {
        self.is_eos(id) || self.shared.apart.contains(&id)
    }

    pub(super) fn template_source(&self) -> &TemplateSource {
        &self.shared.template
    }
}

/// The added tokens that are special or markers.
fn apart(
    hf: &HfTokenizer,
    thinking: Option<&Thinking>,
    tool_format: Option<ToolFormat>,
) -> BTreeSet<u32> {
    let mut markers: BTreeSet<&str> = thinking.iter().flat_map(|t| [t.start, t.end]).collect();
    markers.extend(tool_format.iter().flat_map(|format| format.markers()));
    let added = hf.get_added_tokens_decoder().into_iter();
    added
        .filter(|(_, token)| token.special || markers.contains(token.content.as_str()))
        .map(|(id, _)| id)
        .collect()
}

fn ids_of(hf: &HfTokenizer, text: &str, add_special_tokens: bool) -> Result<Vec<u32>> {
    // The regular expressions of a pre-tokenizer panic when a text drives them past their retry
    // limit, e.g. millions of spaces.
    let encoding = catch_unwind(AssertUnwindSafe(|| hf.encode_fast(text, add_special_tokens)))
        .unwrap_or_else(|_| Err("its pre-tokenizer gave up on this text".into()))
        .map_err(|e| Error::Tokenizer(format!("cannot encode the text: {e}")))?;
    Ok(encoding.get_ids().to_vec())
}

/// `eos_token_id` of `generation_config.json`, else of `config.json`.
fn configured_eos(dir: &Path) -> Result<Vec<u32>> {
    let bad =
        |file: &str| Error::file(dir.join(file), "eos_token_id must be an id or a list of ids");
    let generation = files::read_object(&dir.join("generation_config.json"))?.unwrap_or_default();
    let ids =
        read_ids(generation.get("eos_token_id")).ok_or_else(|| bad("generation_config.json"))?;
    // The reference overrides config.json only by a value that Python calls true.
    if !ids.is_empty() && generation.get("eos_token_id") != Some(&Value::from(0)) {
        return Ok(ids);
    }
    let config = files::read_object(&dir.join("config.json"))?.unwrap_or_default();
    read_ids(config.get("eos_token_id")).ok_or_else(|| bad("config.json"))
}

fn read_ids(value: Option<&Value>) -> Option<Vec<u32>> {
    let id = |v: &Value| v.as_u64().and_then(|v| u32::try_from(v).ok());
    match value {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(id).collect(),
        Some(one) => id(one).map(|id| vec![id]),
    }
}

fn clean_up(hf: &HfTokenizer, config: &Map<String, Value>) -> CleanUp {
    let flag = |key: &str| config.get(key).and_then(Value::as_bool).unwrap_or(false);
    let bpe = matches!(hf.get_model(), ModelWrapper::BPE(_));
    let forced = flag("clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output");
    let punctuation = flag("clean_up_tokenization_spaces") && (!bpe || forced);
    let plain = CleanUp { punctuation, trailing_space: false };
    let probe = ids_of(hf, "a ,b", false).unwrap_or_default();
    CleanUp { trailing_space: !decode(hf, &probe, plain).contains(" ,"), ..plain }
}

fn tool_format(
    config: &Map<String, Value>,
    template: &TemplateSource,
) -> Result<Option<ToolFormat>> {
    match config.get("tool_parser_type") {
        Some(Value::String(name)) => ToolFormat::named(name).map(Some),
        None | Some(Value::Null) => Ok(template.single().and_then(ToolFormat::infer)),
        Some(_) => Err(Error::Tokenizer("tool_parser_type must be a string".into())),
    }
}
