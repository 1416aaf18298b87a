//! The families' spaces, and how a case is drawn from one.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Draw, format, gemma4, llama, qwen3_5, settings};
use crate::case::{Backend, Capture, Case, KvMode, MadeModel, ModelSource, ModelSpec, Prompt};

/// A configuration, as [`MadeModel`] has it.
pub type Geometry = BTreeMap<String, Value>;

/// What a family's models can look like.
#[derive(Debug)]
pub struct Space {
    /// Its row of the matrix.
    pub family: &'static str,
    /// Draws a configuration of a small model.
    pub draw: fn(&mut Draw) -> Geometry,
    /// Simpler configurations, the simplest first, each valid by itself.
    pub smaller: fn(&Geometry) -> Vec<Geometry>,
    /// Why the family cannot run a weights format, by its column; such formats are not drawn.
    pub cannot: fn(&Geometry, &ModelSpec) -> bool,
}

/// Every family that can be drawn.
pub const SPACES: &[Space] = &[llama::SPACE, qwen3_5::SPACE, gemma4::E2B, gemma4::B12, gemma4::A4B];

/// Attempts at a weights format that the family can run.
const MAX_ATTEMPTS: usize = 64;

/// Case `index` of the run with `seed`.
pub fn draw_case(space: &Space, seed: u64, index: usize) -> Case {
    let mut draw = Draw::new(seed, &format!("fuzz/{}/{index}", space.family));
    let geometry = (space.draw)(&mut draw);
    let vocab = vocab_size(&geometry);
    let mut model = spec(&mut draw, &geometry);
    for _ in 0..MAX_ATTEMPTS {
        if !(space.cannot)(&geometry, &model) {
            break;
        }
        model = spec(&mut draw, &geometry);
    }
    let len = settings::prompt_len(&mut draw);
    Case {
        past: None,
        company: Vec::new(),
        id: format!("{}/fuzz/{index}", space.family),
        suite: "fuzz".into(),
        family: space.family.into(),
        column: format::column(&model).into(),
        path: "fuzz".into(),
        model,
        prompt: Prompt::Random { seed: draw.bits(), len },
        steps: draw.small(1, 48),
        prefill_step_size: settings::chunk(&mut draw, len),
        sampling: settings::sampling(&mut draw, vocab),
        kv: KvMode::default(),
        adapter: None,
        backend: Backend::default(),
        capture: Capture::Both,
        required: true,
        skip: None,
    }
}

fn spec(draw: &mut Draw, geometry: &Geometry) -> ModelSpec {
    let (dtype, quantization) = format::draw(draw);
    let made = MadeModel {
        geometry: geometry.clone(),
        layout: format::layout(draw),
        seed: draw.bits(),
        dtype,
        logit_deviation: draw.chance(25).then_some(0.2),
        shards: draw.small(1, 4),
    };
    ModelSpec { source: ModelSource::Made(made), quantization }
}

/// Rows of the embedding table, at the top of the configuration or in its text part.
fn vocab_size(geometry: &Geometry) -> usize {
    let inner = || geometry.get("text_config")?.get("vocab_size");
    let size = geometry.get("vocab_size").or_else(inner).and_then(Value::as_u64);
    size.map_or(1, |n| n as usize)
}
