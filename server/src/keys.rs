//! API keys: who may ask, and how much at once.
//!
//! Only digests are kept, and a digest is compared with all of them in constant time, so neither a
//! dump of this process nor its timing gives a key away.

use std::{fmt, sync::Arc};

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    error::{ApiError, ApiResult},
    limits,
};

/// Text that no output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// The keys that open the server; none leaves it open to everyone.
#[derive(Clone, Default)]
pub struct Keys {
    keys: Arc<[Key]>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys.iter().map(|key| &*key.name)).finish()
    }
}

struct Key {
    name: Arc<str>,
    digest: [u8; 32],
    /// Free places for requests, and how many there are in all.
    places: Option<(Arc<Semaphore>, usize)>,
}

/// A request that may go on.
#[derive(Debug, Default)]
pub struct Admitted {
    /// Name of its key.
    pub name: Option<Arc<str>>,
    /// Its place among the requests of its key, free again when dropped.
    pub place: Option<OwnedSemaphorePermit>,
}

impl Keys {
    /// Named keys, each with at most `at_once` requests at the same time.
    ///
    /// # Errors
    /// Says which key is malformed or there twice, by its name.
    pub fn new(named: &[(String, Secret)], at_once: Option<usize>) -> Result<Self, String> {
        if named.len() > limits::MAX_API_KEYS {
            return Err(format!("there may be at most {} API keys", limits::MAX_API_KEYS));
        }
        let mut keys: Vec<Key> = Vec::with_capacity(named.len());
        for (name, secret) in named {
            let key = secret.reveal();
            let fits = (1..=limits::MAX_API_KEY_BYTES).contains(&key.len());
            if !fits || !key.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(format!(
                    "{name} must have 1 to {} visible ASCII characters and no spaces",
                    limits::MAX_API_KEY_BYTES
                ));
            }
            let digest = digest(key);
            if let Some(other) = keys.iter().find(|k| k.digest == digest || *k.name == **name) {
                return Err(format!("{name} and {} are the same key or name", other.name));
            }
            let places = at_once.map(|n| (Arc::new(Semaphore::new(n)), n));
            keys.push(Key { name: name.as_str().into(), digest, places });
        }
        Ok(Self { keys: keys.into() })
    }

    /// Whether everyone may ask.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Lets a request in by its `Authorization: Bearer` or `x-api-key` header; `counts` says that it
    /// takes one of its key's places.
    ///
    /// # Errors
    /// 401 without a key or with a wrong one, 429 when all places of the key are taken.
    pub fn admit(&self, headers: &HeaderMap, counts: bool) -> ApiResult<Admitted> {
        if self.is_empty() {
            return Ok(Admitted::default());
        }
        let key = self.find(headers)?;
        let name = Some(Arc::clone(&key.name));
        let Some((places, at_once)) = key.places.as_ref().filter(|_| counts) else {
            return Ok(Admitted { name, place: None });
        };
        match Arc::clone(places).try_acquire_owned() {
            Ok(place) => Ok(Admitted { name, place: Some(place) }),
            Err(_) => Err(too_many(*at_once)),
        }
    }

    fn find(&self, headers: &HeaderMap) -> ApiResult<&Key> {
        let presented = [bearer(headers), headers.get("x-api-key").map(HeaderValue::as_bytes)];
        let mut found = None;
        let mut any = false;
        for key in presented.into_iter().flatten() {
            any = true;
            found = found.or(self.matching(&digest(key)));
        }
        match found {
            Some(key) => Ok(key),
            None if any => Err(unauthorized("the API key is not one of this server's")),
            None => Err(unauthorized(
                "this server needs an API key; send it as `Authorization: Bearer KEY` or `x-api-key: KEY`",
            )),
        }
    }

    /// Looks at every key, whichever of them matches.
    fn matching(&self, digest: &[u8; 32]) -> Option<&Key> {
        let mut index = u32::MAX;
        for (i, key) in self.keys.iter().enumerate() {
            let same: Choice = key.digest.ct_eq(digest);
            index.conditional_assign(&(i as u32), same);
        }
        self.keys.get(index as usize)
    }
}

fn digest(key: impl AsRef<[u8]>) -> [u8; 32] {
    Sha256::digest(key).into()
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, key) = value.split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

fn unauthorized(message: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, message).with_code("invalid_api_key")
}

fn too_many(at_once: usize) -> ApiError {
    let message = format!(
        "{at_once} requests of this API key are running, which is its limit \
         (see --max-requests-per-key); try again when one of them has ended"
    );
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, message).with_code("rate_limit_exceeded")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn keys(named: &[(&str, &str)], at_once: Option<usize>) -> Result<Keys, String> {
        let named: Vec<_> = named.iter().map(|(n, k)| ((*n).to_owned(), Secret::new(*k))).collect();
        Keys::new(&named, at_once)
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect::<HeaderMap>()
    }

    #[rstest]
    #[case(&[("authorization", "Bearer one")], Ok("a"))]
    #[case(&[("authorization", "bearer  two ")], Ok("b"))]
    #[case(&[("x-api-key", "two")], Ok("b"))]
    #[case(&[("authorization", "Bearer wrong"), ("x-api-key", "one")], Ok("a"))]
    #[case(&[("authorization", "Basic one")], Err(401))]
    #[case(&[("authorization", "Bearer")], Err(401))]
    #[case(&[("authorization", "one")], Err(401))]
    #[case(&[("authorization", "Bearer on")], Err(401))]
    #[case(&[("x-api-key", "onee")], Err(401))]
    #[case(&[("x-api-key", "")], Err(401))]
    #[case(&[], Err(401))]
    fn headers_open(#[case] lines: &[(&'static str, &str)], #[case] wanted: Result<&str, u16>) {
        let keys = keys(&[("a", "one"), ("b", "two")], None).unwrap();
        let got = keys.admit(&headers(lines), true);
        let got = got.map(|a| a.name.unwrap().to_string()).map_err(|e| e.status.as_u16());
        assert_eq!(got.as_deref().map_err(|e| *e), wanted);
    }

    #[test]
    fn without_keys_everyone_may_ask() {
        assert!(Keys::default().admit(&HeaderMap::new(), true).unwrap().name.is_none());
    }

    #[test]
    fn places_are_counted_per_key_and_given_back() {
        let keys = keys(&[("a", "one"), ("b", "two")], Some(1)).unwrap();
        let (one, two) = (headers(&[("x-api-key", "one")]), headers(&[("x-api-key", "two")]));
        let held = keys.admit(&one, true).unwrap();
        assert_eq!(keys.admit(&one, true).unwrap_err().status, StatusCode::TOO_MANY_REQUESTS);
        assert!(keys.admit(&one, false).is_ok());
        assert!(keys.admit(&two, true).is_ok());
        drop(held);
        assert!(keys.admit(&one, true).is_ok());
    }

    #[rstest]
    #[case(&[("a", "")])]
    #[case(&[("a", "with space")])]
    #[case(&[("a", "ключ")])]
    #[case(&[("a", "same-key"), ("b", "same-key")])]
    #[case(&[("a", "one-key"), ("a", "two-key")])]
    fn bad_keys_are_named_but_not_shown(#[case] named: &[(&str, &str)]) {
        let message = keys(named, None).unwrap_err();
        assert!(message.contains('a'), "{message}");
        for (_, key) in named.iter().filter(|(_, key)| !key.is_empty()) {
            assert!(!message.contains(key), "{message}");
        }
    }

    #[test]
    fn nothing_shows_a_key() {
        let keys = keys(&[("a", "hunter2")], None).unwrap();
        assert!(!format!("{keys:?} {:?}", Secret::new("hunter2")).contains("hunter2"));
        let e = keys.admit(&headers(&[("x-api-key", "hunter3")]), true).unwrap_err();
        assert!(!e.to_json().to_string().contains("hunter3"));
    }
}
