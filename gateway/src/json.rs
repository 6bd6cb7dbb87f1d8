//! What a notification looks like in JSON, in the API and on the stream.

use std::time::{Duration, UNIX_EPOCH};

use mercurio_proto::v1 as pb;
use prost_types::Timestamp;
use serde::Serialize;

use crate::clock;

/// A notification as one client sees it.
#[derive(Serialize)]
pub struct Notification<'a> {
    #[serde(flatten)]
    pub(crate) head: Head<'a>,
    #[serde(rename = "clientID")]
    client_id: &'a str,
    #[serde(flatten)]
    pub(crate) tail: Tail<'a>,
}

/// What stands before the client's id, the same for every client.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Head<'a> {
    #[serde(rename = "notificationID")]
    id: u64,
    #[serde(rename = "eventID")]
    event_id: &'a str,
    #[serde(rename = "sourceID")]
    source_id: &'a str,
}

/// What stands behind it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Tail<'a> {
    topic: &'a str,
    data: &'a str,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    broadcast: bool,
}

impl<'a> Notification<'a> {
    /// Of a notification as the core sends it.
    #[must_use]
    pub fn new(notification: &'a pb::Notification) -> Self {
        Self {
            head: Head {
                id: notification.id,
                event_id: &notification.event_id,
                source_id: &notification.source_id,
            },
            client_id: &notification.recipient_id,
            tail: Tail {
                topic: &notification.topic,
                data: &notification.data,
                created_at: time(notification.created_at.as_ref()).unwrap_or_default(),
                read_at: time(notification.read_at.as_ref()),
                expires_at: time(notification.expires_at.as_ref()),
                broadcast: notification.broadcast,
            },
        }
    }
}

/// RFC 3339 in UTC, with milliseconds.
fn time(timestamp: Option<&Timestamp>) -> Option<String> {
    let since = Duration::from_millis(clock::millis(timestamp?));
    // The year 9999 is the last that RFC 3339 knows.
    let time = UNIX_EPOCH.checked_add(since.min(Duration::from_secs(253_402_300_799)))?;
    Some(humantime::format_rfc3339_millis(time).to_string())
}

/// JSON of a value that always has one: no maps with other keys than text.
pub(crate) fn to_vec<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
