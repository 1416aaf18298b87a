//! What a model consists of: a family turns its configuration into a list of tensors.

use serde_json::Value;

use super::llama;
use crate::{
    Error, Result,
    case::{Dtype, MadeModel},
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
    let geometry = Geometry(model);
    let tensors = match geometry.text("model_type")? {
        "llama" => llama::tensors(&geometry)?,
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

/// Typed access to a configuration.
#[derive(Debug, Clone, Copy)]
pub struct Geometry<'a>(pub &'a MadeModel);

impl<'a> Geometry<'a> {
    fn get(self, key: &str) -> Option<&'a Value> {
        self.0.geometry.get(key).filter(|v| !v.is_null())
    }

    /// A required string.
    pub fn text(self, key: &str) -> Result<&'a str> {
        self.get(key)
            .and_then(Value::as_str)
            .ok_or_else(|| Error::Model(format!("geometry.{key} must be a string")))
    }

    /// A required positive count below 2²⁴.
    pub fn count(self, key: &str) -> Result<usize> {
        self.optional_count(key)?.ok_or_else(|| Error::Model(format!("geometry.{key} is missing")))
    }

    /// A positive count below 2²⁴, if present.
    pub fn optional_count(self, key: &str) -> Result<Option<usize>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_u64() {
            Some(n) if (1..1 << 24).contains(&n) => Ok(Some(n as usize)),
            _ => {
                Err(Error::Model(format!("geometry.{key} must be a positive integer, not {value}")))
            }
        }
    }

    /// A flag with its default.
    pub fn flag(self, key: &str, default: bool) -> Result<bool> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| Error::Model(format!("geometry.{key} must be true or false"))),
        }
    }
}
