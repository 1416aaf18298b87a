//! A call in JSON while it is written.

use crate::text::{
    python::{PyValue, Reading, Redump, is_space, json_loads},
    tools::stream::Certain,
};

#[derive(Debug, Clone)]
pub(in crate::text::tools) struct Preview {
    state: State,
    /// The call is the first of a list.
    listed: bool,
    json: Redump,
    /// The key or value that is being read, as Python writes it.
    text: String,
    field: Field,
    name: Option<String>,
    id: Option<String>,
    started: bool,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Open,
    Key,
    InKey,
    Colon,
    Value,
    Next,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    Arguments,
    Id,
    Other,
}

impl Preview {
    pub fn new() -> Self {
        Self {
            state: State::Open,
            listed: false,
            json: Redump::new(),
            text: String::new(),
            field: Field::Other,
            name: None,
            id: None,
            started: false,
        }
    }

    pub fn push(&mut self, c: char, out: &mut Certain) -> Option<()> {
        match (self.state, c) {
            (State::InKey, _) => self.key(c)?,
            (State::Value, _) => self.value(c, out)?,
            (_, c) if is_space(c) => {}
            (State::Open, '[') if !self.listed => self.listed = true,
            (State::Open, '{') | (State::Next, ',') => self.state = State::Key,
            (State::Key, '"') => {
                self.state = State::InKey;
                self.key(c)?;
            }
            (State::Colon, ':') => {
                self.state = State::Value;
                if self.field == Field::Arguments {
                    self.start(out);
                }
            }
            // The call's end, too.
            _ => return None,
        }
        Some(())
    }

    fn key(&mut self, c: char) -> Option<()> {
        if self.json.push(c, &mut self.text)? == Reading::Ended {
            self.field = match self.text.as_str() {
                "\"name\"" => Field::Name,
                "\"arguments\"" => Field::Arguments,
                "\"id\"" => Field::Id,
                _ => Field::Other,
            };
            self.begin(State::Colon);
        }
        Some(())
    }

    fn value(&mut self, c: char, out: &mut Certain) -> Option<()> {
        let text = if self.field == Field::Arguments { out.text() } else { &mut self.text };
        let reading = self.json.push(c, text)?;
        if reading == Reading::More {
            return Some(());
        }
        match self.field {
            Field::Name => {
                self.name = Some(self.string()?);
                // The arguments stood before it.
                if !out.text().is_empty() {
                    self.start(out);
                }
            }
            Field::Id => self.id = self.string().filter(|id| !id.is_empty()),
            Field::Arguments | Field::Other => {}
        }
        self.begin(State::Next);
        if reading == Reading::Past { self.push(c, out) } else { Some(()) }
    }

    /// The value that was read, if it is a string.
    fn string(&self) -> Option<String> {
        match json_loads(&self.text, true) {
            Some(PyValue::Str(text)) => Some(text),
            _ => None,
        }
    }

    fn begin(&mut self, state: State) {
        self.state = state;
        self.json = Redump::new();
        self.text.clear();
    }

    /// Starts the call if its name is known.
    fn start(&mut self, out: &mut Certain) {
        if let Some(name) = self.name.clone().filter(|_| !self.started) {
            self.started = true;
            out.start(name, self.id.take());
        }
    }
}
