//! Any tokenizer, by decoding the current line again and again (`NaiveStreamingDetokenizer`).

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use tokenizers::Tokenizer as HfTokenizer;

/// Tokens of one line after which its text counts as final. The reference has no such bound and
/// takes quadratic time for long lines.
const MAX_LINE_TOKENS: usize = 2_048;

/// What transformers does to decoded text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::text) struct CleanUp {
    /// Remove spaces before punctuation (`clean_up_tokenization_spaces`).
    pub punctuation: bool,
    /// The decoder itself removes spaces before punctuation, so a trailing space may still go.
    pub trailing_space: bool,
}

#[derive(Debug)]
pub(super) struct Naive {
    tokenizer: Arc<HfTokenizer>,
    clean_up: CleanUp,
    tokens: Vec<u32>,
    /// Final text from character `base` on, then the text of `tokens`.
    committed: String,
    base: usize,
    current: String,
    /// Characters already handed out.
    offset: usize,
}

impl Naive {
    pub fn new(tokenizer: Arc<HfTokenizer>, clean_up: CleanUp) -> Self {
        let (committed, current) = (String::new(), String::new());
        Self { tokenizer, clean_up, tokens: Vec::new(), committed, base: 0, current, offset: 0 }
    }

    pub fn add_token(&mut self, id: u32) {
        self.tokens.push(id);
    }

    pub fn finalize(&mut self) {
        self.committed.push_str(&decode(&self.tokenizer, &self.tokens, self.clean_up));
        self.tokens.clear();
        self.current.clear();
    }

    pub fn take_segment(&mut self) -> String {
        if !self.tokens.is_empty() {
            self.read_line();
        }
        let skip = self.offset.saturating_sub(self.base);
        let all = self.committed.chars().chain(self.current.chars());
        let segment: String = all.skip(skip).collect();
        let committed = self.base + self.committed.chars().count();
        self.offset = committed + self.current.chars().count();
        self.base = committed;
        self.committed.clear();
        segment
    }

    fn read_line(&mut self) {
        self.current = decode(&self.tokenizer, &self.tokens, self.clean_up);
        if self.current.ends_with('\u{fffd}') {
            self.current.truncate(self.current.trim_end_matches('\u{fffd}').len());
        } else if self.clean_up.trailing_space && self.current.ends_with(' ') {
            self.current.pop();
        } else if self.tokens.len() >= MAX_LINE_TOKENS {
            self.commit();
        }
        if self.current.ends_with('\n') {
            self.commit();
        }
    }

    fn commit(&mut self) {
        self.committed.push_str(&std::mem::take(&mut self.current));
        self.tokens.clear();
    }
}

/// Text of `ids`; special tokens are kept. What the tokenizer cannot decode has none.
pub(in crate::text) fn decode(tokenizer: &HfTokenizer, ids: &[u32], clean_up: CleanUp) -> String {
    // Decoders of `tokenizer.json` panic on some texts, e.g. one that strips more than there is.
    let text = catch_unwind(AssertUnwindSafe(|| tokenizer.decode(ids, false)));
    let text = text.ok().and_then(Result::ok).unwrap_or_default();
    if !clean_up.punctuation {
        return text;
    }
    [
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ]
    .iter()
    .fold(text, |text, (from, to)| text.replace(from, to))
}
