//! What a hub is asked about files: their hashes and sizes, and their bytes.
//!
//! Redirections are followed here, so that the token reaches the hub's own address only, and so that
//! the hub's word for a file (hash and commit) is told apart from that of whoever keeps its bytes.

use ureq::{
    Agent, Body,
    http::{HeaderMap, Response, StatusCode, Uri, header},
};

use super::{HubError, Settings, id::Commit, verify::Hash};
use crate::{limits, version};

/// What the hub says about a file.
#[derive(Debug)]
pub(super) struct Announced {
    pub(super) hash: Hash,
    pub(super) commit: Commit,
    pub(super) bytes: u64,
}

/// Bytes of a file.
pub(super) struct Bytes {
    /// Where in the file they begin.
    pub(super) start: u64,
    pub(super) body: Body,
}

/// Why there is no answer of use.
#[derive(Debug)]
pub(super) enum Refusal {
    /// A connection broke or a server is overloaded: to be tried again.
    Passing(String),
    /// An answer that makes no sense.
    Lasting(String),
    /// Not without a token, or not with this one.
    Denied,
    /// There is no such thing.
    Absent,
    /// A failure of ours.
    Failed(HubError),
}

impl From<HubError> for Refusal {
    fn from(e: HubError) -> Self {
        Self::Failed(e)
    }
}

pub(super) struct Client {
    agent: Agent,
    hub: Origin,
    authorization: Option<String>,
}

impl Client {
    pub(super) fn new(settings: &Settings) -> Result<Self, HubError> {
        let hub = settings.endpoint.parse().ok().and_then(|uri| Origin::of(&uri));
        let hub = hub.ok_or_else(|| {
            HubError::Settings(format!("HF_ENDPOINT is no address: {:?}", settings.endpoint))
        })?;
        let agent = Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent(format!("verbatim/{}", version::VERSION))
            // A hash and a range are of the file itself.
            .accept_encoding("identity")
            .timeout_connect(Some(limits::HUB_TIMEOUT))
            .timeout_recv_response(Some(limits::HUB_TIMEOUT))
            .timeout_per_read(Some(limits::HUB_TIMEOUT))
            .build()
            .into();
        let authorization = settings.token.as_ref().map(|token| format!("Bearer {token}"));
        Ok(Self { agent, hub, authorization })
    }

    /// Hash, commit and size of the file at `url`.
    pub(super) fn announced(&self, url: &str) -> Result<Announced, Refusal> {
        let Answer { word, response } = self.get(url, "bytes=0-0")?;
        let empty = response.status() == StatusCode::RANGE_NOT_SATISFIABLE;
        if !empty {
            check(response.status())?;
        }
        let text = |name| word.get(name).and_then(|value| value.to_str().ok());
        let etag = text("x-linked-etag").or_else(|| text("etag")).unwrap_or_default();
        let hash =
            Hash::parse(etag.trim_matches('"')).ok_or_else(|| lasting("no hash for an ETag"))?;
        let commit = text("x-repo-commit").and_then(Commit::parse);
        let commit = commit.ok_or_else(|| lasting("no commit"))?;
        let bytes = size(&response).ok_or_else(|| lasting("no size"))?;
        if empty && bytes != 0 {
            return Err(lasting("no first byte"));
        }
        Ok(Announced { hash, commit, bytes })
    }

    /// The bytes of the file at `url` from `start` on, or from its beginning where the server does not
    /// know ranges.
    pub(super) fn bytes(&self, url: &str, start: u64) -> Result<Bytes, Refusal> {
        let response = self.get(url, &format!("bytes={start}-"))?.response;
        check(response.status())?;
        if response.status() == StatusCode::OK {
            return Ok(Bytes { start: 0, body: response.into_body() });
        }
        if range_start(&response) != Some(start) {
            return Err(lasting("it sends another range than the one that was asked for"));
        }
        Ok(Bytes { start, body: response.into_body() })
    }

    fn get(&self, url: &str, range: &str) -> Result<Answer, Refusal> {
        let mut uri: Uri = url.parse().map_err(|_| lasting("no address"))?;
        let mut word = HeaderMap::new();
        let mut left = false;
        for _ in 0..=limits::MAX_HUB_REDIRECTS {
            let ours = Origin::of(&uri).as_ref() == Some(&self.hub);
            left |= !ours;
            let response = self.send(&uri, range, ours)?;
            if !left {
                word = response.headers().clone();
            }
            match redirection(&uri, &response)? {
                Some(next) => uri = next,
                None => return Ok(Answer { word, response }),
            }
        }
        Err(lasting("it redirects without end"))
    }

    fn send(&self, uri: &Uri, range: &str, ours: bool) -> Result<Response<Body>, Refusal> {
        let mut request = self.agent.get(uri).header(header::RANGE, range);
        if let Some(token) = self.authorization.as_ref().filter(|_| ours) {
            request = request.header(header::AUTHORIZATION, token);
        }
        request.call().map_err(|e| Refusal::Passing(e.to_string()))
    }
}

struct Answer {
    /// Headers of the hub's own last answer before it pointed elsewhere.
    word: HeaderMap,
    response: Response<Body>,
}

/// A server, as far as a token may be shown to it.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    secure: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// `None` for what is no address of a web server.
    fn of(uri: &Uri) -> Option<Self> {
        let secure = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        Some(Self { secure, host: uri.host()?.to_ascii_lowercase(), port })
    }
}

/// Where a response points to; `None` when it is the answer itself.
fn redirection(asked: &Uri, response: &Response<Body>) -> Result<Option<Uri>, Refusal> {
    use StatusCode as S;
    if !matches!(
        response.status(),
        S::MOVED_PERMANENTLY
            | S::FOUND
            | S::SEE_OTHER
            | S::TEMPORARY_REDIRECT
            | S::PERMANENT_REDIRECT
    ) {
        return Ok(None);
    }
    let nowhere = || lasting("it redirects to nowhere");
    let location = response.headers().get(header::LOCATION).ok_or_else(nowhere)?;
    let target: Uri = location.to_str().ok().and_then(|to| to.parse().ok()).ok_or_else(nowhere)?;
    if Origin::of(&target).is_some() {
        return Ok(Some(target));
    }
    // A path on the same server.
    let path = target.into_parts();
    if path.scheme.is_some() || path.authority.is_some() {
        return Err(nowhere());
    }
    let mut parts = asked.clone().into_parts();
    parts.path_and_query = path.path_and_query;
    Uri::from_parts(parts).map(Some).map_err(|_| nowhere())
}

/// Whether a status comes with what was asked for.
pub(super) fn check(status: StatusCode) -> Result<(), Refusal> {
    use StatusCode as S;
    let told = || format!("it answers {status}");
    Err(match status {
        S::OK | S::PARTIAL_CONTENT => return Ok(()),
        S::UNAUTHORIZED | S::FORBIDDEN => Refusal::Denied,
        S::NOT_FOUND => Refusal::Absent,
        S::REQUEST_TIMEOUT | S::TOO_MANY_REQUESTS => Refusal::Passing(told()),
        _ if status.is_server_error() => Refusal::Passing(told()),
        _ => Refusal::Lasting(told()),
    })
}

/// Bytes of the whole file that a response is, or is a part of.
fn size(response: &Response<Body>) -> Option<u64> {
    let name = if response.status() == StatusCode::OK {
        header::CONTENT_LENGTH
    } else {
        header::CONTENT_RANGE
    };
    let text = response.headers().get(name)?.to_str().ok()?;
    text.rsplit('/').next()?.trim().parse().ok()
}

/// The first byte of `Content-Range: bytes START-END/SIZE`.
fn range_start(response: &Response<Body>) -> Option<u64> {
    let text = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    text.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

fn lasting(reason: &str) -> Refusal {
    Refusal::Lasting(format!("its answer makes no sense: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn redirect(to: &str) -> Result<Option<Uri>, Refusal> {
        let asked = "https://hub.test/a/b?c".parse().unwrap();
        let response = Response::builder().status(302).header("location", to);
        redirection(&asked, &response.body(Body::builder().data("")).unwrap())
    }

    #[rstest]
    #[case("/x/y?z", "https://hub.test/x/y?z")]
    #[case("https://cdn.test/x", "https://cdn.test/x")]
    #[case("http://hub.test:8080/x", "http://hub.test:8080/x")]
    fn redirections(#[case] to: &str, #[case] target: &str) {
        assert_eq!(redirect(to).unwrap().unwrap().to_string(), target);
    }

    #[rstest]
    #[case("file:///etc/passwd")]
    #[case("cdn.test")]
    #[case("")]
    #[case("ftp://cdn.test/x")]
    fn redirections_to_nowhere(#[case] to: &str) {
        assert!(redirect(to).is_err());
    }

    #[rstest]
    #[case("https://hub.test", "https://HUB.test:443/x", true)]
    #[case("https://hub.test", "http://hub.test/x", false)]
    #[case("https://hub.test", "https://hub.test:444/x", false)]
    #[case("https://hub.test", "https://hub.test.evil.test/x", false)]
    #[case("https://hub.test", "https://hub.test@evil.test/x", false)]
    fn origins(#[case] hub: &str, #[case] other: &str, #[case] same: bool) {
        let [hub, other] = [hub, other].map(|uri| Origin::of(&uri.parse().unwrap()).unwrap());
        assert_eq!(hub == other, same);
    }
}
