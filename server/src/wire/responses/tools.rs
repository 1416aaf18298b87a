//! The tools that a client offers, as the model sees them and as the client knows them.
//!
//! The model sees functions alone. A custom tool is a function of one string, `input`. A tool of a
//! namespace bears the namespace in its name.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    core::ToolChoice,
    error::{ApiError, ApiResult},
    limits,
    wire::fields::{Fields, quoted},
};

/// Tools that OpenAI runs on its own machines.
const HOSTED: &[&str] = &[
    "code_interpreter",
    "computer",
    "computer_use_preview",
    "file_search",
    "image_generation",
    "mcp",
    "tool_search",
    "web_search",
    "web_search_2025_08_26",
    "web_search_preview",
    "web_search_preview_2025_03_11",
];

/// The tools of a request.
#[derive(Debug, Clone, Default)]
pub struct Toolbox {
    /// As templates see them.
    pub offered: Vec<Value>,
    /// As the client gave them, those that were passed over aside.
    pub given: Vec<Value>,
    /// Those offered, by the name that the model knows.
    known: BTreeMap<String, Tool>,
}

/// A tool as the client knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: Option<String>,
    /// It takes text instead of JSON.
    pub custom: bool,
}

impl Toolbox {
    /// Reads `tools`; `ignore_hosted` passes over those that only OpenAI can run.
    ///
    /// # Errors
    /// 400 that names the tool and the field.
    pub fn read(tools: Vec<Value>, ignore_hosted: bool) -> ApiResult<Self> {
        let mut toolbox = Self::default();
        for (i, tool) in tools.into_iter().enumerate() {
            let at = format!("tools[{i}]");
            let given = tool.clone();
            let mut tool = Fields::within(&at, tool)?;
            match tool.required_string("type")?.as_str() {
                "namespace" => toolbox.namespace(tool)?,
                kind if HOSTED.contains(&kind) => {
                    if !ignore_hosted {
                        return Err(hosted(&at, kind));
                    }
                    tracing::debug!(kind, "passed over a hosted tool");
                    continue;
                }
                kind => toolbox.callable(kind, tool, None)?,
            }
            toolbox.given.push(given);
        }
        if toolbox.offered.len() > limits::MAX_TOOLS {
            let message = format!("tools must have at most {} items", limits::MAX_TOOLS);
            return Err(ApiError::field("tools", message));
        }
        Ok(toolbox)
    }

    fn namespace(&mut self, mut tool: Fields) -> ApiResult<()> {
        let at = tool.label("tools");
        let namespace = name(&mut tool)?;
        tool.string("description")?;
        let tools = tool.array("tools", limits::MAX_TOOLS)?.unwrap_or_default();
        tool.finish()?;
        for (i, tool) in tools.into_iter().enumerate() {
            let mut tool = Fields::within(format!("{at}[{i}]"), tool)?;
            let kind = tool.required_string("type")?;
            self.callable(&kind, tool, Some(&namespace))?;
        }
        Ok(())
    }

    fn callable(&mut self, kind: &str, mut tool: Fields, namespace: Option<&str>) -> ApiResult<()> {
        let (at, custom) = match kind {
            "function" => (tool.label("name"), false),
            "custom" => (tool.label("name"), true),
            _ => {
                let at = tool.label("type");
                let kind = quoted(kind);
                let message =
                    format!("{at}: {kind} is not supported; offer a function that does the same");
                return Err(ApiError::unsupported(at, message));
            }
        };
        let name = name(&mut tool)?;
        let description = tool.string("description")?;
        let parameters = if custom { custom_input(&mut tool)? } else { parameters(&mut tool)? };
        // Every tool is offered at once, and directly.
        tool.bool("defer_loading", false)?;
        let strict = tool.bool("strict", false)?;
        tool.ignore(&["allowed_callers", "output_schema"]);
        tool.finish()?;
        let shown = presented(namespace, &name);
        self.offered.push(function(&shown, description, &parameters, strict));
        let known = Tool { name, namespace: namespace.map(str::to_owned), custom };
        if self.known.insert(shown.clone(), known).is_some() {
            let shown = quoted(&shown);
            let message = format!("{at}: there are two tools named {shown}");
            return Err(ApiError::field(at, message));
        }
        Ok(())
    }

    /// The name by which the model knows a tool.
    pub fn presented(&self, namespace: Option<&str>, name: &str) -> String {
        presented(namespace, name)
    }

    /// The tool that the model calls `name`; a function where it made the name up.
    pub fn called(&self, name: &str) -> Tool {
        self.known.get(name).cloned().unwrap_or_else(|| Tool {
            name: name.to_owned(),
            namespace: None,
            custom: false,
        })
    }

    /// Reads `tool_choice`. `none` leaves nothing to offer, and `allowed_tools` what it lists.
    ///
    /// # Errors
    /// 400 for a choice that is unknown or names a tool that was not given.
    pub fn choose(&mut self, choice: Option<&Value>) -> ApiResult<ToolChoice> {
        let choice = match choice {
            None => return Ok(ToolChoice::Auto),
            Some(Value::String(mode)) => mode_of("tool_choice", mode)?,
            Some(choice) => self.specific(choice.clone())?,
        };
        if choice == ToolChoice::None {
            self.offered.clear();
        } else if choice != ToolChoice::Auto && self.offered.is_empty() {
            return Err(ApiError::field("tool_choice", "tool_choice demands a call: give tools"));
        }
        Ok(choice)
    }

    fn specific(&mut self, choice: Value) -> ApiResult<ToolChoice> {
        let mut choice = Fields::within("tool_choice", choice)?;
        let kind = choice.required_string("type")?;
        match kind.as_str() {
            "function" | "custom" => self.named(choice).map(ToolChoice::Named),
            "allowed_tools" => self.allowed(choice),
            _ => {
                let message = format!("tool_choice.type: {} is not supported", quoted(&kind));
                Err(ApiError::unsupported("tool_choice.type", message))
            }
        }
    }

    fn named(&self, mut choice: Fields) -> ApiResult<String> {
        let at = choice.label("name");
        let name = choice.required_string("name")?;
        let namespace = choice.string("namespace")?;
        choice.finish()?;
        let shown = presented(namespace.as_deref(), &name);
        if self.known.contains_key(&shown) {
            return Ok(shown);
        }
        let message = format!("{at}: tools has no tool named {}", quoted(&shown));
        Err(ApiError::field(at, message))
    }

    fn allowed(&mut self, mut choice: Fields) -> ApiResult<ToolChoice> {
        let mode = mode_of("tool_choice.mode", &choice.required_string("mode")?)?;
        let tools = choice.array("tools", limits::MAX_TOOLS)?.unwrap_or_default();
        choice.finish()?;
        let names = tools
            .into_iter()
            .enumerate()
            .map(|(i, tool)| {
                let mut tool = Fields::within(format!("tool_choice.tools[{i}]"), tool)?;
                tool.take("type");
                self.named(tool)
            })
            .collect::<ApiResult<Vec<String>>>()?;
        self.offered.retain(|tool| {
            tool["function"]["name"].as_str().is_some_and(|name| names.iter().any(|n| n == name))
        });
        Ok(mode)
    }
}

fn mode_of(at: &str, mode: &str) -> ApiResult<ToolChoice> {
    match mode {
        "none" => Ok(ToolChoice::None),
        "auto" => Ok(ToolChoice::Auto),
        "required" => Ok(ToolChoice::Required),
        _ => {
            let mode = quoted(mode);
            Err(ApiError::field(at, format!("{at} must be none, auto or required, not {mode}")))
        }
    }
}

fn hosted(at: &str, kind: &str) -> ApiError {
    let at = format!("{at}.type");
    let message = format!(
        "{at}: {kind} is a hosted tool, which this server cannot run; leave it out, or let the \
         server pass over such tools with --ignore-hosted-tools"
    );
    ApiError::unsupported(at, message)
}

/// Namespaces of servers of tools end in underscores already.
fn presented(namespace: Option<&str>, name: &str) -> String {
    match namespace {
        None => name.to_owned(),
        Some(namespace) if namespace.ends_with('_') => format!("{namespace}{name}"),
        Some(namespace) => format!("{namespace}__{name}"),
    }
}

fn name(tool: &mut Fields) -> ApiResult<String> {
    let at = tool.label("name");
    let most = limits::MAX_TOOL_NAME_BYTES;
    match tool.string("name")? {
        Some(name) if !name.is_empty() && name.len() <= most => Ok(name),
        _ => {
            Err(ApiError::field(at.clone(), format!("{at} must be a string of 1 to {most} bytes")))
        }
    }
}

fn parameters(tool: &mut Fields) -> ApiResult<Value> {
    let parameters = tool.object("parameters")?.map(Value::from);
    Ok(parameters.unwrap_or_else(|| json!({"type": "object", "properties": {}})))
}

fn custom_input(tool: &mut Fields) -> ApiResult<Value> {
    let at = tool.label("format");
    if let Some(format) = tool.object("format")?
        && format.get("type").and_then(Value::as_str) != Some("text")
    {
        let message = format!("{at}: a grammar is not supported; only {{\"type\": \"text\"}} is");
        return Err(ApiError::unsupported(at, message));
    }
    Ok(json!({
        "type": "object",
        "properties": {"input": {"type": "string"}},
        "required": ["input"],
    }))
}

fn function(name: &str, description: Option<String>, parameters: &Value, strict: bool) -> Value {
    let mut function = json!({"name": name});
    if let Some(description) = description {
        function["description"] = description.into();
    }
    function["parameters"] = parameters.clone();
    if strict {
        function["strict"] = true.into();
    }
    json!({"type": "function", "function": function})
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn toolbox(tools: Value) -> ApiResult<Toolbox> {
        let Value::Array(tools) = tools else { panic!("a list") };
        Toolbox::read(tools, false)
    }

    fn all() -> Toolbox {
        toolbox(json!([
            {"type": "function", "name": "f", "description": "F", "parameters": {"type": "object"}, "strict": true},
            {"type": "custom", "name": "c", "format": {"type": "text"}},
            {"type": "namespace", "name": "mcp__s__", "description": "S", "tools": [
                {"type": "function", "name": "g", "defer_loading": true}]},
            {"type": "namespace", "name": "n", "description": "N", "tools": [
                {"type": "function", "name": "g", "parameters": null}]},
        ]))
        .unwrap()
    }

    #[test]
    fn the_model_sees_functions() {
        let nothing = json!({"type": "object", "properties": {}});
        let input = json!({"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]});
        let toolbox = all();
        assert_eq!(
            toolbox.offered,
            [
                json!({"type": "function", "function": {"name": "f", "description": "F", "parameters": {"type": "object"},
                                                       "strict": true}}),
                json!({"type": "function", "function": {"name": "c", "parameters": input}}),
                json!({"type": "function", "function": {"name": "mcp__s__g", "parameters": nothing}}),
                json!({"type": "function", "function": {"name": "n__g", "parameters": nothing}}),
            ]
        );
        assert_eq!(toolbox.given.len(), 4);
    }

    #[rstest]
    #[case("f", "f", None, false)]
    #[case("c", "c", None, true)]
    #[case("mcp__s__g", "g", Some("mcp__s__"), false)]
    #[case("n__g", "g", Some("n"), false)]
    #[case("made_up", "made_up", None, false)]
    fn calls_get_their_names_back(
        #[case] called: &str,
        #[case] name: &str,
        #[case] namespace: Option<&str>,
        #[case] custom: bool,
    ) {
        let namespace = namespace.map(str::to_owned);
        let toolbox = all();
        assert_eq!(toolbox.presented(namespace.as_deref(), name), called);
        assert_eq!(toolbox.called(called), Tool { name: name.into(), namespace, custom });
    }

    #[test]
    fn hosted_tools_are_passed_over_where_the_server_says_so() {
        let tools = vec![json!({"type": "web_search"}), json!({"type": "function", "name": "f"})];
        let e = Toolbox::read(tools.clone(), false).unwrap_err();
        assert!(
            e.message.contains("tools[0].type: web_search")
                && e.message.contains("--ignore-hosted-tools")
        );
        let toolbox = Toolbox::read(tools, true).unwrap();
        assert_eq!((toolbox.offered.len(), toolbox.given.len()), (1, 1));
    }

    #[rstest]
    #[case(json!([1]), "tools[0] must be of type dict")]
    #[case(json!([{"name": "f"}]), "tools[0].type is missing")]
    #[case(json!([{"type": "function"}]), "tools[0].name must be a string of 1 to 256 bytes")]
    #[case(json!([{"type": "function", "function": {"name": "f"}}]), "tools[0].name must be a string of 1 to 256 bytes")]
    #[case(json!([{"type": "function", "name": "f", "parameters": 1}]), "tools[0].parameters must be of type dict")]
    #[case(json!([{"type": "local_shell"}]), "tools[0].type: local_shell is not supported; offer a function that does the same")]
    #[case(json!([{"type": "custom", "name": "c", "format": {"type": "grammar"}}]), "tools[0].format: a grammar is not supported; only {\"type\": \"text\"} is")]
    #[case(json!([{"type": "function", "name": "f"}, {"type": "custom", "name": "f"}]), "tools[1].name: there are two tools named f")]
    #[case(json!([{"type": "namespace", "name": "n", "tools": [{"type": "web_search"}]}]), "tools[0].tools[0].type: web_search is not supported; offer a function that does the same")]
    fn bad_tools_are_refused(#[case] tools: Value, #[case] message: &str) {
        let e = toolbox(tools).unwrap_err();
        assert_eq!((e.status.as_u16(), e.message.as_str()), (400, message));
    }

    #[rstest]
    #[case(json!("auto"), ToolChoice::Auto, 4)]
    #[case(json!("none"), ToolChoice::None, 0)]
    #[case(json!("required"), ToolChoice::Required, 4)]
    #[case(json!({"type": "function", "name": "f"}), ToolChoice::Named("f".into()), 4)]
    #[case(json!({"type": "function", "name": "g", "namespace": "n"}), ToolChoice::Named("n__g".into()), 4)]
    #[case(json!({"type": "allowed_tools", "mode": "required", "tools": [{"type": "custom", "name": "c"}]}), ToolChoice::Required, 1)]
    fn choices(#[case] choice: Value, #[case] want: ToolChoice, #[case] offered: usize) {
        let mut toolbox = all();
        assert_eq!(toolbox.choose(Some(&choice)).unwrap(), want);
        assert_eq!(toolbox.offered.len(), offered);
    }

    #[rstest]
    #[case(json!("any"), "tool_choice must be none, auto or required, not any")]
    #[case(json!(1), "tool_choice must be of type dict")]
    #[case(json!({"type": "function", "name": "x"}), "tool_choice.name: tools has no tool named x")]
    #[case(json!({"type": "web_search"}), "tool_choice.type: web_search is not supported")]
    #[case(json!({"type": "allowed_tools", "mode": "auto", "tools": [{"name": "x"}]}), "tool_choice.tools[0].name: tools has no tool named x")]
    fn bad_choices_are_refused(#[case] choice: Value, #[case] message: &str) {
        assert_eq!(all().choose(Some(&choice)).unwrap_err().message, message);
    }

    #[test]
    fn a_forced_call_needs_tools() {
        let e = Toolbox::default().choose(Some(&json!("required"))).unwrap_err();
        assert_eq!(e.message, "tool_choice demands a call: give tools");
    }
}
