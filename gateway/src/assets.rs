//! What pages load from the gateway: the browser's side, as it stands in `web/`, in every mode.
//!
//! Plain modules that import each other by relative paths, so a page needs nothing but
//! `<script type="module">` and a Content-Security-Policy no more than `script-src 'self'`.

use axum::{
    Router,
    http::HeaderMap,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderName, HeaderValue, StatusCode, header};

/// A file: where it is served, its type, its bytes.
type Asset = (&'static str, &'static str, &'static str);

const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! web {
    ($path:literal, $kind:expr) => {
        ($path, $kind, include_str!(concat!("../../web", $path)))
    };
}

const ASSETS: &[Asset] = &[
    web!("/client.js", SCRIPT),
    web!("/client/api.js", SCRIPT),
    web!("/client/events.js", SCRIPT),
    web!("/client/hub.js", SCRIPT),
    web!("/client/links.js", SCRIPT),
    web!("/client/mirror.js", SCRIPT),
    web!("/client/model.js", SCRIPT),
    web!("/client/options.js", SCRIPT),
    web!("/client/session.js", SCRIPT),
    web!("/client/sse.js", SCRIPT),
    web!("/client/stream.js", SCRIPT),
    web!("/client/tabs.js", SCRIPT),
    web!("/client/tokens.js", SCRIPT),
    web!("/client/waits.js", SCRIPT),
    web!("/client/worker.js", SCRIPT),
];

/// The routes of all of them.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    ASSETS.iter().fold(Router::new(), |router, asset| {
        let tag = tag(asset.2);
        let handler = move |headers: HeaderMap| {
            let answer = answer(asset, &tag, &headers);
            async move { answer }
        };
        router.route(asset.0, get(handler))
    })
}

/// Asked for again each time, and sent again only where it changed: a page and the worker it
/// shares with others never run on two versions for long.
fn answer(&(_, kind, text): &Asset, tag: &HeaderValue, headers: &HeaderMap) -> Response {
    let head = [
        (header::ETAG, tag.clone()),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        // Pages of other origins may load it, those isolated by COEP too; there is nothing secret
        // in it.
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("cross-origin"),
        ),
    ];
    if is_known(tag, headers) {
        return (StatusCode::NOT_MODIFIED, head).into_response();
    }
    (head, [(header::CONTENT_TYPE, kind)], text).into_response()
}

/// Whether the browser says that it has this version.
fn is_known(tag: &HeaderValue, headers: &HeaderMap) -> bool {
    let known = headers.get_all(header::IF_NONE_MATCH).into_iter();
    known
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|value| value.trim().trim_start_matches("W/"))
        .any(|value| value == "*" || value.as_bytes() == tag.as_bytes())
}

/// The text's own: FNV-1a, 64 bits. It tells versions of a file apart, and keeps out nobody.
fn tag(text: &str) -> HeaderValue {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    // Digits in quotes are a valid header.
    HeaderValue::from_str(&format!("\"{hash:016x}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_that_is_imported_is_served() {
        for (path, _, text) in ASSETS {
            let folder = path.rsplit_once('/').unwrap().0;
            for line in text.lines().filter(|line| !line.trim().starts_with('*')) {
                let Some((_, rest)) = line.split_once(" from '") else {
                    continue;
                };
                let Some(name) = rest
                    .strip_suffix('\'')
                    .and_then(|name| name.strip_prefix("./"))
                else {
                    continue;
                };
                let imported = format!("{folder}/{name}");
                let is_served = ASSETS.iter().any(|(path, ..)| *path == imported);
                assert!(is_served, "{path} imports {imported}");
            }
        }
    }

    #[test]
    fn a_version_that_is_known_is_not_sent_again() {
        let mut headers = HeaderMap::new();
        let one = tag("one");
        assert!(!is_known(&one, &headers));
        let known = format!("\"x\", W/{}", one.to_str().unwrap());
        headers.insert(header::IF_NONE_MATCH, known.parse().unwrap());
        assert!(is_known(&one, &headers));
        assert!(!is_known(&tag("two"), &headers));
    }
}
