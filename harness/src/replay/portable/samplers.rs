//! Sampler draws and processed logits on rows rebuilt from integers.

use serde::Deserialize;
use serde_json::{Map, Value};
use verbatim_engine::{draw_rows, process_row};

use super::{Places, Stop, Tally, differs};
use crate::{case::Sampling, compare, replay::case::engine_sampling, sha256};

/// Digits of the digests of filtered rows.
const SHORT: usize = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Draws {
    sampler: Map<String, Value>,
    size: usize,
    dtype: String,
    seed: u64,
    ids: Vec<u32>,
    kept: Vec<usize>,
    filtered_sha256: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Processed {
    processors: Map<String, Value>,
    size: usize,
    dtype: String,
    seed: u64,
    tokens: Vec<u32>,
    result_dtype: String,
    sha256: String,
}

pub(super) fn table(places: &Places<'_>, name: &str, tally: &mut Tally) -> Result<(), Stop> {
    match name {
        "draws" => {
            for row in places.table::<Vec<Draws>>("samplers/draws.json")? {
                tally.row(draws(&row)?);
            }
        }
        "processors" => {
            for row in places.table::<Vec<Processed>>("samplers/processors.json")? {
                tally.row(processed(&row)?);
            }
        }
        _ => return Err(Stop::Fail(format!("nothing here replays samplers/{name}.json"))),
    }
    Ok(())
}

fn draws(row: &Draws) -> Result<Option<String>, Stop> {
    let what = label(&row.sampler, &row.dtype, row.seed);
    let rows: Vec<Vec<f32>> = (0..row.ids.len() as u64)
        .map(|n| values(row.seed + n, row.size, |bits| -bits as f32 / 4096.0))
        .collect();
    let drawn = draw_rows(&sampling(&row.sampler)?, row.seed, dtype(&row.dtype)?, &rows)?;
    let filtered: Vec<_> = drawn.iter().filter_map(|d| d.filtered.as_ref()).collect();
    let digests: Vec<String> =
        filtered.iter().map(|f| sha256(&f.data)[..SHORT].to_owned()).collect();
    let kept = filtered.iter().map(|f| finite(&f.dtype, &f.data)).collect::<Result<_, _>>()?;
    let ids = drawn.iter().map(|d| d.id).collect();
    Ok(differs(&format!("{what}, kept"), &kept, &row.kept)
        .or_else(|| differs(&format!("{what}, filtered"), &digests, &row.filtered_sha256))
        .or_else(|| differs(&format!("{what}, ids"), &ids, &row.ids)))
}

fn processed(row: &Processed) -> Result<Option<String>, Stop> {
    let what = label(&row.processors, &row.dtype, row.seed);
    let logits = values(row.seed, row.size, |bits| (bits - 32768) as f32 / 4096.0);
    let sampling = sampling(&row.processors)?;
    let found = process_row(&sampling, dtype(&row.dtype)?, &logits, &row.tokens)?;
    Ok(differs(&format!("{what}, dtype"), &found.dtype, &row.result_dtype)
        .or_else(|| differs(&format!("{what}, logits"), &sha256(&found.data), &row.sha256)))
}

/// Values of the row of `seed`, from 16 bits each (`golden/any/README.md`): no bits make a positive zero.
fn values(seed: u64, size: usize, value: impl Fn(i32) -> f32) -> Vec<f32> {
    (0..size as u64).map(|i| value((mix((seed << 32).wrapping_add(i)) >> 48) as i32)).collect()
}

/// The finalizer of splitmix64.
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// Values of a filtered row that were not dropped.
fn finite(name: &str, data: &[u8]) -> Result<usize, Stop> {
    let size = compare::value_size(name)
        .ok_or_else(|| Stop::Fail(format!("a filtered row of dtype {name}")))?;
    let kept = |bytes: &&[u8]| compare::decode(name, bytes).is_some_and(f32::is_finite);
    Ok(data.chunks_exact(size).filter(kept).count())
}

/// mlx-lm's keyword arguments under the engine's names: they differ in one.
fn sampling(arguments: &Map<String, Value>) -> Result<verbatim_engine::Sampling, Stop> {
    let mut fields = arguments.clone();
    if let Some(temperature) = fields.remove("temp") {
        fields.insert("temperature".into(), temperature);
    }
    let sampling: Sampling = serde_json::from_value(Value::Object(fields))?;
    Ok(engine_sampling(&sampling))
}

fn dtype(name: &str) -> Result<&'static str, Stop> {
    match name {
        "bf16" => Ok("BF16"),
        "f16" => Ok("F16"),
        "f32" => Ok("F32"),
        _ => Err(Stop::Fail(format!("dtype {name} is unknown"))),
    }
}

fn label(arguments: &Map<String, Value>, dtype: &str, seed: u64) -> String {
    let arguments: Vec<String> = arguments.iter().map(|(k, v)| format!("{k}={v}")).collect();
    format!("{} on {dtype}, seed {seed}", arguments.join(", "))
}
