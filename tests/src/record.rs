//! What a subscriber saw, entry by entry, over however many connections.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use mercurio_proto::v1::{Notification, SubscribeResponse, subscribe_response::Change as Wire};
use serde_json::Value;
use tokio::sync::watch;

use crate::{sse::Event, wait::within};

/// A notification as a subscriber or a history reader saw it; the same over SSE and gRPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its id.
    pub id: u64,
    /// Its event id.
    pub event_id: String,
    /// Who published it.
    pub source_id: String,
    /// Whose view it is.
    pub recipient: String,
    /// Its topic.
    pub topic: String,
    /// Its data.
    pub data: String,
    /// Whether it went to everyone.
    pub broadcast: bool,
}

impl From<&Notification> for Seen {
    fn from(wire: &Notification) -> Seen {
        Seen {
            id: wire.id,
            event_id: wire.event_id.clone(),
            source_id: wire.source_id.clone(),
            recipient: wire.recipient_id.clone(),
            topic: wire.topic.clone(),
            data: wire.data.clone(),
            broadcast: wire.broadcast,
        }
    }
}

impl Seen {
    /// From the JSON of the HTTP API.
    pub fn from_json(json: &Value) -> Seen {
        let text = |key: &str| {
            let value = json[key].as_str();
            value
                .unwrap_or_else(|| panic!("{key} is not a string: {json}"))
                .to_owned()
        };
        Seen {
            id: json["notificationID"]
                .as_u64()
                .unwrap_or_else(|| panic!("no id: {json}")),
            event_id: text("eventID"),
            source_id: text("sourceID"),
            recipient: text("clientID"),
            topic: text("topic"),
            data: text("data"),
            broadcast: json["broadcast"].as_bool().unwrap_or(false),
        }
    }
}

/// One thing a stream said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// How the stream began, or began again.
    Opened {
        /// Nothing was lost.
        complete: bool,
        /// The oldest id kept.
        oldest: u64,
        /// What `unread` is exact at.
        latest: u64,
        /// The unread count.
        unread: u64,
    },
    /// A notification.
    Notification(Seen),
    /// A change of the read state.
    ReadState {
        /// The notifications that changed; empty where `up_to` says it.
        ids: Vec<u64>,
        /// All up to this id; 0 where `ids` says it.
        up_to: u64,
        /// To read, or to unread.
        read: bool,
        /// The unread count after it.
        unread: u64,
    },
    /// Notifications are gone.
    Deleted {
        /// Which; empty where `up_to` says it.
        ids: Vec<u64>,
        /// All up to this id; 0 where `ids` says it.
        up_to: u64,
        /// The unread count after it; `None`: it has to be asked for.
        unread: Option<u64>,
    },
    /// Why the server ended the stream (SSE only).
    Closing(String),
}

/// One thing a stream said, and where the reader stands behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What to resume from.
    pub cursor: u64,
    /// What was said.
    pub change: Change,
}

impl Entry {
    /// True for an entry of the log, false for what is about the stream itself.
    pub fn of_log(&self) -> bool {
        matches!(
            self.change,
            Change::Notification(_) | Change::ReadState { .. } | Change::Deleted { .. }
        )
    }

    /// The notification, where it is one.
    pub fn notification(&self) -> Option<&Seen> {
        match &self.change {
            Change::Notification(seen) => Some(seen),
            _ => None,
        }
    }
}

impl From<&SubscribeResponse> for Entry {
    fn from(wire: &SubscribeResponse) -> Entry {
        let change = match wire.change.as_ref().expect("a change in the message") {
            Wire::Opened(opened) => Change::Opened {
                complete: opened.complete,
                oldest: opened.oldest,
                latest: opened.latest,
                unread: opened.unread_count,
            },
            Wire::Notification(notification) => Change::Notification(notification.into()),
            Wire::ReadState(state) => Change::ReadState {
                ids: state.ids.clone(),
                up_to: state.up_to,
                read: state.read,
                unread: state.unread_count,
            },
            Wire::Deleted(deleted) => Change::Deleted {
                ids: deleted.ids.clone(),
                up_to: deleted.up_to,
                unread: deleted.unread_count,
            },
        };
        Entry {
            cursor: wire.cursor,
            change,
        }
    }
}

impl From<&Event> for Entry {
    fn from(event: &Event) -> Entry {
        let json = event.json();
        let number = |key: &str| {
            json[key]
                .as_u64()
                .unwrap_or_else(|| panic!("{key} is not a number: {json}"))
        };
        let ids = || {
            let ids = json["notificationIDs"].as_array().into_iter().flatten();
            ids.map(|id| id.as_u64().expect("an id")).collect()
        };
        let change = match event.name.as_str() {
            "message" => Change::Notification(Seen::from_json(&json)),
            "opened" => Change::Opened {
                complete: json["complete"].as_bool().expect("complete"),
                oldest: number("oldest"),
                latest: number("cursor"),
                unread: number("unreadCount"),
            },
            "deleted" => Change::Deleted {
                ids: ids(),
                up_to: json["upTo"].as_u64().unwrap_or(0),
                unread: json["unreadCount"].as_u64(),
            },
            "read-state" => Change::ReadState {
                ids: ids(),
                up_to: json["upTo"].as_u64().unwrap_or(0),
                read: match json["status"].as_str() {
                    Some("read") => true,
                    Some("unread") => false,
                    other => panic!("status {other:?}: {json}"),
                },
                unread: number("unreadCount"),
            },
            "closing" => Change::Closing(json["reason"].as_str().expect("a reason").to_owned()),
            other => panic!("an event of type {other:?}: {event:?}"),
        };
        // `closing` stands at no cursor; a stream that closes before `opened` has seen none.
        let cursor = event.id.parse().unwrap_or(0);
        Entry { cursor, change }
    }
}

/// A growing record that can be waited on. Cheap to clone.
#[derive(Clone, Default)]
pub struct Record {
    entries: Arc<Mutex<Vec<Entry>>>,
    count: watch::Sender<usize>,
}

impl Record {
    /// Adds an entry.
    pub fn push(&self, entry: Entry) {
        let mut entries = self.entries.lock().unwrap();
        entries.push(entry);
        self.count.send_replace(entries.len());
    }

    /// Everything so far, what is about the stream itself included.
    pub fn all(&self) -> Vec<Entry> {
        self.entries.lock().unwrap().clone()
    }

    /// The notifications so far.
    pub fn notifications(&self) -> Vec<Seen> {
        let entries = self.entries.lock().unwrap();
        entries
            .iter()
            .filter_map(|entry| entry.notification().cloned())
            .collect()
    }

    /// How often a stream was opened.
    pub fn openings(&self) -> usize {
        let entries = self.entries.lock().unwrap();
        entries
            .iter()
            .filter(|e| matches!(e.change, Change::Opened { .. }))
            .count()
    }

    /// Waits until the record as a whole is as wanted; panics when it is not within `limit`.
    pub async fn wait_until(&self, what: &str, limit: Duration, ok: impl Fn(&[Entry]) -> bool) {
        let mut count = self.count.subscribe();
        let reached = async {
            while !ok(&self.entries.lock().unwrap()) {
                count.mark_unchanged();
                if ok(&self.entries.lock().unwrap()) {
                    return;
                }
                count.changed().await.expect("the record lives");
            }
        };
        if tokio::time::timeout(limit, reached).await.is_err() {
            let all = self.all();
            let tail = &all[all.len().saturating_sub(3)..];
            panic!(
                "{what}: not within {limit:?}; {} entries, the last: {tail:#?}",
                all.len()
            );
        }
    }

    /// Waits until a log entry with at least this cursor was seen.
    pub async fn wait_for_cursor(&self, cursor: u64, limit: Duration) {
        let what = format!("the subscriber reaches {cursor}");
        self.wait_until(&what, limit, |all| {
            all.iter()
                .rev()
                .find(|entry| entry.of_log())
                .is_some_and(|e| e.cursor >= cursor)
        })
        .await;
    }

    /// Waits until a stream was opened so often.
    pub async fn wait_for_openings(&self, count: usize, limit: Duration) {
        let what = format!("the stream is opened for the {count}. time");
        let is_opened = |entry: &&Entry| matches!(entry.change, Change::Opened { .. });
        self.wait_until(&what, limit, |all| {
            all.iter().filter(is_opened).count() >= count
        })
        .await;
    }

    /// Waits until so many notifications were seen.
    pub async fn wait_for_count(&self, count: usize, limit: Duration) {
        let what = format!("the subscriber sees {count} notifications");
        self.wait_until(&what, limit, |all| {
            all.iter()
                .filter(|entry| entry.notification().is_some())
                .count()
                >= count
        })
        .await;
    }

    /// Asserts what each record has to keep: log entries in strictly increasing order over all
    /// connections, a notification's id is its cursor, every opening complete and not before
    /// what was already seen.
    pub fn check_order(&self, who: &str) {
        let mut last = 0;
        for entry in self.all() {
            if let Change::Opened {
                complete, latest, ..
            } = entry.change
            {
                assert!(
                    complete,
                    "{who}: incomplete opening after {last}: {entry:?}"
                );
                assert!(latest >= last, "{who}: opened before {last}: {entry:?}");
            } else if entry.of_log() {
                assert!(entry.cursor > last, "{who}: {last}, then {entry:?}");
                last = entry.cursor;
            }
            if let Some(seen) = entry.notification() {
                assert_eq!(seen.id, entry.cursor, "{who}: {entry:?}");
            }
        }
    }

    /// Asserts the order, and that exactly these notifications were seen.
    pub fn check(&self, who: &str, expected: &[Seen]) {
        self.check_order(who);
        compare(who, expected, &self.notifications());
    }
}

/// Waits for an entry with a deadline; for streams that are read by hand.
pub async fn next_entry(limit: Duration, stream: &mut crate::sse::Stream) -> Entry {
    let event = within("the next event", limit, stream.try_event()).await;
    (&event.expect("read the stream").expect("the stream goes on")).into()
}

/// Asserts that two lists of notifications are the same; says where they part and what is missing.
#[track_caller]
pub fn compare(who: &str, expected: &[Seen], got: &[Seen]) {
    if expected == got {
        return;
    }
    let missing: Vec<u64> = expected
        .iter()
        .filter(|e| !got.iter().any(|g| g.id == e.id))
        .map(|e| e.id)
        .collect();
    let extra: Vec<u64> = got
        .iter()
        .filter(|g| !expected.iter().any(|e| e.id == g.id))
        .map(|g| g.id)
        .collect();
    let part = expected.iter().zip(got).position(|(e, g)| e != g);
    let part = part.unwrap_or(expected.len().min(got.len()));
    panic!(
        "{who}: expected {}, got {} notifications; missing {} {:?}, extra {} {:?}; they part at {part}: expected {:?}, got {:?}",
        expected.len(),
        got.len(),
        missing.len(),
        &missing[..missing.len().min(10)],
        extra.len(),
        &extra[..extra.len().min(10)],
        expected.get(part),
        got.get(part),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(id: u64) -> Seen {
        Seen {
            id,
            event_id: id.to_string(),
            source_id: "s".into(),
            recipient: "alice".into(),
            topic: "t".into(),
            data: "x".into(),
            broadcast: false,
        }
    }

    fn record(ids: &[u64]) -> Record {
        let record = Record::default();
        let opened = Change::Opened {
            complete: true,
            oldest: 0,
            latest: 9,
            unread: 0,
        };
        record.push(Entry {
            cursor: 0,
            change: opened,
        });
        for id in ids {
            record.push(Entry {
                cursor: *id,
                change: Change::Notification(seen(*id)),
            });
        }
        record
    }

    fn says(check: impl FnOnce() + std::panic::UnwindSafe) -> String {
        let panic = std::panic::catch_unwind(check).expect_err("found out");
        panic.downcast_ref::<String>().cloned().unwrap_or_default()
    }

    #[test]
    fn what_is_wrong_is_found_out() {
        let expected = [seen(1), seen(2), seen(3)];
        record(&[1, 2, 3]).check("a", &expected);
        for wrong in [&[1, 2, 2, 3][..], &[1, 3, 2], &[2, 1, 3]] {
            let said = says(|| record(wrong).check("a", &[seen(1), seen(2), seen(3)]));
            assert!(said.contains(", then "), "{said}");
        }
        let said = says(|| record(&[1, 3]).check("a", &[seen(1), seen(2), seen(3)]));
        assert!(said.contains("missing 1 [2]"), "{said}");
        let said = says(|| record(&[1, 2, 3, 4]).check("a", &[seen(1), seen(2), seen(3)]));
        assert!(said.contains("extra 1 [4]"), "{said}");
        let said = says(|| {
            let mut other = seen(2);
            other.data = "y".into();
            record(&[1, 2, 3]).check("a", &[seen(1), other, seen(3)]);
        });
        assert!(said.contains("part at 1"), "{said}");
    }

    #[test]
    fn an_incomplete_opening_is_found_out() {
        let record = record(&[1]);
        let opened = Change::Opened {
            complete: false,
            oldest: 5,
            latest: 9,
            unread: 0,
        };
        record.push(Entry {
            cursor: 1,
            change: opened,
        });
        let said = says(move || record.check_order("a"));
        assert!(said.contains("incomplete opening"), "{said}");
    }
}
