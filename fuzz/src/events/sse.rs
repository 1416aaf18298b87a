//! A reader of event streams, as the HTML standard describes it: what any client does.

use serde_json::Value;

/// An event as it is dispatched.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its type; empty where the stream names none.
    pub kind: String,
    /// Its data, read as JSON; `None` for the mark that ends OpenAI's streams.
    pub data: Option<Value>,
}

/// What has arrived and is not dispatched yet.
#[derive(Debug, Default)]
struct Reader {
    line: Vec<u8>,
    kind: String,
    data: Option<String>,
    /// The last byte was a carriage return, whose line feed belongs to it.
    returned: bool,
    events: Vec<Event>,
}

/// The events of a stream that arrives in packets whose lengths follow from `seed`; whole for 0.
pub fn read(bytes: &[u8], seed: u8) -> Vec<Event> {
    let length = if seed == 0 { bytes.len().max(1) } else { usize::from(seed) };
    let mut reader = Reader::default();
    bytes.chunks(length).for_each(|packet| reader.push(packet));
    assert!(reader.line.is_empty() && reader.data.is_none(), "the stream ends within an event");
    reader.events
}

impl Reader {
    fn push(&mut self, packet: &[u8]) {
        for &byte in packet {
            match byte {
                b'\n' if std::mem::take(&mut self.returned) => {}
                b'\n' | b'\r' => {
                    self.returned = byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    self.take_line(std::str::from_utf8(&line).expect("UTF-8"));
                }
                _ => {
                    self.returned = false;
                    self.line.push(byte);
                }
            }
        }
    }

    fn take_line(&mut self, line: &str) {
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            // A comment.
            "" => {}
            "event" => value.clone_into(&mut self.kind),
            "data" => match &mut self.data {
                Some(data) => *data = format!("{data}\n{value}"),
                None => self.data = Some(value.to_owned()),
            },
            _ => panic!("a field that no protocol has: {line:?}"),
        }
    }

    fn dispatch(&mut self) {
        let kind = std::mem::take(&mut self.kind);
        let Some(data) = self.data.take() else {
            assert!(kind.is_empty(), "an event without data: {kind}");
            return;
        };
        let data = (data != "[DONE]").then(|| serde_json::from_str(&data).expect("JSON"));
        self.events.push(Event { kind, data });
    }
}
