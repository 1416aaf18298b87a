//! `tools`, `tool_choice` and `parallel_tool_calls`.

use serde_json::{Map, Value};

use super::messages::check_tools;
use crate::{
    core::ToolChoice,
    error::{ApiError, ApiResult},
    limits,
    wire::fields::{Fields, quoted},
};

/// Which tools a request offers, and what the model is to do with them.
#[derive(Debug, Default)]
pub struct Offer {
    /// Their descriptions.
    pub tools: Vec<Value>,
    /// Which of them may or must be called.
    pub choice: ToolChoice,
    /// At most one call.
    pub one_call: bool,
}

/// Takes the three fields.
pub fn take(body: &mut Fields) -> ApiResult<Offer> {
    let tools = body.array("tools", limits::MAX_TOOLS)?.unwrap_or_default();
    check_tools(&tools)?;
    let one_call = !body.bool("parallel_tool_calls", true)?;
    let mut offer = Offer { tools, choice: ToolChoice::Auto, one_call };
    match body.take("tool_choice") {
        None => {}
        Some(Value::String(word)) => offer.choice = by_word(&word)?,
        Some(Value::Object(map)) => by_object(&mut offer, &map)?,
        Some(_) => return Err(refused()),
    }
    let forced = matches!(offer.choice, ToolChoice::Required | ToolChoice::Named(_));
    if forced && offer.tools.is_empty() {
        let message = "tool_choice asks for a call, but tools has none that could be called";
        return Err(ApiError::field("tool_choice", message));
    }
    Ok(offer)
}

fn refused() -> ApiError {
    ApiError::unsupported(
        "tool_choice",
        "tool_choice must be \"none\", \"auto\", \"required\", {\"type\": \"function\", \"function\": \
         {\"name\": …}} or {\"type\": \"allowed_tools\", …}",
    )
}

fn by_word(word: &str) -> ApiResult<ToolChoice> {
    match word {
        "auto" => Ok(ToolChoice::Auto),
        "none" => Ok(ToolChoice::None),
        "required" => Ok(ToolChoice::Required),
        _ => Err(refused()),
    }
}

fn by_object(offer: &mut Offer, choice: &Map<String, Value>) -> ApiResult<()> {
    match choice.get("type").and_then(Value::as_str) {
        Some("function") => {
            let name = choice.get("function").and_then(function_name).ok_or_else(refused)?;
            offered(&offer.tools, name)?;
            offer.choice = ToolChoice::Named(name.to_owned());
        }
        Some("allowed_tools") => {
            let allowed = choice.get("allowed_tools").ok_or_else(refused)?;
            let tools = allowed.get("tools").and_then(Value::as_array).ok_or_else(refused)?;
            let names = tools
                .iter()
                .map(|tool| tool.get("function").and_then(function_name).ok_or_else(refused))
                .collect::<ApiResult<Vec<_>>>()?;
            names.iter().try_for_each(|name| offered(&offer.tools, name))?;
            let mode = allowed.get("mode").and_then(Value::as_str).unwrap_or_default();
            offer.choice =
                by_word(mode).ok().filter(|c| *c != ToolChoice::None).ok_or_else(refused)?;
            offer.tools.retain(|tool| {
                tool.get("function").and_then(function_name).is_some_and(|n| names.contains(&n))
            });
        }
        _ => return Err(refused()),
    }
    Ok(())
}

fn function_name(function: &Value) -> Option<&str> {
    function.get("name").and_then(Value::as_str)
}

fn offered(tools: &[Value], name: &str) -> ApiResult<()> {
    let mut names = tools.iter().filter_map(|tool| tool.get("function").and_then(function_name));
    if names.any(|n| n == name) {
        Ok(())
    } else {
        let message = format!("tool_choice names {}, which tools does not have", quoted(name));
        Err(ApiError::field("tool_choice", message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn parse(mut body: Value) -> ApiResult<Offer> {
        body["tools"] = json!([
            {"type": "function", "function": {"name": "f"}},
            {"type": "function", "function": {"name": "g"}}]);
        take(&mut Fields::parse(body.to_string().as_bytes()).unwrap())
    }

    #[rstest]
    #[case(json!({}), ToolChoice::Auto, 2)]
    #[case(json!({"tool_choice": "auto"}), ToolChoice::Auto, 2)]
    #[case(json!({"tool_choice": "none"}), ToolChoice::None, 2)]
    #[case(json!({"tool_choice": "required"}), ToolChoice::Required, 2)]
    #[case(json!({"tool_choice": {"type": "function", "function": {"name": "g"}}}), ToolChoice::Named("g".into()), 2)]
    #[case(json!({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required",
        "tools": [{"type": "function", "function": {"name": "g"}}]}}}), ToolChoice::Required, 1)]
    fn choices(#[case] body: Value, #[case] choice: ToolChoice, #[case] tools: usize) {
        let offer = parse(body).unwrap();
        assert_eq!((offer.choice, offer.tools.len(), offer.one_call), (choice, tools, false));
    }

    #[rstest]
    #[case(json!({"tool_choice": "any"}))]
    #[case(json!({"tool_choice": 1}))]
    #[case(json!({"tool_choice": {"type": "custom", "custom": {"name": "f"}}}))]
    #[case(json!({"tool_choice": {"type": "function", "function": {"name": "h"}}}))]
    #[case(json!({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "none", "tools": []}}}))]
    #[case(json!({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": []}}}))]
    fn bad_choices(#[case] body: Value) {
        assert_eq!(parse(body).unwrap_err().param.as_deref(), Some("tool_choice"));
    }

    #[test]
    fn one_call() {
        assert!(parse(json!({"parallel_tool_calls": false})).unwrap().one_call);
        let error = parse(json!({"parallel_tool_calls": 0})).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("parallel_tool_calls"));
    }
}
