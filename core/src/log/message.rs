//! How a batch of entries travels in a log elsewhere: one protobuf message. Field numbers are for
//! good.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use uuid::Uuid;

use crate::{
    entry::{Entry, Millis},
    store::{Appender, LogEntry, Retention},
};

use super::{LogError, LogId, broker::Origin};

/// The format that this version writes, and the newest one that it reads.
pub(crate) const FORMAT: u32 = 1;

/// A message, decoded.
#[derive(Debug)]
pub(crate) struct Message {
    /// Which log it was written for.
    pub origin: Origin,
    /// When it was written.
    pub at: Millis,
    /// Who wrote it, and as which of theirs. `None`: it has no entries, and tells the time only.
    pub appender: Option<Appender>,
    pub entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(bytes = "vec", tag = "2")]
    log: Vec<u8>,
    #[prost(uint64, tag = "3")]
    base: u64,
    #[prost(uint64, tag = "4")]
    at: Millis,
    #[prost(message, optional, tag = "5")]
    appender: Option<Appender>,
    #[prost(message, repeated, tag = "6")]
    entries: Vec<LogEntry>,
    #[prost(message, optional, tag = "7")]
    retention: Option<WireRetention>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct WireRetention {
    #[prost(uint64, tag = "1")]
    max_age_millis: u64,
    #[prost(uint64, tag = "2")]
    max_per_recipient: u64,
}

/// What is added when a message is sent: a message of protobuf may be put together of parts.
#[derive(Clone, PartialEq, prost::Message)]
struct Stamp {
    #[prost(uint64, tag = "4")]
    at: Millis,
    #[prost(message, optional, tag = "5")]
    appender: Option<Appender>,
}

/// Bytes of a message besides its entries, at most.
pub(crate) const OVERHEAD: usize = 128;

/// The parts that every format has.
#[derive(Clone, PartialEq, prost::Message)]
struct Head {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(bytes = "vec", tag = "2")]
    log: Vec<u8>,
}

/// Why a message can't be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// A newer version wrote it.
    Newer,
    /// It is none of ours.
    Foreign,
}

impl Message {
    /// One that changes nothing.
    pub fn nothing(origin: Origin) -> Self {
        Self {
            origin,
            at: 0,
            appender: None,
            entries: Vec::new(),
        }
    }

    /// Whether it changes nothing.
    pub fn is_nothing(&self) -> bool {
        self.appender.is_none() && self.entries.is_empty()
    }

    /// As it travels, but for what is known only when it is sent.
    pub fn body(origin: &Origin, entries: &[Entry]) -> Bytes {
        let Origin { log, retention } = origin;
        let wire = Wire {
            format: FORMAT,
            log: log.id.as_bytes().to_vec(),
            base: log.base,
            at: 0,
            appender: None,
            entries: entries.iter().map(LogEntry::from).collect(),
            retention: retention.map(WireRetention::from),
        };
        wire.encode_to_vec().into()
    }

    /// A body, whole.
    pub fn stamped(body: &[u8], at: Millis, appender: Option<Appender>) -> Bytes {
        let stamp = Stamp { at, appender };
        [body, &stamp.encode_to_vec()].concat().into()
    }

    pub fn decode(payload: &[u8]) -> Result<Self, Unreadable> {
        let head = Head::decode(payload).map_err(|_| Unreadable::Foreign)?;
        let id = Uuid::from_slice(&head.log).map_err(|_| Unreadable::Foreign)?;
        if head.format > FORMAT {
            return Err(Unreadable::Newer);
        }
        let wire = Wire::decode(payload).map_err(|_| Unreadable::Foreign)?;
        // What this version can't make an entry of, a newer one wrote.
        let entries = wire.entries.into_iter().map(LogEntry::decoded);
        let entries = entries
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| Unreadable::Newer)?;
        let log = LogId {
            id,
            base: wire.base,
        };
        Ok(Self {
            origin: Origin {
                log,
                retention: wire.retention.map(Retention::from),
            },
            at: wire.at,
            appender: wire.appender,
            entries,
        })
    }
}

impl From<Retention> for WireRetention {
    fn from(retention: Retention) -> Self {
        Self {
            max_age_millis: u64::try_from(retention.max_age.as_millis()).unwrap_or(u64::MAX),
            max_per_recipient: retention.max_per_recipient,
        }
    }
}

impl From<WireRetention> for Retention {
    fn from(wire: WireRetention) -> Self {
        Self {
            max_age: Duration::from_millis(wire.max_age_millis),
            max_per_recipient: wire.max_per_recipient,
        }
    }
}

impl Unreadable {
    /// What to say of a newer one, which has to be applied before all that is behind it.
    pub fn newer() -> LogError {
        LogError::Refused(format!(
            "the log has an entry that a newer version wrote (this one knows format {FORMAT}): \
             nothing behind it is applied here until this core is brought up to date"
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::{fmt::Write as _, sync::Arc};

    use mercurio_auth::{Revocation, Revoked};

    use crate::entry::{
        Audience, Deleted, Deletion, Published, ReadStateSet, ReadTarget, RecipientId,
        TokensRevoked,
    };

    use super::*;

    /// What the fixtures in `tests/fixtures/log-*` are of: a message of all that there is, and one that
    /// tells the time.
    fn recorded() -> [(Option<Appender>, Vec<Entry>); 2] {
        let recipient = |id| RecipientId::new(id).unwrap();
        let published = |to, event: &str, topic: &str, expires_at| {
            let published = Published {
                at: 1_790_000_000_000,
                source_id: "billing".into(),
                event_id: event.into(),
                topic: topic.into(),
                data: format!("{event}: naïve 🦀\n"),
                expires_at,
            };
            Entry::Published(to, Arc::new(published))
        };
        let both = Audience::Recipients([recipient("ada"), recipient("ünï")].into());
        let mark = |target, read| {
            Entry::ReadStateSet(ReadStateSet {
                at: 1_790_000_000_001,
                recipient: recipient("ada"),
                target,
                read,
            })
        };
        let revoked = |tokens, until| {
            Entry::TokensRevoked(TokensRevoked {
                at: 1_790_000_000_001,
                revocation: Revocation { tokens, until },
            })
        };
        let deleted = |deletion| {
            Entry::Deleted(Deleted {
                at: 1_790_000_000_001,
                deletion,
            })
        };
        let entries = vec![
            published(both, "invoice-7", "invoice.paid", Some(4_102_444_800_000)),
            published(Audience::Everyone, "news", "", None),
            mark(ReadTarget::Ids(vec![1, 4097, 1 << 52]), true),
            mark(ReadTarget::UpTo(8193), false),
            revoked(Revoked::Id("jti-1".into()), Some(4_102_444_800_000)),
            revoked(
                Revoked::User {
                    user: "ada".into(),
                    issued_before: 1_790_000_000_000,
                },
                None,
            ),
            deleted(Deletion::Notifications {
                owners: Audience::Everyone,
                ids: vec![9],
            }),
            deleted(Deletion::Notifications {
                owners: Audience::Recipients([recipient("ada")].into()),
                ids: vec![1, 4097],
            }),
            deleted(Deletion::Everything {
                of: recipient("ünï"),
            }),
        ];
        let appender = Appender {
            id: u64::MAX - 1,
            number: 42,
        };
        [(Some(appender), entries), (None, Vec::new())]
    }

    fn recorded_of() -> Origin {
        Origin {
            log: LogId {
                id: Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0001),
                base: 7,
            },
            retention: Some(Retention {
                max_age: Duration::from_millis(7_776_000_001),
                max_per_recipient: 9_999,
            }),
        }
    }

    /// Prints the fixture of this version's format: `tests/fixtures/README.md`.
    #[test]
    #[ignore = "makes a fixture, before a release: tests/fixtures/README.md"]
    fn make_the_fixture() {
        for (appender, entries) in recorded() {
            let body = Message::body(&recorded_of(), &entries);
            let bytes = Message::stamped(&body, 1_790_000_000_002, appender);
            let mut line = String::new();
            for byte in bytes {
                write!(line, "{byte:02x}").unwrap();
            }
            println!("{line}");
        }
    }

    #[test]
    fn messages_of_every_released_format_are_read() {
        for written in [include_str!("../../../tests/fixtures/log-1/messages")] {
            assert_eq!(written.lines().count(), recorded().len());
            for (line, (appender, entries)) in written.lines().zip(recorded()) {
                let digit = |at| u8::from_str_radix(&line[at..at + 2], 16).unwrap();
                let bytes: Vec<u8> = (0..line.len()).step_by(2).map(digit).collect();
                let message = Message::decode(&bytes).unwrap();
                assert_eq!(message.origin, recorded_of());
                assert_eq!(message.at, 1_790_000_000_002);
                assert_eq!((message.appender, message.entries), (appender, entries));
            }
        }
    }

    fn origin(base: u64) -> Origin {
        Origin {
            log: LogId::new(base),
            retention: Some(Retention::default()),
        }
    }

    #[test]
    fn a_message_comes_back_as_it_went() {
        let origin = origin(7);
        let entry = Entry::ReadStateSet(ReadStateSet {
            at: 3,
            recipient: RecipientId::new("ada").unwrap(),
            target: ReadTarget::UpTo(5),
            read: true,
        });
        let appender = Some(Appender { id: 9, number: 4 });
        let body = Message::body(&origin, std::slice::from_ref(&entry));
        let message = Message::decode(&Message::stamped(&body, 11, appender)).unwrap();
        assert_eq!(
            (message.origin, message.at, message.appender),
            (origin, 11, appender)
        );
        assert_eq!(message.entries, [entry]);
    }

    #[test]
    fn no_message_is_larger_than_it_is_reckoned_at() {
        let most = u64::MAX;
        let recipient = |n: usize| RecipientId::new(&"r".repeat(n)).unwrap();
        let published = |to, length: usize| {
            let text = "x".repeat(length);
            let published = Published {
                at: most,
                source_id: text.clone(),
                event_id: text.clone(),
                topic: text.as_str().into(),
                data: text,
                expires_at: Some(most),
            };
            Entry::Published(to, Arc::new(published))
        };
        let marked = |target| {
            Entry::ReadStateSet(ReadStateSet {
                at: most,
                recipient: recipient(128),
                target,
                read: true,
            })
        };
        let entries = [
            published(Audience::Everyone, 0),
            published(Audience::Everyone, 70_000),
            published(Audience::Recipients(vec![recipient(1); 9000].into()), 128),
            published(Audience::Recipients(vec![recipient(128); 90].into()), 128),
            marked(ReadTarget::UpTo(most)),
            marked(ReadTarget::Ids(vec![most; 500])),
            Entry::TokensRevoked(TokensRevoked {
                at: most,
                revocation: Revocation {
                    tokens: Revoked::User {
                        user: "u".repeat(128).into(),
                        issued_before: most,
                    },
                    until: Some(most),
                },
            }),
        ];
        let origin = Origin {
            log: LogId::new(most),
            retention: Some(Retention {
                max_age: Duration::from_millis(most),
                max_per_recipient: most,
            }),
        };
        let appender = Some(Appender {
            id: most,
            number: most,
        });
        for some in [&entries[..], &entries[..0], &entries[..1], &entries[4..]] {
            let reckoned = OVERHEAD + some.iter().map(Entry::weight).sum::<usize>();
            let is = Message::stamped(&Message::body(&origin, some), most, appender).len();
            assert!(is <= reckoned, "{is} > {reckoned}");
        }
    }

    #[test]
    fn what_is_newer_is_told_from_what_is_foreign() {
        let log = LogId::new(0);
        let newer = Wire {
            format: FORMAT + 1,
            log: log.id.as_bytes().to_vec(),
            ..Wire::default()
        };
        let unknown_kind = Wire {
            format: FORMAT,
            log: log.id.as_bytes().to_vec(),
            entries: vec![LogEntry { at: 1, kind: None }],
            ..Wire::default()
        };
        for wire in [newer, unknown_kind] {
            let found = Message::decode(&wire.encode_to_vec()).map(drop);
            assert_eq!(found, Err(Unreadable::Newer));
        }
        for junk in [&b""[..], b"hello", &[0xff; 40]] {
            assert_eq!(Message::decode(junk).map(drop), Err(Unreadable::Foreign));
        }
    }
}
