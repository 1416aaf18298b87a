//! Parts that fuzz targets and property tests of other crates reach into. No part of the API.

use crate::{
    Piece,
    text::{Channel, Thinking, ToolFormat, route},
};
pub use crate::{
    generate::Chunks,
    prompt_cache::{History, Hit, Kind, Rules, State, Store},
};

/// What a text that arrives in `chunks` is taken for: the pieces of each chunk, then those of the
/// end; and the stop string that ended it.
///
/// `thinking` are the markers of thinking, `start` is the channel of the first character.
pub fn pieces<'a>(
    format: Option<ToolFormat>,
    thinking: Option<[&'static str; 2]>,
    stops: &[String],
    start: Channel,
    chunks: impl IntoIterator<Item = &'a str>,
) -> (Vec<Vec<Piece>>, Option<String>) {
    let thinking = thinking.map(|[start, end]| Thinking {
        start,
        end,
        start_ids: Vec::new(),
        end_ids: Vec::new(),
    });
    route(thinking.as_ref(), format, stops, start, chunks)
}
