//! What each endpoint takes and answers.

use serde_json::{Map, Value, json};

use super::schema::{
    any_object, boolean, integer, not_negative, object, one_of, or_null, reference, string,
};
use crate::{health::Condition, limits, metrics, routes::Endpoint};

/// Statuses of refusals that every request can meet: origin, key.
const ALWAYS: &[u16] = &[400, 401, 403];
/// Those of a request with a body.
const WITH_BODY: &[u16] = &[404, 408, 411, 413, 429, 500, 503];

/// The path item of an endpoint, without `operationId`s.
pub(super) fn of(endpoint: Endpoint) -> Value {
    match endpoint {
        Endpoint::Chat => generating(
            "Answer a conversation",
            "ChatCompletionRequest",
            "ChatCompletion",
            "ChatCompletionChunk",
        ),
        Endpoint::Completions => {
            generating("Continue a text", "CompletionRequest", "Completion", "Completion")
        }
        Endpoint::Messages => anthropics(generating(
            "Answer a conversation, in Anthropic's API",
            "MessageRequest",
            "Message",
            "MessageEvent",
        )),
        Endpoint::CountTokens => anthropics(posting(
            "Count the tokens of a conversation, in Anthropic's API",
            "CountTokensRequest",
            json_answer("TokenCount"),
            "Error",
        )),
        Endpoint::Responses => {
            generating("Answer with a response", "ResponseRequest", "Response", "ResponseEvent")
        }
        Endpoint::InputTokens => posting(
            "Count the tokens of a response's input",
            "ResponseRequest",
            json_answer("InputTokens"),
            "Error",
        ),
        Endpoint::Response => stored_response(),
        Endpoint::Cancel => json!({"post": operation(
            "Refuse to cancel a stored response, which has ended",
            &json!([in_path("id", "The response's id.")]),
            responses(json_answer("Response"), "Error", &[ALWAYS, &[404]].concat()),
        )}),
        Endpoint::InputItems => get(
            "List what a stored response answered",
            &json!([
                in_path("id", "The response's id."),
                in_query("limit", integer(1, Some(limits::MAX_INPUT_ITEMS as u64))),
                in_query("order", one_of(&["asc", "desc"])),
                in_query("after", string()),
            ]),
            json_answer("ResponseItems"),
            &[ALWAYS, &[404]].concat(),
        ),
        Endpoint::Adapters => adapters(),
        Endpoint::Adapter => json!({"delete": operation(
            "Remove an adapter",
            &json!([in_path("name", "The adapter's name.")]),
            responses(json_answer("Deleted"), "Error", &[ALWAYS, &[404]].concat()),
        )}),
        Endpoint::Models => {
            get("List the models", &json!([]), either("ModelList", "AnthropicModelList"), ALWAYS)
        }
        Endpoint::Model => get(
            "Describe a model",
            &json!([in_path("id", "The model's name; it may have slashes.")]),
            either("Model", "AnthropicModel"),
            &[ALWAYS, &[404]].concat(),
        ),
        Endpoint::Health => {
            let mut item = get(
                "Tell whether the server can do its work",
                &json!([]),
                json_answer("Health"),
                ALWAYS,
            );
            item["get"]["responses"]["503"] =
                json!({"description": "It cannot.", "content": json_answer("Health")});
            public(item)
        }
        Endpoint::Metrics => get(
            "Report counters in Prometheus' text format",
            &json!([]),
            json!({metrics::CONTENT_TYPE: {"schema": string()}}),
            ALWAYS,
        ),
        Endpoint::OpenApi => get(
            "Describe this API",
            &json!([]),
            json!({"application/json": {"schema": any_object()}}),
            ALWAYS,
        ),
        Endpoint::Page => public(get(
            "The chat page",
            &json!([]),
            json!({"text/html; charset=utf-8": {"schema": string()}}),
            ALWAYS,
        )),
    }
}

/// Schemas that no protocol owns.
pub(super) fn schemas() -> Value {
    json!({
        "Error": object(&["error"], json!({
            "error": object(&["message", "type", "param", "code"], json!({
                "message": string(),
                "type": string(),
                "param": or_null(&string()),
                "code": or_null(&string()),
            })),
        })),
        "Health": object(
            &["status", "worker", "queued", "active", "adapters", "seconds_since_progress", "kv_cache", "prompt_cache", "memory"],
            json!({
                "status": one_of(&["ok", "unavailable"]),
                "worker": one_of(&Condition::ALL.iter().map(|c| c.word()).collect::<Vec<_>>()),
                "queued": integer(0, None),
                "active": integer(0, None),
                "adapters": integer(0, None),
                "prompt_cache": prompt_cache(),
                "memory": memory(),
                "seconds_since_progress": not_negative(),
                "kv_cache": string(),
            }),
        ),
        "Deleted": object(&["id", "object", "deleted"], json!({
            "id": string(),
            "object": string(),
            "deleted": boolean(),
        })),
    })
}

fn prompt_cache() -> Value {
    let counted = |names: &[&str]| -> Map<String, Value> {
        names.iter().map(|name| ((*name).to_owned(), integer(0, None))).collect()
    };
    let names = ["bytes", "cap_bytes", "entries", "lookups", "hits", "hit_tokens", "evictions"];
    let on_disk = [
        "bytes",
        "cap_bytes",
        "entries",
        "written",
        "failed",
        "restored",
        "restored_tokens",
        "evictions",
        "rejected",
    ];
    let mut properties = counted(&names);
    properties.insert("disk".to_owned(), object(&on_disk, counted(&on_disk).into()));
    object(&[names.as_slice(), &["disk"]].concat(), properties.into())
}

fn memory() -> Value {
    let count = || integer(0, None);
    let required = ["budget_bytes", "reserved_bytes", "active_bytes", "peak_bytes", "cached_bytes"];
    object(
        &required,
        json!({
            "budget_bytes": or_null(&count()),
            "reserved_bytes": count(),
            "active_bytes": count(),
            "peak_bytes": count(),
            "cached_bytes": count(),
        }),
    )
}

fn get(summary: &str, parameters: &Value, content: Value, refusals: &[u16]) -> Value {
    json!({"get": {
        "summary": summary,
        "parameters": parameters,
        "responses": responses(content, "Error", refusals),
    }})
}

fn operation(summary: &str, parameters: &Value, responses: Map<String, Value>) -> Value {
    json!({"summary": summary, "parameters": parameters, "responses": responses})
}

fn stored_response() -> Value {
    let refusals = [ALWAYS, &[404]].concat();
    let parameters = json!([in_path("id", "The response's id.")]);
    json!({
        "get": operation(
            "Get a stored response",
            &parameters,
            responses(json_answer("Response"), "Error", &refusals),
        ),
        "delete": operation(
            "Forget a stored response",
            &parameters,
            responses(json_answer("Deleted"), "Error", &refusals),
        ),
    })
}

/// Adding answers 201.
fn adapters() -> Value {
    let mut item = posting("Add an adapter", "AdapterRequest", json!({}), "Error");
    if let Some(answers) = item["post"]["responses"].as_object_mut() {
        answers.shift_remove("200");
        let added = json!({"description": "Added.", "content": json_answer("Adapter")});
        answers.insert("201".to_owned(), added);
        let taken = json!({"description": meaning(409), "content": json_answer("Error")});
        answers.insert("409".to_owned(), taken);
    }
    let list = get("List the adapters", &json!([]), json_answer("AdapterList"), ALWAYS);
    super::schema::merged(&[list, item])
}

/// Refusals in Anthropic's words, where being busy is 529.
fn anthropics(mut item: Value) -> Value {
    let busy = json!({"description": meaning(503)});
    if let Some(answers) = item["post"]["responses"].as_object_mut() {
        answers.insert("529".to_owned(), busy);
        for (_, answer) in answers.iter_mut().filter(|(status, _)| *status != "200") {
            answer["content"] = json_answer("AnthropicError");
        }
    }
    item
}

/// A POST with JSON, answered with JSON or a stream of events. `[DONE]` ends streams of completions.
fn generating(summary: &str, request: &str, answer: &str, event: &str) -> Value {
    let data = json!({"anyOf": [
        {"const": "[DONE]"},
        {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": reference(event),
        },
    ]});
    let events = json!({
        "type": "object",
        "required": ["data"],
        "properties": {"event": string(), "data": data},
    });
    let content = json!({
        "application/json": {"schema": reference(answer)},
        "text/event-stream": {"schema": events},
    });
    posting(summary, request, content, "Error")
}

fn posting(summary: &str, request: &str, content: Value, error: &str) -> Value {
    json!({"post": {
        "summary": summary,
        "requestBody": {"required": true, "content": json_answer(request)},
        "responses": responses(content, error, &[ALWAYS, WITH_BODY].concat()),
    }})
}

fn responses(content: Value, error: &str, refusals: &[u16]) -> Map<String, Value> {
    let mut responses = Map::new();
    responses.insert("200".to_owned(), json!({"description": "Done.", "content": content}));
    for status in refusals {
        let refusal = json!({"description": meaning(*status), "content": json_answer(error)});
        responses.insert(status.to_string(), refusal);
    }
    responses
}

fn meaning(status: u16) -> &'static str {
    match status {
        400 => "The request is malformed or its prompt too long; the message says where.",
        401 => "The server needs an API key, and this is none of its keys.",
        403 => "The Host or Origin is not allowed.",
        404 => "There is no such thing here.",
        408 => "The body did not arrive in time.",
        409 => "It is there already.",
        411 => "The body's length is not stated.",
        413 => "The body or the request is too large.",
        429 => "The key has too many requests running; retry-after says when to ask again.",
        500 => "The server failed; its log has the cause.",
        503 => "The queue is full or the server is stopping; retry-after says when to ask again.",
        _ => "Refused.",
    }
}

fn json_answer(schema: &str) -> Value {
    json!({"application/json": {"schema": reference(schema)}})
}

/// OpenAI's shape, or Anthropic's for who sends `anthropic-version`.
fn either(openai: &str, anthropic: &str) -> Value {
    json!({"application/json": {
        "schema": {"anyOf": [reference(openai), reference(anthropic)]},
    }})
}

fn in_query(name: &str, schema: Value) -> Value {
    json!({"name": name, "in": "query", "schema": schema})
}

fn in_path(name: &str, description: &str) -> Value {
    json!({
        "name": name, "in": "path", "required": true, "description": description,
        "schema": {"type": "string", "minLength": 1},
    })
}

/// Needs no key.
fn public(mut item: Value) -> Value {
    item["get"]["security"] = json!([{}]);
    item
}
