//! JSON schemas of Responses and what is stored of them.

use serde_json::{Map, Value, json};
use verbatim_engine::limits as engine_limits;

use super::request::{EFFORTS, HARMLESS};
use crate::{
    limits,
    openapi::schema::{
        any_object, array, body, boolean, fraction, integer, merged, not_negative, object, one_of,
        or_null, reference, refused, string, word,
    },
    wire::{adapters, openai},
};

/// The schemas by name.
pub fn schemas() -> Value {
    let fields = merged(&[openai::schema::sampling(), adapters::schema(), asking(), answering()]);
    json!({
        "ResponseRequest": body(&[], fields),
        "Response": response(),
        "ResponseEvent": {
            "type": "object",
            "required": ["type", "sequence_number"],
            "properties": {"type": string(), "sequence_number": integer(0, None)},
        },
        "OutputItem": {
            "type": "object",
            "required": ["id", "type", "status"],
            "properties": {
                "id": string(),
                "type": one_of(&["message", "reasoning", "function_call", "custom_tool_call"]),
                "status": one_of(&["in_progress", "completed", "incomplete"]),
            },
        },
        "ResponseItems": object(&["object", "data", "first_id", "last_id", "has_more"], json!({
            "object": word("list"),
            "data": array(any_object(), limits::MAX_INPUT_ITEMS),
            "first_id": or_null(&string()),
            "last_id": or_null(&string()),
            "has_more": boolean(),
        })),
        "InputTokens": object(&["object", "input_tokens"], json!({
            "object": word("response.input_tokens"),
            "input_tokens": integer(0, None),
        })),
    })
}

/// What the model is asked.
fn asking() -> Value {
    let tools = array(
        json!({"type": "object", "required": ["type"], "properties": {"type": string()}}),
        limits::MAX_TOOLS,
    );
    json!({
        "model": string(),
        "input": {"anyOf": [string(), {"type": "array", "items": any_object()}]},
        "instructions": string(),
        "previous_response_id": string(),
        "tools": tools,
        "tool_choice": {"anyOf": [one_of(&["none", "auto", "required"]), any_object()]},
        "parallel_tool_calls": boolean(),
        "max_tool_calls": {"type": "integer"},
        "reasoning": object(&[], json!({
            "effort": or_null(&one_of(EFFORTS)),
            "summary": or_null(&word("auto")),
            "generate_summary": or_null(&word("auto")),
        })),
        "text": object(&[], json!({
            "format": or_null(&any_object()),
            "verbosity": or_null(&word("medium")),
        })),
        "prompt": refused(),
        "conversation": refused(),
    })
}

/// How it is answered.
fn answering() -> Value {
    let mut fields: Map<String, Value> =
        HARMLESS.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
    let Value::Object(more) = json!({
        "stream": boolean(),
        "stream_options": object(&[], json!({"include_obfuscation": {}})),
        "max_output_tokens": integer(1, Some(engine_limits::MAX_GENERATED_TOKENS as u64)),
        "top_logprobs": integer(0, Some(limits::MAX_TOP_LOGPROBS as u64)),
        "stop": openai::schema::stop(),
        "include": array(string(), limits::MAX_CONTENT_PARTS),
        "store": boolean(),
        "truncation": word("disabled"),
        "background": {"type": "boolean", "const": false},
        "prompt_cache_key": string(),
        "safety_identifier": string(),
        "user": string(),
        "metadata": {
            "type": "object",
            "maxProperties": limits::MAX_METADATA_KEYS,
            "additionalProperties": {
                "type": "string", "maxLength": limits::MAX_METADATA_VALUE_CHARS,
            },
        },
    }) else {
        return json!({});
    };
    fields.extend(more);
    fields.into()
}

fn response() -> Value {
    let nullable = |schema: Value| or_null(&schema);
    let outcome = json!({
        "id": string(),
        "object": word("response"),
        "created_at": integer(0, None),
        "status": one_of(&["in_progress", "completed", "incomplete", "failed"]),
        "completed_at": nullable(integer(0, None)),
        "error": nullable(any_object()),
        "incomplete_details": nullable(any_object()),
        "output": {"type": "array", "items": reference("OutputItem")},
        "usage": nullable(usage()),
    });
    let settings = json!({
        "model": string(),
        "max_output_tokens": nullable(integer(1, None)),
        "temperature": not_negative(),
        "top_p": fraction(),
        "top_logprobs": integer(0, None),
        "text": any_object(),
        "reasoning": any_object(),
        "instructions": nullable(string()),
        "max_tool_calls": nullable(json!({"type": "integer"})),
        "parallel_tool_calls": boolean(),
        "previous_response_id": nullable(string()),
        "tool_choice": {"type": ["string", "object"]},
        "tools": {"type": "array", "items": any_object()},
        "store": boolean(),
        "prompt_cache_key": nullable(string()),
        "safety_identifier": nullable(string()),
        "user": nullable(string()),
        "metadata": any_object(),
        "background": boolean(),
        "service_tier": string(),
        "truncation": string(),
    });
    let properties = merged(&[outcome, settings]);
    let required: Vec<&str> =
        properties.as_object().into_iter().flat_map(Map::keys).map(String::as_str).collect();
    object(&required, properties.clone())
}

fn usage() -> Value {
    let count = || integer(0, None);
    let required = [
        "input_tokens",
        "input_tokens_details",
        "output_tokens",
        "output_tokens_details",
        "total_tokens",
    ];
    object(
        &required,
        json!({
            "input_tokens": count(),
            "input_tokens_details": object(&["cached_tokens"], json!({
                "cached_tokens": count(), "cache_write_tokens": count(),
            })),
            "output_tokens": count(),
            "output_tokens_details": object(&["reasoning_tokens"], json!({"reasoning_tokens": count()})),
            "total_tokens": count(),
        }),
    )
}
