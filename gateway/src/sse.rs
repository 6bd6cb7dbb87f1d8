//! The bytes of a stream, as EventSource expects them (WHATWG HTML, "Server-sent events").
//!
//! An entry is encoded once, whatever the number of streams it goes to; the bytes are shared.
//! JSON has no raw line breaks, so one `data:` line always does.

use std::time::Duration;

use bytes::Bytes;
use mercurio_proto::v1::{self as pb, relay_entry, subscribe_response};
use serde::Serialize;

use crate::json::{self, Notification};

/// One entry, encoded.
#[derive(Debug)]
pub(crate) struct Event {
    pub cursor: u64,
    /// The notification's; `None`: a change of read marks, which passes every filter.
    pub topic: Option<Box<str>>,
    /// Milliseconds since the Unix epoch.
    pub expires_at: Option<u64>,
    bytes: Encoded,
}

#[derive(Debug)]
enum Encoded {
    /// The same for every stream it goes to.
    Same(Bytes),
    /// The client's own id stands in between.
    Around(Bytes, Bytes),
}

impl Event {
    /// An entry from the relay. `None`: one of a later version.
    pub fn from_relay(entry: &pb::RelayEntry) -> Option<Self> {
        match entry.change.as_ref()? {
            relay_entry::Change::Notification(notification) => {
                let bytes = match entry.recipient_ids.as_slice() {
                    [recipient] => {
                        let named = pb::Notification {
                            recipient_id: recipient.clone(),
                            ..notification.clone()
                        };
                        Encoded::Same(notification_event(entry.cursor, &named))
                    }
                    _ => around(entry.cursor, notification),
                };
                Some(Self {
                    cursor: entry.cursor,
                    topic: Some(notification.topic.as_str().into()),
                    expires_at: notification.expires_at.as_ref().map(json::millis),
                    bytes,
                })
            }
            relay_entry::Change::ReadState(change) => Some(Self {
                cursor: entry.cursor,
                topic: None,
                expires_at: None,
                bytes: Encoded::Same(read_state(entry.cursor, change)),
            }),
        }
    }

    /// The bytes for a client, whose id is given as JSON.
    pub fn frames(&self, client: &Bytes) -> impl Iterator<Item = Bytes> {
        let (head, client, tail) = match &self.bytes {
            Encoded::Same(bytes) => (bytes, None, None),
            Encoded::Around(head, tail) => (head, Some(client.clone()), Some(tail.clone())),
        };
        std::iter::once(head.clone()).chain(client).chain(tail)
    }
}

/// A message of a catch-up. `None`: one of a later version.
pub(crate) fn caught_up(message: &pb::SubscribeResponse) -> Option<Bytes> {
    Some(match message.change.as_ref()? {
        subscribe_response::Change::Opened(opened) => self::opened(message.cursor, opened),
        subscribe_response::Change::Notification(notification) => {
            notification_event(message.cursor, notification)
        }
        subscribe_response::Change::ReadState(change) => read_state(message.cursor, change),
    })
}

/// When the browser is to reconnect.
pub(crate) fn retry(after: Duration) -> Bytes {
    format!("retry: {}\n\n", after.as_millis()).into()
}

/// A sign of life.
pub(crate) const HEARTBEAT: Bytes = Bytes::from_static(b": heartbeat\n\n");

/// The server ends the stream, and why. `retry` spreads out who comes back.
pub(crate) fn closing(reason: &str, retry: Option<Duration>) -> Bytes {
    #[derive(Serialize)]
    struct Closing<'a> {
        reason: &'a str,
    }
    let retry = retry.map_or_else(String::new, |after| {
        format!("retry: {}\n", after.as_millis())
    });
    event(
        &format!("{retry}event: closing\ndata: "),
        &json::to_vec(&Closing { reason }),
    )
}

/// The id is where the reader stands, so that a browser that reconnects before its first
/// notification misses nothing; `cursor` in the data is the present, where the count is exact.
fn opened(cursor: u64, opened: &pb::Opened) -> Bytes {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Opened {
        complete: bool,
        oldest: u64,
        cursor: u64,
        unread_count: u64,
    }
    let data = Opened {
        complete: opened.complete,
        oldest: opened.oldest,
        cursor: opened.latest,
        unread_count: opened.unread_count,
    };
    event(
        &format!("event: opened\nid: {cursor}\ndata: "),
        &json::to_vec(&data),
    )
}

fn notification_event(cursor: u64, notification: &pb::Notification) -> Bytes {
    event(
        &format!("id: {cursor}\ndata: "),
        &json::to_vec(&Notification::new(notification)),
    )
}

fn around(cursor: u64, notification: &pb::Notification) -> Encoded {
    let notification = Notification::new(notification);
    let mut head = format!("id: {cursor}\ndata: ").into_bytes();
    head.extend(json::to_vec(&notification.head));
    // The closing brace gives way to one more key.
    head.pop();
    head.extend(b",\"clientID\":");
    let mut tail = json::to_vec(&notification.tail);
    if let Some(brace) = tail.first_mut() {
        *brace = b',';
    }
    tail.extend(b"\n\n");
    Encoded::Around(head.into(), tail.into())
}

fn read_state(cursor: u64, change: &pb::ReadStateChanged) -> Bytes {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct ReadState<'a> {
        #[serde(rename = "notificationIDs")]
        ids: &'a [u64],
        #[serde(skip_serializing_if = "Option::is_none")]
        up_to: Option<u64>,
        status: &'a str,
        unread_count: u64,
    }
    let data = ReadState {
        ids: &change.ids,
        up_to: (change.up_to > 0).then_some(change.up_to),
        status: if change.read { "read" } else { "unread" },
        unread_count: change.unread_count,
    };
    event(
        &format!("event: read-state\nid: {cursor}\ndata: "),
        &json::to_vec(&data),
    )
}

fn event(head: &str, data: &[u8]) -> Bytes {
    [head.as_bytes(), data, b"\n\n"].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notification() -> pb::Notification {
        pb::Notification {
            id: 7,
            event_id: "e".into(),
            source_id: "s".into(),
            recipient_id: "al\"ice".into(),
            topic: "a.b".into(),
            data: "x\r\ny\0\u{1F600}".into(),
            created_at: Some(prost_types::Timestamp {
                seconds: 1,
                nanos: 5_000_000,
            }),
            ..pb::Notification::default()
        }
    }

    fn text(frames: impl Iterator<Item = Bytes>) -> String {
        String::from_utf8(frames.flatten().collect()).unwrap()
    }

    #[test]
    fn a_notification_is_an_unnamed_event() {
        let message = pb::SubscribeResponse {
            cursor: 7,
            change: Some(subscribe_response::Change::Notification(notification())),
        };
        assert_eq!(
            caught_up(&message).unwrap(),
            "id: 7\ndata: {\"notificationID\":7,\"eventID\":\"e\",\"sourceID\":\"s\",\
             \"clientID\":\"al\\\"ice\",\"topic\":\"a.b\",\"data\":\"x\\r\\ny\\u0000\u{1F600}\",\
             \"createdAt\":\"1970-01-01T00:00:01.005Z\"}\n\n"
        );
    }

    #[test]
    fn shared_bytes_read_like_ones_own() {
        let own = pb::RelayEntry {
            cursor: 7,
            recipient_ids: vec!["al\"ice".into()],
            change: Some(relay_entry::Change::Notification(notification())),
        };
        let shared = pb::RelayEntry {
            recipient_ids: Vec::new(),
            ..own.clone()
        };
        let client = Bytes::from(json::to_vec(&"al\"ice"));
        let own = Event::from_relay(&own).unwrap();
        let shared = Event::from_relay(&shared).unwrap();
        assert_eq!(own.frames(&client).count(), 1);
        assert_eq!(shared.frames(&client).count(), 3);
        assert_eq!(text(own.frames(&client)), text(shared.frames(&client)));
    }

    #[test]
    fn the_other_events() {
        let opened = pb::Opened {
            complete: true,
            oldest: 2,
            unread_count: 3,
            latest: 9,
        };
        let message = pb::SubscribeResponse {
            cursor: 5,
            change: Some(subscribe_response::Change::Opened(opened)),
        };
        assert_eq!(
            caught_up(&message).unwrap(),
            "event: opened\nid: 5\ndata: {\"complete\":true,\"oldest\":2,\"cursor\":9,\"unreadCount\":3}\n\n"
        );
        let change = pb::ReadStateChanged {
            ids: vec![3, 4],
            read: true,
            unread_count: 1,
            at: None,
            up_to: 0,
        };
        assert_eq!(
            read_state(8, &change),
            "event: read-state\nid: 8\ndata: {\"notificationIDs\":[3,4],\"status\":\"read\",\"unreadCount\":1}\n\n"
        );
        let change = pb::ReadStateChanged {
            ids: Vec::new(),
            up_to: 6,
            read: false,
            ..change
        };
        assert_eq!(
            read_state(8, &change),
            "event: read-state\nid: 8\ndata: {\"notificationIDs\":[],\"upTo\":6,\"status\":\"unread\",\"unreadCount\":1}\n\n"
        );
        assert_eq!(retry(Duration::from_secs(3)), "retry: 3000\n\n");
        assert_eq!(
            closing("shutdown", Some(Duration::from_millis(1500))),
            "retry: 1500\nevent: closing\ndata: {\"reason\":\"shutdown\"}\n\n"
        );
    }
}
