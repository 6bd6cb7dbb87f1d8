//! What parses in the gateway, for the fuzz targets (`fuzz/`). Each takes any bytes. Compiled with the
//! feature `fuzzing` alone.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{auth, events, query, stream};

/// Whether the gateway passes a topic through a filter.
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    query::Filters::new(&[filter.to_owned()]).matches(topic)
}

/// A body that is to be published.
pub fn body(data: &[u8]) {
    events::fuzz(data);
}

/// A request: its query in the first line, then its heads.
pub fn request(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let query = String::from_utf8_lossy(lines.next().unwrap_or_default());
    let query = query::Query::new(Some(&query));
    let mut headers = HeaderMap::new();
    for line in lines.take(32) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = parts.next().unwrap_or_default();
        let value = parts.next().unwrap_or_default().trim_ascii();
        let name = HeaderName::from_bytes(name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    auth::fuzz(&headers);
    stream::fuzz(&headers, &query);
    for name in ["limit", "upTo", "lastEventID"] {
        if let Ok(Some(number)) = query.number(name, "a number") {
            let text = query.one(name).ok().flatten().unwrap_or_default();
            assert_eq!(
                text.trim_start_matches('0'),
                number.to_string().trim_start_matches('0')
            );
        }
    }
    let topics = query.topics();
    let _ = query::Filters::new(&topics).matches("invoice.paid");
    let _ = (
        query.one("access_token"),
        query.one("stream"),
        query.one("status"),
    );
}
