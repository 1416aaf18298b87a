//! The fields beside the conversation and its tools.

use serde_json::{Map, Value};
use verbatim_engine::{Sampling, limits as engine_limits};

use crate::{
    core::Format,
    error::{ApiError, ApiResult},
    limits,
    wire::{
        fields::{Bounds, Fields, integer, is_empty, missing, quoted, to_count, wrong_type},
        openai::Defaults,
    },
};

/// Takes `max_tokens`; `None` when it is left out.
pub fn take_max_tokens(body: &mut Fields) -> ApiResult<Option<usize>> {
    const NAME: &str = "max_tokens";
    let Some(value) = body.take(NAME) else { return Ok(None) };
    let integer = value.as_number().and_then(integer).ok_or_else(|| wrong_type(NAME, "int"))?;
    let count = to_count(NAME, integer, 1)?;
    let most = engine_limits::MAX_GENERATED_TOKENS;
    if count > most {
        return Err(ApiError::field(NAME, format!("{NAME} must be at most {most}")));
    }
    Ok(Some(count))
}

/// Takes the sampler's settings. What is left out is as the server's flags say.
pub fn take_sampling(body: &mut Fields, defaults: &Defaults) -> ApiResult<Sampling> {
    Ok(Sampling {
        temperature: body.number("temperature", Bounds::UNIT, defaults.temperature)?,
        top_p: body.number("top_p", Bounds::UNIT, defaults.top_p)?,
        top_k: body.count("top_k", 0, defaults.top_k)?,
        min_p: defaults.min_p,
        ..Sampling::default()
    })
}

/// Takes `stop_sequences`.
pub fn take_stop(body: &mut Fields) -> ApiResult<Vec<String>> {
    const NAME: &str = "stop_sequences";
    let bytes = engine_limits::MAX_STOP_STRING_BYTES;
    let word = |item| match item {
        Value::String(word) if word.trim().is_empty() => Err("must have more than whitespace"),
        Value::String(word) if word.len() > bytes => Err("are too long"),
        Value::String(word) => Ok(word),
        _ => Err("must be strings"),
    };
    body.array(NAME, engine_limits::MAX_STOP_STRINGS)?
        .unwrap_or_default()
        .into_iter()
        .map(|item| word(item).map_err(|why| ApiError::field(NAME, format!("{NAME} {why}"))))
        .collect()
}

/// Whether and how the model thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thinking {
    /// The model thinks before it answers.
    pub on: bool,
    /// The answer shows what it thought.
    pub shown: bool,
    /// Tokens to think with, for templates that tell the model of them.
    pub budget: Option<usize>,
}

/// Takes `thinking`. Left out it is off, as in Anthropic's API.
pub fn take_thinking(body: &mut Fields) -> ApiResult<Thinking> {
    const NAME: &str = "thinking";
    let mut thinking = Thinking { on: false, shown: true, budget: None };
    let Some(value) = body.take(NAME) else { return Ok(thinking) };
    let mut fields = Fields::within(NAME, value)?;
    match fields.required_string("type")?.as_str() {
        "disabled" => {}
        "adaptive" => thinking.on = true,
        "enabled" => {
            thinking.on = true;
            thinking.budget = Some(take_budget(&mut fields)?);
        }
        other => {
            let message =
                format!("{NAME}.type must be enabled, disabled or adaptive, not {}", quoted(other));
            return Err(ApiError::unsupported("thinking.type", message));
        }
    }
    if thinking.on {
        thinking.shown = match fields.string("display")?.as_deref() {
            None | Some("summarized") => true,
            Some("omitted") => false,
            Some(other) => {
                let message =
                    format!("{NAME}.display must be summarized or omitted, not {}", quoted(other));
                return Err(ApiError::field("thinking.display", message));
            }
        };
    }
    fields.finish()?;
    Ok(thinking)
}

fn take_budget(fields: &mut Fields) -> ApiResult<usize> {
    const NAME: &str = "budget_tokens";
    let label = fields.label(NAME);
    let budget = fields.optional_int(NAME, &label)?.ok_or_else(|| missing(&label))?;
    to_count(&label, budget, limits::MIN_THINKING_BUDGET as i128)
}

/// What an answer has to look like, and how hard to try.
#[derive(Debug, Default, PartialEq)]
pub struct Output {
    /// What it has to look like.
    pub format: Format,
    /// A word for templates that tell the model of it.
    pub effort: Option<&'static str>,
}

/// Takes `output_config` and the older `output_format`.
pub fn take_output(body: &mut Fields) -> ApiResult<Output> {
    let mut output = Output::default();
    let mut format = body.take("output_format").map(|value| ("output_format".to_owned(), value));
    if let Some(value) = body.take("output_config") {
        let mut config = Fields::within("output_config", value)?;
        output.effort = take_effort(&mut config)?;
        let label = config.label("format");
        if let Some(value) = config.take("format")
            && format.replace((label, value)).is_some()
        {
            let message = "give output_config.format or output_format, not both";
            return Err(ApiError::field("output_format", message));
        }
        config.finish()?;
    }
    if let Some((at, value)) = format {
        output.format = read_format(&at, value)?;
    }
    Ok(output)
}

/// The levels above `high` are Anthropic's own; templates know the three words of OpenAI's API.
fn take_effort(config: &mut Fields) -> ApiResult<Option<&'static str>> {
    let label = config.label("effort");
    match config.string("effort")?.as_deref() {
        None => Ok(None),
        Some("low") => Ok(Some("low")),
        Some("medium") => Ok(Some("medium")),
        Some("high" | "xhigh" | "max") => Ok(Some("high")),
        Some(other) => {
            let other = quoted(other);
            let message = format!("{label} must be low, medium, high, xhigh or max, not {other}");
            Err(ApiError::field(label, message))
        }
    }
}

fn read_format(at: &str, value: Value) -> ApiResult<Format> {
    let mut format = Fields::within(at, value)?;
    let kind = format.required_string("type")?;
    if kind != "json_schema" {
        let message = format!("{at}.type must be json_schema, not {}", quoted(&kind));
        return Err(ApiError::field(format!("{at}.type"), message));
    }
    let schema = format.object("schema")?.ok_or_else(|| missing(&format.label("schema")))?;
    format.finish()?;
    Ok(Format::JsonSchema { schema: schema.into(), strict: false })
}

/// Variables for the template. One that does not know them leaves them out.
pub fn template_kwargs(thinking: Thinking, effort: Option<&str>) -> Map<String, Value> {
    let mut kwargs = Map::new();
    if let Some(budget) = thinking.budget {
        kwargs.insert("thinking_budget".to_owned(), budget.into());
    }
    if let Some(effort) = effort {
        kwargs.insert("reasoning_effort".to_owned(), effort.into());
    }
    kwargs
}

/// Takes `context_management`, of which clearing old thinking is known: the number of the last answers
/// whose thinking stays; `None` for all.
pub fn take_kept_thinking(body: &mut Fields) -> ApiResult<Option<usize>> {
    const NAME: &str = "context_management";
    let Some(value) = body.take(NAME) else { return Ok(None) };
    let mut fields = Fields::within(NAME, value)?;
    let edits = fields.array("edits", limits::MAX_CONTEXT_EDITS)?.unwrap_or_default();
    fields.finish()?;
    let mut kept: Option<usize> = None;
    for (i, edit) in edits.into_iter().enumerate() {
        let mut edit = Fields::within(format!("{NAME}.edits.{i}"), edit)?;
        let label = edit.label("type");
        let kind = edit.required_string("type")?;
        if kind != "clear_thinking_20251015" {
            let message =
                format!("{label}: {} is not supported; clear it at the client", quoted(&kind));
            return Err(ApiError::unsupported(label, message));
        }
        let turns = take_keep(&mut edit)?;
        edit.finish()?;
        kept = kept.into_iter().chain(turns).min();
    }
    Ok(kept)
}

fn take_keep(edit: &mut Fields) -> ApiResult<Option<usize>> {
    let label = edit.label("keep");
    match edit.take("keep") {
        None => Ok(Some(1)),
        Some(Value::String(word)) if word == "all" => Ok(None),
        Some(value) => {
            let mut keep = Fields::within(&label, value)?;
            let turns = match keep.required_string("type")?.as_str() {
                "all" => None,
                "thinking_turns" => {
                    let label = keep.label("value");
                    let value =
                        keep.optional_int("value", &label)?.ok_or_else(|| missing(&label))?;
                    Some(to_count(&label, value, 1)?)
                }
                other => {
                    let message = format!(
                        "{label}.type must be all or thinking_turns, not {}",
                        quoted(other)
                    );
                    return Err(ApiError::field(label, message));
                }
            };
            keep.finish()?;
            Ok(turns)
        }
    }
}

/// Takes fields that label or route a request, and refuses those of services that are not here.
/// What is left in the body after this is unknown.
pub fn take_rest(body: &mut Fields) -> ApiResult<()> {
    if let Some(metadata) = body.take("metadata") {
        let mut metadata = Fields::within("metadata", metadata)?;
        metadata.string("user_id")?;
        metadata.finish()?;
    }
    super::take_cache_control(body)?;
    body.refuse_unless("service_tier", "must be auto or standard_only", |v| {
        matches!(v.as_str(), Some("auto" | "standard_only"))
    })?;
    body.refuse_unless("speed", "must be standard", |v| v.as_str() == Some("standard"))?;
    body.refuse_unless("container", "is not supported: no code runs here", is_empty)?;
    body.refuse_unless("mcp_servers", "is not supported: connect to them at the client", is_empty)
}
