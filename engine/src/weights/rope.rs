//! `rope_scaling` as `mlx_lm/models/rope_utils.py` (`initialize_rope`) reads it.

use super::fields::{Fields, FloatRange};
use crate::{Error, Result};

/// How rotary frequencies are rescaled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    Default,
    /// Positions are divided by `factor`.
    Linear {
        /// Greater than 0.
        factor: f64,
    },
    /// Long wavelengths are stretched, with a smooth transition.
    Llama3(Llama3Scaling),
    /// Only the first part of the features rotates, at the frequencies that the whole would have.
    Proportional {
        /// The part, from 0 to 1.
        partial_rotary_factor: f64,
        /// Multiplies the wavelengths; greater than 0.
        factor: f64,
    },
}

/// Parameters of Llama 3's rescaling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Llama3Scaling {
    /// Stretch of the longest wavelengths.
    pub factor: f64,
    /// Wavelengths above `original / low_freq_factor` are stretched in full.
    pub low_freq_factor: f64,
    /// Wavelengths below `original / high_freq_factor` stay; greater than `low_freq_factor`.
    pub high_freq_factor: f64,
    /// Positions that the model was first trained for.
    pub original_max_position_embeddings: f64,
}

/// Rotary base of an object that names none.
const DEFAULT_THETA: f64 = 10_000.0;
/// Keys that may accompany any type without meaning for the supported ones.
const INERT: &[&str] = &["original_max_position_embeddings"];

impl RopeScaling {
    /// Reads `rope_scaling` of `fields`; absent, `null` and `{}` mean [`RopeScaling::Default`].
    ///
    /// A `rope_parameters` object beside it is accepted when it says the same: mlx-lm does not
    /// read it for families that have a `rope_theta`, so another value would be lost silently.
    ///
    /// # Errors
    /// [`Error::Config`] for a type other than `default`, `linear` and `llama3`, for factors out
    /// of range, for settings that belong to no supported type, and for contradictions.
    pub fn from_fields(fields: &Fields<'_>, theta: f64) -> Result<Self> {
        let scaling = match fields.object("rope_scaling")? {
            Some(rope) => Self::from_object(&rope, theta)?,
            None => Self::Default,
        };
        if let Some(newer) = fields.object("rope_parameters")?
            && Self::from_object(&newer, theta)? != scaling
        {
            return Err(Error::Config(format!(
                "{} differs from rope_scaling; mlx-lm reads only the latter, so write the scaling \
                 there",
                fields.path("rope_parameters")
            )));
        }
        Ok(scaling)
    }

    /// Reads an object that carries its own `rope_theta` (10 000 where absent): theta and scaling.
    ///
    /// Families that rotate each type of layer its own way have one such object per type.
    ///
    /// # Errors
    /// As [`RopeScaling::from_fields`]; `proportional` is accepted here, and a
    /// `partial_rotary_factor` below 1 only with it, since mlx-lm reads it for no other type.
    pub fn with_theta(rope: &Fields<'_>) -> Result<(f64, Self)> {
        let theta = rope.float_or("rope_theta", FloatRange::Positive, DEFAULT_THETA)?;
        let partial = rope.float_or("partial_rotary_factor", FloatRange::Finite, 1.0)?;
        let expect_partial = |expected: &str| {
            Err(rope.wrong("partial_rotary_factor", &serde_json::Value::from(partial), expected))
        };
        if Self::kind(rope)? != "proportional" {
            if partial != 1.0 {
                return expect_partial("1, unless rope_type is proportional");
            }
            return Ok((theta, Self::from_object(rope, theta)?));
        }
        if !(0.0..=1.0).contains(&partial) {
            return expect_partial("a number from 0 to 1");
        }
        let factor = rope.float_or("factor", FloatRange::Positive, 1.0)?;
        rope.finish(INERT)?;
        Ok((theta, Self::Proportional { partial_rotary_factor: partial, factor }))
    }

    fn from_object(rope: &Fields<'_>, theta: f64) -> Result<Self> {
        let scaling = match Self::kind(rope)? {
            "default" => Self::Default,
            "linear" => Self::Linear { factor: rope.float("factor", FloatRange::Positive)? },
            "llama3" => Self::Llama3(Llama3Scaling::from_fields(rope)?),
            other => return Err(unsupported(rope, other)),
        };
        if let Some(inner) = rope.opt_float("rope_theta", FloatRange::Positive)?
            && inner != theta
        {
            return Err(Error::Config(format!(
                "{} is {inner}, but rope_theta, which mlx-lm reads, is {theta}; set rope_theta",
                rope.path("rope_theta")
            )));
        }
        rope.finish(INERT)?;
        Ok(scaling)
    }

    /// `type` when it is set, else `rope_type`, else `default`.
    fn kind<'a>(rope: &Fields<'a>) -> Result<&'a str> {
        let new_name = rope.opt_str("rope_type")?;
        match rope.opt_str("type")?.filter(|t| !t.is_empty()) {
            Some(old_name) => Ok(old_name),
            None => Ok(new_name.unwrap_or("default")),
        }
    }
}

impl Llama3Scaling {
    fn from_fields(rope: &Fields<'_>) -> Result<Self> {
        let positive = FloatRange::Positive;
        let scaling = Self {
            factor: rope.float("factor", positive)?,
            low_freq_factor: rope.float_or("low_freq_factor", positive, 1.0)?,
            high_freq_factor: rope.float_or("high_freq_factor", positive, 4.0)?,
            original_max_position_embeddings: rope.float_or(
                "original_max_position_embeddings",
                positive,
                8192.0,
            )?,
        };
        if scaling.high_freq_factor <= scaling.low_freq_factor {
            return Err(Error::Config(format!(
                "{} is {}; expected more than low_freq_factor, {}",
                rope.path("high_freq_factor"),
                scaling.high_freq_factor,
                scaling.low_freq_factor
            )));
        }
        Ok(scaling)
    }
}

fn unsupported(rope: &Fields<'_>, name: &str) -> Error {
    let known_elsewhere = matches!(
        name,
        "dynamic"
            | "yarn"
            | "deepseek_yarn"
            | "telechat3-yarn"
            | "longrope"
            | "su"
            | "proportional"
            | "mrope"
    );
    let why = if known_elsewhere { " (this engine has no such scaling yet)" } else { "" };
    rope.wrong(
        "rope_type",
        &serde_json::Value::from(name),
        &format!("default, linear or llama3{why}"),
    )
}
