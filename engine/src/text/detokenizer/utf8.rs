//! Incremental UTF-8 decoding where every ill-formed part becomes one U+FFFD, as Python's
//! `decode("utf-8", "replace")` and the Unicode standard's "maximal subpart" practice do.

/// Decodes bytes that come in pieces.
#[derive(Debug, Default)]
pub(super) struct Utf8Stream {
    /// Text decoded so far.
    text: String,
    /// Beginning of a character that is still incomplete: at most three bytes.
    partial: Vec<u8>,
}

impl Utf8Stream {
    /// Decodes more bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        let bytes = std::mem::take(&mut self.partial);
        let mut rest = bytes.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.text.push_str(text);
                    return;
                }
                Err(e) => {
                    let (valid, bad) = rest.split_at(e.valid_up_to());
                    self.text.push_str(std::str::from_utf8(valid).unwrap_or_default());
                    let Some(length) = e.error_len() else {
                        self.partial = bad.to_vec();
                        return;
                    };
                    self.text.push('\u{fffd}');
                    rest = &bad[length..];
                }
            }
        }
    }

    /// Whether the text would end in U+FFFD if it were cut here.
    pub fn ends_in_replacement(&self) -> bool {
        !self.partial.is_empty() || self.text.ends_with('\u{fffd}')
    }

    /// The text, with an incomplete character at its end replaced, and starts anew.
    pub fn take(&mut self) -> String {
        if !self.partial.is_empty() {
            self.partial.clear();
            self.text.push('\u{fffd}');
        }
        std::mem::take(&mut self.text)
    }
}
