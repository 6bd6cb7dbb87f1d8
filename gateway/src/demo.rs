//! Tokens for the demo page of `mercurio dev`. No other command hands out any.
//!
//! They are those of two made-up users and a publisher, live for minutes, and go only to a page of
//! this gateway's own in a browser on the same machine:
//!
//! - the connection comes from this machine, and not through a proxy that says so;
//! - `Host` is a name of this machine: another site whose name was pointed here is not one;
//! - `Origin` is that same host: another site's page has another, and can't choose it.
//!
//! Whoever may run programs on this machine can get one too; they could as well connect to gRPC. And
//! so can whoever comes through a forwarder on this machine that adds no head to say so (`ssh -R`,
//! socat, nginx with a bare `proxy_pass`): then it is this machine that connects, and `Host` and `Origin`
//! are what they claim. So the key is `dev`'s own, which opens nothing else: with one that was given
//! there is no page, and no tokens.

use std::{net::Ipv6Addr, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State},
    response::IntoResponse,
};
use http::{Extensions, HeaderMap, HeaderName, StatusCode, header};
use mercurio_auth::{KeyError, SCOPE_PUBLISH};
use serde_json::json;

use crate::{Context, error::ApiError};

/// The page asks again when it is over.
const TTL: Duration = Duration::from_secs(10 * 60);

/// Who is in the demo, and what they may do.
const USERS: &[(&str, &[&str])] = &[
    ("alice", &[]),
    ("bob", &[]),
    ("publisher", &[SCOPE_PUBLISH]),
];

/// Marks a request whose connection comes from this machine.
#[derive(Clone, Copy)]
pub(crate) struct FromThisMachine;

/// `POST /demo/tokens/{user}`
pub(crate) async fn token(
    State(context): State<Arc<Context>>,
    Path(user): Path<String>,
    headers: HeaderMap,
    extensions: Extensions,
) -> Result<impl IntoResponse, ApiError> {
    let is_local = extensions.get::<FromThisMachine>().is_some();
    if !is_local || is_forwarded(&headers) || !is_own_page(&headers) {
        let message = "the demo's tokens are for its own page, opened in a browser on the machine \
                       that `mercurio dev` runs on";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "not-local", message));
    }
    let known = USERS.iter().find(|(name, _)| *name == user);
    let (Some((name, scopes)), Some(issuer)) = (known, &context.settings.demo) else {
        return Err(ApiError::field("user", &user, "alice, bob or publisher"));
    };
    let token = issuer.issue(name, scopes, TTL).map_err(|error: KeyError| {
        ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            error.to_string(),
        )
    })?;
    Ok((
        [(header::CACHE_CONTROL, "no-store")],
        Json(json!({ "token": token })),
    ))
}

fn is_forwarded(headers: &HeaderMap) -> bool {
    let by_proxies = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];
    by_proxies
        .iter()
        .any(|name| headers.contains_key(HeaderName::from_static(name)))
}

fn is_own_page(headers: &HeaderMap) -> bool {
    // Exactly one: which of several another hop would have looked at is anybody's guess.
    let text = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    };
    let (Some(host), Some(origin)) = (text(header::HOST), text(header::ORIGIN)) else {
        return false;
    };
    names_this_machine(host) && origin == format!("http://{host}")
}

/// Whether this `Host` is a loopback address or `localhost`, with any port.
fn names_this_machine(host: &str) -> bool {
    let Ok(authority) = host.parse::<http::uri::Authority>() else {
        return false;
    };
    let name = authority.host();
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<std::net::Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback())
        || bare.is_some_and(|name| name.parse() == Ok(Ipv6Addr::LOCALHOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine() {
        for host in [
            "localhost",
            "LOCALHOST:8000",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:8000",
        ] {
            assert!(names_this_machine(host), "{host}");
        }
        for host in [
            "",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.example:8000",
            "10.0.0.1",
            "[::2]",
            "[::ffff:10.0.0.1]",
            "a b",
            "localhost@evil.example",
        ] {
            assert!(!names_this_machine(host), "{host}");
        }
    }

    #[test]
    fn only_its_own_page() {
        let page = |host, origin| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, http::HeaderValue::from_static(host));
            headers.insert(header::ORIGIN, http::HeaderValue::from_static(origin));
            is_own_page(&headers)
        };
        assert!(page("localhost:8000", "http://localhost:8000"));
        assert!(!page("localhost:8000", "http://localhost:8001"));
        assert!(!page("localhost:8000", "https://evil.example"));
        assert!(!page("localhost:8000", "null"));
        assert!(!page("evil.example", "http://evil.example"));
        assert!(!is_own_page(&HeaderMap::new()));
    }
}
