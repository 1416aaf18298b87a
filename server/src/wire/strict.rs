//! JSON without ambiguity: a key may be in an object once only.
//!
//! Parsers differ in which of two equal keys they take, so whoever checks a request on its way here
//! may see another one than we do.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use super::fields::quoted;

/// A JSON value whose objects have each key once.
#[derive(Debug)]
pub struct Strict(pub Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Builder).map(Self)
    }
}

struct Builder;

impl<'de> Visitor<'de> for Builder {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = access.next_element()? {
            items.push(item);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {:?} is there twice", quoted(&key))));
            }
            let Strict(value) = access.next_value()?;
            map.insert(key, value);
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case(r#"{"a":1,"a":1}"#, "the key \"a\" is there twice at line 1 column 10")]
    #[case(r#"[{"x":{"b":1,"\u0062":2}}]"#, "the key \"b\" is there twice at line 1 column 21")]
    fn twice_is_refused(#[case] json: &str, #[case] message: &str) {
        let e = serde_json::from_str::<Strict>(json).unwrap_err();
        assert_eq!(e.to_string(), message);
    }

    #[rstest]
    #[case(r#"{"a":[1,-2,0.5,1e300,18446744073709551615,99999999999999999999],"b":{"a":null}}"#)]
    #[case(r#"[true,false,"\ud83d\ude00",{}]"#)]
    fn everything_else_is_as_usual(#[case] json: &str) {
        let Strict(value) = serde_json::from_str(json).unwrap();
        assert_eq!(value, serde_json::from_str::<Value>(json).unwrap());
    }

    proptest! {
        #[test]
        fn it_fails_where_the_usual_parser_fails(json in r#"[\[\]{},:"0-9.eE+\\nultrefas -]{0,24}"#) {
            let usual = serde_json::from_str::<Value>(&json);
            if let Ok(Strict(value)) = serde_json::from_str(&json) {
                prop_assert_eq!(Some(value), usual.ok());
            } else if let Ok(value) = usual {
                prop_assert!(value.is_object() || value.is_array(), "{}", value);
            }
        }
    }
}
