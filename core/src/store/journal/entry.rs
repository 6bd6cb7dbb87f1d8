//! How entries are written, in the journal and in a log that cores share. Field numbers are for good.

use std::sync::Arc;

use prost::{Message, Oneof};

use crate::entry::{
    Audience, Deleted, Deletion, Entry, Millis, Published, ReadStateSet, ReadTarget, RecipientId,
    Sequence, TokensRevoked,
};

use super::super::{StoreError, revocations::StoredRevocation};

/// A stretch of the log: what was appended at once.
#[derive(Clone, PartialEq, Message)]
pub(in crate::store) struct Frame {
    /// The stretch begins here, right behind the one before.
    #[prost(uint64, tag = "1")]
    pub first: Sequence,
    #[prost(message, repeated, tag = "2")]
    pub entries: Vec<LogEntry>,
    /// Where each entry stands; empty: one behind the other from `first` on.
    #[prost(uint64, repeated, tag = "3")]
    pub sequences: Vec<Sequence>,
    /// The stretch ends here; 0: with the last entry.
    #[prost(uint64, tag = "4")]
    pub through: Sequence,
    /// How far whose appends have come, of those that changed.
    #[prost(message, repeated, tag = "5")]
    pub appenders: Vec<Appender>,
    /// The log's time at its end.
    #[prost(uint64, tag = "6")]
    pub at: Millis,
    /// CRC-32 of the last message of a shared log in it.
    #[prost(fixed32, optional, tag = "7")]
    pub last_message: Option<u32>,
}

/// Bytes before a frame's payload.
pub(super) const HEAD: usize = 8;

impl Frame {
    /// Appends the frame as it stands in a file to an empty buffer.
    pub fn write_to(&self, buffer: &mut Vec<u8>) {
        buffer.resize(HEAD, 0);
        // A Vec grows as needed: this can't fail.
        self.encode(buffer).expect("a Vec has room");
        let length = (buffer.len() - HEAD) as u32;
        let sum = crc32fast::hash(&buffer[HEAD..]);
        let head = [length.to_be_bytes(), sum.to_be_bytes()].concat();
        // Both have eight bytes.
        buffer[..HEAD].copy_from_slice(&head);
    }

    /// A stretch whose entries stand where they are said to.
    pub fn new(
        first: Sequence,
        through: Sequence,
        entries: Vec<(Sequence, LogEntry)>,
        appenders: Vec<Appender>,
    ) -> Self {
        let (sequences, entries): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
        let follow = (first..).zip(&sequences).all(|(next, is)| next == *is);
        let ends = first + entries.len() as u64 == through + 1;
        Self {
            first,
            entries,
            sequences: if follow { Vec::new() } else { sequences },
            through: if follow && ends { 0 } else { through },
            appenders,
            at: 0,
            last_message: None,
        }
    }

    /// Its last place in the log; the one before `first` where it has none.
    pub fn through(&self) -> Sequence {
        match self.through {
            0 => self
                .behind_entries()
                .map_or(Sequence::MAX, |behind| behind.saturating_sub(1)),
            through => through,
        }
    }

    /// What follows its entries, if they stand one behind the other.
    fn behind_entries(&self) -> Option<Sequence> {
        self.first.checked_add(self.entries.len() as u64)
    }

    /// Whether it begins at `next`, and its entries stand in it, in order.
    pub fn is_next(&self, next: Sequence) -> bool {
        let listed = self.sequences.len();
        let through = self.through();
        let fits = match self.sequences.last() {
            Some(last) => *last <= through,
            None => self
                .behind_entries()
                .is_some_and(|behind| behind <= through.saturating_add(1)),
        };
        // Behind the last number there is no next one.
        self.first == next
            && through < Sequence::MAX
            && through + 1 >= next
            && (listed == 0 || listed == self.entries.len())
            && self.sequences.is_sorted_by(|a, b| a < b)
            && self.sequences.first().is_none_or(|first| *first >= next)
            && fits
    }

    /// The entries with their sequences.
    pub fn entries(self) -> Result<Vec<(Sequence, Entry)>, StoreError> {
        let Self {
            first,
            entries,
            sequences,
            ..
        } = self;
        let place = |index: usize| match sequences.get(index) {
            Some(sequence) => *sequence,
            None => first + index as u64,
        };
        let numbered = entries.into_iter().enumerate();
        numbered
            .map(|(index, entry)| Ok((place(index), entry.decoded()?)))
            .collect()
    }
}

/// One who appends to a log that cores share: a run of a core. What it appends is numbered from 1 on,
/// so that a copy is known for one.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct Appender {
    #[prost(fixed64, tag = "1")]
    pub id: u64,
    /// The last one that was applied.
    #[prost(uint64, tag = "2")]
    pub number: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LogEntry {
    #[prost(uint64, tag = "1")]
    pub at: Millis,
    #[prost(oneof = "Kind", tags = "2, 3, 4, 5")]
    pub kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Kind {
    #[prost(message, tag = "2")]
    Published(StoredPublished),
    #[prost(message, tag = "3")]
    ReadStateSet(StoredReadStateSet),
    #[prost(message, tag = "4")]
    TokensRevoked(StoredRevocation),
    #[prost(message, tag = "5")]
    Deleted(StoredDeletion),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StoredDeletion {
    /// Whose notifications; empty: everyone's.
    #[prost(string, repeated, tag = "1")]
    owners: Vec<String>,
    #[prost(uint64, repeated, tag = "2")]
    ids: Vec<Sequence>,
    /// Set: all of this user's, rather than `ids`.
    #[prost(string, optional, tag = "3")]
    everything_of: Option<String>,
}

impl From<&Deletion> for StoredDeletion {
    fn from(deletion: &Deletion) -> Self {
        match deletion {
            Deletion::Notifications { owners, ids } => Self {
                owners: match owners {
                    Audience::Everyone => Vec::new(),
                    Audience::Recipients(named) => {
                        named.iter().map(|id| id.as_str().to_owned()).collect()
                    }
                },
                ids: ids.clone(),
                everything_of: None,
            },
            Deletion::Everything { of } => Self {
                everything_of: Some(of.as_str().to_owned()),
                ..Self::default()
            },
        }
    }
}

impl StoredDeletion {
    pub fn decoded(self) -> Result<Deletion, StoreError> {
        let unreadable = || StoreError::Unreadable { what: "deletion" };
        let recipient = |id: &String| RecipientId::new(id).ok_or_else(unreadable);
        if let Some(of) = &self.everything_of {
            return Ok(Deletion::Everything { of: recipient(of)? });
        }
        let owners = match self.owners.as_slice() {
            [] => Audience::Everyone,
            named => Audience::Recipients(named.iter().map(recipient).collect::<Result<_, _>>()?),
        };
        Ok(Deletion::Notifications {
            owners,
            ids: self.ids,
        })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StoredPublished {
    #[prost(string, tag = "1")]
    source_id: String,
    #[prost(string, tag = "2")]
    event_id: String,
    #[prost(string, tag = "3")]
    topic: String,
    #[prost(string, tag = "4")]
    data: String,
    #[prost(uint64, optional, tag = "5")]
    expires_at: Option<Millis>,
    /// Empty: everyone.
    #[prost(string, repeated, tag = "6")]
    recipients: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StoredReadStateSet {
    #[prost(string, tag = "1")]
    recipient: String,
    #[prost(uint64, repeated, tag = "2")]
    ids: Vec<Sequence>,
    /// Set: all up to this one, rather than `ids`.
    #[prost(uint64, optional, tag = "3")]
    up_to: Option<Sequence>,
    #[prost(bool, tag = "4")]
    read: bool,
}

impl From<&Entry> for LogEntry {
    fn from(entry: &Entry) -> Self {
        match entry {
            Entry::Published(audience, published) => Self {
                at: published.at,
                kind: Some(Kind::Published(StoredPublished {
                    source_id: published.source_id.clone(),
                    event_id: published.event_id.clone(),
                    topic: published.topic.to_string(),
                    data: published.data.clone(),
                    expires_at: published.expires_at,
                    recipients: match audience {
                        Audience::Everyone => Vec::new(),
                        Audience::Recipients(recipients) => recipients
                            .iter()
                            .map(|recipient| recipient.as_str().to_owned())
                            .collect(),
                    },
                })),
            },
            Entry::ReadStateSet(set) => {
                let (ids, up_to) = match &set.target {
                    ReadTarget::Ids(ids) => (ids.clone(), None),
                    ReadTarget::UpTo(up_to) => (Vec::new(), Some(*up_to)),
                };
                Self {
                    at: set.at,
                    kind: Some(Kind::ReadStateSet(StoredReadStateSet {
                        recipient: set.recipient.as_str().to_owned(),
                        ids,
                        up_to,
                        read: set.read,
                    })),
                }
            }
            Entry::TokensRevoked(entry) => Self {
                at: entry.at,
                kind: Some(Kind::TokensRevoked((&entry.revocation).into())),
            },
            Entry::Deleted(entry) => Self {
                at: entry.at,
                kind: Some(Kind::Deleted((&entry.deletion).into())),
            },
        }
    }
}

impl LogEntry {
    /// # Errors
    /// It is no entry, or one that this version doesn't know.
    pub fn decoded(self) -> Result<Entry, StoreError> {
        let unreadable = || StoreError::Unreadable { what: "log entry" };
        let recipient = |id: &String| RecipientId::new(id).ok_or_else(unreadable);
        match self.kind.ok_or_else(unreadable)? {
            Kind::Published(stored) => {
                let audience = if stored.recipients.is_empty() {
                    Audience::Everyone
                } else {
                    let recipients = stored.recipients.iter().map(recipient);
                    Audience::Recipients(recipients.collect::<Result<_, _>>()?)
                };
                let published = Published {
                    at: self.at,
                    source_id: stored.source_id,
                    event_id: stored.event_id,
                    topic: stored.topic.into(),
                    data: stored.data,
                    expires_at: stored.expires_at,
                };
                Ok(Entry::Published(audience, Arc::new(published)))
            }
            Kind::ReadStateSet(stored) => Ok(Entry::ReadStateSet(ReadStateSet {
                at: self.at,
                recipient: recipient(&stored.recipient)?,
                target: stored
                    .up_to
                    .map_or(ReadTarget::Ids(stored.ids), ReadTarget::UpTo),
                read: stored.read,
            })),
            Kind::TokensRevoked(stored) => Ok(Entry::TokensRevoked(TokensRevoked {
                at: self.at,
                revocation: stored.decoded()?,
            })),
            Kind::Deleted(stored) => Ok(Entry::Deleted(Deleted {
                at: self.at,
                deletion: stored.decoded()?,
            })),
        }
    }
}
