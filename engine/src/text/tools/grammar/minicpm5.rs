//! `<function name="f"><param name="p">v</param></function>`.

use super::{Tool, values};
use crate::{
    Result,
    text::lark::{Lark, literal},
};

/// What would end the call inside a value.
const WITHOUT: [&str; 1] = ["</function>"];

pub(super) fn call(lark: &mut Lark<'_>, tool: &Tool<'_>) -> Result<String> {
    let name = tool.written(|c| !c.is_control() && !"\"<>".contains(c))?;
    let mut parts = vec![literal(&format!("\"{name}\">"))];
    let writable = |name: &str| !name.contains(['"', '\n']);
    for parameter in values::parameters(lark, tool, writable)? {
        let open = literal(&format!("<param name=\"{}\">", parameter.name));
        let value = values::until(lark, tool, parameter.schema, ("", "</param>"), &WITHOUT);
        let optional = if parameter.required { "" } else { "?" };
        parts.push(format!("({open} {value}){optional}"));
    }
    parts.push(lark.marker("</function>"));
    Ok(lark.rule(&parts.join(" ")))
}
