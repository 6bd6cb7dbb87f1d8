//! One entry of an owner's inbox, and the body that may stand apart from it.

use std::{collections::HashSet, sync::Arc};

use prost::Message;

use crate::entry::{DeletedChange, Millis, Published, ReadStateChange, Sequence};

use super::{
    super::{StoreError, index::Item},
    unreadable,
};

/// A body larger than this is kept apart from the rows, so that rows stay small to scan.
pub(in crate::store) const INLINE_DATA_MAX: usize = 1024;

/// One entry in an owner's inbox.
#[derive(Clone, PartialEq, Message)]
pub(in crate::store) struct Row {
    #[prost(uint64, tag = "1")]
    pub sequence: Sequence,
    #[prost(uint64, tag = "2")]
    pub at: Millis,
    #[prost(oneof = "RowKind", tags = "3, 4, 5, 6")]
    pub kind: Option<RowKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(in crate::store) enum RowKind {
    /// A notification, whole.
    #[prost(message, tag = "3")]
    Whole(Body),
    /// A notification whose body stands apart.
    #[prost(message, tag = "4")]
    Apart(Apart),
    /// A change of read marks.
    #[prost(message, tag = "5")]
    ReadState(ReadState),
    /// Notifications are gone.
    #[prost(message, tag = "6")]
    Deleted(DeletedRow),
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::store) struct Body {
    #[prost(string, tag = "1")]
    pub source_id: String,
    #[prost(string, tag = "2")]
    pub event_id: String,
    #[prost(string, tag = "3")]
    pub topic: String,
    #[prost(string, tag = "4")]
    pub data: String,
    /// 0: never.
    #[prost(uint64, tag = "5")]
    pub expires_at: Millis,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::store) struct Apart {
    #[prost(string, tag = "1")]
    pub topic: String,
    /// 0: never.
    #[prost(uint64, tag = "2")]
    pub expires_at: Millis,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::store) struct ReadState {
    #[prost(uint64, repeated, tag = "1")]
    pub ids: Vec<Sequence>,
    #[prost(uint64, tag = "2")]
    pub up_to: Sequence,
    #[prost(bool, tag = "3")]
    pub read: bool,
    #[prost(uint64, tag = "4")]
    pub unread_count: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::store) struct DeletedRow {
    #[prost(uint64, repeated, tag = "1")]
    pub ids: Vec<Sequence>,
    #[prost(uint64, tag = "2")]
    pub up_to: Sequence,
    #[prost(uint64, optional, tag = "3")]
    pub unread_count: Option<u64>,
}

impl DeletedRow {
    pub fn into_change(self, at: Millis) -> DeletedChange {
        DeletedChange {
            ids: self.ids,
            up_to: self.up_to,
            unread_count: self.unread_count,
            at,
        }
    }
}

impl Body {
    pub fn new(published: &Published) -> Self {
        Self {
            source_id: published.source_id.clone(),
            event_id: published.event_id.clone(),
            topic: published.topic.to_string(),
            data: published.data.clone(),
            expires_at: published.expires_at.unwrap_or(0),
        }
    }

    pub fn into_published(self, at: Millis) -> Published {
        Published {
            at,
            source_id: self.source_id,
            event_id: self.event_id,
            topic: self.topic.into(),
            data: self.data,
            expires_at: (self.expires_at > 0).then_some(self.expires_at),
        }
    }
}

impl ReadState {
    pub fn into_change(self, at: Millis) -> ReadStateChange {
        ReadStateChange {
            ids: self.ids,
            up_to: self.up_to,
            read: self.read,
            unread_count: self.unread_count,
            at,
        }
    }
}

impl Row {
    /// The index item of a notification's row; `None` for a change of read marks.
    pub fn item(&self, topics: &mut Topics) -> Option<Item> {
        let (topic, expires_at) = match self.kind.as_ref()? {
            RowKind::Whole(body) => (&body.topic, body.expires_at),
            RowKind::Apart(apart) => (&apart.topic, apart.expires_at),
            RowKind::ReadState(_) | RowKind::Deleted(_) => return None,
        };
        Some(Item {
            sequence: self.sequence,
            at: self.at,
            expires_at: if expires_at == 0 {
                Millis::MAX
            } else {
                expires_at
            },
            topic: topics.share(topic),
        })
    }

    /// Adds the row to a block.
    pub fn append_to(&self, block: &mut Vec<u8>) {
        // Encoding into a Vec can't run out of room.
        let _ = self.encode_length_delimited(block);
    }
}

/// A row that stands alone.
pub(in crate::store) fn row(bytes: &[u8]) -> Result<Row, StoreError> {
    Row::decode(bytes).map_err(unreadable("row"))
}

/// The rows of a block, ascending.
pub(in crate::store) fn rows(mut block: &[u8]) -> Result<Vec<Row>, StoreError> {
    let mut rows = Vec::new();
    while !block.is_empty() {
        rows.push(Row::decode_length_delimited(&mut block).map_err(unreadable("row"))?);
    }
    Ok(rows)
}

pub(in crate::store) fn body(bytes: &[u8]) -> Result<Body, StoreError> {
    Body::decode(bytes).map_err(unreadable("body"))
}

/// Topics met lately, each held once: most notifications share few.
#[derive(Default)]
pub(in crate::store) struct Topics(HashSet<Arc<str>>);

impl Topics {
    /// Past this many, the set starts anew: a publisher that never repeats a topic must not grow it.
    const MAX: usize = 4096;

    pub fn share(&mut self, topic: &str) -> Arc<str> {
        if let Some(known) = self.0.get(topic) {
            return known.clone();
        }
        if self.0.len() >= Self::MAX {
            self.0.clear();
        }
        let topic: Arc<str> = topic.into();
        self.0.insert(topic.clone());
        topic
    }
}
