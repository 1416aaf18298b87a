//! Forced calls in every format: what the grammar allows is what the format's parser reads.

use std::fs;

use super::*;
use crate::text::ToolFormat;

/// The demo model's tokenizer, told that the model writes calls in another format.
fn speaking(format: ToolFormat) -> (Tokenizer, Compiler) {
    let name = match format {
        ToolFormat::Gemma4 => "gemma4",
        ToolFormat::Json => "json_tools",
        ToolFormat::MiniCpm5 => "minicpm5",
        ToolFormat::Qwen3Coder => "qwen3_coder",
    };
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/model");
    let dir = tempfile::tempdir().unwrap();
    let read = |file: &str| fs::read(from.join(file)).unwrap();
    fs::write(dir.path().join("tokenizer.json"), read("tokenizer.json")).unwrap();
    fs::write(dir.path().join("config.json"), read("config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&read("tokenizer_config.json")).unwrap();
    config["tool_parser_type"] = name.into();
    fs::write(dir.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    let tokenizer = Tokenizer::load(dir.path()).unwrap();
    assert_eq!(tokenizer.tool_format(), Some(format));
    let compiler = Compiler::new(&tokenizer, VOCAB).unwrap();
    (tokenizer, compiler)
}

fn trip() -> Value {
    tool(
        "plan_trip",
        json!({"type": "object", "required": ["city", "days"], "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer", "minimum": 1, "maximum": 30},
            "unit": {"enum": ["metric", "imperial"]},
            "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
            "at": {"$ref": "#/$defs/place"}, "fast": {"type": "boolean"}},
            "$defs": {"place": {"type": "object", "required": ["lat"],
                "properties": {"lat": {"type": "number"}, "in": {"$ref": "#/$defs/place"}}}}}),
    )
}

#[rstest]
#[case(ToolFormat::Gemma4, &[
    r#"call:plan_trip{city:<|"|>Oslo<|"|>,days:3}"#,
    r#"call:plan_trip{city:<|"|>Oslo<|"|>,days:3,unit:<|"|>metric<|"|>,tags:[<|"|>a<|"|>,<|"|>b<|"|>],at:{lat:1.5},fast:true}"#,
    r#"call:plan_trip{city:<|"|>Oslo<|"|>,days:3,at:{lat:1,in:{lat:-2}}}"#,
], &[
    "call:plan_trip{city:Oslo,days:3}",
    r#"call:plan_trip{city:<|"|>Oslo<|"|>}"#,
    r#"call:plan_trip{city:<|"|>Oslo<|"|>,days:31}"#,
    r#"call:plan_trip{days:3,city:<|"|>Oslo<|"|>}"#,
    r#"call:plan_trip{city:<|"|>Oslo<|"|>,days:3,unit:<|"|>other<|"|>}"#,
    r#"call:plan_trip{city:<|"|>Oslo<|"|>,days:3,tags:[<|"|>a<|"|>,<|"|>b<|"|>,<|"|>c<|"|>]}"#,
    r#"call:other{city:<|"|>Oslo<|"|>,days:3}"#,
])]
#[case(ToolFormat::Json, &[
    "\n{\"name\": \"plan_trip\", \"arguments\": {\"city\": \"Oslo\", \"days\": 3}}\n",
    "\n{\"name\": \"plan_trip\", \"arguments\": {\"city\": \"Oslo\", \"days\": 3, \"at\": {\"lat\": 1, \"in\": {\"lat\": 2}}}}\n",
], &[
    "\n{\"name\": \"plan_trip\", \"arguments\": {\"city\": \"Oslo\", \"days\": \"3\"}}\n",
    "\n{\"name\": \"plan_trip\", \"arguments\": {\"city\": \"Oslo\"}}\n",
    "\n{\"name\": \"other\", \"arguments\": {\"city\": \"Oslo\", \"days\": 3}}\n",
])]
#[case(ToolFormat::MiniCpm5, &[
    "\"plan_trip\"><param name=\"city\">Oslo</param><param name=\"days\">3</param>",
    "\"plan_trip\"><param name=\"city\"><![CDATA[a < b]]></param><param name=\"days\">3</param><param name=\"tags\">[\"a\"]</param><param name=\"fast\">true</param>",
], &[
    "\"plan_trip\"><param name=\"city\">Oslo</param>",
    "\"plan_trip\"><param name=\"city\">Oslo</param><param name=\"days\">31</param>",
    "\"plan_trip\"><param name=\"city\">Oslo</param><param name=\"days\">3</param><param name=\"unit\">other</param>",
])]
#[case(ToolFormat::Qwen3Coder, &[
    "\n<function=plan_trip>\n<parameter=city>\nOslo\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>\n",
    "\n<function=plan_trip>\n<parameter=city>\na\n< b\n</parameter>\n<parameter=days>\n3\n</parameter>\n<parameter=unit>\nmetric\n</parameter>\n<parameter=at>\n{\"lat\": 1}\n</parameter>\n</function>\n",
], &[
    "\n<function=plan_trip>\n<parameter=city>\nOslo\n</parameter>\n</function>\n",
    "\n<function=plan_trip>\n<parameter=city>\nOslo\n</parameter>\n<parameter=days>\nx\n</parameter>\n</function>\n",
    "\n<function=plan_trip>\n<parameter=city>\na</parameter>b\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>\n",
    "\n<function=other>\n</function>\n",
])]
fn grammars_allow_what_parsers_read(
    #[case] format: ToolFormat,
    #[case] good: &[&str],
    #[case] bad: &[&str],
) {
    let (tokenizer, compiler) = speaking(format);
    let tools = vec![trip()];
    let constraint =
        compiler.compile(&calls(tools.clone(), true, false), Channel::Content).unwrap();
    let accepts = |body: &str| {
        let text = format!("{}{body}{}", format.start(), format.end());
        follow_by(&tokenizer, &mut constraint.matcher(), &text) == (text.len(), true)
    };
    for body in good {
        assert!(accepts(body), "{body}");
        let read = format.parser().parse(body, &tools).unwrap();
        let arguments: Value = serde_json::from_str(&read[0].arguments).unwrap();
        assert_eq!((read.len(), read[0].name.as_str()), (1, "plan_trip"));
        assert!(arguments["city"].is_string() && arguments["days"] == 3, "{arguments}");
    }
    for body in bad {
        assert!(!accepts(body), "{body}");
    }
}

#[rstest]
#[case(ToolFormat::Gemma4, "a b")]
#[case(ToolFormat::MiniCpm5, "a\"b")]
#[case(ToolFormat::Qwen3Coder, "a>b")]
fn names_that_a_format_cannot_write(#[case] format: ToolFormat, #[case] name: &str) {
    let (_, compiler) = speaking(format);
    let refused = |tool| {
        let grammar = calls(vec![tool], true, false);
        matches!(
            compiler.compile(&grammar, Channel::Content),
            Err(Error::Grammar { part: Part::Tool(_), .. })
        )
    };
    assert!(refused(tool(name, Value::Null)));
    let parameters = json!({"properties": {"a\"b>\n": {}}, "required": ["a\"b>\n"]});
    if format != ToolFormat::Gemma4 {
        assert!(refused(tool("f", parameters)));
    }
}

/// Keywords that such a format's grammar does not know.
#[rstest]
fn what_a_format_does_not_keep_is_refused_if_strict(
    #[values(ToolFormat::Gemma4, ToolFormat::MiniCpm5, ToolFormat::Qwen3Coder)] format: ToolFormat,
    #[values(
        json!({"type": "string", "pattern": "^a$"}),
        json!({"type": ["string", "null"], "format": "uuid"}),
        json!({"type": "array", "items": {"type": "integer"}, "uniqueItems": true}),
        json!({"type": "integer", "maximum": i64::MAX})
    )]
    parameter: Value,
) {
    let (_, compiler) = speaking(format);
    let compiles = |strict: bool, parameter: &Value| {
        let mut tool = tool("f", json!({"type": "object", "properties": {"a": parameter}}));
        tool["function"]["strict"] = strict.into();
        compiler.compile(&calls(vec![tool], true, false), Channel::Content).is_ok()
    };
    assert!(compiles(false, &parameter));
    assert!(!compiles(true, &parameter));
    assert!(compiles(true, &json!({"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]})));
}

#[test]
fn lenient_unless_strict() {
    let (_, compiler) = speaking(ToolFormat::Json);
    let parameters = json!({"type": "object", "properties": {"a": {"not": {"type": "null"}}}});
    let mut tool = tool("f", parameters);
    let compiles = |tool: &Value| {
        compiler.compile(&calls(vec![tool.clone()], true, false), Channel::Content).is_ok()
    };
    assert!(compiles(&tool));
    tool["function"]["strict"] = true.into();
    assert!(!compiles(&tool));
}
