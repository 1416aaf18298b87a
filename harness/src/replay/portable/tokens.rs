//! Token ids and detokenizer streams.

use serde::Deserialize;

use super::{Places, Stop, Tally, differs};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ids {
    text: String,
    ids: Vec<u32>,
    with_special: Vec<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stream {
    ids: Vec<u32>,
    segments: Vec<String>,
    tail: Option<String>,
    /// Where the reference raised; what it released before that still counts.
    #[serde(rename = "error")]
    _error: Option<String>,
}

pub(super) fn ids(places: &Places<'_>, name: &str, tally: &mut Tally) -> Result<(), Stop> {
    let tokenizer = places.tokenizer(name)?;
    for row in places.table::<Vec<Ids>>(&format!("tokens/{name}.json"))? {
        let plain = tokenizer.encode(&row.text, false)?;
        let special = tokenizer.encode(&row.text, true)?;
        let what = format!("{:?}", row.text);
        tally.row(differs(&what, &plain, &row.ids).or_else(|| {
            differs(&format!("{what} with special tokens"), &special, &row.with_special)
        }));
    }
    Ok(())
}

pub(super) fn streams(places: &Places<'_>, name: &str, tally: &mut Tally) -> Result<(), Stop> {
    let tokenizer = places.tokenizer(name)?;
    for row in places.table::<Vec<Stream>>(&format!("detokenizers/{name}.json"))? {
        let mut detokenizer = tokenizer.detokenizer();
        let mut segments = Vec::with_capacity(row.segments.len());
        for id in row.ids.iter().take(row.segments.len()) {
            detokenizer.add_token(*id);
            segments.push(detokenizer.take_segment());
        }
        detokenizer.finalize();
        let tail = detokenizer.take_segment();
        let what = format!("{:?}", row.ids);
        let wrong = differs(&what, &segments, &row.segments);
        tally.row(wrong.or_else(|| differs(&format!("{what}, tail"), &tail, row.tail.as_ref()?)));
    }
    Ok(())
}
