//! Every field: what is taken, what is refused, and with which words.

use rstest::rstest;
use serde_json::{Value, json};
use verbatim_server::{
    core::{Format, Prompt, Request, ToolChoice},
    error::ApiError,
    wire::openai::{Defaults, Options, chat, completions},
};

fn parse_chat(extra: &Value) -> Result<(Options, Request), ApiError> {
    let mut body = json!({"messages": [{"role": "user", "content": "Hi"}]});
    merge(&mut body, extra);
    chat::parse(body.to_string().as_bytes(), &Defaults::default())
}

fn parse_text(extra: &Value) -> Result<(Options, Request), ApiError> {
    let mut body = json!({"prompt": "Hi"});
    merge(&mut body, extra);
    completions::parse(body.to_string().as_bytes(), &Defaults::default())
}

fn merge(body: &mut Value, extra: &Value) {
    let extra = extra.as_object().expect("an object").clone();
    body.as_object_mut().expect("an object").extend(extra);
}

/// The texts of mlx-lm's `validate_model_parameters`.
#[rstest]
#[case(json!({"stream": 1}), "stream", "stream must be of type bool")]
#[case(json!({"max_tokens": 0}), "max_tokens", "max_tokens must be at least 1")]
#[case(json!({"max_tokens": -1}), "max_tokens", "max_tokens must be at least 1")]
#[case(json!({"max_tokens": 1.0}), "max_tokens", "max_tokens must be of type int")]
#[case(json!({"max_tokens": "1"}), "max_tokens", "max_tokens must be of type int")]
#[case(json!({"max_tokens": true}), "max_tokens", "max_tokens must be of type int")]
#[case(json!({"max_tokens": 1_000_000_000}), "max_tokens", "max_tokens must be at most 1048576")]
#[case(json!({"max_completion_tokens": 0}), "max_tokens", "max_tokens must be at least 1")]
#[case(json!({"max_completion_tokens": "x", "max_tokens": 5}), "max_tokens", "max_tokens must be of type int")]
#[case(json!({"temperature": -0.1}), "temperature", "temperature must be at least 0")]
#[case(json!({"temperature": "hot"}), "temperature", "temperature must be of type ('float', 'int')")]
#[case(json!({"temperature": 1e300}), "temperature", "temperature does not fit a 32-bit float")]
#[case(json!({"top_p": 1.1}), "top_p", "top_p must be at most 1")]
#[case(json!({"top_p": -1}), "top_p", "top_p must be at least 0")]
#[case(json!({"top_p": []}), "top_p", "top_p must be of type ('float', 'int')")]
#[case(json!({"top_k": -1}), "top_k", "top_k must be at least 0")]
#[case(json!({"top_k": 0.5}), "top_k", "top_k must be of type int")]
#[case(json!({"min_p": 2}), "min_p", "min_p must be at most 1")]
#[case(json!({"min_p": -0.5}), "min_p", "min_p must be at least 0")]
#[case(json!({"num_draft_tokens": -1}), "num_draft_tokens", "num_draft_tokens must be at least 0")]
#[case(json!({"num_draft_tokens": 0.5}), "num_draft_tokens", "num_draft_tokens must be of type int")]
#[case(json!({"repetition_penalty": -1}), "repetition_penalty", "repetition_penalty must be at least 0")]
#[case(json!({"repetition_penalty": "x"}), "repetition_penalty", "repetition_penalty must be of type ('float', 'int')")]
#[case(json!({"repetition_context_size": -1}), "repetition_context_size", "repetition_context_size must be at least 0")]
#[case(json!({"repetition_context_size": 1.5}), "repetition_context_size", "repetition_context_size must be of type int")]
#[case(json!({"presence_penalty": {}}), "presence_penalty", "presence_penalty must be of type ('float', 'int')")]
#[case(json!({"presence_context_size": -1}), "presence_context_size", "presence_context_size must be at least 0")]
#[case(json!({"frequency_penalty": false}), "frequency_penalty", "frequency_penalty must be of type ('float', 'int')")]
#[case(json!({"frequency_context_size": -1}), "frequency_context_size", "frequency_context_size must be at least 0")]
#[case(json!({"logprobs": "x"}), "logprobs", "logprobs must be of type bool")]
#[case(json!({"top_logprobs": -2}), "top_logprobs", "top_logprobs must be at least 0")]
#[case(json!({"top_logprobs": 21}), "top_logprobs", "top_logprobs must be at most 20")]
#[case(json!({"top_logprobs": true}), "top_logprobs", "top_logprobs must be of type int")]
#[case(json!({"xtc_probability": 0}), "xtc_probability", "xtc_probability must be of type float")]
#[case(json!({"xtc_probability": 1.5}), "xtc_probability", "xtc_probability must be at most 1")]
#[case(json!({"xtc_threshold": -0.5}), "xtc_threshold", "xtc_threshold must be at least 0")]
#[case(json!({"model": 5}), "model", "requested_model must be of type str")]
#[case(json!({"adapters": 5}), "adapter", "adapter must be of type str")]
#[case(json!({"seed": "x"}), "seed", "seed must be of type int")]
#[case(json!({"seed": 1.5}), "seed", "seed must be of type int")]
#[case(json!({"seed": -1}), "seed", "seed must be at least 0")]
#[case(json!({"logit_bias": []}), "logit_bias", "logit_bias must be of type dict")]
#[case(json!({"logit_bias": {"x": 1}}), "logit_bias", "logit_bias must be a dict of int to float")]
#[case(json!({"logit_bias": {"1": "x"}}), "logit_bias", "logit_bias must be a dict of int to float")]
#[case(json!({"logit_bias": {"-1": 1}}), "logit_bias", "logit_bias must be a dict of int to float")]
#[case(json!({"logit_bias": {"1": null}}), "logit_bias", "logit_bias must be a dict of int to float")]
#[case(json!({"n": 0}), "n", "n must be at least 1")]
#[case(json!({"n": 9}), "n", "n must be at most 8")]
#[case(json!({"n": "1"}), "n", "n must be of type int")]
#[case(json!({"stop": 5}), "stop", "stop must be a string or a list of strings")]
#[case(json!({"stop": [1]}), "stop", "stop must be a string or a list of strings")]
#[case(json!({"stop": [""]}), "stop", "stop must not have empty strings")]
#[case(json!({"stop": vec!["x"; 17]}), "stop", "stop must have at most 16 strings")]
#[case(json!({"stop": "x".repeat(1025)}), "stop", "a stop string must have at most 1024 bytes")]
#[case(json!({"stream_options": 1}), "stream_options", "stream_options must be of type dict")]
#[case(json!({"stream_options": {"include_usage": 1}}), "stream_options.include_usage", "stream_options.include_usage must be of type bool")]
fn shared_fields_are_validated(#[case] extra: Value, #[case] param: &str, #[case] message: &str) {
    for result in [parse_chat(&extra), parse_text(&extra)] {
        let e = result.expect_err("must be refused");
        assert_eq!(e.message, message);
        assert_eq!((e.status.as_u16(), e.param.as_deref()), (400, Some(param)));
    }
}

/// Fields whose other values would change the answer.
#[rstest]
#[case(json!({"best_of": 3}), "best_of")]
#[case(json!({"response_format": {"type": "x"}}), "response_format")]
#[case(json!({"draft_model": "other"}), "draft_model")]
#[case(json!({"reasoning_effort": "most"}), "reasoning_effort")]
#[case(json!({"modalities": ["text", "audio"]}), "modalities")]
#[case(json!({"verbosity": "low"}), "verbosity")]
#[case(json!({"functions": [{}]}), "functions")]
#[case(json!({"function_call": "auto"}), "function_call")]
#[case(json!({"prediction": {}}), "prediction")]
#[case(json!({"web_search_options": {}}), "web_search_options")]
#[case(json!({"stream_options": {"x": 1}}), "stream_options")]
#[case(json!({"temprature": 0.5}), "temprature")]
fn what_is_not_honoured_is_refused_by_name(#[case] extra: Value, #[case] param: &str) {
    for result in [parse_chat(&extra), parse_text(&extra)] {
        let e = result.expect_err("must be refused");
        assert_eq!((e.status.as_u16(), e.param.as_deref()), (400, Some(param)), "{}", e.message);
        assert_eq!(e.code, Some("unsupported_parameter"));
        assert!(e.message.contains(param), "{}", e.message);
    }
}

#[rstest]
#[case(json!({"tool_choice": "required"}), "tool_choice")]
#[case(json!({"tool_choice": {"type": "function", "function": {"name": "f"}}}), "tool_choice")]
#[case(json!({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "any"}), "tool_choice")]
#[case(json!({"response_format": "text"}), "response_format")]
#[case(json!({"response_format": {"type": "json_object", "schema": {}}}), "response_format.schema")]
#[case(json!({"response_format": {"type": "text", "json_schema": {}}}), "response_format.json_schema")]
#[case(json!({"logprobs": 2}), "logprobs")]
#[case(json!({"response_format": {"type": "json_schema"}}), "response_format.json_schema")]
#[case(json!({"reasoning_effort": 1}), "reasoning_effort")]
#[case(json!({"parallel_tool_calls": 1}), "parallel_tool_calls")]
#[case(json!({"tools": {}}), "tools")]
#[case(json!({"tools": [{}]}), "tools[0]")]
#[case(json!({"chat_template_kwargs": {"tokenize": false}}), "chat_template_kwargs")]
#[case(json!({"chat_template_kwargs": {"messages": []}}), "chat_template_kwargs")]
#[case(json!({"chat_template_kwargs": {"enable_thinking": "false"}}), "chat_template_kwargs.enable_thinking")]
#[case(json!({"chat_template_kwargs": {"thinking_budget": {}}}), "chat_template_kwargs")]
#[case(json!({"chat_template_kwargs": 1}), "chat_template_kwargs")]
#[case(json!({"role_mapping": {"user": 1}}), "role_mapping")]
#[case(json!({"prompt": "x"}), "prompt")]
#[case(json!({"messages": 1}), "messages")]
fn chat_fields_are_refused(#[case] extra: Value, #[case] param: &str) {
    let e = parse_chat(&extra).expect_err("must be refused");
    assert_eq!((e.status.as_u16(), e.param.as_deref()), (400, Some(param)), "{}", e.message);
}

#[rstest]
#[case(json!({"echo": true}), "echo", "echo must be false: the prompt is not repeated")]
#[case(json!({"suffix": "x"}), "suffix", "suffix is not supported")]
#[case(json!({"response_format": {"type": "text", "schema": {}}}), "response_format", "response_format is a field of chat completions")]
#[case(json!({"logprobs": -1}), "logprobs", "logprobs must be at least 0")]
#[case(json!({"logprobs": 21}), "logprobs", "logprobs must be at most 20")]
#[case(json!({"logprobs": 1.5}), "logprobs", "logprobs must be of type int")]
#[case(json!({"logprobs": "x"}), "logprobs", "logprobs must be of type bool")]
#[case(json!({"logprobs": 3, "top_logprobs": 2}), "top_logprobs", "top_logprobs says otherwise than logprobs; leave one of them out")]
#[case(json!({"prompt": []}), "prompt", "prompt must be a string or a list of token ids")]
#[case(json!({"prompt": ["a", "b"]}), "prompt", "prompt must be a string or a list of token ids")]
#[case(json!({"prompt": [1, -1]}), "prompt", "prompt must be a string or a list of token ids")]
#[case(json!({"prompt": [1, 5_000_000_000_u64]}), "prompt", "prompt must be a string or a list of token ids")]
#[case(json!({"prompt": {}}), "prompt", "prompt must be a string or a list of token ids")]
#[case(json!({"prompt": null}), "prompt", "Request did not contain a prompt")]
#[case(json!({"messages": []}), "messages", "messages is not a field that this server honours; remove it")]
fn completion_fields_are_refused(#[case] extra: Value, #[case] param: &str, #[case] message: &str) {
    let e = parse_text(&extra).expect_err("must be refused");
    assert_eq!((e.param.as_deref(), e.message.as_str()), (Some(param), message));
}

#[test]
fn a_chat_without_messages() {
    let e = chat::parse(b"{}", &Defaults::default()).expect_err("must be refused");
    assert_eq!(e.message, "Request did not contain messages");
}

#[test]
fn everything_that_is_honoured_arrives() {
    let (options, request) = parse_chat(&json!({
        "model": "m", "stream": true, "stream_options": {"include_usage": true, "include_obfuscation": false},
        "max_tokens": 7, "max_completion_tokens": 9, "temperature": 1, "top_p": 0.5, "top_k": 4, "min_p": 0.25,
        "repetition_penalty": 1.5, "repetition_context_size": 3,
        "presence_penalty": -0.5, "presence_context_size": 4,
        "frequency_penalty": 2, "frequency_context_size": 0,
        "xtc_probability": 0.5, "xtc_threshold": 0.25, "seed": u64::MAX,
        "logit_bias": {"3": 1, "4": -0.5, " 5 ": "2.5"}, "stop": ["a", "b"], "logprobs": true, "top_logprobs": 2,
        "tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "auto",
        "parallel_tool_calls": false, "n": 3, "reasoning_effort": "low",
        "response_format": {"type": "json_object"},
        "chat_template_kwargs": {"enable_thinking": false}, "role_mapping": {"user": "U"},
    }))
    .expect("valid");
    assert_eq!((options.model.as_str(), options.stream, options.include_usage), ("m", true, true));
    let s = &request.sampling;
    assert_eq!(request.max_tokens, 9);
    assert_eq!((s.temperature, s.top_p, s.top_k, s.min_p), (1.0, 0.5, 4, 0.25));
    assert_eq!((s.repetition_penalty, s.repetition_context_size), (1.5, 3));
    assert_eq!((s.presence_penalty, s.presence_context_size), (-0.5, 4));
    assert_eq!((s.frequency_penalty, s.frequency_context_size), (2.0, 0));
    assert_eq!((s.xtc_probability, s.xtc_threshold, s.seed), (0.5, 0.25, Some(u64::MAX)));
    assert_eq!(
        s.logit_bias.iter().map(|(k, v)| (*k, *v)).collect::<Vec<_>>(),
        [(3, 1.0), (4, -0.5), (5, 2.5)]
    );
    assert_eq!((request.stop.len(), request.top_logprobs), (2, Some(2)));
    assert_eq!((request.choices, &request.format), (3, &Format::JsonObject));
    let Prompt::Chat(chat) = request.prompt else { panic!("not a chat") };
    assert_eq!((chat.messages.len(), chat.tools.len()), (1, 1));
    assert_eq!((chat.thinking, chat.one_call), (Some(true), true));
    assert_eq!(chat.template_kwargs["enable_thinking"], false);
    assert_eq!(chat.template_kwargs["reasoning_effort"], "low");
    assert_eq!(chat.role_mapping.expect("given")["user"], "U");
}

#[test]
fn defaults_are_those_of_the_flags() {
    let flags = Defaults { max_tokens: 3, temperature: 0.5, top_p: 0.25, top_k: 2, min_p: 0.125 };
    let (options, request) = completions::parse(br#"{"prompt": "x"}"#, &flags).expect("valid");
    let s = &request.sampling;
    assert_eq!((options.model.as_str(), options.stream), ("default_model", false));
    assert_eq!(
        (request.max_tokens, s.temperature, s.top_p, s.top_k, s.min_p),
        (3, 0.5, 0.25, 2, 0.125)
    );
    assert_eq!((s.xtc_threshold, s.repetition_context_size, request.top_logprobs), (0.1, 20, None));
}

/// Neutral values, labels, and null for anything.
#[rstest]
#[case(json!({"n": 1, "best_of": 1, "response_format": {"type": "text"}, "modalities": ["text"]}))]
#[case(json!({"user": "u", "metadata": {"a": "b"}, "store": true, "service_tier": "auto", "safety_identifier": "x", "prompt_cache_key": "k"}))]
#[case(json!({"temperature": null, "max_tokens": null, "stop": null, "stream": null, "seed": null, "logit_bias": null, "foo": null}))]
#[case(json!({"draft_model": "default_model", "num_draft_tokens": 3, "adapters": null, "verbosity": "medium", "functions": []}))]
#[case(json!({"stop": "", "top_logprobs": -1}))]
#[case(json!({"stream_options": {"include_usage": null}}))]
fn harmless_fields_are_taken(#[case] extra: Value) {
    let plain = parse_chat(&json!({})).expect("valid");
    assert_eq!(parse_chat(&extra).expect("valid"), plain);
    parse_text(&extra).expect("valid");
}

#[rstest]
#[case(json!({"logprobs": true}), Some(0))]
#[case(json!({"logprobs": true, "top_logprobs": -1}), Some(0))]
#[case(json!({"top_logprobs": 3}), Some(3))]
#[case(json!({"logprobs": false, "top_logprobs": 0}), None)]
fn logprobs_switch_on_as_in_mlx_lm(#[case] extra: Value, #[case] want: Option<usize>) {
    assert_eq!(parse_chat(&extra).expect("valid").1.top_logprobs, want);
}

#[rstest]
#[case(json!({"logprobs": null}), None)]
#[case(json!({"logprobs": false}), None)]
#[case(json!({"logprobs": true}), Some(0))]
#[case(json!({"logprobs": true, "top_logprobs": 2}), Some(2))]
#[case(json!({"logprobs": 0}), Some(0))]
#[case(json!({"logprobs": 5}), Some(5))]
#[case(json!({"logprobs": 20, "top_logprobs": 20}), Some(20))]
fn completions_take_a_number_of_logprobs(#[case] extra: Value, #[case] want: Option<usize>) {
    assert_eq!(parse_text(&extra).expect("valid").1.top_logprobs, want);
}

#[rstest]
#[case(json!({}), None)]
#[case(json!({"reasoning_effort": "none"}), Some(false))]
#[case(json!({"reasoning_effort": "xhigh"}), Some(true))]
fn efforts(#[case] extra: Value, #[case] want: Option<bool>) {
    let Prompt::Chat(chat) = parse_chat(&extra).expect("valid").1.prompt else {
        panic!("not a chat")
    };
    assert_eq!(chat.thinking, want);
}

#[test]
fn tool_choice_none_arrives() {
    let extra = json!({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "none", "parallel_tool_calls": true});
    let Prompt::Chat(chat) = parse_chat(&extra).expect("valid").1.prompt else {
        panic!("not a chat")
    };
    assert_eq!(chat.tool_choice, ToolChoice::None);
}

#[rstest]
#[case(json!("text"), Prompt::Text("text".into()))]
#[case(json!(["text"]), Prompt::Text("text".into()))]
#[case(json!([1, 2]), Prompt::Tokens(vec![1, 2]))]
fn prompts(#[case] prompt: Value, #[case] want: Prompt) {
    assert_eq!(parse_text(&json!({ "prompt": prompt })).expect("valid").1.prompt, want);
}
