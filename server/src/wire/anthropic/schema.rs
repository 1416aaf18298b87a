//! JSON schemas of Messages, token counts, models and errors.

use serde_json::{Value, json};
use verbatim_engine::limits as engine_limits;

use crate::{
    limits,
    openapi::schema::{
        any_object, array, body, boolean, fraction, integer, merged, object, one_of, or_null,
        reference, string, word,
    },
    wire::adapters,
};

/// The schemas by name.
pub fn schemas() -> Value {
    let fields = merged(&[conversation(), options(), adapters::schema()]);
    json!({
        "MessageRequest": body(&["model", "messages", "max_tokens"], fields.clone()),
        "CountTokensRequest": body(&["model", "messages"], fields),
        "AnthropicTool": tool(),
        "Message": message(),
        "MessageEvent": event(),
        "TokenCount": object(&["input_tokens"], json!({"input_tokens": integer(0, None)})),
        "AnthropicModel": model(),
        "AnthropicModelList": object(&["data", "has_more", "first_id", "last_id"], json!({
            "data": {"type": "array", "items": reference("AnthropicModel")},
            "has_more": boolean(),
            "first_id": or_null(&string()),
            "last_id": or_null(&string()),
        })),
        "AnthropicError": object(&["type", "error"], json!({
            "type": word("error"),
            "error": object(&["type", "message"], json!({"type": string(), "message": string()})),
            "request_id": string(),
        })),
    })
}

fn conversation() -> Value {
    let content = json!({"anyOf": [
        string(),
        array(json!({
            "type": "object",
            "required": ["type"],
            "properties": {"type": one_of(
                &["text", "thinking", "redacted_thinking", "tool_use", "tool_result"],
            )},
        }), limits::MAX_CONTENT_PARTS),
    ]});
    let messages = json!({
        "type": "array",
        "minItems": 1,
        "maxItems": limits::MAX_MESSAGES,
        "items": object(&["role", "content"], json!({
            "role": one_of(&["user", "assistant", "system"]),
            "content": content,
        })),
    });
    let text = json!({
        "type": "object",
        "required": ["type", "text"],
        "properties": {"type": word("text"), "text": string()},
    });
    json!({
        "model": string(),
        "messages": messages,
        "system": {"anyOf": [string(), array(text, limits::MAX_CONTENT_PARTS)]},
        "tools": array(reference("AnthropicTool"), limits::MAX_TOOLS),
        "tool_choice": {
            "type": "object",
            "required": ["type"],
            "properties": {"type": one_of(&["auto", "any", "tool", "none"])},
        },
    })
}

fn options() -> Value {
    let empty = json!({"type": ["array", "object"], "maxItems": 0, "maxProperties": 0});
    json!({
        "max_tokens": integer(1, Some(engine_limits::MAX_GENERATED_TOKENS as u64)),
        "stream": boolean(),
        "temperature": fraction(),
        "top_p": fraction(),
        "top_k": integer(0, Some(u64::MAX)),
        "stop_sequences": array(string(), engine_limits::MAX_STOP_STRINGS),
        "thinking": {
            "type": "object",
            "required": ["type"],
            "properties": {"type": one_of(&["enabled", "adaptive", "disabled"])},
        },
        "output_config": any_object(),
        "output_format": {
            "type": "object",
            "required": ["type", "schema"],
            "properties": {"type": word("json_schema"), "schema": any_object()},
        },
        "metadata": object(&[], json!({"user_id": or_null(&string())})),
        "cache_control": any_object(),
        "service_tier": one_of(&["auto", "standard_only"]),
        "speed": word("standard"),
        "context_management": any_object(),
        "container": empty,
        "mcp_servers": empty,
    })
}

fn tool() -> Value {
    json!({
        "type": "object",
        "required": ["name", "input_schema"],
        "properties": {
            "type": or_null(&word("custom")),
            "name": {
                "type": "string",
                "minLength": 1,
                "maxLength": limits::MAX_ANTHROPIC_TOOL_NAME_BYTES,
                "pattern": "^[A-Za-z0-9_-]+$",
            },
            "description": or_null(&string()),
            "input_schema": any_object(),
        },
    })
}

fn usage() -> Value {
    let count = || integer(0, None);
    object(
        &["input_tokens", "output_tokens"],
        json!({
            "input_tokens": count(),
            "cache_creation_input_tokens": count(),
            "cache_read_input_tokens": count(),
            "output_tokens": count(),
        }),
    )
}

fn stop_reason() -> Value {
    or_null(&one_of(&["end_turn", "stop_sequence", "tool_use", "max_tokens"]))
}

fn message() -> Value {
    let block = json!({"anyOf": [
        object(&["type", "text"], json!({"type": word("text"), "text": string()})),
        object(&["type", "thinking", "signature"], json!({
            "type": word("thinking"), "thinking": string(), "signature": string(),
        })),
        object(&["type", "id", "name", "input"], json!({
            "type": word("tool_use"), "id": string(), "name": string(), "input": any_object(),
        })),
    ]});
    let required =
        ["id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"];
    object(
        &required,
        json!({
            "id": string(),
            "type": word("message"),
            "role": word("assistant"),
            "model": string(),
            "content": {"type": "array", "items": block},
            "stop_reason": stop_reason(),
            "stop_sequence": or_null(&string()),
            "usage": usage(),
        }),
    )
}

/// What a stream consists of.
fn event() -> Value {
    let index = || integer(0, None);
    json!({"anyOf": [
        object(&["type", "message"], json!({
            "type": word("message_start"), "message": reference("Message"),
        })),
        object(&["type"], json!({"type": one_of(&["ping", "message_stop"])})),
        object(&["type", "index", "content_block"], json!({
            "type": word("content_block_start"), "index": index(), "content_block": any_object(),
        })),
        object(&["type", "index", "delta"], json!({
            "type": word("content_block_delta"), "index": index(), "delta": any_object(),
        })),
        object(&["type", "index"], json!({
            "type": word("content_block_stop"), "index": index(),
        })),
        object(&["type", "delta", "usage"], json!({
            "type": word("message_delta"),
            "delta": object(&["stop_reason", "stop_sequence"], json!({
                "stop_reason": stop_reason(), "stop_sequence": or_null(&string()),
            })),
            "usage": usage(),
        })),
        reference("AnthropicError"),
    ]})
}

fn model() -> Value {
    object(
        &["type", "id", "display_name", "created_at"],
        json!({
            "type": word("model"),
            "id": string(),
            "display_name": string(),
            "created_at": {"type": "string", "format": "date-time"},
            "lifecycle": string(),
        }),
    )
}
