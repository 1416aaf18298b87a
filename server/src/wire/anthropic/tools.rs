//! Tools, and which of them may or must be used.

use serde_json::{Map, Value, json};

use super::take_cache_control;
use crate::{
    core::ToolChoice,
    error::{ApiError, ApiResult},
    limits,
    wire::fields::{Fields, is_empty, missing, quoted},
};

/// The tools of a request.
#[derive(Debug, Default, PartialEq)]
pub struct Offer {
    /// As templates see them.
    pub tools: Vec<Value>,
    /// Which may or must be used.
    pub choice: ToolChoice,
    /// At most one use per answer.
    pub one_call: bool,
}

/// Takes `tools` and `tool_choice`.
pub fn take(body: &mut Fields) -> ApiResult<Offer> {
    let mut offer = Offer::default();
    let mut names: Vec<String> = Vec::new();
    for (i, tool) in
        body.array("tools", limits::MAX_TOOLS)?.unwrap_or_default().into_iter().enumerate()
    {
        let at = format!("tools.{i}");
        let (name, tool) = read(&at, tool)?;
        if names.contains(&name) {
            let message = format!("{at}.name: there are two tools named {}", quoted(&name));
            return Err(ApiError::field(at, message));
        }
        names.push(name);
        offer.tools.push(tool);
    }
    if let Some(choice) = body.take("tool_choice") {
        (offer.choice, offer.one_call) = read_choice(choice, &names)?;
    }
    if offer.choice == ToolChoice::None {
        offer.tools.clear();
    }
    Ok(offer)
}

/// A tool's name, and the tool as templates see it.
fn read(at: &str, tool: Value) -> ApiResult<(String, Value)> {
    let mut tool = Fields::within(at, tool)?;
    if let Some(kind) = tool.string("type")?
        && kind != "custom"
    {
        let kind = quoted(&kind);
        let message =
            format!("{at}: the tool {kind} is not supported, only tools of type custom are");
        return Err(ApiError::unsupported(at, message));
    }
    let name = tool.required_string("name")?;
    check_name(&tool.label("name"), &name)?;
    let schema =
        tool.object("input_schema")?.ok_or_else(|| missing(&tool.label("input_schema")))?;
    if schema.get("type").is_some_and(|kind| kind != "object") {
        let at = tool.label("input_schema.type");
        return Err(ApiError::field(at.clone(), format!("{at} must be \"object\"")));
    }
    let description = tool.string("description")?;
    let strict = tool.bool("strict", false)?;
    take_cache_control(&mut tool)?;
    // Arguments are always streamed as they come.
    tool.bool("eager_input_streaming", true)?;
    refuse_unhonoured(&mut tool)?;
    tool.finish()?;
    let mut function = Map::new();
    function.insert("name".to_owned(), name.as_str().into());
    function.extend(description.map(|text| ("description".to_owned(), text.into())));
    function.insert("parameters".to_owned(), schema.into());
    function.extend(strict.then(|| ("strict".to_owned(), true.into())));
    Ok((name, json!({"type": "function", "function": function})))
}

fn check_name(at: &str, name: &str) -> ApiResult<()> {
    let most = limits::MAX_ANTHROPIC_TOOL_NAME_BYTES;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if (1..=most).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    let message = format!("{at} must have 1 to {most} letters, digits, underscores and hyphens");
    Err(ApiError::field(at, message))
}

fn refuse_unhonoured(tool: &mut Fields) -> ApiResult<()> {
    let off = |v: &Value| v.as_bool() == Some(false);
    tool.refuse_unless("defer_loading", "must be false: there is no tool search", off)?;
    tool.refuse_unless("input_examples", "are not supported: describe the input", is_empty)?;
    tool.refuse_unless("allowed_callers", "must be [\"direct\"]: tools run at the client", |v| {
        *v == json!(["direct"])
    })
}

fn read_choice(choice: Value, names: &[String]) -> ApiResult<(ToolChoice, bool)> {
    const AT: &str = "tool_choice";
    let mut choice = Fields::within(AT, choice)?;
    let kind = choice.required_string("type")?;
    let one_call = choice.bool("disable_parallel_tool_use", false)?;
    let read = match kind.as_str() {
        "auto" => ToolChoice::Auto,
        "none" => ToolChoice::None,
        "any" => ToolChoice::Required,
        "tool" => ToolChoice::Named(choice.required_string("name")?),
        other => {
            let message =
                format!("{AT}.type must be auto, any, tool or none, not {}", quoted(other));
            return Err(ApiError::field("tool_choice.type", message));
        }
    };
    choice.finish()?;
    match &read {
        ToolChoice::Required if names.is_empty() => {
            Err(ApiError::field(AT, "tool_choice asks for a tool, but tools has none"))
        }
        ToolChoice::Named(name) if !names.contains(name) => {
            let message = format!("tool_choice.name: tools has no {}", quoted(name));
            Err(ApiError::field("tool_choice.name", message))
        }
        _ => Ok((read, one_call)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn read_body(body: &Value) -> ApiResult<Offer> {
        take(&mut Fields::parse(body.to_string().as_bytes()).unwrap())
    }

    fn with(tool: Value) -> ApiResult<Offer> {
        let mut full = json!({"name": "f", "input_schema": {"type": "object"}});
        full.as_object_mut().unwrap().extend(tool.as_object().unwrap().clone());
        read_body(&json!({ "tools": [full] }))
    }

    #[test]
    fn tools_become_functions() {
        let schema = json!({"type": "object", "properties": {"x": {"type": "integer"}}});
        let got = read_body(&json!({"tools": [
            {"name": "f", "description": "d", "input_schema": schema, "cache_control": {"type": "ephemeral"}},
            {"type": "custom", "name": "g-1_B", "input_schema": {}, "eager_input_streaming": true, "strict": false,
             "defer_loading": false, "input_examples": [], "allowed_callers": ["direct"]}]}))
        .unwrap();
        let want = [
            json!({"type": "function", "function": {"name": "f", "description": "d", "parameters": schema}}),
            json!({"type": "function", "function": {"name": "g-1_B", "parameters": {}}}),
        ];
        assert_eq!(got, Offer { tools: want.to_vec(), ..Offer::default() });
    }

    #[rstest]
    #[case(json!({"type": "web_search_20250305"}), "tools.0: the tool web_search_20250305 is not supported, only tools of type custom are")]
    #[case(json!({"type": "bash_20250124"}), "tools.0: the tool bash_20250124 is not supported, only tools of type custom are")]
    #[case(json!({"name": ""}), "tools.0.name must have 1 to 128 letters, digits, underscores and hyphens")]
    #[case(json!({"name": "a b"}), "tools.0.name must have 1 to 128 letters, digits, underscores and hyphens")]
    #[case(json!({"name": null}), "tools.0.name is missing")]
    #[case(json!({"input_schema": null}), "tools.0.input_schema is missing")]
    #[case(json!({"input_schema": {"type": "string"}}), "tools.0.input_schema.type must be \"object\"")]
    #[case(json!({"description": 1}), "tools.0.description must be of type str")]
    #[case(json!({"strict": 1}), "tools.0.strict must be of type bool")]
    #[case(json!({"defer_loading": true}), "tools.0.defer_loading must be false: there is no tool search")]
    #[case(json!({"input_examples": [{}]}), "tools.0.input_examples are not supported: describe the input")]
    #[case(json!({"allowed_callers": ["code_execution_20250825"]}), "tools.0.allowed_callers must be [\"direct\"]: tools run at the client")]
    #[case(json!({"max_uses": 1}), "tools.0.max_uses is not a field that this server honours; remove it")]
    fn others_are_refused(#[case] tool: Value, #[case] message: &str) {
        let e = with(tool).unwrap_err();
        assert_eq!((e.status.as_u16(), e.message.as_str()), (400, message));
    }

    #[test]
    fn strict_is_passed_on() {
        let tools = with(json!({"strict": true})).unwrap().tools;
        assert_eq!(tools[0]["function"]["strict"], true);
    }

    #[test]
    fn names_are_unique() {
        let tool = json!({"name": "f", "input_schema": {}});
        let e = read_body(&json!({"tools": [tool, tool]})).unwrap_err();
        assert_eq!(e.message, "tools.1.name: there are two tools named f");
    }

    #[rstest]
    #[case(json!({"type": "auto"}), ToolChoice::Auto, false)]
    #[case(json!({"type": "auto", "disable_parallel_tool_use": true}), ToolChoice::Auto, true)]
    #[case(json!({"type": "any"}), ToolChoice::Required, false)]
    #[case(json!({"type": "any", "disable_parallel_tool_use": true}), ToolChoice::Required, true)]
    #[case(json!({"type": "tool", "name": "f"}), ToolChoice::Named("f".into()), false)]
    #[case(json!({"type": "none"}), ToolChoice::None, false)]
    fn choices(#[case] choice: Value, #[case] want: ToolChoice, #[case] one_call: bool) {
        let tools = json!([{"name": "f", "input_schema": {}}]);
        let got = read_body(&json!({"tools": tools, "tool_choice": choice})).unwrap();
        assert_eq!((got.choice, got.one_call), (want, one_call));
    }

    #[rstest]
    #[case(json!("auto"), "tool_choice must be of type dict")]
    #[case(json!({}), "tool_choice.type is missing")]
    #[case(json!({"type": "required"}), "tool_choice.type must be auto, any, tool or none, not required")]
    #[case(json!({"type": "any"}), "tool_choice asks for a tool, but tools has none")]
    #[case(json!({"type": "tool"}), "tool_choice.name is missing")]
    #[case(json!({"type": "tool", "name": "g"}), "tool_choice.name: tools has no g")]
    #[case(json!({"type": "auto", "name": "g"}), "tool_choice.name is not a field that this server honours; remove it")]
    #[case(json!({"type": "auto", "disable_parallel_tool_use": 1}), "tool_choice.disable_parallel_tool_use must be of type bool")]
    fn bad_choices_are_refused(#[case] choice: Value, #[case] message: &str) {
        let e = read_body(&json!({ "tool_choice": choice })).unwrap_err();
        assert_eq!((e.status.as_u16(), e.message.as_str()), (400, message));
    }
}
