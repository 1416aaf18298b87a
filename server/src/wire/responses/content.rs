//! The parts of a message's content and of a tool's result.

use serde_json::{Value, json};

use crate::{
    error::{ApiError, ApiResult},
    limits,
    wire::fields::{Fields, quoted},
};

/// Part types that hold text.
const TEXT: &[&str] = &["input_text", "output_text", "text"];
/// Members of a text part that say nothing to the model.
const SILENT: &[&str] = &["annotations", "logprobs", "parsed", "prompt_cache_breakpoint"];

/// The texts of a string or a list of text parts.
pub fn texts(at: &str, content: Value) -> ApiResult<Vec<String>> {
    match content {
        Value::String(text) => Ok(vec![text]),
        Value::Array(parts) if parts.len() <= limits::MAX_CONTENT_PARTS => {
            let part = |(i, part)| text(&format!("{at}[{i}]"), part);
            parts.into_iter().enumerate().map(part).collect()
        }
        Value::Array(_) => {
            let message = format!("{at} must have at most {} parts", limits::MAX_CONTENT_PARTS);
            Err(ApiError::field(at, message))
        }
        _ => Err(ApiError::field(at, format!("{at} must be a string or a list of parts"))),
    }
}

fn text(at: &str, part: Value) -> ApiResult<String> {
    let mut part = Fields::within(at, part)?;
    let kind = part.string("type")?.unwrap_or_default();
    let name = match kind.as_str() {
        kind if TEXT.contains(&kind) => "text",
        "refusal" => "refusal",
        "input_image" | "input_file" | "input_audio" => {
            let message = format!("{at}: {kind} is not supported, this server reads text only");
            return Err(ApiError::unsupported(at, message));
        }
        _ => {
            let at = part.label("type");
            let message = format!("{at} must be input_text or output_text, not {}", quoted(&kind));
            return Err(ApiError::unsupported(at, message));
        }
    };
    let text = part.required_string(name)?;
    part.ignore(SILENT);
    part.finish()?;
    Ok(text)
}

/// A part of what a client says.
pub fn input_text(text: &str) -> Value {
    json!({"type": "input_text", "text": text})
}

/// A part of what the model says.
pub fn output_text(text: &str, logprobs: &[Value]) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs})
}

/// The part of a reasoning item.
pub fn reasoning_text(text: &str) -> Value {
    json!({"type": "reasoning_text", "text": text})
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(json!("a"), &["a"])]
    #[case(json!([]), &[])]
    #[case(json!([{"type": "input_text", "text": "a"}, {"type": "output_text", "text": "b", "annotations": [1]}]), &["a", "b"])]
    #[case(json!([{"type": "refusal", "refusal": "no"}]), &["no"])]
    fn texts_are_read(#[case] content: Value, #[case] want: &[&str]) {
        assert_eq!(texts("c", content).unwrap(), want);
    }

    #[rstest]
    #[case(json!(1), "c must be a string or a list of parts")]
    #[case(json!(["a"]), "c[0] must be of type dict")]
    #[case(json!([{"type": "input_image", "image_url": "x"}]), "c[0]: input_image is not supported, this server reads text only")]
    #[case(json!([{"type": "video"}]), "c[0].type must be input_text or output_text, not video")]
    #[case(json!([{"type": "input_text"}]), "c[0].text is missing")]
    #[case(json!([{"type": "input_text", "text": "a", "mood": 1}]), "c[0].mood is not a field that this server honours; remove it")]
    fn others_are_refused(#[case] content: Value, #[case] message: &str) {
        let e = texts("c", content).unwrap_err();
        assert_eq!((e.status.as_u16(), e.message.as_str()), (400, message));
    }
}
