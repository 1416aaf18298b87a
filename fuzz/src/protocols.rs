//! Bodies of every protocol, through to what the engine takes: an answer's beginning or 4xx.

use std::sync::LazyLock;

use serde_json::{Value, json};
use verbatim_engine::{Engine, EngineOptions};
use verbatim_server::{
    core::Prepared,
    error::ApiError,
    state::{AppState, ServeConfig},
    wire::{
        anthropic::{Messages, errors::json_of},
        openai::{chat::ChatCompletions, completions::Completions},
        protocol::Protocol,
        responses::Responses,
    },
};

use crate::scratch::repository;

/// The demo model, ready to be asked.
static STATE: LazyLock<AppState> = LazyLock::new(|| {
    let model = repository("demo/model");
    let engine = Engine::load(EngineOptions::new(&model)).expect("the demo model");
    AppState::new(engine, &model, ServeConfig::default())
});

/// `/v1/chat/completions`.
pub fn chat(input: &[u8]) -> bool {
    ask(&ChatCompletions, input)
}

/// `/v1/completions`.
pub fn completions(input: &[u8]) -> bool {
    ask(&Completions, input)
}

/// `/v1/messages`.
pub fn messages(input: &[u8]) -> bool {
    ask(&Messages, input)
}

/// `/v1/responses`.
pub fn responses(input: &[u8]) -> bool {
    ask(&Responses, input)
}

fn ask(protocol: &dyn Protocol, body: &[u8]) -> bool {
    let ask = match protocol.parse(&STATE, body) {
        Ok(ask) => ask,
        Err(error) => return refused(&error),
    };
    let choices = ask.request.choices;
    match Prepared::new(&STATE.engine, &STATE.config.rendering, ask.request) {
        Ok(prepared) => {
            assert_eq!(prepared.generations.len(), choices);
            true
        }
        Err(error) => refused(&error.into()),
    }
}

/// Holds an error to what clients are promised.
fn refused(error: &ApiError) -> bool {
    assert!(error.status.is_client_error(), "{error:?}");
    assert!(!error.message.is_empty(), "{error:?}");
    for json in [error.to_json(), json_of(error, Some("req_1"))] {
        assert!(json["error"]["type"].is_string(), "{json}");
    }
    false
}

fn bodies(bodies: impl IntoIterator<Item = Value>) -> Vec<Vec<u8>> {
    bodies.into_iter().map(|body| body.to_string().into_bytes()).collect()
}

/// Parameters of a function, with most of what schemas have.
fn parameters() -> Value {
    json!({"type": "object", "additionalProperties": false, "required": ["city"], "properties": {
        "city": {"type": "string", "minLength": 1, "pattern": "^[A-Z]"},
        "days": {"type": "integer", "minimum": 1, "maximum": 7},
        "unit": {"enum": ["C", "F"]},
        "at": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/at"}]}},
        "$defs": {"at": {"type": "array", "items": {"type": "number"}, "maxItems": 2}}})
}

pub fn chat_seeds() -> Vec<Vec<u8>> {
    let function =
        json!({"name": "weather", "description": "The weather.", "parameters": parameters()});
    let tools = json!([{"type": "function", "function": function}]);
    let schema = json!({"name": "w", "strict": true, "schema": parameters()});
    bodies([
        json!({"model": "default_model", "messages": [{"role": "user", "content": "Hi"}],
            "max_completion_tokens": 5, "temperature": 0.5, "top_p": 0.9, "top_k": 3, "min_p": 0.1,
            "seed": 1, "stop": ["\n", "x"], "logprobs": true, "top_logprobs": 2, "n": 2, "stream": true,
            "stream_options": {"include_usage": true}, "logit_bias": {"7": -100.0},
            "presence_penalty": 0.1, "frequency_penalty": 0.1, "repetition_penalty": 1.1,
            "repetition_context_size": 9, "xtc_probability": 0.1, "xtc_threshold": 0.2}),
        json!({"messages": [{"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "What is it like?"}]},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function",
                "function": {"name": "weather", "arguments": "{\"city\": \"Rome\"}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "Fine."}],
            "tools": tools, "tool_choice": "auto", "parallel_tool_calls": false}),
        json!({"messages": [{"role": "developer", "content": "x"}, {"role": "user", "content": "y"}],
            "tools": tools, "tool_choice": {"type": "function", "function": {"name": "weather"}}}),
        json!({"messages": [{"role": "user", "content": "y"}], "reasoning_effort": "low",
            "response_format": {"type": "json_schema", "json_schema": schema},
            "chat_template_kwargs": {"enable_thinking": false}, "role_mapping": {"user": "U "},
            "adapters": [], "metadata": {"a": "b"}, "user": "u"}),
        json!({"messages": [{"role": "user", "content": "y"}], "tools": tools, "tool_choice": "required",
            "response_format": {"type": "json_object"}}),
    ])
}

pub fn completions_seeds() -> Vec<Vec<u8>> {
    bodies([
        json!({"model": "default_model", "prompt": "Once", "max_tokens": 3, "echo": false, "suffix": ""}),
        json!({"prompt": [1, 2, 3], "logprobs": 2, "stop": "x", "stream": true, "best_of": 1}),
        json!({"prompt": ["a"], "temperature": 0, "logit_bias": {"3": 1}, "seed": 7}),
    ])
}

pub fn messages_seeds() -> Vec<Vec<u8>> {
    let tools = json!([{"name": "weather", "description": "The weather.", "input_schema": parameters(),
                        "cache_control": {"type": "ephemeral"}}]);
    bodies([
        json!({"model": "default_model", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}],
            "system": [{"type": "text", "text": "x-anthropic-billing-header: cc_version=1;"},
                       {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
            "temperature": 1, "top_p": 0.9, "top_k": 5, "stop_sequences": ["x"], "stream": true,
            "metadata": {"user_id": "u"}}),
        json!({"model": "default_model", "max_tokens": 2048, "tools": tools,
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "messages": [{"role": "user", "content": "Weather?"},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "dmVyYmF0aW0="},
                    {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1",
                    "content": [{"type": "text", "text": "Fine."}], "is_error": false}]}]}),
        json!({"model": "default_model", "max_tokens": 9, "tools": tools,
            "tool_choice": {"type": "tool", "name": "weather"}, "thinking": {"type": "disabled"},
            "messages": [{"role": "user", "content": [{"type": "text", "text": "a"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}}]}]}),
        json!({"model": "default_model", "max_tokens": 9, "messages": [{"role": "user", "content": "a"},
            {"role": "assistant", "content": "{"}], "output_config": {"effort": "low",
            "format": {"type": "json_schema", "schema": parameters()}}}),
    ])
}

pub fn responses_seeds() -> Vec<Vec<u8>> {
    let tools = json!([
        {"type": "function", "name": "weather", "description": "d", "parameters": parameters(), "strict": true},
        {"type": "custom", "name": "patch", "format": {"type": "text"}},
        {"type": "namespace", "name": "n", "description": "d",
         "tools": [{"type": "function", "name": "f", "parameters": {}}]}]);
    bodies([
        json!({"model": "default_model", "input": "Hi", "instructions": "Be brief.", "stream": true,
            "max_output_tokens": 5, "temperature": 0.5, "top_p": 0.9, "top_logprobs": 2, "store": false,
            "include": ["message.output_text.logprobs", "reasoning.encrypted_content"],
            "stream_options": {"include_obfuscation": false}, "metadata": {"a": "b"},
            "truncation": "disabled", "background": false, "prompt_cache_key": "k", "user": "u"}),
        json!({"tools": tools, "tool_choice": "required", "parallel_tool_calls": false, "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [],
             "content": [{"type": "reasoning_text", "text": "Hm."}]},
            {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "Fine."},
            {"type": "custom_tool_call", "call_id": "d", "name": "patch", "input": "x"},
            {"type": "custom_tool_call_output", "call_id": "d", "output": "y"}],
            "reasoning": {"effort": "low", "summary": "auto"}}),
        json!({"input": [{"role": "user", "content": "a"},
            {"role": "assistant", "content": [{"type": "output_text", "text": "b", "annotations": []}]}],
            "tools": tools, "tool_choice": {"type": "function", "name": "weather"}, "max_tool_calls": 2,
            "text": {"verbosity": "medium", "format": {"type": "text"}}}),
        json!({"input": "x", "previous_response_id": null, "text": {"format":
            {"type": "json_schema", "name": "w", "strict": true, "schema": parameters()}}}),
    ])
}
