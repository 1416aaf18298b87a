//! Which markers surround thinking and tool calls, inferred as mlx-lm does
//! (`mlx_lm/tokenizer_utils.py`, `_infer_thinking` and `_infer_tool_parser`).

use crate::{Error, Result};

/// The markers of a thinking block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thinking {
    /// Text that opens the block.
    pub start: &'static str,
    /// Text that closes it.
    pub end: &'static str,
    /// Token ids of `start`.
    pub start_ids: Vec<u32>,
    /// Token ids of `end`.
    pub end_ids: Vec<u32>,
}

impl Thinking {
    /// Whether a generation after `prompt` starts inside a thinking block: the last opening marker
    /// comes after the last closing one.
    pub fn open_at_end_of(&self, prompt: &[u32]) -> bool {
        let last = |ids: &[u32]| {
            prompt.windows(ids.len().max(1)).rposition(|w| w == ids).map_or(-1, |i| i as i64)
        };
        last(&self.start_ids) > last(&self.end_ids)
    }
}

/// Marker pairs that count when both are tokens of their own.
const SINGLE_TOKEN_THINKING: [(&str, &str); 3] = [
    ("<think>", "</think>"),
    ("<longcat_think>", "</longcat_think>"),
    ("<|think:start|>", "<|think:end|>"),
];

/// The thinking markers of a vocabulary.
pub(super) fn infer_thinking(
    id_of: impl Fn(&str) -> Option<u32>,
    encode: impl Fn(&str) -> Result<Vec<u32>>,
) -> Result<Option<Thinking>> {
    for (start, end) in SINGLE_TOKEN_THINKING {
        if let (Some(s), Some(e)) = (id_of(start), id_of(end)) {
            return Ok(Some(Thinking { start, end, start_ids: vec![s], end_ids: vec![e] }));
        }
    }
    if id_of("<|channel>").is_none() || id_of("<channel|>").is_none() {
        return Ok(None);
    }
    let (start, end) = ("<|channel>thought", "<channel|>");
    let (start_ids, end_ids) = (encode(start)?, encode(end)?);
    Ok(Some(Thinking { start, end, start_ids, end_ids }))
}

/// How a model writes tool calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ToolFormat {
    /// `<|tool_call>call:name{key:<|"|>text<|"|>}<tool_call|>`.
    Gemma4,
    /// `<tool_call>{"name": …, "arguments": {…}}</tool_call>`.
    Json,
    /// `<function name="f"><param name="p">v</param></function>`.
    MiniCpm5,
    /// `<tool_call><function=f><parameter=p>v</parameter></function></tool_call>`.
    Qwen3Coder,
}

impl ToolFormat {
    /// Text that opens a call.
    pub fn start(self) -> &'static str {
        self.parser().start()
    }

    /// Text that closes a call.
    pub fn end(self) -> &'static str {
        self.parser().end()
    }

    /// The format that `tool_parser_type` of `tokenizer_config.json` names.
    pub(super) fn named(name: &str) -> Result<Self> {
        match name {
            "gemma4" => Ok(Self::Gemma4),
            "json_tools" => Ok(Self::Json),
            "minicpm5" => Ok(Self::MiniCpm5),
            "qwen3_coder" => Ok(Self::Qwen3Coder),
            _ => Err(Error::Tokenizer(format!(
                "tool_parser_type `{name}` is not supported; supported are gemma4, json_tools, \
                 minicpm5 and qwen3_coder"
            ))),
        }
    }

    /// The format that a chat template asks the model for. A template whose format is not
    /// supported gives `None`: such calls stay in the content.
    pub(super) fn infer(template: &str) -> Option<Self> {
        let has = |text: &str| template.contains(text);
        if has("<minimax:tool_call>") {
            None
        } else if has("<|tool_call>") && has("<tool_call|>") {
            Some(Self::Gemma4)
        } else if [
            "<start_function_call>",
            "<longcat_tool_call>",
            "<arg_key>",
            "<|tool_list_start|>",
            "<|tool_call_start|>",
        ]
        .into_iter()
        .any(has)
        {
            None
        } else if has("<tool_call>\\n<function=") || has("<tool_call>\n<function=") {
            Some(Self::Qwen3Coder)
        } else if has("<|tool_calls_section_begin|>") {
            None
        } else if has("<function name=\"") && has("<param name=\"") {
            Some(Self::MiniCpm5)
        } else if has("[TOOL_CALLS]") || has("<atem:function_calls>") {
            None
        } else if has("<tool_call>") && has("tool_call.name") {
            Some(Self::Json)
        } else {
            None
        }
    }
}
