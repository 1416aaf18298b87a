//! Which web pages may talk to the server.
//!
//! A page on the internet can reach a server on this machine: directly, or through a name of its
//! own that resolves here (DNS rebinding). So a `Host` that is a name must be one of ours, and an
//! `Origin` must be our own page or one that `--allowed-origins` lists.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{
    error::{ApiError, ApiResult},
    limits,
    wire::fields::quoted,
};

/// The rule for `Host` and `Origin` headers.
#[derive(Debug, Clone, Default)]
pub struct OriginPolicy {
    any: bool,
    origins: Vec<String>,
    hosts: Vec<String>,
}

impl OriginPolicy {
    /// Allows the names in `bind_host`, and the pages of `origins` (`*` for all).
    pub fn new(bind_host: &str, origins: &[String]) -> Self {
        let origins: Vec<String> =
            origins.iter().map(|o| o.trim_end_matches('/').to_ascii_lowercase()).collect();
        let mut hosts: Vec<String> =
            origins.iter().map(|o| host_name(authority(o)).to_owned()).collect();
        hosts.push(bind_host.to_ascii_lowercase());
        Self { any: origins.iter().any(|o| o == "*"), origins, hosts }
    }

    /// Checks a request. Returns the origin to allow in CORS headers, if it is a foreign one.
    pub fn check(&self, headers: &HeaderMap) -> ApiResult<Option<HeaderValue>> {
        let host = text(headers, &header::HOST)?;
        if let Some(host) = &host
            && !self.any
            && !self.is_our_host(host)
        {
            return Err(forbidden("Host", host));
        }
        let Some(origin) = text(headers, &header::ORIGIN)? else {
            return Ok(None);
        };
        if host.is_some_and(|host| host == authority(&origin) && origin.contains("://")) {
            return Ok(None);
        }
        if self.any || self.origins.contains(&origin) {
            return Ok(headers.get(header::ORIGIN).cloned());
        }
        Err(forbidden("Origin", &origin))
    }

    /// Addresses cannot be rebound, names can.
    fn is_our_host(&self, host: &str) -> bool {
        let name = host_name(host);
        let address = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
        address.parse::<IpAddr>().is_ok()
            || name == "localhost"
            || name.ends_with(".localhost")
            || self.hosts.iter().any(|h| h == name)
    }
}

fn text(headers: &HeaderMap, name: &header::HeaderName) -> ApiResult<Option<String>> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(text) if values.next().is_none() && text.len() <= limits::MAX_ORIGIN_BYTES => {
            Ok(Some(text.to_ascii_lowercase()))
        }
        _ => Err(ApiError::bad_request(format!("the {name} header is malformed"))),
    }
}

fn authority(origin: &str) -> &str {
    origin.split_once("://").map_or(origin, |(_, rest)| rest)
}

/// An authority without its port.
fn host_name(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') && !name.is_empty() => name,
        _ => authority,
    }
}

fn forbidden(header: &str, value: &str) -> ApiError {
    let message = format!(
        "{header} {:?} is not allowed; start the server with --allowed-origins to allow it",
        quoted(value)
    );
    ApiError::new(StatusCode::FORBIDDEN, message).with_code("origin_not_allowed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn check(allowed: &[&str], host: &str, origin: Option<&str>) -> Result<Option<String>, u16> {
        let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        let policy = OriginPolicy::new("verbatim.lan", &allowed);
        let mut headers = HeaderMap::new();
        if !host.is_empty() {
            headers.insert(header::HOST, host.parse().unwrap());
        }
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        policy
            .check(&headers)
            .map(|o| o.map(|v| v.to_str().unwrap().to_owned()))
            .map_err(|e| e.status.as_u16())
    }

    #[rstest]
    #[case("127.0.0.1:8080", None)]
    #[case("[::1]:8080", None)]
    #[case("[::1]", None)]
    #[case("192.168.1.9", None)]
    #[case("LOCALHOST:8080", None)]
    #[case("my.localhost:1", None)]
    #[case("verbatim.lan:8080", None)]
    #[case("", None)]
    #[case("localhost:8080", Some("http://localhost:8080"))]
    #[case("[::1]:8080", Some("http://[::1]:8080"))]
    fn our_own(#[case] host: &str, #[case] origin: Option<&str>) {
        assert_eq!(check(&[], host, origin), Ok(None));
    }

    #[rstest]
    #[case("evil.example", None)]
    #[case("evil.example:8080", Some("http://evil.example:8080"))]
    #[case("localhost.evil.example", None)]
    #[case("127.0.0.1.evil.example:80", None)]
    #[case("localhost:8080", Some("http://evil.example"))]
    #[case("localhost:8080", Some("http://localhost:9090"))]
    #[case("localhost:8080", Some("null"))]
    #[case("localhost:8080", Some("localhost:8080"))]
    fn foreign(#[case] host: &str, #[case] origin: Option<&str>) {
        assert_eq!(check(&[], host, origin), Err(403));
    }

    #[rstest]
    #[case(&["https://chat.example"], "127.0.0.1:8080", Some("https://chat.example"))]
    #[case(&["https://chat.example/"], "chat.example:8080", Some("https://chat.example"))]
    #[case(&["*"], "anything.example", Some("null"))]
    fn listed(#[case] allowed: &[&str], #[case] host: &str, #[case] origin: Option<&str>) {
        assert_eq!(check(allowed, host, origin), Ok(origin.map(str::to_owned)));
    }
}
