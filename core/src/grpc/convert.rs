//! From the domain to proto.

use std::collections::VecDeque;

use mercurio_auth::{Revocation, Revoked};
use mercurio_proto::v1 as pb;
use prost_types::Timestamp;

use crate::{
    entry::{
        Change, DeletedChange, FeedChange, Millis, Notification, Published, ReadStateChange,
        Sequence,
    },
    hub::{Live, RelayEvent},
    store::Opening,
};

/// A notification as `recipient` sees it.
pub(super) fn notification(recipient: &str, notification: &Notification) -> pb::Notification {
    let Notification {
        id,
        published,
        read_at,
        broadcast,
    } = notification;
    pb::Notification {
        read_at: read_at.map(timestamp),
        ..as_published(recipient, *id, published, *broadcast)
    }
}

/// A change read from the store, for one recipient's stream.
pub(super) fn feed_change(
    recipient: &str,
    cursor: Sequence,
    change: &FeedChange,
) -> pb::SubscribeResponse {
    use pb::subscribe_response::Change as Out;
    let change = match change {
        FeedChange::Notification(found) => Out::Notification(notification(recipient, found)),
        FeedChange::ReadState(change) => Out::ReadState(read_state(change)),
        FeedChange::Deleted(change) => Out::Deleted(deleted(change)),
    };
    pb::SubscribeResponse {
        cursor,
        change: Some(change),
    }
}

/// A live change, for one recipient's stream.
pub(super) fn live(recipient: &str, live: &Live) -> pb::SubscribeResponse {
    use pb::subscribe_response::Change as Out;
    let Live {
        sequence: cursor,
        broadcast,
        change,
    } = live;
    let change = match change {
        Change::Published(published) => Some(Out::Notification(as_published(
            recipient, *cursor, published, *broadcast,
        ))),
        Change::ReadState(change) => Some(Out::ReadState(read_state(change))),
        Change::Deleted(change) => Some(Out::Deleted(deleted(change))),
        // In nobody's feed.
        Change::Revoked(_) => None,
    };
    pb::SubscribeResponse {
        cursor: *cursor,
        change,
    }
}

/// How a stream begins.
pub(super) fn opened(opening: &Opening) -> pb::SubscribeResponse {
    let opened = pb::Opened {
        complete: opening.complete,
        oldest: opening.oldest,
        unread_count: opening.unread_count,
        latest: opening.latest,
    };
    let change = Some(pb::subscribe_response::Change::Opened(opened));
    pb::SubscribeResponse {
        cursor: opening.cursor,
        change,
    }
}

/// What a relay is told; of an entry also the trace that it was published in.
pub(super) fn relay_event(event: RelayEvent, traceparent: Option<Box<str>>) -> pb::RelayResponse {
    use pb::relay_response::Message;
    let message = match event {
        RelayEvent::Joined { join_id, cursor } => {
            Message::Joined(pb::RelayJoined { join_id, cursor })
        }
        RelayEvent::Revoked(revocation) => Message::Revocations(pb::RelayRevocations {
            revocations: vec![self::revocation(&revocation)],
            complete: true,
        }),
        RelayEvent::Reset { cursor } => Message::Reset(pb::RelayReset { cursor }),
        RelayEvent::Entry {
            sequence: cursor,
            recipients,
            change,
        } => {
            let recipient_ids: Vec<_> = recipients
                .iter()
                .map(|recipient| recipient.as_str().to_owned())
                .collect();
            let broadcast = recipient_ids.is_empty();
            let change = match change {
                Change::Published(published) => Some(pb::relay_entry::Change::Notification(
                    as_published("", cursor, &published, broadcast),
                )),
                Change::ReadState(change) => {
                    Some(pb::relay_entry::Change::ReadState(read_state(&change)))
                }
                Change::Deleted(change) => Some(pb::relay_entry::Change::Deleted(deleted(&change))),
                // In nobody's feed: it is told by itself.
                Change::Revoked(_) => None,
            };
            Message::Entry(pb::RelayEntry {
                cursor,
                recipient_ids,
                change,
                traceparent: traceparent.unwrap_or_default().into(),
            })
        }
    };
    pb::RelayResponse {
        message: Some(message),
    }
}

/// Revocations in one message.
const REVOCATIONS_AT_ONCE: usize = 1000;

/// What a relay is told of revocations when it begins.
pub(super) fn revocations(all: &[Revocation]) -> VecDeque<pb::RelayResponse> {
    let chunks = all.chunks(REVOCATIONS_AT_ONCE);
    let mut messages: Vec<pb::RelayRevocations> = chunks
        .map(|chunk| pb::RelayRevocations {
            revocations: chunk.iter().map(revocation).collect(),
            complete: false,
        })
        .collect();
    match messages.last_mut() {
        Some(last) => last.complete = true,
        None => messages.push(pb::RelayRevocations {
            revocations: Vec::new(),
            complete: true,
        }),
    }
    let messages = messages.into_iter().map(|message| pb::RelayResponse {
        message: Some(pb::relay_response::Message::Revocations(message)),
    });
    messages.collect()
}

fn revocation(revocation: &Revocation) -> pb::RelayRevocation {
    use pb::relay_revocation::Tokens;
    let (tokens, issued_before) = match &revocation.tokens {
        Revoked::Id(id) => (Tokens::TokenId(id.to_string()), None),
        Revoked::User {
            user,
            issued_before,
        } => (
            Tokens::UserId(user.to_string()),
            Some(timestamp(*issued_before)),
        ),
    };
    pb::RelayRevocation {
        tokens: Some(tokens),
        issued_before,
        kept_until: revocation.until.map(timestamp),
    }
}

fn as_published(
    recipient: &str,
    id: Sequence,
    published: &Published,
    broadcast: bool,
) -> pb::Notification {
    pb::Notification {
        id,
        event_id: published.event_id.clone(),
        source_id: published.source_id.clone(),
        recipient_id: recipient.to_owned(),
        topic: published.topic.to_string(),
        data: published.data.clone(),
        created_at: Some(timestamp(published.at)),
        read_at: None,
        expires_at: published.expires_at.map(timestamp),
        broadcast,
    }
}

fn deleted(change: &DeletedChange) -> pb::Deleted {
    pb::Deleted {
        ids: change.ids.clone(),
        up_to: change.up_to,
        unread_count: change.unread_count,
        at: Some(timestamp(change.at)),
    }
}

fn read_state(change: &ReadStateChange) -> pb::ReadStateChanged {
    pb::ReadStateChanged {
        ids: change.ids.clone(),
        read: change.read,
        unread_count: change.unread_count,
        at: Some(timestamp(change.at)),
        up_to: change.up_to,
    }
}

pub(super) fn timestamp(at: Millis) -> Timestamp {
    Timestamp {
        seconds: i64::try_from(at / 1000).unwrap_or(i64::MAX),
        // Below 1,000,000,000.
        nanos: (at % 1000) as i32 * 1_000_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_become_seconds_and_nanos() {
        assert_eq!(
            timestamp(1_700_000_000_123),
            Timestamp {
                seconds: 1_700_000_000,
                nanos: 123_000_000
            }
        );
        assert_eq!(
            timestamp(999),
            Timestamp {
                seconds: 0,
                nanos: 999_000_000
            }
        );
    }
}
