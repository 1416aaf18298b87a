//! JSON schemas of Chat Completions, Completions and Models.

use serde_json::{Value, json};
use verbatim_engine::limits as engine_limits;

use super::{
    chat::{EFFORTS, TEMPLATE_KWARGS},
    messages::ROLES,
    options::DEFAULT_MODEL,
};
use crate::{
    limits,
    openapi::schema::{
        any_number, any_object, array, body, boolean, described, fraction, integer, merged,
        not_negative, number, object, one_of, or_null, reference, refused, string, word,
    },
    wire::adapters,
};

/// The schemas by name.
pub fn schemas() -> Value {
    json!({
        "ChatCompletionRequest": body(&["messages"], merged(&[options(), chat_fields()])),
        "ChatMessage": message(),
        "Tool": tool(),
        "ToolCall": tool_call(),
        "ChatCompletion": completion("chat.completion", &chat_choice("message", answer()), true),
        "ChatCompletionChunk":
            completion("chat.completion.chunk", &chat_choice("delta", delta()), false),
        "CompletionRequest": body(&["prompt"], merged(&[options(), text_fields()])),
        "Completion": completion("text_completion", &text_choice(), false),
        "TokenLogprob": token_logprob(),
        "Usage": usage(),
        "Model": model(),
        "ModelList": object(&["object", "data"], json!({
            "object": word("list"),
            "data": array(reference("Model"), 1),
        })),
    })
}

/// The fields that both endpoints take.
fn options() -> Value {
    let drafts = json!({
        "num_draft_tokens": described(integer(0, Some(u64::MAX)), "Without effect."),
    });
    merged(&[answering(), sampling(), drafts, refusals(), adapters::schema()])
}

/// How to answer.
fn answering() -> Value {
    let tokens = || integer(1, Some(engine_limits::MAX_GENERATED_TOKENS as u64));
    json!({
        "model": described(string(), "The served model's name, or nothing."),
        "stream": boolean(),
        "stream_options": {
            "type": "object",
            "additionalProperties": false,
            "properties": {"include_usage": or_null(&boolean()), "include_obfuscation": {}},
        },
        "max_tokens": tokens(),
        "max_completion_tokens": described(tokens(), "Wins over `max_tokens`."),
        "stop": stop(),
        "logprobs": boolean(),
        "top_logprobs": integer(-1, Some(limits::MAX_TOP_LOGPROBS as u64)),
    })
}

/// Stop strings.
pub fn stop() -> Value {
    let strings = array(json!({"type": "string", "minLength": 1}), engine_limits::MAX_STOP_STRINGS);
    json!({"anyOf": [string(), strings]})
}

/// The sampler's fields.
pub fn sampling() -> Value {
    let count = || integer(0, Some(u64::MAX));
    json!({
        "temperature": not_negative(),
        "top_p": fraction(),
        "top_k": described(count(), "mlx-lm's. Must be below the vocabulary's size."),
        "min_p": described(fraction(), "mlx-lm's."),
        "xtc_probability": described(fraction(), "mlx-lm's. Must be written with a point."),
        "xtc_threshold": described(number(0.0, 1.0), "mlx-lm's. Must be written with a point."),
        "repetition_penalty": not_negative(),
        "repetition_context_size": count(),
        "presence_penalty": any_number(),
        "presence_context_size": count(),
        "frequency_penalty": any_number(),
        "frequency_context_size": count(),
        "seed": integer(0, Some(u64::MAX)),
        "logit_bias": {
            "type": "object",
            "description": "By token id.",
            "maxProperties": engine_limits::MAX_LOGIT_BIAS,
            "additionalProperties": {"type": ["number", "string"]},
        },
    })
}

/// Fields that are taken with a neutral value, or without effect.
fn refusals() -> Value {
    json!({
        "n": integer(1, Some(limits::MAX_CHOICES as u64)),
        "best_of": {"type": "integer", "const": 1},
        "modalities": {"type": "array", "items": word("text")},
        "verbosity": word("medium"),
        "draft_model": word(DEFAULT_MODEL),
        "functions": {"type": "array", "maxItems": 0},
        "function_call": {"type": "array", "maxItems": 0},
        "audio": refused(),
        "prediction": refused(),
        "web_search_options": refused(),
        "metadata": {},
        "prompt_cache_key": {},
        "prompt_cache_retention": {},
        "safety_identifier": {},
        "service_tier": {},
        "store": {},
        "user": {},
    })
}

fn response_format() -> Value {
    let schema = object(
        &["name", "schema"],
        json!({
            "name": {"type": "string", "minLength": 1, "maxLength": limits::MAX_SCHEMA_NAME_BYTES},
            "description": or_null(&string()),
            "strict": or_null(&boolean()),
            "schema": any_object(),
        }),
    );
    json!({"anyOf": [
        object(&["type"], json!({"type": one_of(&["text", "json_object"])})),
        object(
            &["type", "json_schema"],
            json!({"type": word("json_schema"), "json_schema": schema}),
        ),
    ]})
}

fn chat_fields() -> Value {
    let mut kwargs = serde_json::Map::new();
    for name in TEMPLATE_KWARGS {
        let schema = match *name {
            "enable_thinking" | "preserve_thinking" | "thinking" => boolean(),
            _ => json!({"type": ["string", "number", "boolean", "null"]}),
        };
        kwargs.insert((*name).to_owned(), schema);
    }
    json!({
        "messages": {
            "type": "array",
            "minItems": 1,
            "maxItems": limits::MAX_MESSAGES,
            "items": reference("ChatMessage"),
        },
        "tools": array(reference("Tool"), limits::MAX_TOOLS),
        "tool_choice": {"anyOf": [
            one_of(&["none", "auto", "required"]),
            {
                "type": "object",
                "required": ["type"],
                "properties": {"type": one_of(&["function", "allowed_tools"])},
            },
        ]},
        "response_format": response_format(),
        "reasoning_effort": one_of(EFFORTS),
        "parallel_tool_calls": boolean(),
        "chat_template_kwargs": object(&[], kwargs.into()),
        "role_mapping": {
            "type": "object",
            "maxProperties": limits::MAX_KWARGS,
            "additionalProperties": string(),
        },
    })
}

fn text_fields() -> Value {
    let ids = json!({
        "type": "array",
        "minItems": 1,
        "items": integer(0, Some(u64::from(u32::MAX))),
    });
    json!({
        "prompt": {"anyOf": [
            string(),
            {"type": "array", "minItems": 1, "maxItems": 1, "items": string()},
            ids,
        ]},
        "response_format": object(&["type"], json!({"type": word("text")})),
        "logprobs": {"anyOf": [
            boolean(),
            described(
                integer(0, Some(limits::MAX_TOP_LOGPROBS as u64)),
                "Alternatives per token.",
            ),
        ]},
        "echo": {"type": "boolean", "const": false},
        "suffix": word(""),
    })
}

/// Other properties go to the model's template.
fn message() -> Value {
    let part = |kind: &str| {
        json!({
            "type": "object",
            "required": ["type", kind],
            "properties": {"type": word(kind), kind: string()},
        })
    };
    let refusal = described(part("refusal"), "In assistant messages.");
    let parts = array(json!({"anyOf": [part("text"), refusal]}), limits::MAX_CONTENT_PARTS);
    json!({
        "type": "object",
        "required": ["role"],
        "properties": {
            "role": one_of(ROLES),
            "content": {"anyOf": [string(), parts, {"type": "null"}]},
            "tool_calls": or_null(&array(any_object(), limits::MAX_TOOLS)),
        },
    })
}

fn tool() -> Value {
    json!({
        "type": "object",
        "required": ["function"],
        "properties": {
            "type": word("function"),
            "function": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": limits::MAX_TOOL_NAME_BYTES,
                }},
            },
        },
    })
}

fn tool_call() -> Value {
    let function = object(
        &["name", "arguments"],
        json!({
            "name": string(),
            "arguments": described(string(), "JSON."),
        }),
    );
    object(
        &["id", "type", "function"],
        json!({
            "id": string(),
            "type": word("function"),
            "function": function,
        }),
    )
}

fn answer() -> Value {
    object(
        &["role", "content"],
        json!({
            "role": word("assistant"),
            "content": or_null(&string()),
            "reasoning": string(),
            "tool_calls": {"type": "array", "minItems": 1, "items": reference("ToolCall")},
        }),
    )
}

fn delta() -> Value {
    let call = object(
        &["index", "function"],
        json!({
            "index": integer(0, None),
            "id": string(),
            "type": word("function"),
            "function": object(&["arguments"], json!({"name": string(), "arguments": string()})),
        }),
    );
    object(
        &[],
        json!({
            "role": word("assistant"),
            "content": string(),
            "reasoning": string(),
            "tool_calls": {"type": "array", "minItems": 1, "items": call},
        }),
    )
}

fn chat_choice(field: &str, schema: Value) -> Value {
    let logprobs = object(
        &["content"],
        json!({
            "content": {"type": "array", "minItems": 1, "items": reference("TokenLogprob")},
        }),
    );
    object(
        &["index", "finish_reason", field],
        json!({
            "index": integer(0, None),
            "finish_reason": finish_reason(),
            "logprobs": logprobs,
            field: schema,
        }),
    )
}

fn text_choice() -> Value {
    let logprobs = object(
        &["text_offset", "tokens", "token_logprobs", "top_logprobs", "content"],
        json!({
            "text_offset": {"type": "array", "items": integer(0, None)},
            "tokens": {"type": "array", "items": string()},
            "token_logprobs": {"type": "array", "items": {"type": "number"}},
            "top_logprobs": {"type": "array", "items": {
                "type": "object",
                "additionalProperties": {"type": "number"},
            }},
            "content": {"type": "array", "items": reference("TokenLogprob")},
        }),
    );
    object(
        &["index", "finish_reason", "text"],
        json!({
            "index": integer(0, None),
            "finish_reason": finish_reason(),
            "logprobs": logprobs,
            "text": string(),
        }),
    )
}

fn finish_reason() -> Value {
    or_null(&one_of(&["stop", "length", "tool_calls"]))
}

fn completion(kind: &str, choice: &Value, whole: bool) -> Value {
    let mut required = vec!["id", "system_fingerprint", "object", "model", "created", "choices"];
    if whole {
        required.push("usage");
    }
    object(
        &required,
        json!({
            "id": string(),
            "system_fingerprint": string(),
            "object": word(kind),
            "model": string(),
            "created": integer(0, None),
            "choices": {"type": "array", "items": choice},
            "usage": reference("Usage"),
        }),
    )
}

fn usage() -> Value {
    let count = || integer(0, None);
    object(
        &["prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details"],
        json!({
            "prompt_tokens": count(),
            "completion_tokens": count(),
            "total_tokens": count(),
            "prompt_tokens_details": object(&["cached_tokens"], json!({"cached_tokens": count()})),
            "completion_tokens_details":
                object(&["reasoning_tokens"], json!({"reasoning_tokens": count()})),
        }),
    )
}

fn token_logprob() -> Value {
    let alternative = json!({
        "id": integer(0, None),
        "token": string(),
        "logprob": {"type": "number"},
        "bytes": {"type": "array", "items": integer(0, Some(255))},
    });
    let names = ["id", "token", "logprob", "bytes"];
    let chosen = merged(&[
        alternative.clone(),
        json!({
            "top_logprobs": {"type": "array", "items": object(&names, alternative)},
        }),
    ]);
    object(&["id", "token", "logprob", "bytes", "top_logprobs"], chosen)
}

fn model() -> Value {
    object(
        &["id", "object", "created", "owned_by"],
        json!({
            "id": string(),
            "object": word("model"),
            "created": integer(0, None),
            "owned_by": string(),
        }),
    )
}
