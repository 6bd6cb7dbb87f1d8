//! What parses in the core, for the fuzz targets (`fuzz/`). Each takes any bytes, and panics where what
//! it read is not what it would write. Compiled with the feature `fuzzing` alone.

use crate::{
    entry::RecipientId,
    log,
    settings::Limits,
    topic::{TopicFilter, check_topic},
};

pub use crate::{
    grpc::fuzzing::requests,
    store::fuzzing::{constant, journal, manifest, stored},
};

/// A page token, and the recipient whose it is to be before it, with a space between them.
pub fn page_token(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (recipient, token) = text.split_once(' ').unwrap_or(("ada", &text));
    if let Some(recipient) = RecipientId::new(recipient) {
        crate::grpc::fuzzing::page_token(&recipient, token);
    }
}

/// A filter and a topic, with a space between them. The gateway's own matching is given, to be the same.
pub fn topics(data: &[u8], matches: impl Fn(&str, &str) -> bool) {
    let text = String::from_utf8_lossy(data);
    let (filter, topic) = text.split_once(' ').unwrap_or((&text, &text));
    if check_topic(topic).is_ok() && !topic.is_empty() {
        let own = TopicFilter::parse(topic).expect("a topic is a filter");
        assert!(own.matches(topic));
    }
    if let Ok(parsed) = TopicFilter::parse(filter) {
        assert_eq!(parsed.matches(topic), matches(filter, topic));
    }
}

/// A message of a log that cores share: what is an entry here is the same when it has travelled again.
pub fn log_message(data: &[u8]) {
    let Ok(message) = log::Message::decode(data) else {
        return;
    };
    let body = log::Message::body(&message.origin, &message.entries);
    let again = log::Message::stamped(&body, message.at, message.appender);
    let again = log::Message::decode(&again).expect("it was read before");
    assert_eq!(again.entries, message.entries);
    assert_eq!(again.at, message.at);
    assert_eq!(
        (again.origin, again.appender),
        (message.origin, message.appender)
    );
    for place in [0, 1, 1 << 40, u64::MAX] {
        for index in 0..message.entries.len().min(5000) {
            let _ = message.origin.log.sequence(place, index);
        }
        let _ = message.origin.log.through(place);
    }
    for entry in &message.entries {
        let _ = entry.weight();
    }
}

/// The limits that requests are held against.
pub(crate) fn limits() -> Limits {
    Limits::default()
}

/// A message, where it is one.
pub(crate) fn decoded<M: prost::Message + Default>(data: &[u8]) -> Option<M> {
    M::decode(data).ok()
}

/// Whether it reads as itself again.
pub(crate) fn same<M: prost::Message + Default + PartialEq + std::fmt::Debug>(message: &M) {
    let again = M::decode(message.encode_to_vec().as_slice());
    assert_eq!(again.as_ref(), Ok(message));
}
