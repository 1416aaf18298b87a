//! Digests that stay equal across machines and releases.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Compact JSON with object keys sorted at every level.
///
/// # Panics
/// Never for the types of this crate: their serializers cannot fail.
pub fn canonical_json<T: Serialize>(value: &T) -> String {
    let mut value = serde_json::to_value(value).expect("plain data serializes");
    value.sort_all_objects();
    value.to_string()
}

/// Short digest of a value's canonical JSON: 32 hexadecimal digits.
pub(crate) fn short<T: Serialize>(value: &T) -> String {
    let mut digest = sha256(canonical_json(value).as_bytes());
    digest.truncate(32);
    digest
}

/// Whether an optional part of a case says nothing; such parts are left out of its JSON, so that a
/// field added later changes no existing digest.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A JSON merge patch (RFC 7396): objects merge, `null` removes, anything else replaces.
pub(crate) fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, change) in patch {
        if change.is_null() {
            target.shift_remove(key);
        } else {
            merge_patch(target.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn canonical_json_ignores_key_order() {
        let a: Value = serde_json::from_str(r#"{"b":{"y":1,"x":0.1},"a":[2]}"#).unwrap();
        assert_eq!(canonical_json(&a), r#"{"a":[2],"b":{"x":0.1,"y":1}}"#);
    }

    #[test]
    fn merge_patch_merges_removes_and_replaces() {
        let mut target = json!({"a": {"x": 1, "y": 2}, "b": [1]});
        merge_patch(&mut target, &json!({"a": {"x": null, "z": {"w": 3}}, "b": 4}));
        assert_eq!(target, json!({"a": {"y": 2, "z": {"w": 3}}, "b": 4}));
    }
}
