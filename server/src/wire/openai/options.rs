//! The fields that both endpoints share: generation options, how to answer, and what is refused.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value};
use verbatim_engine::{Sampling, limits as engine_limits};

use super::reply::{Answering, Envelope, Kind};
use crate::{
    core::{Prompt, Request},
    error::{ApiError, ApiResult},
    limits,
    state::AppState,
    wire::{
        adapters::take_adapters,
        fields::{Bounds, Fields, integer, to_count, wrong_type},
        protocol::Ask,
    },
};

/// The name that stands for the served model.
pub const DEFAULT_MODEL: &str = "default_model";

/// What a request gets when it does not say: the flags of `verbatim serve`.
#[derive(Debug, Clone, PartialEq)]
pub struct Defaults {
    /// Tokens to generate at most.
    pub max_tokens: usize,
    /// Sampling temperature.
    pub temperature: f64,
    /// Nucleus mass.
    pub top_p: f64,
    /// Most probable tokens kept.
    pub top_k: usize,
    /// Least fraction of the best probability.
    pub min_p: f64,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            max_tokens: limits::DEFAULT_MAX_TOKENS,
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
        }
    }
}

/// The shared fields, validated.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The model as the client names it.
    pub model: String,
    /// Answer as a stream of events.
    pub stream: bool,
    /// End the stream with a usage chunk.
    pub include_usage: bool,
    /// Tokens to generate at most.
    pub max_tokens: usize,
    /// Nobody said how many, so fewer will do where memory is short.
    pub may_shorten: bool,
    /// Sampler and logits processors.
    pub sampling: Sampling,
    /// Stop strings.
    pub stop: Vec<String>,
    /// Report log-probabilities with this many alternatives.
    pub top_logprobs: Option<usize>,
    /// Adapters to use; `None` leaves the choice to the server.
    pub adapters: Option<Vec<String>>,
    /// Answers to the same prompt.
    pub choices: usize,
}

/// Fields of OpenAI's API that label or route a request but do not change its answer.
const HARMLESS: &[&str] = &[
    "metadata",
    "num_draft_tokens",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
];

impl Options {
    /// Takes the shared fields out of a body, in mlx-lm's order of validation.
    pub fn take(body: &mut Fields, defaults: &Defaults) -> ApiResult<Self> {
        let stream = body.bool("stream", false)?;
        let asked = max_tokens(body)?;
        let max_tokens = asked.unwrap_or(defaults.max_tokens);
        let may_shorten = asked.is_none();
        let mut sampling = Sampling {
            temperature: body.number("temperature", Bounds::NOT_NEGATIVE, defaults.temperature)?,
            top_p: body.number("top_p", Bounds::UNIT, defaults.top_p)?,
            top_k: body.count("top_k", 0, defaults.top_k)?,
            min_p: body.number("min_p", Bounds::UNIT, defaults.min_p)?,
            ..Sampling::default()
        };
        body.count("num_draft_tokens", 0, 0)?;
        take_penalties(body, &mut sampling)?;
        let top_logprobs = take_logprobs(body)?;
        sampling.xtc_probability = body.float("xtc_probability", Bounds::UNIT, 0.0)?;
        sampling.xtc_threshold = body.float("xtc_threshold", Bounds::UNIT, 0.1)?;
        let model = match body.take("model") {
            None => DEFAULT_MODEL.to_owned(),
            Some(Value::String(name)) => name,
            // mlx-lm calls the field by its own variable.
            Some(_) => {
                return Err(ApiError::field("model", "requested_model must be of type str"));
            }
        };
        refuse_draft_models(body)?;
        let adapters = take_adapters(body)?;
        sampling.seed = take_seed(body)?;
        sampling.logit_bias = take_logit_bias(body)?;
        let stop = take_stop(body)?;
        let include_usage = take_stream_options(body)?;
        let choices = take_choices(body)?;
        refuse_unhonoured(body)?;
        body.ignore(HARMLESS);
        Ok(Self {
            model,
            stream,
            include_usage,
            max_tokens,
            may_shorten,
            sampling,
            stop,
            top_logprobs,
            adapters,
            choices,
        })
    }
}

fn max_tokens(body: &mut Fields) -> ApiResult<Option<usize>> {
    // The newer name wins; mlx-lm's errors call both `max_tokens`.
    let newer = body.take("max_completion_tokens");
    let older = body.take("max_tokens");
    let value = match newer.or(older) {
        None => return Ok(None),
        Some(Value::Number(n)) => integer(&n).ok_or_else(|| wrong_type("max_tokens", "int"))?,
        Some(_) => return Err(wrong_type("max_tokens", "int")),
    };
    let count = to_count("max_tokens", value, 1)?;
    let most = engine_limits::MAX_GENERATED_TOKENS;
    if count > most {
        return Err(ApiError::field("max_tokens", format!("max_tokens must be at most {most}")));
    }
    Ok(Some(count))
}

fn take_choices(body: &mut Fields) -> ApiResult<usize> {
    let choices = body.count("n", 1, 1)?;
    let most = limits::MAX_CHOICES;
    if choices > most {
        return Err(ApiError::field("n", format!("n must be at most {most}")));
    }
    Ok(choices)
}

pub(in crate::wire) fn take_penalties(body: &mut Fields, sampling: &mut Sampling) -> ApiResult<()> {
    sampling.repetition_penalty = body.number("repetition_penalty", Bounds::NOT_NEGATIVE, 0.0)?;
    sampling.repetition_context_size = body.count("repetition_context_size", 0, 20)?;
    sampling.presence_penalty = body.number("presence_penalty", Bounds::ANY, 0.0)?;
    sampling.presence_context_size = body.count("presence_context_size", 0, 20)?;
    sampling.frequency_penalty = body.number("frequency_penalty", Bounds::ANY, 0.0)?;
    sampling.frequency_context_size = body.count("frequency_context_size", 0, 20)?;
    Ok(())
}

/// `logprobs` asks for the chosen token's, `top_logprobs` (-1 and 0 are off) for alternatives too;
/// as in mlx-lm, either of them switches reporting on.
fn take_logprobs(body: &mut Fields) -> ApiResult<Option<usize>> {
    let chosen = body.bool("logprobs", false)?;
    let top = body.optional_int("top_logprobs", "top_logprobs")?.unwrap_or(-1);
    let most = i128::from(limits::MAX_TOP_LOGPROBS);
    if top != -1 && top < 0 {
        return Err(ApiError::field("top_logprobs", "top_logprobs must be at least 0"));
    }
    if top > most {
        let message = format!("top_logprobs must be at most {most}");
        return Err(ApiError::field("top_logprobs", message));
    }
    let top = usize::try_from(top).unwrap_or(0);
    Ok((chosen || top > 0).then_some(top))
}

fn refuse_draft_models(body: &mut Fields) -> ApiResult<()> {
    match body.string("draft_model")? {
        Some(draft) if draft != DEFAULT_MODEL => Err(ApiError::unsupported(
            "draft_model",
            "draft_model is not supported: this server does not decode speculatively",
        )),
        _ => Ok(()),
    }
}

pub(in crate::wire) fn take_seed(body: &mut Fields) -> ApiResult<Option<u64>> {
    match body.optional_int("seed", "seed")? {
        None => Ok(None),
        Some(i) if i < 0 => Err(ApiError::field("seed", "seed must be at least 0")),
        Some(i) => u64::try_from(i)
            .map(Some)
            .map_err(|_| ApiError::field("seed", "seed does not fit 64 bits")),
    }
}

pub(in crate::wire) fn take_logit_bias(body: &mut Fields) -> ApiResult<BTreeMap<u32, f64>> {
    let Some(map) = body.object("logit_bias")? else {
        return Ok(BTreeMap::new());
    };
    let most = engine_limits::MAX_LOGIT_BIAS;
    if map.len() > most {
        let message = format!("logit_bias must have at most {most} entries");
        return Err(ApiError::field("logit_bias", message));
    }
    map.iter()
        .map(|(key, value)| Some((key.trim().parse().ok()?, bias(value)?)))
        .collect::<Option<_>>()
        .ok_or_else(|| ApiError::field("logit_bias", "logit_bias must be a dict of int to float"))
}

fn bias(value: &Value) -> Option<f64> {
    let wide = match value {
        Value::Number(n) => n.as_f64()?,
        Value::String(s) => s.trim().parse().ok()?,
        _ => return None,
    };
    Some(wide).filter(|f| (*f as f32).is_finite())
}

pub(in crate::wire) fn take_stop(body: &mut Fields) -> ApiResult<Vec<String>> {
    let words = match body.take("stop") {
        None => return Ok(Vec::new()),
        Some(Value::String(s)) if s.is_empty() => return Ok(Vec::new()),
        Some(Value::String(s)) => vec![s],
        Some(Value::Array(items)) => items
            .into_iter()
            .map(|item| match item {
                Value::String(s) => Ok(s),
                _ => Err(ApiError::field("stop", "stop must be a string or a list of strings")),
            })
            .collect::<ApiResult<Vec<_>>>()?,
        Some(_) => {
            return Err(ApiError::field("stop", "stop must be a string or a list of strings"));
        }
    };
    let (count, bytes) = (engine_limits::MAX_STOP_STRINGS, engine_limits::MAX_STOP_STRING_BYTES);
    if words.len() > count {
        return Err(ApiError::field("stop", format!("stop must have at most {count} strings")));
    }
    if words.iter().any(String::is_empty) {
        return Err(ApiError::field("stop", "stop must not have empty strings"));
    }
    if words.iter().any(|w| w.len() > bytes) {
        let message = format!("a stop string must have at most {bytes} bytes");
        return Err(ApiError::field("stop", message));
    }
    Ok(words)
}

fn take_stream_options(body: &mut Fields) -> ApiResult<bool> {
    let Some(options) = body.object("stream_options")? else {
        return Ok(false);
    };
    let mut include_usage = false;
    for (key, value) in options {
        match (key.as_str(), value) {
            // Padding against traffic analysis: its absence harms nobody.
            ("include_obfuscation", _) | (_, Value::Null) => {}
            ("include_usage", Value::Bool(b)) => include_usage = b,
            ("include_usage", _) => return Err(wrong_type("stream_options.include_usage", "bool")),
            _ => {
                return Err(ApiError::unsupported(
                    "stream_options",
                    "stream_options has a field other than include_usage; remove it",
                ));
            }
        }
    }
    Ok(include_usage)
}

/// Fields of OpenAI's API whose neutral values are fine and whose others would change the answer.
fn refuse_unhonoured(body: &mut Fields) -> ApiResult<()> {
    refuse_unless(body, "best_of", "best_of must be 1", |v| v.as_u64() == Some(1))?;
    refuse_unless(body, "modalities", "modalities must be [\"text\"]", |v| {
        v.as_array().is_some_and(|a| a.iter().all(|m| m.as_str() == Some("text")))
    })?;
    refuse_unless(body, "verbosity", "verbosity must be \"medium\"", |v| {
        v.as_str() == Some("medium")
    })?;
    for name in ["functions", "function_call"] {
        let message = format!("{name} is not supported: use tools and tool_choice");
        refuse_unless(body, name, &message, |v| v.as_array().is_some_and(Vec::is_empty))?;
    }
    for name in ["audio", "prediction", "web_search_options"] {
        refuse_unless(body, name, &format!("{name} is not supported"), |_| false)?;
    }
    Ok(())
}

pub(in crate::wire) fn refuse_unless(
    body: &mut Fields,
    name: &str,
    message: &str,
    fine: impl Fn(&Value) -> bool,
) -> ApiResult<()> {
    match body.take(name) {
        Some(value) if !fine(&value) => Err(ApiError::unsupported(name, message)),
        _ => Ok(()),
    }
}

/// The scalar members of an object whose keys are all among `allowed`.
pub(super) fn whitelisted(
    name: &str,
    map: Map<String, Value>,
    allowed: &[&str],
) -> ApiResult<Map<String, Value>> {
    for (key, value) in &map {
        if !allowed.contains(&key.as_str()) {
            return Err(ApiError::unsupported(
                name,
                format!("{name} may only have the keys {}", allowed.join(", ")),
            ));
        }
        if value.is_object() || value.is_array() {
            return Err(ApiError::field(name, format!("{name}.{key} must be a plain value")));
        }
    }
    Ok(map)
}

impl Options {
    /// What the endpoint `kind` makes of a body with these options.
    pub(super) fn ask(self, kind: Kind, state: &AppState, request: Request) -> ApiResult<Ask> {
        let most = state.engine.capacity();
        if request.choices > most {
            let message =
                format!("n must be at most {most}: as many may run and wait here at once");
            return Err(ApiError::field("n", message));
        }
        let envelope = Envelope::new(
            kind,
            self.model.clone(),
            Arc::clone(&state.fingerprint),
            Arc::clone(&state.vocabulary),
        );
        let reply = Answering::new(envelope, request.choices, self.include_usage);
        Ok(Ask { model: self.model, stream: self.stream, request, reply: Box::new(reply) })
    }

    /// The request of these options for `prompt`.
    pub fn request(&self, prompt: Prompt) -> Request {
        Request {
            may_shorten: self.may_shorten,
            sampling: self.sampling.clone(),
            stop: self.stop.clone(),
            top_logprobs: self.top_logprobs,
            adapters: self.adapters.clone(),
            choices: self.choices,
            ..Request::new(prompt, self.max_tokens)
        }
    }
}
