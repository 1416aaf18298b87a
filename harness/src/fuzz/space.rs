//! The families' spaces, and how a case is drawn from one.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde_json::Value;

use super::{Draw, adapter, format, gemma4, kv, llama, qwen3_5, settings};
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
    /// Head dimension by cache, `None` where a layer keeps recurrent state.
    pub head_dims: fn(&Geometry) -> Vec<Option<usize>>,
    /// Whether it has sliding windows: mlx-lm packs no ring, and its batches of them are not exact.
    pub has_rings: bool,
    /// Modules of a layer that adapters may change, beside `mlp.down_proj`.
    pub modules: &'static [&'static str],
    /// The embedding's path in mlx-lm's model.
    pub embedding: &'static str,
}

/// Which key-value modes are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Extent {
    /// None: keys and values keep the model's dtype.
    L1,
    /// Packed ones only.
    Kv,
    /// Either.
    #[default]
    All,
}

impl Extent {
    const NAMES: [(&'static str, Self); 3] =
        [("l1", Self::L1), ("kv", Self::Kv), ("all", Self::All)];
}

impl FromStr for Extent {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::NAMES.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, extent)| extent).ok_or_else(|| format!("{name} is not l1, kv or all"))
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.into_iter().find(|(_, extent)| extent == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

/// Every family that can be drawn.
pub const SPACES: &[Space] = &[llama::SPACE, qwen3_5::SPACE, gemma4::E2B, gemma4::B12, gemma4::A4B];

/// Attempts at a model that can be packed, and at a weights format that the family can run.
const MAX_ATTEMPTS: usize = 64;

/// Case `index` of the run with `seed`.
pub fn draw_case(space: &Space, extent: Extent, seed: u64, index: usize) -> Case {
    let mut draw = Draw::new(seed, &format!("fuzz/{}/{index}", space.family));
    let packed = match extent {
        Extent::L1 => false,
        Extent::Kv => true,
        Extent::All => draw.chance(50),
    };
    let (geometry, packed) = geometry(&mut draw, space, packed);
    let model = model(&mut draw, space, &geometry);
    let len = settings::prompt_len(&mut draw);
    let mut case = Case {
        past: None,
        company: Vec::new(),
        id: format!("{}/fuzz/{index}", space.family),
        suite: "fuzz".into(),
        family: space.family.into(),
        column: String::new(),
        path: "fuzz".into(),
        model,
        prompt: Prompt::Random { seed: draw.bits(), len },
        steps: draw.small(1, 32),
        prefill_step_size: settings::chunk(&mut draw, len),
        sampling: settings::sampling(&mut draw, vocab_size(&geometry)),
        kv: KvMode::default(),
        adapter: None,
        backend: Backend::default(),
        capture: Capture::Both,
        resumed: false,
        cached: false,
        required: true,
        skip: None,
    };
    surroundings(&mut draw, space, &geometry, packed, &mut case);
    case.column = format::column(&case).into();
    case
}

/// Adapter, past, company and key-value mode.
fn surroundings(
    draw: &mut Draw,
    space: &Space,
    geometry: &Geometry,
    packed: bool,
    case: &mut Case,
) {
    if draw.chance(20) {
        case.adapter = adapter::draw(draw, space, geometry, &case.model);
    }
    if packed {
        if draw.chance(4) {
            case.prompt = Prompt::Random { seed: draw.bits(), len: settings::past_a_tile(draw) };
            case.prefill_step_size = draw.pick(&[2_048, 512, 200]);
            case.steps = draw.between(1, 2);
            // Layer outputs of so many tokens are large.
            case.capture = Capture::Logits;
        }
        let tokens = case.prompt.len() + case.steps;
        case.kv = kv::draw(draw, space, &(space.head_dims)(geometry), tokens);
    }
    if draw.chance(20) {
        case.past = Some(settings::past(draw));
    } else if case.adapter.is_none() && !space.has_rings && draw.chance(25) {
        case.company = settings::company(draw);
        case.sampling = settings::greedy(draw, vocab_size(geometry));
        case.capture = Capture::Logits;
    }
    case.resumed = case.company.is_empty() && draw.chance(8);
}

/// A configuration, and whether its keys and values are to be packed.
fn geometry(draw: &mut Draw, space: &Space, packed: bool) -> (Geometry, bool) {
    let mut geometry = (space.draw)(draw);
    if !packed {
        return (geometry, false);
    }
    for _ in 0..MAX_ATTEMPTS {
        if kv::is_packable(&(space.head_dims)(&geometry)) {
            return (geometry, true);
        }
        geometry = (space.draw)(draw);
    }
    (geometry, false)
}

fn model(draw: &mut Draw, space: &Space, geometry: &Geometry) -> ModelSpec {
    let mut model = spec(draw, geometry);
    for _ in 0..MAX_ATTEMPTS {
        if !(space.cannot)(geometry, &model) {
            break;
        }
        model = spec(draw, geometry);
    }
    model
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

/// The unsigned number at `key` of the text model, 0 where there is none.
pub(super) fn number(geometry: &Geometry, key: &str) -> usize {
    let value = match geometry.get("text_config") {
        Some(text) => text.get(key),
        None => geometry.get(key),
    };
    value.and_then(Value::as_u64).unwrap_or(0) as usize
}
