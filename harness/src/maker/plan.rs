//! What a model consists of: a family turns its configuration into a list of tensors.

use serde_json::{Map, Value};

use super::{gemma4, llama, qwen3_5};
use crate::{
    Error, Result,
    case::{Dtype, Layout, MadeModel},
};

/// Values of one tensor at most.
pub const MAX_ELEMENTS: usize = 1 << 28;

/// How a tensor's values are drawn: `offset + scale · u`, `u` uniform in [-1, 1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Init {
    /// Mean.
    pub offset: f32,
    /// Half the width of the interval.
    pub scale: f32,
}

impl Init {
    /// A matrix whose products have `gain` times the standard deviation of their input.
    pub fn matrix(fan_in: usize, gain: f32) -> Self {
        Self { offset: 0.0, scale: (3.0 / fan_in as f32).sqrt() * gain }
    }

    /// A norm's weights, near one.
    pub fn norm() -> Self {
        Self { offset: 1.0, scale: 0.1 }
    }

    /// Values of the given standard deviation.
    pub fn deviation(deviation: f32) -> Self {
        Self { offset: 0.0, scale: 3.0_f32.sqrt() * deviation }
    }
}

/// One tensor to write.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorPlan {
    /// Name in the safetensors file.
    pub name: String,
    /// Row-major shape.
    pub shape: Vec<usize>,
    /// Its values.
    pub init: Init,
    /// Dtype where it is not the model's.
    pub dtype: Option<Dtype>,
}

impl TensorPlan {
    /// A tensor in the model's dtype.
    pub fn new(name: impl Into<String>, shape: &[usize], init: Init) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), init, dtype: None }
    }

    /// Number of values.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The tensors of a made model, by its configuration's `model_type`.
///
/// # Errors
/// [`Error::Model`] for a family without a maker and for missing or absurd geometry.
pub fn plan(model: &MadeModel) -> Result<Vec<TensorPlan>> {
    let geometry = Geometry::new(model);
    let tensors = match geometry.text("model_type")? {
        "llama" => llama::tensors(&geometry)?,
        "gemma4" | "gemma4_text" | "gemma4_unified" => gemma4::tensors(geometry)?,
        "qwen3_5" | "qwen3_5_text" => qwen3_5::tensors(geometry)?,
        other => return Err(Error::Model(format!("no maker for model_type {other}"))),
    };
    for tensor in &tensors {
        let elements = tensor.shape.iter().try_fold(1_usize, |n, d| n.checked_mul(*d));
        if !elements.is_some_and(|n| (1..=MAX_ELEMENTS).contains(&n)) {
            return Err(Error::Model(format!(
                "{} with shape {:?} must have 1 to {MAX_ELEMENTS} values",
                tensor.name, tensor.shape
            )));
        }
    }
    Ok(tensors)
}

/// Typed access to a configuration, or to a section of one.
#[derive(Debug, Clone, Copy)]
pub struct Geometry<'a> {
    model: &'a MadeModel,
    section: Option<&'a Map<String, Value>>,
}

impl<'a> Geometry<'a> {
    /// The whole configuration of `model`.
    pub fn new(model: &'a MadeModel) -> Self {
        Self { model, section: None }
    }

    /// The object at `key`, such as `text_config`.
    pub fn section(self, key: &str) -> Result<Self> {
        let section = self.value(key).and_then(Value::as_object);
        let section =
            section.ok_or_else(|| Error::Model(format!("geometry.{key} must be an object")))?;
        Ok(Self { section: Some(section), ..self })
    }

    /// The value at `key`; `null` counts as absent.
    pub fn value(self, key: &str) -> Option<&'a Value> {
        let value = match self.section {
            Some(section) => section.get(key),
            None => self.model.geometry.get(key),
        };
        value.filter(|v| !v.is_null())
    }

    /// Which names and shapes to write.
    pub fn layout(self) -> Layout {
        self.model.layout
    }

    /// [`MadeModel::logit_deviation`].
    pub fn logit_deviation(self) -> Option<f32> {
        self.model.logit_deviation
    }

    /// `vocab_size`, from `text_config` where the configuration itself has none.
    pub fn vocab_size(self) -> Result<usize> {
        match self.optional_count("vocab_size")? {
            Some(size) => Ok(size),
            None if self.value("text_config").is_some() => {
                self.section("text_config")?.count("vocab_size")
            }
            None => self.count("vocab_size"),
        }
    }

    /// A required string.
    pub fn text(self, key: &str) -> Result<&'a str> {
        self.value(key)
            .and_then(Value::as_str)
            .ok_or_else(|| Error::Model(format!("geometry.{key} must be a string")))
    }

    /// A required positive count below 2²⁴.
    pub fn count(self, key: &str) -> Result<usize> {
        self.optional_count(key)?.ok_or_else(|| Error::Model(format!("geometry.{key} is missing")))
    }

    /// A positive count below 2²⁴, if present.
    pub fn optional_count(self, key: &str) -> Result<Option<usize>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.as_u64() {
            Some(n) if (1..1 << 24).contains(&n) => Ok(Some(n as usize)),
            _ => {
                Err(Error::Model(format!("geometry.{key} must be a positive integer, not {value}")))
            }
        }
    }

    /// A count that may be zero, as it is when absent.
    pub fn number(self, key: &str) -> Result<usize> {
        match self.value(key) {
            Some(Value::Number(n)) if n.as_u64() == Some(0) => Ok(0),
            _ => Ok(self.optional_count(key)?.unwrap_or(0)),
        }
    }

    /// A flag with its default.
    pub fn flag(self, key: &str, default: bool) -> Result<bool> {
        match self.value(key) {
            None => Ok(default),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| Error::Model(format!("geometry.{key} must be true or false"))),
        }
    }
}
