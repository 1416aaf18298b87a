//! `<tool_call><function=f><parameter=p>v</parameter></function></tool_call>`, with the line breaks
//! that the models' templates write.

use super::{Tool, values};
use crate::{
    Result,
    text::lark::{Lark, literal},
};

/// What would be read as markup inside a value.
const WITHOUT: [&str; 4] = ["</function>", "</tool_call>", "<parameter=", "<function="];

pub(super) fn call(lark: &mut Lark<'_>, tool: &Tool<'_>) -> Result<String> {
    let writable = |c: char| !c.is_whitespace() && !c.is_control() && !"<>".contains(c);
    let name = tool.written(writable)?;
    let mut parts = vec![literal(&format!("\n<function={name}>\n"))];
    for parameter in values::parameters(lark, tool, |name| name.chars().all(writable))? {
        let open = literal(&format!("<parameter={}>\n", parameter.name));
        let value = values::until(lark, tool, parameter.schema, ("\n", "</parameter>"), &WITHOUT);
        let optional = if parameter.required { "" } else { "?" };
        parts.push(format!("({open} {value} \"\\n\"){optional}"));
    }
    parts.extend([literal("</function>\n"), lark.marker("</tool_call>")]);
    Ok(lark.rule(&parts.join(" ")))
}
