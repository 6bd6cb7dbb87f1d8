//! What pages load from the gateway: the browser's side, as it stands in `web/`, in every mode; and
//! the description of the HTTP API.
//!
//! Plain modules that import each other by relative paths, so a page needs nothing but
//! `<script type="module">` and a Content-Security-Policy no more than `script-src 'self'`.

use axum::{
    Router,
    http::HeaderMap,
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderName, HeaderValue, StatusCode, header};

/// A file: where it is served, its type, its bytes.
type Asset = (&'static str, &'static str, &'static str);

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// What the HTTP API is, for tools: OpenAPI 3.1.
const DESCRIPTION: Asset = (
    "/openapi.json",
    "application/json",
    include_str!("../openapi.json"),
);

macro_rules! web {
    ($path:literal, $kind:expr) => {
        ($path, $kind, include_str!(concat!("../../web", $path)))
    };
}

const ASSETS: &[Asset] = &[
    DESCRIPTION,
    web!("/client.js", SCRIPT),
    web!("/client/api.js", SCRIPT),
    web!("/client/calls.js", SCRIPT),
    web!("/client/contents.js", SCRIPT),
    web!("/client/events.js", SCRIPT),
    web!("/client/hub.js", SCRIPT),
    web!("/client/leader.js", SCRIPT),
    web!("/client/links.js", SCRIPT),
    web!("/client/mirror.js", SCRIPT),
    web!("/client/model.js", SCRIPT),
    web!("/client/options.js", SCRIPT),
    web!("/client/session.js", SCRIPT),
    web!("/client/sse.js", SCRIPT),
    web!("/client/stream.js", SCRIPT),
    web!("/client/tabs.js", SCRIPT),
    web!("/client/timers.js", SCRIPT),
    web!("/client/tokens.js", SCRIPT),
    web!("/client/view.js", SCRIPT),
    web!("/client/waits.js", SCRIPT),
    web!("/client/whoami.js", SCRIPT),
    web!("/client/worker.js", SCRIPT),
    web!("/inbox.js", SCRIPT),
    web!("/inbox/announcer.js", SCRIPT),
    web!("/inbox/bell.js", SCRIPT),
    web!("/inbox/connection.js", SCRIPT),
    web!("/inbox/content.js", SCRIPT),
    web!("/inbox/dom.js", SCRIPT),
    web!("/inbox/item.js", SCRIPT),
    web!("/inbox/list.js", SCRIPT),
    web!("/inbox/notices.js", SCRIPT),
    web!("/inbox/panel.js", SCRIPT),
    web!("/inbox/popover.js", SCRIPT),
    web!("/inbox/styles.js", SCRIPT),
    web!("/inbox/styles-item.js", SCRIPT),
    web!("/inbox/styles-panel.js", SCRIPT),
    web!("/inbox/styles-states.js", SCRIPT),
    web!("/inbox/texts.js", SCRIPT),
    web!("/inbox/time.js", SCRIPT),
];

/// The demo's files; its page is at `/`.
const DEMO: &[Asset] = &[
    (
        "/",
        "text/html; charset=utf-8",
        include_str!("../../web/demo/index.html"),
    ),
    web!("/demo/demo.css", "text/css; charset=utf-8"),
    web!("/demo/icon.svg", "image/svg+xml"),
    web!("/demo/demo.js", SCRIPT),
    web!("/demo/devices.js", SCRIPT),
    web!("/demo/publisher.js", SCRIPT),
    web!("/demo/tokens.js", SCRIPT),
    web!("/demo/wire.js", SCRIPT),
];

/// The demo shows that the client and the inbox need nothing that a strict policy forbids.
const DEMO_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// The routes of what every page may load.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    of(ASSETS)
}

/// The routes of the demo, which only `mercurio dev` has.
pub(crate) fn demo<S: Clone + Send + Sync + 'static>() -> Router<S> {
    of(DEMO).layer(middleware::map_response(async |mut answer: Response| {
        let head = answer.headers_mut();
        let policy = HeaderValue::from_static(DEMO_POLICY);
        head.insert(header::CONTENT_SECURITY_POLICY, policy);
        let private = HeaderValue::from_static("same-origin");
        head.insert(header::REFERRER_POLICY, private);
        answer
    }))
}

fn of<S: Clone + Send + Sync + 'static>(assets: &'static [Asset]) -> Router<S> {
    assets.iter().fold(Router::new(), |router, asset| {
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
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_module_that_is_imported_is_served() {
        let all = || ASSETS.iter().chain(DEMO);
        for (path, _, text) in all().filter(|asset| asset.1 == SCRIPT) {
            for line in text
                .lines()
                .filter(|line| !line.trim().starts_with(['*', '/']))
            {
                let import = [" from '", "import '"]
                    .iter()
                    .find_map(|form| line.split_once(form));
                let Some((name, _)) = import.and_then(|(_, rest)| rest.split_once('\'')) else {
                    continue;
                };
                let mut folder = path.rsplit_once('/').unwrap().0;
                let mut name = name.trim_start_matches("./");
                while let Some(rest) = name.strip_prefix("../") {
                    folder = folder.rsplit_once('/').unwrap().0;
                    name = rest;
                }
                let imported = format!("{folder}/{name}");
                let is_served = all().any(|(path, ..)| *path == imported);
                assert!(is_served, "{path} imports {imported}");
            }
        }
    }

    #[test]
    fn the_description_is_of_this_version() {
        let described: serde_json::Value = serde_json::from_str(DESCRIPTION.2).unwrap();
        assert_eq!(described["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    /// What a source, its tests aside, has between these.
    fn written<'a>(text: &'a str, before: &str, after: char) -> BTreeSet<&'a str> {
        let code = text.split("#[cfg(test)]").next().unwrap();
        let parts = code.split(before).skip(1);
        parts
            .filter_map(|part| Some(part.split_once(after)?.0))
            .collect()
    }

    #[test]
    fn the_description_has_the_events_and_heads_of_a_stream() {
        let described: serde_json::Value = serde_json::from_str(DESCRIPTION.2).unwrap();
        let events = &described["components"]["schemas"]["Event"]["properties"]["event"]["enum"];
        let events = events.as_array().unwrap().iter();
        let mut events: BTreeSet<_> = events.map(|name| name.as_str().unwrap()).collect();
        // A notification has no name.
        assert!(events.remove("message"));
        assert_eq!(events, written(include_str!("sse.rs"), "event: ", '\\'));
        let stream = &described["paths"]["/api/clients/{clientID}/notifications/stream"];
        let heads = stream["get"]["responses"]["200"]["headers"].as_object();
        let heads: BTreeSet<_> = heads.unwrap().keys().map(String::as_str).collect();
        let ours = written(include_str!("stream.rs"), "from_static(\"mercurio-", '"');
        let ours: BTreeSet<_> = ours.iter().map(|name| format!("mercurio-{name}")).collect();
        assert_eq!(heads, ours.iter().map(String::as_str).collect());
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
