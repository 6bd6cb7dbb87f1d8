//! How a batch of entries travels in a log elsewhere: one protobuf message. Field numbers are for
//! good.

use bytes::Bytes;
use prost::Message as _;
use uuid::Uuid;

use crate::{
    entry::{Entry, Millis},
    store::{Appender, LogEntry},
};

use super::{LogError, LogId};

/// The format that this version writes, and the newest one that it reads.
pub(crate) const FORMAT: u32 = 1;

/// A message, decoded.
#[derive(Debug)]
pub(crate) struct Message {
    /// Which log it was written for.
    pub log: LogId,
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
}

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
    pub fn nothing(log: LogId) -> Self {
        Self {
            log,
            at: 0,
            appender: None,
            entries: Vec::new(),
        }
    }

    /// Whether it changes nothing.
    pub fn is_nothing(&self) -> bool {
        self.appender.is_none() && self.entries.is_empty()
    }

    /// As it travels.
    pub fn encode(log: &LogId, at: Millis, appender: Option<Appender>, entries: &[Entry]) -> Bytes {
        let wire = Wire {
            format: FORMAT,
            log: log.id.as_bytes().to_vec(),
            base: log.base,
            at,
            appender,
            entries: entries.iter().map(LogEntry::from).collect(),
        };
        wire.encode_to_vec().into()
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
        Ok(Self {
            log: LogId {
                id,
                base: wire.base,
            },
            at: wire.at,
            appender: wire.appender,
            entries,
        })
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
    use crate::entry::{ReadStateSet, ReadTarget, RecipientId};

    use super::*;

    #[test]
    fn a_message_comes_back_as_it_went() {
        let log = LogId::new(7);
        let entry = Entry::ReadStateSet(ReadStateSet {
            at: 3,
            recipient: RecipientId::new("ada").unwrap(),
            target: ReadTarget::UpTo(5),
            read: true,
        });
        let appender = Some(Appender { id: 9, number: 4 });
        let bytes = Message::encode(&log, 11, appender, std::slice::from_ref(&entry));
        let message = Message::decode(&bytes).unwrap();
        assert_eq!(
            (message.log, message.at, message.appender),
            (log, 11, appender)
        );
        assert_eq!(message.entries, [entry]);
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
