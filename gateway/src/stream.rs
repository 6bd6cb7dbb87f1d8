//! `GET …/notifications/stream`: opens a browser's stream; and what keeps it open.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use http::{Extensions, HeaderName, HeaderValue, StatusCode, header};
use mercurio_net::Source;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::{
    Context, abuse,
    access::Remote,
    auth::Client,
    catch_up::{self, Reader},
    error::ApiError,
    feed::{Feed, Handover},
    lease::{Lease, Wanted},
    query::{FILTERS_MAX, Filters, Query, number},
    server::RequestId,
    sse,
};

/// The head that names the stream, for its renewal.
pub(crate) const STREAM_ID: HeaderName = HeaderName::from_static("mercurio-stream");

/// The head that says after how many milliseconds the stream ends, unless it is renewed. Relative, so
/// that no clock has to be right, and there also for who can't see the token: it may be in a cookie.
pub(crate) const EXPIRES: HeaderName = HeaderName::from_static("mercurio-expires");

/// How long a new stream's head waits for the rest of its first page.
const FIRST_PAGE: Duration = Duration::from_millis(50);

/// Answers with the head of the stream; the connection then takes over what the answer carries.
pub(crate) async fn open(
    State(context): State<Arc<Context>>,
    request_id: RequestId,
    client: Client,
    source: Option<Extension<Source>>,
    uri: axum::http::Uri,
    headers: HeaderMap,
    extensions: Extensions,
) -> Result<Response, ApiError> {
    let query = Query::new(uri.query());
    let topics = query.topics();
    if topics.len() > FILTERS_MAX {
        let count = topics.len().to_string();
        let allowed = format!("at most {FILTERS_MAX} filters");
        return Err(ApiError::field("topic", &count, &allowed));
    }
    let after = resume_from(&headers, &query)?;
    let lease = Lease::new(&client.id, &client.caller.token());
    let stream = HeaderValue::from_str(&format!("{:016x}", lease.id()));
    let until = lease.until();
    let filters = Filters::new(&topics);
    let of_source = source.map(|Extension(source)| abuse::open_stream(&context, source));
    let of_source = of_source.transpose()?;
    let place = context.registry.open(&client.id, lease)?;
    client.caller.check_not_revoked(&context)?;
    let reader = Arc::new(Reader {
        _of_source: of_source,
        place,
        topics,
        request_id: request_id.0.into(),
        remote: Remote::of(&extensions),
        context: context.clone(),
    });
    // Nothing is promised before the core has answered: until then a refusal can be a plain one.
    let (opened, mut reading) = catch_up::first(reader.clone(), after).await?;
    let mut feed = Feed::new(reader, filters, after);
    feed.say(sse::retry(context.settings.retry));
    opened.into_iter().for_each(|opened| feed.say(opened));
    // What is there already goes out with the head.
    match timeout(FIRST_PAGE, &mut reading).await {
        Ok(page) => feed.turn(page),
        Err(_) => feed.read_on(reading),
    }
    let head = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // nginx would buffer otherwise.
        (
            HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
        // For a client that wants to know when a quiet stream is a dead one.
        (
            HeaderName::from_static("mercurio-heartbeat"),
            u64::try_from(context.settings.heartbeat.as_millis())
                .unwrap_or(u64::MAX)
                .into(),
        ),
    ];
    let mut response = head.into_response();
    // Hexadecimal digits are a header's value.
    if let Ok(stream) = stream {
        response.headers_mut().insert(STREAM_ID, stream);
    }
    if let Some(left) = until.map(milliseconds) {
        response.headers_mut().insert(EXPIRES, left.into());
    }
    response.extensions_mut().insert(Handover::new(feed));
    Ok(response)
}

/// `PUT /api/clients/{clientID}/notifications/stream/token?stream={id}`: the token of this request
/// keeps the stream open from now on, or without an id all of the client's that are open here.
pub(crate) async fn renew(
    State(context): State<Arc<Context>>,
    client: Client,
    uri: axum::http::Uri,
) -> Result<Json<Value>, ApiError> {
    let given = Query::new(uri.query());
    let parse = |id: &str| {
        let digits = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let parsed = u64::from_str_radix(id, 16).ok().filter(|_| digits);
        parsed.ok_or_else(|| ApiError::field("stream", id, "what the head mercurio-stream says"))
    };
    let id = given.one("stream")?.map(parse).transpose()?;
    let caller = &client.caller;
    let renewed = context.registry.renew(&client.id, id, &caller.token());
    if let Err(revoked) = caller.check_not_revoked(&context) {
        // What it holds since a moment ago has not been ended.
        let all = Wanted::new(&context.revocations.set().all());
        context.registry.revoke(&all);
        return Err(revoked);
    }
    if renewed.is_empty() {
        let message = "no such stream of this token's user is open here; open one where it was";
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "stream-not-found",
            message,
        ));
    }
    let mut answer = json!({ "status": "renewed", "streams": renewed.len() });
    if let Some(first) = renewed.into_iter().flatten().min() {
        answer["expiresIn"] = milliseconds(first).into();
    }
    Ok(Json(answer))
}

/// Until then.
fn milliseconds(until: Instant) -> u64 {
    let left = until.saturating_duration_since(Instant::now());
    u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
}

/// Where a request says that its reader stands, for the fuzz targets.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz(headers: &HeaderMap, query: &Query) {
    let _ = resume_from(headers, query);
}

/// Where the reader stands: the header that browsers send, or the parameter. What is not taken has
/// to be a cursor too.
fn resume_from(headers: &HeaderMap, query: &Query) -> Result<Option<u64>, ApiError> {
    let allowed = "a cursor, as the stream's ids are";
    // The second is as event-source-polyfill spells it.
    let given = query.number("lastEventID", allowed)?;
    let spelt = query.number("lastEventId", allowed)?;
    let header = headers
        .get("last-event-id")
        .filter(|value| !value.is_empty())
        .map(|value| {
            let text = String::from_utf8_lossy(value.as_bytes());
            number("Last-Event-ID", &text, allowed)
        })
        .transpose()?;
    Ok(header.or(given).or(spelt))
}
