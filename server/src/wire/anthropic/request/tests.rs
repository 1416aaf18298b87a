use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;

fn read_for(purpose: Purpose, extra: &Value) -> ApiResult<Parsed> {
    let mut body = json!({
        "model": "m", "max_tokens": 8, "messages": [{"role": "user", "content": "a"}],
    });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    parse(body.to_string().as_bytes(), &Defaults::default(), purpose)
}

fn read(extra: &Value) -> ApiResult<Parsed> {
    read_for(Purpose::Answer, extra)
}

fn chat(extra: &Value) -> Chat {
    match read(extra).unwrap().request.prompt {
        Prompt::Chat(chat) => chat,
        other => panic!("not a chat: {other:?}"),
    }
}

#[test]
fn everything_that_is_honoured_arrives() {
    let parsed = read(&json!({
        "stream": true, "max_tokens": 7, "temperature": 1, "top_p": 0.5, "top_k": 4, "stop_sequences": ["a", "b"],
        "system": "s", "thinking": {"type": "enabled", "budget_tokens": 2048, "display": "omitted"},
        "output_config": {"effort": "max", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}, "adapters": ["x", "y"],
    }))
    .unwrap();
    assert_eq!((parsed.model.as_str(), parsed.stream, parsed.shows_thinking), ("m", true, false));
    let Request { sampling, stop, format, adapters, max_tokens, .. } = parsed.request;
    assert_eq!((sampling.temperature, sampling.top_p, sampling.top_k), (1.0, 0.5, 4));
    assert_eq!((max_tokens, stop), (7, vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(format, Format::JsonSchema { schema: json!({"type": "object"}), strict: false });
    assert_eq!(adapters, Some(vec!["x".to_owned(), "y".to_owned()]));
    let Prompt::Chat(chat) = parsed.request.prompt else { panic!("not a chat") };
    assert_eq!((chat.messages.len(), chat.tools.len(), chat.one_call), (2, 1, true));
    assert_eq!((chat.tool_choice, chat.thinking), (ToolChoice::Auto, Some(true)));
    let kwargs = json!({"thinking_budget": 2048, "reasoning_effort": "high"});
    assert_eq!(Value::Object(chat.template_kwargs), kwargs);
}

#[test]
fn what_is_left_out_is_as_the_flags_say() {
    let flags = Defaults { max_tokens: 3, temperature: 0.5, top_p: 0.25, top_k: 2, min_p: 0.125 };
    let body =
        br#"{"model": "m", "max_tokens": 8, "messages": [{"role": "user", "content": "a"}]}"#;
    let parsed = parse(body, &flags, Purpose::Answer).unwrap();
    let s = &parsed.request.sampling;
    assert_eq!((s.temperature, s.top_p, s.top_k, s.min_p), (0.5, 0.25, 2, 0.125));
    assert_eq!((parsed.stream, parsed.request.max_tokens), (false, 8));
    assert_eq!(parsed.request.adapters, None);
}

#[rstest]
#[case(json!({}), false)]
#[case(json!({"thinking": null}), false)]
#[case(json!({"thinking": {"type": "disabled"}}), false)]
#[case(json!({"thinking": {"type": "adaptive", "display": "summarized"}}), true)]
#[case(json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}), true)]
fn thinking_is_on_or_off(#[case] extra: Value, #[case] on: bool) {
    assert_eq!(chat(&extra).thinking, Some(on));
}

/// Labels, marks, neutral values, and null for anything.
#[rstest]
#[case(json!({"metadata": {"user_id": "{\"device_id\":\"x\"}"}, "service_tier": "auto", "speed": "standard"}))]
#[case(json!({"metadata": {}, "service_tier": "standard_only", "cache_control": {"type": "ephemeral"}}))]
#[case(json!({"container": null, "mcp_servers": [], "context_management": {"edits": []}, "output_config": {}}))]
#[case(json!({"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}}))]
#[case(json!({"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": {"type": "all"}}]}}))]
#[case(json!({"context_management": {"edits": [{"type": "clear_thinking_20251015"}]}}))]
#[case(json!({"temperature": null, "stream": null, "tools": [], "tool_choice": {"type": "auto"}, "foo": null}))]
#[case(json!({"stop_sequences": [], "thinking": {"type": "disabled"}, "output_format": null}))]
fn harmless_fields_are_taken(#[case] extra: Value) {
    assert_eq!(read(&extra).unwrap(), read(&json!({})).unwrap());
}

#[rstest]
#[case(json!("a+b"), &["a", "b"])]
#[case(json!("a"), &["a"])]
#[case(json!(""), &[])]
#[case(json!([]), &[])]
fn adapters_are_named(#[case] names: Value, #[case] want: &[&str]) {
    let got = read(&json!({ "adapters": names })).unwrap().request.adapters.unwrap();
    assert_eq!(got, want);
}

#[rstest]
#[case(json!({"model": null}), "model is missing")]
#[case(json!({"model": 1}), "model must be of type str")]
#[case(json!({"max_tokens": null}), "max_tokens is missing")]
#[case(json!({"max_tokens": 0}), "max_tokens must be at least 1")]
#[case(json!({"max_tokens": 1.5}), "max_tokens must be of type int")]
#[case(json!({"max_tokens": 1_000_000_000}), "max_tokens must be at most 1048576")]
#[case(json!({"stream": "yes"}), "stream must be of type bool")]
#[case(json!({"temperature": 1.5}), "temperature must be at most 1")]
#[case(json!({"temperature": -1}), "temperature must be at least 0")]
#[case(json!({"top_p": 2}), "top_p must be at most 1")]
#[case(json!({"top_k": -1}), "top_k must be at least 0")]
#[case(json!({"stop_sequences": "a"}), "stop_sequences must be of type list")]
#[case(json!({"stop_sequences": [1]}), "stop_sequences must be strings")]
#[case(json!({"stop_sequences": [" "]}), "stop_sequences must have more than whitespace")]
#[case(json!({"stop_sequences": ["x".repeat(1025)]}), "stop_sequences are too long")]
#[case(json!({"stop_sequences": vec!["x"; 17]}), "stop_sequences must have at most 16 items")]
#[case(json!({"thinking": true}), "thinking must be of type dict")]
#[case(json!({"thinking": {}}), "thinking.type is missing")]
#[case(json!({"thinking": {"type": "between_tools"}}), "thinking.type must be enabled, disabled or adaptive, not between_tools")]
#[case(json!({"thinking": {"type": "enabled"}}), "thinking.budget_tokens is missing")]
#[case(json!({"thinking": {"type": "enabled", "budget_tokens": 100}}), "thinking.budget_tokens must be at least 1024")]
#[case(json!({"thinking": {"type": "adaptive", "display": "all"}}), "thinking.display must be summarized or omitted, not all")]
#[case(json!({"thinking": {"type": "disabled", "budget_tokens": 1024}}), "thinking.budget_tokens is not a field that this server honours; remove it")]
#[case(json!({"output_config": {"effort": "huge"}}), "output_config.effort must be low, medium, high, xhigh or max, not huge")]
#[case(json!({"output_config": {"x": 1}}), "output_config.x is not a field that this server honours; remove it")]
#[case(json!({"output_config": {"format": {"type": "json_object"}}}), "output_config.format.type must be json_schema, not json_object")]
#[case(json!({"output_format": {"type": "json_schema"}}), "output_format.schema is missing")]
#[case(json!({"output_format": {"type": "json_schema", "schema": {}}, "output_config": {"format": {"type": "json_schema", "schema": {}}}}),
    "give output_config.format or output_format, not both")]
#[case(json!({"adapters": [1]}), "adapters must be a string or a list of strings")]
#[case(json!({"system": 1}), "system must be a string or a list of content blocks")]
#[case(json!({"system": [{"type": "image"}]}), "system.0: images are not supported: the model reads text only")]
#[case(json!({"metadata": {"user_id": 1}}), "metadata.user_id must be of type str")]
#[case(json!({"metadata": {"x": 1}}), "metadata.x is not a field that this server honours; remove it")]
#[case(json!({"service_tier": "priority"}), "service_tier must be auto or standard_only")]
#[case(json!({"speed": "fast"}), "speed must be standard")]
#[case(json!({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}),
    "context_management.edits.0.type: clear_tool_uses_20250919 is not supported; clear it at the client")]
#[case(json!({"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": {"type": "some"}}]}}),
    "context_management.edits.0.keep.type must be all or thinking_turns, not some")]
#[case(json!({"context_management": {"edits": [{"type": "clear_thinking_20251015",
                                                "keep": {"type": "thinking_turns"}}]}}),
    "context_management.edits.0.keep.value is missing")]
#[case(json!({"container": "c"}), "container is not supported: no code runs here")]
#[case(json!({"mcp_servers": [{}]}), "mcp_servers is not supported: connect to them at the client")]
#[case(json!({"thread": {"type": "create"}}), "thread is not a field that this server honours; remove it")]
#[case(json!({"messages": null}), "messages is missing")]
fn others_are_refused(#[case] extra: Value, #[case] message: &str) {
    let e = read(&extra).unwrap_err();
    assert_eq!((e.status.as_u16(), e.message.as_str()), (400, message));
    let name = extra.as_object().unwrap().keys().next().unwrap();
    assert!(e.param.is_some_and(|param| param.starts_with(name)));
}

/// Two answers that were thought over, the first one twice.
fn thought_over() -> Value {
    let thinking = |text: &str| json!({"type": "thinking", "thinking": text, "signature": "s"});
    json!([
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [thinking("1"), thinking("2"), {"type": "text", "text": "b"}]},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d"},
        {"role": "user", "content": "e"},
        {"role": "assistant", "content": [thinking("3"), {"type": "text", "text": "f"}]},
        {"role": "user", "content": "g"},
    ])
}

#[rstest]
#[case(json!("all"), &["1\n\n2", "3"])]
#[case(json!({"type": "all"}), &["1\n\n2", "3"])]
#[case(json!({"type": "thinking_turns", "value": 2}), &["1\n\n2", "3"])]
#[case(json!({"type": "thinking_turns", "value": 1}), &["3"])]
#[case(Value::Null, &["3"])]
fn old_thinking_is_cleared(#[case] keep: Value, #[case] left: &[&str]) {
    let edits = json!([{"type": "clear_thinking_20251015", "keep": keep}]);
    let chat = chat(&json!({"messages": thought_over(), "context_management": {"edits": edits}}));
    let thoughts: Vec<&str> =
        chat.messages.iter().filter_map(|m| m["reasoning_content"].as_str()).collect();
    assert_eq!(thoughts, left);
    assert_eq!(chat.messages.len(), 7);
}

#[rstest]
#[case::thought_over(json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}), json!("b"))]
#[case::blank_at_the_end(json!({}), json!("b\n"))]
#[case::unanswered(json!({}), json!([{"type": "tool_use", "id": "t", "name": "f", "input": {}}]))]
fn finished_conversations_are_counted_and_not_answered(
    #[case] mut extra: Value,
    #[case] content: Value,
) {
    extra["messages"] =
        json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": content}]);
    extra["tools"] = json!([{"name": "f", "input_schema": {}}]);
    assert!(read(&extra).is_err());
    let Prompt::Chat(chat) = read_for(Purpose::Count, &extra).unwrap().request.prompt else {
        panic!("not a chat")
    };
    assert_eq!((chat.prefill.as_str(), chat.messages.len()), ("", 2));
    assert_eq!(chat.messages[1]["role"], "assistant");
}

#[test]
fn a_begun_answer_is_counted_as_such() {
    let messages = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]);
    let parsed = read_for(Purpose::Count, &json!({ "messages": messages })).unwrap();
    let Prompt::Chat(chat) = parsed.request.prompt else { panic!("not a chat") };
    assert_eq!((chat.prefill.as_str(), chat.messages.len()), ("b", 1));
}

#[rstest]
#[case(json!({"thinking": {"type": "adaptive"}}), "thinking is on")]
#[case(json!({"tool_choice": {"type": "any"}}), "tool_choice asks for a tool")]
#[case(json!({"output_format": {"type": "json_schema", "schema": {}}}), "an output format is set")]
fn a_begun_answer_does_not_go_with_everything(#[case] mut extra: Value, #[case] why: &str) {
    extra["messages"] =
        json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]);
    extra["tools"] = json!([{"name": "f", "input_schema": {}}]);
    assert!(read(&extra).unwrap_err().message.ends_with(why));
    let plain = json!({ "messages": extra["messages"] });
    assert_eq!(chat(&plain).prefill, "b");
}

#[test]
fn no_tool_is_offered_when_none_may_be_used() {
    let tools = json!([{"name": "f", "input_schema": {}}]);
    let none = chat(&json!({"tools": tools, "tool_choice": {"type": "none"}}));
    assert!(none.tools.is_empty());
}

#[test]
fn a_count_needs_no_max_tokens() {
    let extra = json!({ "max_tokens": null });
    assert!(read_for(Purpose::Count, &extra).is_ok());
    assert!(read_for(Purpose::Count, &json!({"thread": {}})).is_err());
}

/// Values made of what bodies are made of.
fn any_json() -> impl Strategy<Value = Value> {
    const WORDS: &[&str] = &[
        "text",
        "type",
        "thinking",
        "tool_use",
        "tool_result",
        "custom",
        "any",
        "user",
        "assistant",
        "system",
        "content",
        "role",
        "id",
        "name",
        "input",
        "tool_use_id",
        "enabled",
        "",
    ];
    let word = || prop::sample::select(WORDS).prop_map(str::to_owned);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((word(), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_body_does_harm(
        name in prop::sample::select(&[
            "model", "max_tokens", "messages", "system", "tools", "tool_choice", "thinking", "metadata",
            "stop_sequences", "output_config", "output_format", "context_management", "adapters", "top_k",
        ][..]),
        value in any_json(),
    ) {
        if let Err(e) = read(&json!({ name: value })) {
            prop_assert_eq!(e.status.as_u16(), 400);
        }
    }

    #[test]
    fn no_message_does_harm(content in any_json(), role in prop::sample::select(&["user", "assistant"][..])) {
        let messages = json!([{"role": "user", "content": "a"}, {"role": role, "content": content}]);
        if let Err(e) = read(&json!({ "messages": messages })) {
            prop_assert_eq!(e.status.as_u16(), 400);
        }
    }
}
