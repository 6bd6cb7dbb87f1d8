//! The bytes of a stream, as EventSource expects them (WHATWG HTML, "Server-sent events").
//!
//! An entry is encoded once, whatever the number of streams it goes to; the bytes are shared.
//! JSON has no raw line breaks, so one `data:` line always does.
//!
//! An empty line comes behind an event's data and nowhere else: clients that are not the standard's
//! (fetch-event-source, httpx-sse) make an empty message of each other one.

use std::time::Duration;

use bytes::Bytes;
use mercurio_proto::v1::{self as pb, relay_entry, subscribe_response};
use serde::Serialize;

use crate::{
    clock,
    json::{self, Notification},
    query::Filters,
};

/// Bytes of a stream, framed as a chunk of HTTP/1.1 (RFC 9112, section 7.1) with themselves inside:
/// both forms share the bytes.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    chunk: Bytes,
    /// Bytes before what the chunk carries.
    head: u8,
}

/// What ends a chunk.
const CHUNK_END: &[u8] = b"\r\n";
/// What ends a chunked body.
pub(crate) const LAST_CHUNK: Bytes = Bytes::from_static(b"0\r\n\r\n");

impl Frame {
    /// From pieces that are not all empty: an empty chunk would end the body.
    pub fn new(pieces: &[&[u8]]) -> Self {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let mut chunk = format!("{length:x}\r\n").into_bytes();
        let head = chunk.len() as u8;
        chunk.reserve_exact(length + CHUNK_END.len());
        pieces
            .iter()
            .for_each(|piece| chunk.extend_from_slice(piece));
        chunk.extend_from_slice(CHUNK_END);
        Self {
            chunk: chunk.into(),
            head,
        }
    }

    /// The bytes for a chunked body, or for one that ends with its connection.
    pub fn bytes(&self, chunked: bool) -> Bytes {
        if chunked {
            return self.chunk.clone();
        }
        self.chunk
            .slice(usize::from(self.head)..self.chunk.len() - CHUNK_END.len())
    }

    /// As [`Frame::bytes`], borrowed.
    pub fn slice(&self, chunked: bool) -> &[u8] {
        if chunked {
            return &self.chunk;
        }
        &self.chunk[usize::from(self.head)..self.chunk.len() - CHUNK_END.len()]
    }

    /// Bytes to be written.
    pub fn len(&self) -> usize {
        self.chunk.len()
    }
}

/// One entry, encoded.
#[derive(Debug)]
pub(crate) struct Event {
    pub cursor: u64,
    /// The notification's; `None`: a change of others, which passes every filter.
    pub topic: Option<Box<str>>,
    /// Milliseconds since the Unix epoch.
    pub expires_at: Option<u64>,
    bytes: Encoded,
}

#[derive(Debug)]
enum Encoded {
    /// The same for every stream it goes to.
    Same(Frame),
    /// The client's own id stands in between.
    Around(Frame, Frame),
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
                    expires_at: notification.expires_at.as_ref().map(clock::millis),
                    bytes,
                })
            }
            relay_entry::Change::ReadState(change) => Some(Self {
                cursor: entry.cursor,
                topic: None,
                expires_at: None,
                bytes: Encoded::Same(read_state(entry.cursor, change)),
            }),
            relay_entry::Change::Deleted(deleted) => Some(Self {
                cursor: entry.cursor,
                topic: None,
                expires_at: None,
                bytes: Encoded::Same(self::deleted(entry.cursor, deleted)),
            }),
        }
    }

    /// Bytes that it holds.
    pub fn len(&self) -> usize {
        match &self.bytes {
            Encoded::Same(frame) => frame.len(),
            Encoded::Around(head, tail) => head.len() + tail.len(),
        }
    }

    /// Whether it passes a stream's filters, and is still of interest.
    pub fn is_wanted(&self, filters: &Filters) -> bool {
        let passes = |topic: &str| filters.matches(topic);
        self.topic.as_deref().is_none_or(passes)
            && self.expires_at.is_none_or(|at| at > clock::now())
    }

    /// The frames for a client, whose id is given as JSON.
    pub fn frames<'a>(&'a self, client: &'a Frame) -> impl Iterator<Item = &'a Frame> {
        let (head, client, tail) = match &self.bytes {
            Encoded::Same(frame) => (frame, None, None),
            Encoded::Around(head, tail) => (head, Some(client), Some(tail)),
        };
        std::iter::once(head).chain(client).chain(tail)
    }
}

/// A message of a catch-up. `None`: one of a later version.
pub(crate) fn caught_up(message: &pb::SubscribeResponse) -> Option<Frame> {
    Some(match message.change.as_ref()? {
        subscribe_response::Change::Opened(opened) => self::opened(message.cursor, opened),
        subscribe_response::Change::Notification(notification) => {
            notification_event(message.cursor, notification)
        }
        subscribe_response::Change::ReadState(change) => read_state(message.cursor, change),
        subscribe_response::Change::Deleted(change) => deleted(message.cursor, change),
    })
}

/// When the browser is to reconnect. What comes next belongs to the same block.
pub(crate) fn retry(after: Duration) -> Frame {
    Frame::new(&[format!("retry: {}\n", after.as_millis()).as_bytes()])
}

/// A sign of life.
pub(crate) const HEARTBEAT: Frame = Frame {
    chunk: Bytes::from_static(b"c\r\n: heartbeat\n\r\n"),
    head: 3,
};

/// The server ends the stream, and why. `retry` spreads out who comes back.
pub(crate) fn closing(reason: &str, retry: Option<Duration>) -> Frame {
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
fn opened(cursor: u64, opened: &pb::Opened) -> Frame {
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

fn notification_event(cursor: u64, notification: &pb::Notification) -> Frame {
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
    Encoded::Around(Frame::new(&[&head]), Frame::new(&[&tail]))
}

fn read_state(cursor: u64, change: &pb::ReadStateChanged) -> Frame {
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

fn deleted(cursor: u64, change: &pb::Deleted) -> Frame {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Deleted<'a> {
        #[serde(rename = "notificationIDs")]
        ids: &'a [u64],
        #[serde(skip_serializing_if = "Option::is_none")]
        up_to: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        unread_count: Option<u64>,
    }
    let data = Deleted {
        ids: &change.ids,
        up_to: (change.up_to > 0).then_some(change.up_to),
        unread_count: change.unread_count,
    };
    event(
        &format!("event: deleted\nid: {cursor}\ndata: "),
        &json::to_vec(&data),
    )
}

fn event(head: &str, data: &[u8]) -> Frame {
    Frame::new(&[head.as_bytes(), data, b"\n\n"])
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

    fn text<'a>(frames: impl Iterator<Item = &'a Frame>) -> String {
        String::from_utf8(frames.flat_map(|frame| frame.bytes(false)).collect()).unwrap()
    }

    fn text_of(frame: &Frame) -> String {
        text(std::iter::once(frame))
    }

    #[test]
    fn a_frame_is_a_chunk_around_its_bytes() {
        for (frame, bytes, chunk) in [
            (HEARTBEAT, ": heartbeat\n", "c\r\n: heartbeat\n\r\n"),
            (Frame::new(&[b"ab", b"c"]), "abc", "3\r\nabc\r\n"),
        ] {
            assert_eq!(frame.bytes(false), bytes);
            assert_eq!(frame.bytes(true), chunk);
        }
        let long = Frame::new(&[&[b'x'; 70_000]]);
        assert!(long.bytes(true).starts_with(b"11170\r\nxx"));
        assert_eq!(long.bytes(false), vec![b'x'; 70_000]);
    }

    #[test]
    fn a_notification_is_an_unnamed_event() {
        let message = pb::SubscribeResponse {
            cursor: 7,
            change: Some(subscribe_response::Change::Notification(notification())),
        };
        assert_eq!(
            text_of(&caught_up(&message).unwrap()),
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
            ..Default::default()
        };
        let shared = pb::RelayEntry {
            recipient_ids: Vec::new(),
            ..own.clone()
        };
        let client = Frame::new(&[&json::to_vec(&"al\"ice")]);
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
            text_of(&caught_up(&message).unwrap()),
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
            text_of(&read_state(8, &change)),
            "event: read-state\nid: 8\ndata: {\"notificationIDs\":[3,4],\"status\":\"read\",\"unreadCount\":1}\n\n"
        );
        let change = pb::ReadStateChanged {
            ids: Vec::new(),
            up_to: 6,
            read: false,
            ..change
        };
        assert_eq!(
            text_of(&read_state(8, &change)),
            "event: read-state\nid: 8\ndata: {\"notificationIDs\":[],\"upTo\":6,\"status\":\"unread\",\"unreadCount\":1}\n\n"
        );
        let change = pb::Deleted {
            ids: vec![3],
            unread_count: Some(0),
            ..pb::Deleted::default()
        };
        assert_eq!(
            text_of(&deleted(8, &change)),
            "event: deleted\nid: 8\ndata: {\"notificationIDs\":[3],\"unreadCount\":0}\n\n"
        );
        let change = pb::Deleted {
            up_to: 7,
            ..pb::Deleted::default()
        };
        assert_eq!(
            text_of(&deleted(8, &change)),
            "event: deleted\nid: 8\ndata: {\"notificationIDs\":[],\"upTo\":7}\n\n"
        );
        assert_eq!(text_of(&retry(Duration::from_secs(3))), "retry: 3000\n");
        assert_eq!(
            text_of(&closing("shutdown", Some(Duration::from_millis(1500)))),
            "retry: 1500\nevent: closing\ndata: {\"reason\":\"shutdown\"}\n\n"
        );
    }
}
