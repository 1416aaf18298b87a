//! The system prompt.

use serde_json::Value;

use super::blocks::{self, SEPARATOR};
use crate::{error::ApiResult, wire::fields::Fields};

/// What a coding agent writes at the very front of its system prompt, with a value that changes
/// from request to request. It tells the model nothing, and left where it is no request would begin
/// like the one before, so that the prompt cache could never help.
const BILLING_HEADER: &str = "x-anthropic-billing-header:";

/// Takes `system`: its text, without a billing header.
pub fn take(body: &mut Fields) -> ApiResult<Option<String>> {
    let texts = match body.take("system") {
        None => return Ok(None),
        Some(Value::String(text)) => vec![text],
        Some(blocks) => blocks::texts("system", blocks)?,
    };
    Ok(joined(texts))
}

fn joined(mut texts: Vec<String>) -> Option<String> {
    if let Some(first) = texts.first_mut()
        && first.trim_start().starts_with(BILLING_HEADER)
    {
        let rest = first.trim_start().split_once('\n').map_or("", |(_, rest)| rest);
        *first = rest.trim_start_matches('\n').to_owned();
    }
    texts.retain(|text| !text.is_empty());
    (!texts.is_empty()).then(|| texts.join(SEPARATOR))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    const HEADER: &str = "x-anthropic-billing-header: cc_version=2.1.9.0d9; cch=fa690;";

    fn read(system: &Value) -> Option<String> {
        let body = json!({ "system": system }).to_string();
        take(&mut Fields::parse(body.as_bytes()).unwrap()).unwrap()
    }

    fn text(text: &str) -> Value {
        json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral", "ttl": "1h"}})
    }

    #[rstest]
    #[case(Value::Null, None)]
    #[case(json!(""), None)]
    #[case(json!([]), None)]
    #[case(json!("Be short."), Some("Be short."))]
    #[case(json!([text("a"), text(""), text("b")]), Some("a\n\nb"))]
    #[case(json!([text(HEADER), text("You are."), text("Rules.")]), Some("You are.\n\nRules."))]
    #[case(json!([text(&format!("{HEADER}\nYou are.")), text("Rules.")]), Some("You are.\n\nRules."))]
    #[case(json!(format!("{HEADER}\n\nYou are.")), Some("You are."))]
    #[case(json!(HEADER), None)]
    #[case(json!("Say x-anthropic-billing-header: no."), Some("Say x-anthropic-billing-header: no."))]
    fn systems(#[case] system: Value, #[case] want: Option<&str>) {
        assert_eq!(read(&system).as_deref(), want);
    }

    #[test]
    fn only_the_front_is_looked_at() {
        let kept = read(&json!([text("You are."), text(HEADER)])).unwrap();
        assert!(kept.contains(HEADER));
    }
}
