//! `POST /v1/responses`: from JSON to a request.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use verbatim_engine::{Sampling, limits as engine_limits};

use super::{
    fresh_id,
    items::Item,
    messages,
    output::{Events, Output, Shown},
    reply::{Head, Keep, Responding},
    retrieve::absent,
    tools::Toolbox,
};
use crate::{
    core::{Chat, Format, Prompt, Request},
    error::{ApiError, ApiResult},
    limits,
    state::AppState,
    wire::{
        adapters::take_adapters,
        fields::{Bounds, Fields, missing, quoted},
        openai::{
            Defaults,
            options::{
                DEFAULT_MODEL, refuse_unless, take_logit_bias, take_penalties, take_seed, take_stop,
            },
            reply::unix_seconds,
        },
        protocol::Ask,
    },
};

/// Fields that label or route a request but do not change its answer.
pub(super) const HARMLESS: &[&str] =
    &["client_metadata", "prompt_cache_options", "prompt_cache_retention", "service_tier"];
/// Labels that the response repeats.
const LABELS: &[&str] = &["prompt_cache_key", "safety_identifier", "user"];
/// What `include` may name beside what this server can have.
const NEVER_THERE: &[&str] = &[
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "web_search_call.action.sources",
    "web_search_call.results",
];
pub(super) const EFFORTS: &[&str] = &["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/// Reads a body.
pub fn parse(state: &AppState, body: &[u8]) -> ApiResult<Ask> {
    let mut body = Fields::parse(body)?;
    let mut settings = Map::new();
    let model = body.string("model")?.unwrap_or_else(|| DEFAULT_MODEL.to_owned());
    settings.insert("model".to_owned(), model.as_str().into());
    let stream = body.bool("stream", false)?;
    refuse_unhonoured(&mut body, stream)?;
    let include = take_include(&mut body)?;
    let mut request = generation(&mut body, &state.config.defaults, &include, &mut settings)?;
    request.format = take_text(&mut body, &mut settings)?;
    let (chat, items, tools) = conversation(&mut body, state, &mut settings)?;
    request.prompt = Prompt::Chat(chat);
    let store = take_store(&mut body, state, &mut settings)?;
    take_labels(&mut body, &mut settings)?;
    body.ignore(HARMLESS);
    body.finish()?;
    let shown = Shown {
        logprobs: request.top_logprobs.map(|_| Arc::clone(&state.vocabulary)),
        opaque_reasoning: include.reasoning,
    };
    let head = Head { id: fresh_id("resp"), created: unix_seconds(), settings };
    let keep = store.then(|| Keep {
        store: Arc::clone(&state.responses),
        input: items.iter().map(|item| item.json().to_string().into()).collect(),
    });
    let output = Output::new(Events::new(stream), tools, shown);
    let reply = Box::new(Responding::new(head, output, keep));
    Ok(Ask { model, stream, request, reply })
}

const LOGPROBS: &str = "message.output_text.logprobs";
const REASONING: &str = "reasoning.encrypted_content";

/// What `include` asks for.
#[derive(Debug, Default)]
struct Include {
    logprobs: bool,
    reasoning: bool,
}

/// Whether `include` may ask for it.
pub(super) fn is_known_include(what: &str) -> bool {
    [LOGPROBS, REASONING].contains(&what) || NEVER_THERE.contains(&what)
}

fn take_include(body: &mut Fields) -> ApiResult<Include> {
    let mut include = Include::default();
    for what in body.array("include", limits::MAX_CONTENT_PARTS)?.into_iter().flatten() {
        match what.as_str() {
            Some(LOGPROBS) => include.logprobs = true,
            Some(REASONING) => include.reasoning = true,
            Some(what) if NEVER_THERE.contains(&what) => {}
            Some(what) => {
                let message = format!("include: {} is not supported", quoted(what));
                return Err(ApiError::unsupported("include", message));
            }
            None => return Err(ApiError::field("include", "include must be a list of strings")),
        }
    }
    Ok(include)
}

/// Everything about a request but its conversation.
fn generation(
    body: &mut Fields,
    defaults: &Defaults,
    include: &Include,
    settings: &mut Map<String, Value>,
) -> ApiResult<Request> {
    let may_shorten = !body.has("max_output_tokens");
    let max_tokens = body.count("max_output_tokens", 1, defaults.max_tokens)?;
    let most = engine_limits::MAX_GENERATED_TOKENS;
    if max_tokens > most {
        let message = format!("max_output_tokens must be at most {most}");
        return Err(ApiError::field("max_output_tokens", message));
    }
    let sampling = take_sampling(body, defaults)?;
    let top = take_top_logprobs(body)?;
    let asked = (!may_shorten).then_some(max_tokens);
    settings.insert("max_output_tokens".to_owned(), asked.into());
    settings.insert("temperature".to_owned(), sampling.temperature.into());
    settings.insert("top_p".to_owned(), sampling.top_p.into());
    settings.insert("top_logprobs".to_owned(), top.into());
    Ok(Request {
        may_shorten,
        sampling,
        stop: take_stop(body)?,
        top_logprobs: (include.logprobs || top > 0).then_some(top),
        adapters: take_adapters(body)?,
        ..Request::new(Prompt::Text(String::new()), max_tokens)
    })
}

fn take_sampling(body: &mut Fields, defaults: &Defaults) -> ApiResult<Sampling> {
    let mut sampling = Sampling {
        temperature: body.number("temperature", Bounds::NOT_NEGATIVE, defaults.temperature)?,
        top_p: body.number("top_p", Bounds::UNIT, defaults.top_p)?,
        top_k: body.count("top_k", 0, defaults.top_k)?,
        min_p: body.number("min_p", Bounds::UNIT, defaults.min_p)?,
        xtc_probability: body.number("xtc_probability", Bounds::UNIT, 0.0)?,
        xtc_threshold: body.number("xtc_threshold", Bounds::UNIT, 0.1)?,
        seed: take_seed(body)?,
        logit_bias: take_logit_bias(body)?,
        ..Sampling::default()
    };
    take_penalties(body, &mut sampling)?;
    Ok(sampling)
}

fn take_top_logprobs(body: &mut Fields) -> ApiResult<usize> {
    let top = body.count("top_logprobs", 0, 0)?;
    let most = limits::MAX_TOP_LOGPROBS;
    if top > most as usize {
        let message = format!("top_logprobs must be at most {most}");
        return Err(ApiError::field("top_logprobs", message));
    }
    Ok(top)
}

fn take_text(body: &mut Fields, settings: &mut Map<String, Value>) -> ApiResult<Format> {
    let mut text = Fields::within("text", body.take("text").unwrap_or_else(|| json!({})))?;
    let given = text.take("format").unwrap_or_else(|| json!({"type": "text"}));
    let format = format(given.clone())?;
    let verbosity = text.string("verbosity")?;
    if verbosity.is_some_and(|verbosity| verbosity != "medium") {
        let message = "text.verbosity must be medium: a local model has no such setting";
        return Err(ApiError::unsupported("text.verbosity", message));
    }
    text.finish()?;
    settings.insert("text".to_owned(), json!({"format": given, "verbosity": "medium"}));
    Ok(format)
}

fn format(given: Value) -> ApiResult<Format> {
    let mut format = Fields::within("text.format", given)?;
    let kind = format.required_string("type")?;
    let format = match kind.as_str() {
        "text" => (format, Format::Text),
        "json_object" => (format, Format::JsonObject),
        "json_schema" => {
            format.required_string("name")?;
            format.string("description")?;
            let strict = format.bool("strict", false)?;
            let schema = format.object("schema")?;
            let schema = schema.ok_or_else(|| missing("text.format.schema"))?;
            (format, Format::JsonSchema { schema: schema.into(), strict })
        }
        _ => {
            let at = "text.format.type";
            let kind = quoted(&kind);
            let message = format!("{at} must be text, json_object or json_schema, not {kind}");
            return Err(ApiError::unsupported(at, message));
        }
    };
    let (fields, format) = format;
    fields.finish()?;
    Ok(format)
}

/// What the model is asked, the items of it, and the tools.
fn conversation(
    body: &mut Fields,
    state: &AppState,
    settings: &mut Map<String, Value>,
) -> ApiResult<(Chat, Vec<Item>, Toolbox)> {
    let tools = body.array("tools", limits::MAX_TOOLS)?.unwrap_or_default();
    let mut tools = Toolbox::read(tools, state.config.ignore_hosted_tools)?;
    let choice = body.take("tool_choice");
    let tool_choice = tools.choose(choice.as_ref())?;
    let parallel = body.bool("parallel_tool_calls", true)?;
    // It bounds hosted tools, of which there are none.
    let max_tool_calls = body.optional_int("max_tool_calls", "max_tool_calls")?;
    let instructions = body.string("instructions")?;
    let previous = body.string("previous_response_id")?;
    let items = take_items(body, state, previous.as_deref())?;
    let messages = messages::render(instructions.as_deref(), &items, &tools)?;
    if messages.is_empty() {
        return Err(ApiError::field("input", "input must not be empty"));
    }
    let (thinking, template_kwargs) = take_reasoning(body, settings)?;
    for (name, value) in [
        ("instructions", instructions.into()),
        ("max_tool_calls", max_tool_calls.and_then(|n| i64::try_from(n).ok()).into()),
        ("parallel_tool_calls", parallel.into()),
        ("previous_response_id", previous.into()),
        ("tool_choice", choice.unwrap_or_else(|| "auto".into())),
        ("tools", tools.given.clone().into()),
    ] {
        settings.insert(name.to_owned(), value);
    }
    let chat = Chat {
        messages,
        tools: tools.offered.clone(),
        tool_choice,
        one_call: !parallel,
        thinking,
        template_kwargs,
        ..Chat::default()
    };
    Ok((chat, items, tools))
}

/// The items of earlier responses, then those of this request.
fn take_items(body: &mut Fields, state: &AppState, previous: Option<&str>) -> ApiResult<Vec<Item>> {
    let mut items = match previous {
        None => Vec::new(),
        Some(id) => earlier(state, id)?,
    };
    match body.take("input") {
        Some(Value::String(text)) => items.push(Item::user(text)),
        Some(Value::Array(input)) => {
            for (i, item) in input.into_iter().enumerate() {
                let resolve = |id: &str| state.responses.item(id);
                items.push(Item::read(&format!("input[{i}]"), item, &resolve)?);
            }
        }
        Some(_) => {
            return Err(ApiError::field("input", "input must be a string or a list of items"));
        }
        None if previous.is_some() => {}
        None => return Err(missing("input")),
    }
    let most = limits::MAX_ITEMS;
    if items.len() > most {
        let message = format!("input and what it refers to must have at most {most} items");
        return Err(ApiError::field("input", message));
    }
    Ok(items)
}

fn earlier(state: &AppState, id: &str) -> ApiResult<Vec<Item>> {
    let kept = state.responses.get(id).ok_or_else(|| {
        let message = absent("Previous response", &state.responses, id);
        ApiError::field("previous_response_id", message).with_code("previous_response_not_found")
    })?;
    let read = |item| Item::read("previous_response_id", item, &|_| None);
    kept.conversation().into_iter().map(read).collect()
}

/// Whether the model thinks, and what its template is told of it.
fn take_reasoning(
    body: &mut Fields,
    settings: &mut Map<String, Value>,
) -> ApiResult<(Option<bool>, Map<String, Value>)> {
    let given = body.take("reasoning").unwrap_or_else(|| json!({}));
    let mut reasoning = Fields::within("reasoning", given)?;
    let effort = one_of(&mut reasoning, "effort", EFFORTS)?;
    // There is no summary to give: the reasoning itself is in the item's content.
    for name in ["summary", "generate_summary"] {
        one_of(&mut reasoning, name, &["auto"])?;
    }
    reasoning.finish()?;
    settings.insert("reasoning".to_owned(), json!({"effort": effort, "summary": null}));
    let thinking = effort.as_deref().map(|effort| effort != "none");
    let mut kwargs = Map::new();
    if let Some(effort) = effort.filter(|effort| effort != "none") {
        kwargs.insert("reasoning_effort".to_owned(), effort.into());
    }
    Ok((thinking, kwargs))
}

fn one_of(fields: &mut Fields, name: &str, allowed: &[&str]) -> ApiResult<Option<String>> {
    let at = fields.label(name);
    let value = fields.string(name)?;
    match &value {
        Some(word) if !allowed.contains(&word.as_str()) => {
            let message = format!("{at} must be {}, not {}", allowed.join(", "), quoted(word));
            Err(ApiError::unsupported(at, message))
        }
        _ => Ok(value),
    }
}

fn take_store(
    body: &mut Fields,
    state: &AppState,
    settings: &mut Map<String, Value>,
) -> ApiResult<bool> {
    let bounds = state.responses.bounds();
    let store = body.bool("store", true)? && bounds.bytes > 0 && bounds.entries > 0;
    settings.insert("store".to_owned(), store.into());
    Ok(store)
}

fn take_labels(body: &mut Fields, settings: &mut Map<String, Value>) -> ApiResult<()> {
    for name in LABELS {
        settings.insert((*name).to_owned(), body.string(name)?.into());
    }
    let metadata = body.object("metadata")?.unwrap_or_default();
    let fits = |(key, value): (&String, &Value)| {
        key.chars().count() <= limits::MAX_METADATA_KEY_CHARS
            && value
                .as_str()
                .is_some_and(|text| text.chars().count() <= limits::MAX_METADATA_VALUE_CHARS)
    };
    if metadata.len() > limits::MAX_METADATA_KEYS || !metadata.iter().all(fits) {
        let message = format!(
            "metadata must have at most {} keys of at most {} characters, with strings of at most \
             {} characters",
            limits::MAX_METADATA_KEYS,
            limits::MAX_METADATA_KEY_CHARS,
            limits::MAX_METADATA_VALUE_CHARS
        );
        return Err(ApiError::field("metadata", message));
    }
    for (name, value) in [
        ("metadata", metadata.into()),
        ("background", false.into()),
        ("service_tier", "default".into()),
        ("truncation", "disabled".into()),
    ] {
        settings.insert(name.to_owned(), value);
    }
    Ok(())
}

/// Fields whose neutral values are fine and whose others would change what a client gets.
fn refuse_unhonoured(body: &mut Fields, stream: bool) -> ApiResult<()> {
    refuse_unless(
        body,
        "truncation",
        "truncation must be \"disabled\": nothing is dropped",
        |v| v.as_str() == Some("disabled"),
    )?;
    let message = "background must be false: a response ends with its request";
    refuse_unless(body, "background", message, |v| v.as_bool() == Some(false))?;
    let message = "prompt is not supported: send instructions and input";
    refuse_unless(body, "prompt", message, |_| false)?;
    let message = "conversation is not supported: use previous_response_id";
    refuse_unless(body, "conversation", message, |_| false)?;
    let message = "stream_options may only have include_obfuscation, and only with stream";
    refuse_unless(body, "stream_options", message, |v| {
        let fields = v.as_object();
        stream && fields.is_some_and(|f| f.keys().all(|key| key == "include_obfuscation"))
    })
}
